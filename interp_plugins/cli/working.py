"""Do long work in phases, in this process or in several; interrupted, it says how to go on.

A command loads what it needs, begins a folder or goes on with the one that is there, and goes over each phase. Of a
phase it says only what sums up and how a shard is looked at: shares, locks, bars and savings are here.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Event, Thread
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

import torch
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from interp_plugins.cli.launching import device_for, launch, processes_for, termination_interrupts
from interp_plugins.foundation.distributed import Place
from interp_plugins.store.lock import hold
from interp_plugins.store.work import Progress, Sums, WorkFolder

INTERRUPTED = 4
PAUSE = 0.5  # seconds between two looks at how far the others are

F = TypeVar("F", bound=WorkFolder[Any])
L = TypeVar("L", bound="Loaded")


@runtime_checkable
class Loaded(Protocol):
    """What a command has loaded."""

    @property
    def manifest(self) -> Any:
        """All that decides the result."""


@runtime_checkable
class Pass(Protocol):
    """A phase that can be done shard by shard."""

    @property
    def metrics(self) -> Mapping[str, Sums]:
        """What sums up."""

    def look(self, shard: int) -> None:
        """Look at the images of a shard."""


@runtime_checkable
class ReadsAhead(Protocol):
    """A pass that wants to know what is coming."""

    def expect(self, shards: Sequence[int]) -> None:
        """Be told the shards to look at, in this order."""


@runtime_checkable
class Asked(Protocol):
    """What a request says of the folder."""

    @property
    def out(self) -> Path:
        """The folder."""

    @property
    def resume(self) -> bool:
        """Whether to go on with what is there."""


@runtime_checkable
class Given(Asked, Protocol):
    """What the commands' requests have in common; `dissect run --help` says what each means."""

    @property
    def processes(self) -> str:
        """How many."""

    @property
    def device(self) -> str:
        """Where the network runs."""

    @property
    def worker(self) -> str | None:
        """The phase, in a process that another one started."""

    def words(self, **changed: Any) -> list[str]:
        """The options to type for it."""

    def to_resume(self) -> str:
        """The command that goes on."""


@dataclass(frozen=True, kw_only=True)
class Command(Generic[F, L]):
    """What one command does in its phases; L is what it has loaded.

    Args:
        words: Of the command, such as ("neurons", "run").
        kind: Of the work.
        load: Loads what was asked for onto a device; in a process that another one started, quietly.
        start: A pass of a phase that has seen nothing.
        prepare: What is done once before a phase, by the process that the others wait for.
        finish: What becomes of it all once every phase is done.
        tell: Says what a finished one holds.
    """

    words: tuple[str, ...]
    kind: type[F]
    load: Callable[[torch.device, bool], L]
    start: Callable[[str, L, F], Pass]
    prepare: Callable[[str, L, F], None] = lambda phase, loaded, folder: None
    finish: Callable[[L, F], None]
    tell: Callable[[], None]


def run(given: Given, command: Command[F, L]) -> None:
    """Do what was asked for; an interruption, by Ctrl-C, SIGTERM or of a process among several, says how to go on.

    Raises:
        typer.Exit: Interrupted (code 4), or another process has failed and said why.
        ValueError: An input, or the work that is there, is not as expected.
        OSError: The folder cannot be written.
    """
    try:
        with termination_interrupts():
            torch.set_num_threads(1)  # speed comes from processes
            _run(given, command)
    except KeyboardInterrupt as error:
        if given.worker is None:
            typer.echo(f"interp-plugins: {_interrupted(given, command.kind, str(error))}", err=True)
        raise typer.Exit(INTERRUPTED) from error


