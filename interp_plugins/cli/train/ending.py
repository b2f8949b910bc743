"""The end of a training run: the network that is kept, and the numbers, the curves and a page."""

import shlex

import typer

from interp_plugins.cli.train.inputs import Inputs
from interp_plugins.cli.train.request import Request
from interp_plugins.foundation.files import write_whole
from interp_plugins.report import training as told
from interp_plugins.report.page import render
from interp_plugins.report.results import Input, Results
from interp_plugins.sources.models import spec_with
from interp_plugins.store.trainings import TrainingFolder

PAGE = "index.html"
RESULTS = "results.json"
CURVES = "curves.png"


def finish(loaded: Inputs, folder: TrainingFolder) -> None:
    """Keep the best network, or the last one where nothing was held out, and write everything."""
    weights, report = folder.weights("last" if loaded.held_out is None else "best")
    outer = "" if loaded.model.network is loaded.module else "net."  # a file of weights knows no normalisation
    reports, results = folder.reports(), _results(loaded, folder, report.epoch)
    figure = told.curves(reports, report.epoch)
    write_whole(folder.folder / CURVES, figure.light)
    title = f"How was {loaded.model.name} trained?"
    sections = told.sections(reports, report.epoch, figure, spec_of(folder))
    write_whole(folder.folder / PAGE, render(title, _lead(loaded), sections, results))
    results.write(folder.folder / RESULTS)
    folder.write({name.removeprefix(outer): value for name, value in weights.items()})


def tell(given: Request) -> None:
    """Print the results of a finished run, or a few lines."""
    results = Results.read(given.out / RESULTS)
    if given.json:
        typer.echo(results.to_json(), nl=False)
        return
    for line in told.lines(results):
        typer.echo(line)
    typer.echo(f"Name it: --model {shlex.quote(spec_of(TrainingFolder.open(given.out)))}")
    typer.echo(f"Look at it: {given.out / PAGE}")


def spec_of(folder: TrainingFolder) -> str:
    """The network of a run, as `--model` of every command takes it."""
    return spec_with(folder.manifest.model.spec, folder.folder / folder.result_name)


def _lead(loaded: Inputs) -> str:
    settings, manifest = loaded.manifest.settings, loaded.manifest
    attack = "" if settings["attack"] is None else f" against {settings['attack']}"
    held = "" if manifest.held_out is None else f", judged on {manifest.held_out.count:,} others"
    return (
        f"Objective {settings['objective']!r}{attack}, {loaded.given.epochs} epochs over {manifest.data.count:,} "
        f"images{held}."
    )


def _results(loaded: Inputs, folder: TrainingFolder, kept: int) -> Results:
    manifest = loaded.manifest
    inputs = [Input(name=f"weights of {manifest.model.name} before training", sha256=manifest.model.sha256),
              Input(name="images to train on", sha256=manifest.data.sha256)]  # fmt: skip
    if manifest.held_out is not None:
        inputs.append(Input(name="held-out images", sha256=manifest.held_out.sha256))
    return Results(
        command=("interp-plugins", "train", "run"),
        settings={
            "model": manifest.model.name,
            "images": manifest.data.count,
            "held out": None if manifest.held_out is None else manifest.held_out.count,
            "size": manifest.data.size,
            "epochs": loaded.given.epochs,
            "layers": list(manifest.layers),
            **manifest.settings,
        },
        versions=manifest.versions,
        seed=loaded.given.seed,
        inputs=tuple(inputs),
        rows=tuple(told.rows(folder.reports(), kept)),
    )
