"""Measure a network's neurons: begin a survey or go on with it, in this process or in several."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from threading import Event, Thread

import torch
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from interp_plugins.cli.launching import device_for, launch, processes_for, termination_interrupts
from interp_plugins.cli.neurons import inputs, passes
from interp_plugins.cli.neurons.ending import RESULTS, finish, tell
from interp_plugins.cli.neurons.inputs import Inputs
from interp_plugins.cli.neurons.request import Request
from interp_plugins.foundation.distributed import Place
from interp_plugins.report.results import Results
from interp_plugins.store.lock import hold
from interp_plugins.store.surveys import MANIFEST, Phase, Progress, SurveyFolder

INTERRUPTED = 4
PAUSE = 0.5  # seconds between two looks at how far the others are


def measure(given: Request) -> None:
    """Do what was asked for.

    Raises:
        typer.Exit: Interrupted (code 4), or another process has failed and said why.
        ValueError: An input, or the survey that is there, is not as expected.
        OSError: The survey cannot be written.
    """
    try:
        with termination_interrupts():
            _measure(given)
    except KeyboardInterrupt as error:
        if given.worker is None:
            typer.echo(f"interp-plugins: {_interrupted(given, str(error))}", err=True)
        raise typer.Exit(INTERRUPTED) from error


def _measure(given: Request) -> None:
    torch.set_num_threads(1)  # speed comes from processes
    place = Place.here() if given.worker else Place()
    device = device_for(given.device, place)
    loaded = inputs.load(given, device, quiet=given.worker is not None)
    if given.worker is not None:
        _work(loaded, SurveyFolder.open(given.out), given.worker, place)  # type: ignore[arg-type]
        return
    folder = begin(given, loaded)
    if folder.finished:
        folder.clear()
        tell(given, Results.read(given.out / RESULTS))
        return
    for phase in loaded.manifest.shards:
        if missing := folder.missing(phase):
            world = min(processes_for(given.processes, device), len(missing))
            with _shown(folder, phase):
                _run(loaded, folder, phase, world)
    finish(loaded, folder)
    folder.clear()


def begin(given: Request, loaded: Inputs) -> SurveyFolder:
    """A new survey, or the one that is there if it may be resumed.

    Raises:
        ValueError: There is one and it is another, or `--resume` was not typed.
    """
    if not (given.out / MANIFEST).is_file():
        return SurveyFolder.create(given.out, loaded.manifest)
    folder = SurveyFolder.open(given.out)
    if not given.resume:
        raise ValueError(f"{given.out} holds a survey already; add --resume to go on with it, or name another folder")
    if differences := folder.manifest.differences(loaded.manifest):
        raise ValueError(
            f"{given.out} holds another survey than the one asked for ({'; '.join(differences)}); ask for the same, or "
            "name another folder"
        )
    return folder


def _run(loaded: Inputs, folder: SurveyFolder, phase: Phase, world: int) -> None:
    if world == 1:
        _work(loaded, folder, phase, Place())
        return
    with ExitStack() as held:  # whoever else works on this folder is told of before anything is started
        for rank in range(world):
            held.enter_context(hold(folder.folder, Place(rank, world)))
    launch(["neurons", "run", *loaded.given.words(worker=phase)], world)


def _work(loaded: Inputs, folder: SurveyFolder, phase: Phase, place: Place) -> None:
    """Look at what is missing of this process's share of the shards."""
    parent = os.getppid()
    with hold(folder.folder, place):
        missing = set(folder.missing(phase))
        todo = [shard for shard in place.share(folder.manifest.shards[phase]) if shard in missing]
        work = passes.begin(phase, loaded, folder)
        for metric in work.metrics.values():
            metric.to(next(loaded.sight.network.parameters()).device)
        progress = Progress(folder, phase, place.rank, work.metrics)
        for shard in todo:
            work.look(shard)
            progress.add(shard, last=shard == todo[-1])
            if loaded.given.worker is not None and os.getppid() != parent:
                raise KeyboardInterrupt  # the process that started this one is no more


@contextmanager
def _shown(folder: SurveyFolder, phase: Phase) -> Iterator[None]:
    """A bar while the body runs; nothing where the console is no terminal."""
    console = Console(stderr=True)
    columns = (
        TextColumn(f"{phase} images"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("shards"),
        TimeRemainingColumn(),
    )
    ended = Event()
    with Bar(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=folder.manifest.shards[phase])

        def look() -> None:
            while not ended.wait(PAUSE):
                bar.update(task, completed=len(folder.done(phase)))

        watcher = Thread(target=look, daemon=True)
        watcher.start()
        try:
            yield
        finally:
            ended.set()
            watcher.join()


def _interrupted(given: Request, why: str) -> str:
    """One sentence: what is kept, and how to go on."""
    why = why or "interrupted"
    if not (given.out / MANIFEST).is_file():
        return f"{why} before the survey was begun; type the same command again"
    folder = SurveyFolder.open(given.out)
    shards = folder.manifest.shards
    done = sum(len(folder.done(phase)) for phase in shards)
    return f"{why}; {done} of {sum(shards.values())} shards are finished and kept; go on with: {given.to_resume()}"