def _run(given: Given, command: Command[F, L]) -> None:
    place = Place.here() if given.worker else Place()
    device = device_for(given.device, place)
    processes_for(given.processes, device)  # what is mistyped is told before anything is loaded
    loaded = command.load(device, given.worker is not None)
    if given.worker is not None:
        folder = command.kind.open(given.out)
        share(folder, given.worker, place, partial(command.start, given.worker, loaded, folder), device)
        return
    folder = begin(given, command.kind, loaded.manifest)
    if not folder.finished:
        for phase in folder.manifest.shards:
            command.prepare(phase, loaded, folder)
            do(given, folder, phase, partial(command.start, phase, loaded, folder), device, command.words)
        command.finish(loaded, folder)
    folder.clear()
    command.tell()


def begin(given: Asked, kind: type[F], manifest: Any) -> F:
    """New work, or what is there if it may be resumed.

    Raises:
        ValueError: There is some and it is another, or `--resume` was not typed.
    """
    if not (given.out / kind.manifest_name).is_file():
        return kind.create(given.out, manifest)
    folder = kind.open(given.out)
    if not given.resume:
        raise ValueError(
            f"{given.out} holds a {kind.noun} already; add --resume to go on with it, or name another folder"
        )
    if differences := folder.manifest.differences(manifest):
        raise ValueError(
            f"{given.out} holds another {kind.noun} than the one asked for ({'; '.join(differences)}); ask for the "
            "same, or name another folder"
        )
    return folder


def do(
    given: Given,
    folder: WorkFolder[Any],
    phase: str,
    start: Callable[[], Pass],
    device: torch.device,
    group: Sequence[str],
) -> None:
    """Do what is missing of a phase.

    Args:
        given: The request.
        folder: The work's.
        phase: Which.
        start: Makes a pass that has seen nothing.
        device: Where it looks.
        group: The words of the command, such as ("neurons", "run").

    Raises:
        typer.Exit: Another process has failed and said why.
        KeyboardInterrupt: Told to stop.
        OSError: The folder cannot be written.
    """
    missing = folder.missing(phase)
    if not missing:
        return
    world = min(processes_for(given.processes, device), len(missing))
    with _shown(folder, phase):
        if world == 1:
            share(folder, phase, Place(), start, device)
            return
        with ExitStack() as held:  # whoever else works on this folder is told of before anything is started
            for rank in range(world):
                held.enter_context(hold(folder.folder, Place(rank, world)))
        launch([*group, *given.words(worker=phase)], world)


def share(folder: WorkFolder[Any], phase: str, place: Place, start: Callable[[], Pass], device: torch.device) -> None:
    """Look at what is missing of one process's share of the shards; arguments as for `do`.

    Raises:
        KeyboardInterrupt: The process that started this one is no more.
    """
    parent = os.getppid()
    with hold(folder.folder, place):
        missing = set(folder.missing(phase))
        todo = [shard for shard in place.share(folder.manifest.shards[phase]) if shard in missing]
        work = start()
        for metric in work.metrics.values():
            metric.to(device)
        if isinstance(work, ReadsAhead):
            work.expect(todo)
        progress = Progress(folder, phase, place.rank, work.metrics)
        for shard in todo:
            work.look(shard)
            progress.add(shard, last=shard == todo[-1])
            if place.world > 1 and os.getppid() != parent:
                raise KeyboardInterrupt


@contextmanager
def _shown(folder: WorkFolder[Any], phase: str) -> Iterator[None]:
    """A bar while the body runs; nothing where the console is no terminal."""
    console = Console(stderr=True)
    columns = (TextColumn(folder.titles[phase]), BarColumn(), MofNCompleteColumn(), TextColumn("shards"),
               TimeRemainingColumn())  # fmt: skip
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


def _interrupted(given: Given, kind: type[WorkFolder[Any]], why: str) -> str:
    """One sentence: what is kept, and how to go on."""
    why = why or "interrupted"
    if not (given.out / kind.manifest_name).is_file():
        return f"{why} before the {kind.noun} was begun; type the same command again"
    folder = kind.open(given.out)
    shards = folder.manifest.shards
    done = sum(len(folder.done(phase)) for phase in shards)
    return f"{why}; {done} of {sum(shards.values())} shards are finished and kept; go on with: {given.to_resume()}"
