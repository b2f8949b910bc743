"""Make a set: begin it or go on with it, in this process, in several, or as one of several that a launcher started."""

import os
from contextlib import ExitStack
from time import monotonic, sleep

import torch
import typer
from rich.console import Console

from interp_plugins.cli.attack import inputs
from interp_plugins.cli.attack.ending import Run, finish
from interp_plugins.cli.attack.inputs import Inputs
from interp_plugins.cli.attack.progress import Tell, claim_the_end, shown
from interp_plugins.cli.attack.request import Request
from interp_plugins.cli.launching import device_for, launch, processes_for, termination_interrupts
from interp_plugins.foundation.distributed import Place
from interp_plugins.store.generate import Generator
from interp_plugins.store.lock import hold
from interp_plugins.store.manifest import Manifest
from interp_plugins.store.sets import AdversarialSet

INTERRUPTED = 4
PATIENCE = 1800.0  # seconds that the others wait for the first process, which reads every image once


def make(given: Request) -> None:
    """Do what was asked for.

    Raises:
        typer.Exit: Interrupted (code 4), or another process has failed and said why.
        ValueError: An input, or the set that is there, is not as expected.
        OSError: The set cannot be written.
        MemoryError: Not even one tile fits into memory.
    """
    place = Place.here()
    try:
        with termination_interrupts():
            _make(given, place)
    except KeyboardInterrupt as error:
        if place.rank == 0 and not given.worker:
            typer.echo(f"interp-plugins: {_interrupted(given, str(error))}", err=True)
        raise typer.Exit(INTERRUPTED) from error


def _make(given: Request, place: Place) -> None:
    torch.set_num_threads(1)  # bits are promised for one thread a process; speed comes from processes
    launched = "RANK" in os.environ
    device = device_for(given.device, place)
    count = 1 if launched else processes_for(given.processes, device)
    loaded = inputs.load(given, device, quiet=given.worker or place.rank > 0)
    first = place.rank == 0 and not given.worker
    target_set = begin(given, loaded) if first else join(given, loaded, PATIENCE)
    if given.worker:
        work(given, loaded, target_set, place)
        return
    world = place.world if launched else min(count, target_set.manifest.shards)
    run = Run.begin(target_set, world, given.batch_size)
    console = Console(stderr=True, quiet=place.rank > 0)
    if launched or world == 1:
        with shown(target_set, world, console):
            work(given, loaded, target_set, place)
    else:
        with ExitStack() as held:  # whoever else works on this folder is told of once, before anything is started
            for rank in range(world):
                held.enter_context(hold(target_set.folder, Place(rank, world)))
        del loaded
        with shown(target_set, world, console):
            launch(["attack", "run", *given.words(worker=True)], world)
    if not target_set.missing() and claim_the_end(target_set.folder):
        finish(target_set, run, given.json)


def begin(given: Request, loaded: Inputs) -> AdversarialSet:
    """A new set, or the one that is there if it may be resumed.

    Raises:
        ValueError: There is one and it is another, or `--resume` was not typed.
    """
    if not _has_set(given):
        return AdversarialSet.create(given.out, loaded.manifest())
    if not given.resume:
        raise ValueError(f"{given.out} holds a set already; add --resume to go on with it, or name another folder")
    target_set = AdversarialSet.open(given.out)
    _check_same(given, target_set.manifest, loaded.manifest())
    return target_set


def join(given: Request, loaded: Inputs, patience: float) -> AdversarialSet:
    """The set that the first process begins.

    Each process compares networks and settings, because on another machine they may be others; the images' bytes it
    compares when it comes to them.

    Raises:
        ValueError: It is another set, or none appeared in time.
    """
    end = monotonic() + patience
    while not _has_set(given):
        if monotonic() > end:
            raise ValueError(
                f"expected the process of rank 0 to begin a set in {given.out} within {patience:g} seconds; look for "
                "what it says, and whether all processes see the same folder"
            )
        sleep(0.1)
    target_set = AdversarialSet.open(given.out)
    known = target_set.manifest.data.sha256s
    _check_same(given, target_set.manifest, loaded.manifest(known if len(known) == loaded.count else None))
    return target_set


def work(given: Request, loaded: Inputs, target_set: AdversarialSet, place: Place) -> None:
    """Make whatever is missing or broken of this process's share of the shards."""
    with hold(target_set.folder, place):
        todo = target_set.missing(place.share(target_set.manifest.shards), deep=True)
        for fault in target_set.faults(todo):
            typer.echo(f"{fault}; it is made again", err=True)
        tell = Tell(target_set.folder, place, orphan_stops=given.worker)
        if loaded.device.type == "cuda":  # the process is the command's own, and fp32 is to mean fp32
            torch.backends.cudnn.deterministic = True
            torch.backends.cudnn.allow_tf32 = False
        generator = Generator(
            target_set,
            [module.to(loaded.device) for module in loaded.modules],
            loaded.images,
            loaded.method,
            given.policy(),
            given.refinement(loaded.method),
            held=max(1, (given.batch_size or 0) // target_set.manifest.layout.tile),
        )
        generator.make(todo, tell)


def _has_set(given: Request) -> bool:
    return (given.out / "manifest.json").is_file()


def _check_same(given: Request, there: Manifest, asked: Manifest) -> None:
    if differences := there.differences(asked):
        raise ValueError(
            f"{given.out} holds another set than the one asked for ({'; '.join(differences)}); ask for the same, or "
            "name another folder"
        )


def _interrupted(given: Request, why: str) -> str:
    """One sentence: what is kept, and how to go on."""
    why = why or "interrupted"
    if not _has_set(given):
        return f"{why} before the set was begun; type the same command again"
    target_set = AdversarialSet.open(given.out)
    kept = f"{len(target_set.finished())} of {target_set.manifest.shards} shards are finished and kept"
    return f"{why}; {kept}; go on with: {given.to_resume()}"
