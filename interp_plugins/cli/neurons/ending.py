"""The end of a survey: the sums become measures, and these numbers, a table and a page."""

import typer
from torch import Tensor, tensor

from interp_plugins.cli.neurons import passes, sheet
from interp_plugins.cli.neurons.inputs import Attacked, Inputs
from interp_plugins.cli.neurons.request import Request
from interp_plugins.foundation.files import write_whole
from interp_plugins.neurons.exemplars import Exemplars
from interp_plugins.neurons.survey import Records, Survey, survey
from interp_plugins.report import survey as told
from interp_plugins.report.page import Figure, render, slug
from interp_plugins.report.results import Input, Results
from interp_plugins.store.surveys import SurveyFolder

PAGE = "index.html"
TABLE = "units.csv"
RESULTS = "results.json"
SUMMARY = (
    "attacked images/says the target",
    *(f"{name}/all layers" for name in ("lc corrected", "consis_adv corrected", "cs1", "cs2")),
    *(f"{name}/all" for name in ("r1", "r2")),
)


def finish(loaded: Inputs, folder: SurveyFolder) -> None:
    """Merge what all processes have seen, measure, and write everything."""
    found = _measured(loaded, folder)
    tops = {"real": {name: layer.real for name, layer in found.layers.items()}}
    if attacked := {name: layer.attacked for name, layer in found.layers.items() if layer.attacked is not None}:
        tops["attacked"] = attacked
    results = _results(loaded, found)
    pieces = told.sections(found, _asked(loaded), loaded.given.sigma)
    if loaded.given.sheet:
        pieces = (sheet.section(loaded, found), *pieces)
    for section in pieces:
        for figure in (piece for piece in section.pieces if isinstance(piece, Figure)):
            write_whole(folder.folder / f"{slug(section.title)}.png", figure.light)
    name = loaded.manifest.model.name
    lead = f"{name} on {len(found.labels)} real images" + (
        f" and {len(found.records.labels)} attacked ones." if found.records is not None else "."
    )
    write_whole(folder.folder / TABLE, told.units(found))
    write_whole(folder.folder / PAGE, render(f"What do the units of {name} mean?", lead, pieces, results))
    results.write(folder.folder / RESULTS)
    folder.write(tops, {"labels": found.labels, "similarity": loaded.similarity})


def tell(given: Request, results: Results) -> None:
    """Print the results of a finished survey, or a summary of them."""
    if given.json:
        typer.echo(results.to_json(), nl=False)
        return
    for row in results.rows:
        if row.name in SUMMARY and row.value is not None:
            typer.echo(f"{row.name}: {row.value:.4g}  ({row.method})")
    typer.echo(f"Look at it: {given.out / PAGE}")


def _measured(loaded: Inputs, folder: SurveyFolder) -> Survey:
    first = folder.computed("real", passes.begin("real", loaded, folder).metrics)
    real: dict[str, Exemplars] = first["exemplars"]
    labels = loaded.real.labels[: loaded.manifest.real.count]
    attacked: dict[str, Exemplars] = {}
    records = ratios = None
    if loaded.attacked is not None:
        second = folder.computed("attacked", passes.begin("attacked", loaded, folder).metrics)
        attacked, ratios = second["exemplars"], second["ratios"]
        records = _records(loaded.attacked, second["answers"])
    layers = {
        name: survey(exemplars, labels, loaded.similarity, attacked.get(name), records, weighted=loaded.given.weighted)
        for name, exemplars in real.items()
    }
    return Survey(layers, labels, first["answers"], records, ratios)


def _records(attacked: Attacked, says: Tensor) -> Records:
    found = attacked.records.set
    targets = tensor([row for shard in range(found.manifest.shards) for row in found.line(shard).targets])
    labels = tensor(found.manifest.data.numbers).repeat_interleave(attacked.each)
    sources = tensor(range(len(targets))).repeat_interleave(attacked.each)
    return Records(labels=labels, targets=targets.flatten(), says=says, sources=sources)


def _asked(loaded: Inputs) -> int:
    return int(str(loaded.manifest.settings["layers asked for"]))


def _results(loaded: Inputs, found: Survey) -> Results:
    manifest = loaded.manifest
    inputs = [Input(name=f"weights of {manifest.model.name}", sha256=manifest.model.sha256),
              Input(name="real images", sha256=manifest.real.sha256)]  # fmt: skip
    if manifest.attacked is not None:
        inputs.append(Input(name="set", sha256=manifest.attacked.sha256))
    return Results(
        command=("interp-plugins", "neurons", "run"),
        settings={
            "model": manifest.model.name,
            "real images": manifest.real.count,
            "attacked images": None if manifest.attacked is None else manifest.attacked.count,
            "layers": list(manifest.layers),
            **manifest.settings,
        },
        versions=manifest.versions,
        seed=0,
        inputs=tuple(inputs),
        rows=tuple(told.rows(found, _asked(loaded))),
    )
