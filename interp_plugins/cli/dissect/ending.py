"""The end of a dissection: the counts become labels, and these numbers, tables, figures and a page."""

from torch import Tensor

from interp_plugins.cli.dissect import gathering, regions
from interp_plugins.cli.dissect.attacks import Spec
from interp_plugins.cli.dissect.inputs import Inputs
from interp_plugins.cli.dissect.summary import PAGE, RESULTS
from interp_plugins.cli.dissect.tallying import Tallying
from interp_plugins.dissection.dissection import Dissected
from interp_plugins.foundation.files import write_whole
from interp_plugins.report import dissection as told
from interp_plugins.report import units
from interp_plugins.report.page import Figure, Section, render, slug
from interp_plugins.report.regions import telling
from interp_plugins.report.results import Input, Results
from interp_plugins.report.study import Study, sides
from interp_plugins.store.dissections import LABELS, DissectionFolder

TABLE = "units.csv"
EACH = 6  # images that are drawn of a unit


def finish(loaded: Inputs, folder: DissectionFolder) -> None:
    """Merge what all processes have counted, measure, and write everything."""
    layers = _dissected(loaded, folder)
    attack = None if loaded.given.attack is None else str(Spec.read(loaded.given.attack))
    study = Study(layers, loaded.method, loaded.images.vocabulary, len(loaded.images), attack)
    tops = gathering.tops(loaded, folder)
    pieces = [*told.sections(study)]
    if loaded.given.sheet:
        pieces[1:1] = [_sheet(loaded, layer, found, tops) for layer, found in layers.items()]
    for section in pieces:
        for figure in (piece for piece in section.pieces if isinstance(piece, Figure)):
            write_whole(folder.folder / f"{slug(section.title)}.png", figure.light)
    name = loaded.model.name
    lead = f"{name} on {len(loaded.images):,} labelled images" + (
        "." if attack is None else f", clean and under {attack}."
    )
    results = _results(loaded, study)
    write_whole(folder.folder / TABLE, units.as_csv(study))
    write_whole(folder.folder / PAGE, render(f"What do the units of {name} point at?", lead, tuple(pieces), results))
    results.write(folder.folder / RESULTS)
    folder.write(_tensors(study, tops) | {"images": loaded.digests})


def _sheet(loaded: Inputs, layer: str, found: Dissected, tops: dict[tuple[str, str], Tensor]) -> Section:
    aligned = sides(found)
    chosen = telling(found.clean.labels, loaded.given.sheet)
    drawn = regions.figure(
        loaded,
        layer,
        chosen,
        {kind: each.labels for kind, each in aligned.items()},
        {kind: each.thresholds.value for kind, each in aligned.items()},
        {kind: tops[kind, layer][:, :EACH] for kind in aligned},
    )
    lead = "The units with the largest IoU, as far as possible each for another concept."
    return Section(f"Where do units of {layer} look?", lead, (drawn,))


def _dissected(loaded: Inputs, folder: DissectionFolder) -> dict[str, Dissected]:
    counted = folder.computed("tally", Tallying(loaded, folder).metrics)
    overlaps = {
        (kind, layer): [counted[f"{kind}/{layer}/{number}"] for number in range(1 + loaded.method.permutations)]
        for kind, layer in loaded.keys
    }
    return loaded.method.dissected(gathering.thresholds(loaded, folder), overlaps)


def _tensors(study: Study, tops: dict[tuple[str, str], Tensor]) -> dict[str, Tensor]:
    """What dissect show draws from, and the counts behind every number."""
    found: dict[str, Tensor] = {}
    for layer, each in study.layers.items():
        for kind, aligned in sides(each).items():
            overlap, labels = aligned.overlap, aligned.labels
            named = {
                "threshold": aligned.thresholds.value, "highest": aligned.thresholds.highest,
                "intersection": overlap.intersection, "labelled": overlap.labelled, "active": overlap.active,
                "lit": overlap.lit, "tops": tops[kind, layer],
                **{name: getattr(labels, name) for name in LABELS},
            }  # fmt: skip
            found |= {f"{kind}/{layer}/{name}": tensor for name, tensor in named.items()}
    return found


def _results(loaded: Inputs, study: Study) -> Results:
    manifest = loaded.manifest
    inputs = [Input(name=f"weights of {manifest.model.name}", sha256=manifest.model.sha256),
              Input(name="images and labels", sha256=manifest.data.sha256)]  # fmt: skip
    if manifest.attacked is not None:
        inputs.append(Input(name="set", sha256=manifest.attacked.sha256))
    return Results(
        command=("interp-plugins", "dissect", "run"),
        settings={
            "model": manifest.model.name,
            "images": manifest.data.count,
            "size": manifest.data.size,
            "attack": study.attack,
            "layers": list(manifest.layers),
            **manifest.settings,
        },
        versions=manifest.versions,
        seed=loaded.given.seed,
        inputs=tuple(inputs),
        rows=tuple(told.rows(study)),
    )
