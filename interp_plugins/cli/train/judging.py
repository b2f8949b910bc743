"""Judge networks, clean and under attacks, all on the same images."""

import platform
from importlib.metadata import version

import torch
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from interp_plugins.cli import networks
from interp_plugins.cli.attack.inputs import unlike
from interp_plugins.cli.launching import device_for, termination_interrupts
from interp_plugins.cli.train import masking
from interp_plugins.cli.train.answers import Answers
from interp_plugins.cli.train.asked import Asked, Judgement
from interp_plugins.cli.train.attacks import Spec
from interp_plugins.cli.train.batches import Part
from interp_plugins.cli.train.ending import PAGE, RESULTS, spec_of
from interp_plugins.cli.train.judges import judge_of
from interp_plugins.cli.working import INTERRUPTED
from interp_plugins.foundation import check
from interp_plugins.foundation.borrow import borrow
from interp_plugins.foundation.distributed import Place
from interp_plugins.foundation.files import write_whole
from interp_plugins.foundation.measuring import levels
from interp_plugins.hosts import TORCHATTACKS
from interp_plugins.report import withstood
from interp_plugins.report.page import render
from interp_plugins.report.results import Input, Results, Row
from interp_plugins.sources import weights
from interp_plugins.sources.models import LoadedModel
from interp_plugins.store.trainings import TrainingFolder

ADVISED = 500  # images for AutoAttack


def judge(given: Judgement) -> None:
    """Do what was asked for; an interruption, by Ctrl-C or SIGTERM, says how to go on.

    Raises:
        typer.Exit: Interrupted (code 4).
        ValueError: A setting, a model or the images are not as expected, or do not belong together.
        FileNotFoundError: A file or a run is not there.
        HostMissing: AutoAttack without torchattacks.
        OSError: The folder cannot be written.
    """
    try:
        with termination_interrupts():
            _judge(given)
    except KeyboardInterrupt as error:
        kept = "without --out nothing is kept" if given.out is None else "what is judged is kept"
        typer.echo(f"interp-plugins: interrupted; {kept}; type the same command again", err=True)
        raise typer.Exit(INTERRUPTED) from error


def _judge(given: Judgement) -> None:
    asked, device = Asked.load(given), device_for(given.device, Place())
    loaded = _networks(given, device)
    total = len(loaded) * len(asked.specs) * asked.count
    right: dict[str, dict[str, Tensor]] = {}
    answers, known = Answers(asked), _versions(asked)
    with _shown() as bar, torch.random.fork_rng([device] if device.type == "cuda" else []):
        task = bar.add_task("", total=total)
        for name, model in loaded.items():
            classes, right[name] = _classes(model, asked, device), {}
            network = {"spec": model.spec, "weights": weights.digest(model.module), "device": str(device)}
            for typed, spec in asked.specs.items():
                bar.update(task, description=f"{name}: {spec}")
                attack = judge_of(spec, model.module, classes, given)
                deciding = {**network, "attack": typed, "versions": known}
                right[name][typed] = answers.of(model.module, attack, deciding, lambda done: bar.advance(task, done))
    _end(asked, loaded, right)
    answers.clear()


def _networks(given: Judgement, device: torch.device) -> dict[str, LoadedModel]:
    """The networks by names of their own: a model's, or that of the folder of a run."""
    runs = [TrainingFolder.open(folder) for folder in given.run]
    for run in runs:
        if not run.finished:
            raise ValueError(f"{run.folder} is not finished; type the command that began it again, with --resume")
    loaded = [networks.load(spec, device, quiet=False) for spec in given.model]
    loaded += [_of_run(run, device) for run in runs]
    names = [model.name for model in loaded[: len(given.model)]] + [run.folder.resolve().name for run in runs]
    return dict(zip(unlike(names), loaded, strict=True))


def _of_run(run: TrainingFolder, device: torch.device) -> LoadedModel:
    try:
        return networks.load(spec_of(run), device, quiet=False)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{error}; the network is named as it was typed, so type this where the training run was made"
        ) from error


def _classes(model: LoadedModel, asked: Asked, device: torch.device) -> int:
    """How many classes a network knows, which takes the images."""
    example = levels(asked.images.tensor([0]), device)
    networks.check_takes(model, example)
    with borrow(model.module), torch.no_grad():
        classes = check.logits(model.module(example), 1, model.name).shape[1]
    known, largest = f"the classes that {model.name} knows", int(asked.images.labels[: asked.count].max())
    if largest >= classes:
        raise ValueError(f"expected labels from 0 to {classes - 1}, {known}, got {largest}")
    if max(asked.tops) > classes:
        raise ValueError(f"expected --top of at most {classes}, {known}, got {max(asked.tops)}")
    return classes


def _end(asked: Asked, loaded: dict[str, LoadedModel], right: dict[str, dict[str, Tensor]]) -> None:
    """Write and print what came out."""
    given, tops = asked.given, asked.tops
    first = {name: {typed: flags[:, 0] for typed, flags in each.items()} for name, each in right.items()}
    notes = [note for name in loaded for note in _masking(name, asked.specs, first[name], several=len(loaded) > 1)]
    if asked.foreign and asked.count < ADVISED:
        notes.append(
            f"AutoAttack saw {asked.count} images; {ADVISED} or more are advised, for intervals narrower than 9 points."
        )
    results = _results(asked, loaded, tuple(withstood.rows(right, tops)))
    if given.out is not None:
        given.out.mkdir(parents=True, exist_ok=True)
        sections = withstood.sections(results, right, asked.said, tops, notes)
        lead = f"{', '.join(loaded)} on {asked.count:,} images."
        write_whole(given.out / PAGE, render("What do the networks withstand?", lead, sections, results))
        results.write(given.out / RESULTS)
    if given.json:
        typer.echo(results.to_json(), nl=False)
        return
    for line in [*withstood.lines(results, right, asked.said, tops), *notes]:
        typer.echo(line)
    if given.out is not None:
        typer.echo(f"Look at it: {given.out / PAGE}")


def _masking(name: str, specs: dict[str, Spec], right: dict[str, Tensor], several: bool) -> list[str]:
    compared, who = len(masking.pairs(specs)), f"{name}: " if several else ""
    if not compared:
        return []
    signs = [f"{who}{sign}" for sign in masking.signs(specs, right)]
    return signs or [f"{who}no sign of masked gradients in {compared} comparison{'s' * (compared > 1)} of attacks."]


def _results(asked: Asked, loaded: dict[str, LoadedModel], rows: tuple[Row, ...]) -> Results:
    used = Part(asked.images, range(asked.count), asked.given.data).used()
    return Results(
        command=("interp-plugins", "train", "evaluate"),
        settings={
            "networks": list(loaded),
            "attacks": {**asked.said},
            "images": asked.count,
            "size": asked.given.size,
            "autoattack": asked.given.autoattack if asked.foreign else None,
        },
        versions=_versions(asked),
        seed=asked.given.seed,
        inputs=(
            *(Input(name=f"weights of {name}", sha256=weights.digest(each.module)) for name, each in loaded.items()),
            Input(name="images", sha256=used.sha256),
        ),
        rows=rows,
    )


def _versions(asked: Asked) -> dict[str, str]:
    known = ["interp-plugins", "torch", "numpy", *([TORCHATTACKS.distribution] if asked.foreign else [])]
    return {"python": platform.python_version(), **{name: version(name) for name in known}}


def _shown() -> Progress:
    """A bar; nothing where the console is no terminal."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, disable=not console.is_terminal)
