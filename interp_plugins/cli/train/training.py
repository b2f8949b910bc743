"""Train: begin a run or go on with it, epoch by epoch, until its network is kept."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module

import torch
import typer
from rich.console import Console
from torch import distributed

from interp_plugins.cli.launching import device_for, termination_interrupts
from interp_plugins.cli.noting import Clock
from interp_plugins.cli.train import inputs
from interp_plugins.cli.train.bar import shown
from interp_plugins.cli.train.ending import finish, tell
from interp_plugins.cli.train.inputs import Inputs
from interp_plugins.cli.train.request import Request
from interp_plugins.cli.working import INTERRUPTED, begin
from interp_plugins.errors import LossNotFinite
from interp_plugins.foundation.distributed import Place
from interp_plugins.store.lock import hold
from interp_plugins.store.trainings import TrainingFolder

FAILED = 1


def train(given: Request) -> None:
    """Do what was asked for; an interruption, by Ctrl-C or SIGTERM, says how to go on.

    Raises:
        typer.Exit: Interrupted (code 4), or a loss was not finite (code 1).
        ValueError: An input, or the run that is there, is not as expected.
        OSError: The folder cannot be written.
    """
    place = Place.here()
    device = device_for(given.device, place)
    try:
        with (
            termination_interrupts(),
            torch.random.fork_rng([device] if device.type == "cuda" else []),
            _joined(place, device),
        ):
            loaded = inputs.load(given, device, place)
            folder = _begun(loaded)
            if not folder.finished:
                with hold(given.out, place):
                    _train(loaded, folder)
                    if place.rank == 0:
                        finish(loaded, folder)
        if place.rank == 0:
            tell(given)
    except KeyboardInterrupt as error:
        if place.rank == 0:
            typer.echo(f"interp-plugins: {_interrupted(given, place)}", err=True)
        raise typer.Exit(INTERRUPTED) from error
    except LossNotFinite as error:
        if place.rank == 0:
            typer.echo(f"interp-plugins: {error}; {_kept(given)}", err=True)
        raise typer.Exit(FAILED) from error


@contextmanager
def _joined(place: Place, device: torch.device) -> Iterator[None]:
    """Inside, the processes that torchrun or another launcher has started can talk to one another."""
    if place.world == 1:
        yield
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    # torch imports it sooner or later, and its defaults keep the group that is there at that moment, with gloo's
    # threads, which may then abort a process that ends
    import_module("torch.distributed.nn.functional")
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield
    finally:
        distributed.destroy_process_group()


def _begun(loaded: Inputs) -> TrainingFolder:
    """The folder: begun by the first process, or what was there before all of them came."""
    given, place = loaded.given, loaded.place
    if place.world == 1:
        return begin(given, TrainingFolder, loaded.manifest)
    there = (given.out / TrainingFolder.manifest_name).is_file()
    distributed.barrier()  # now all have looked
    begun = begin(given, TrainingFolder, loaded.manifest) if there or place.rank == 0 else None
    distributed.barrier()
    return begun or TrainingFolder.open(given.out)


def _train(loaded: Inputs, folder: TrainingFolder) -> None:
    given, place, clock, done = loaded.given, loaded.place, Clock(), len(folder.reports())
    torch.manual_seed(given.seed + place.rank)  # whatever the network has drawn
    loaded.module.train()
    optimizer = loaded.optimizer()
    run = loaded.trainer(
        loaded.shared(),
        optimizer,
        loaded.loader,
        attack=loaded.attack,
        scheduler=loaded.scheduler(optimizer),
        held_out=loaded.held_out,
        watch=loaded.watch,
        averages=loaded.averages(),
        checkpoints=folder.checkpoints,
        resume=True,
    )
    images = 0
    with shown(given.epochs, loaded.loader, Console(stderr=True), place) as bar, _warnings_told(place):
        bar.begin(1)
        for report in run:
            bar.begin(report.epoch + 1)
            if report.epoch > done:
                images += report.images
                if place.rank == 0 and not given.json:
                    typer.echo(f"{report}{', the best' if report.best else ''}")
    if place.rank == 0:
        what = {"device": _named(loaded.device), "processes": place.world, "threads": torch.get_num_threads()}
        clock.note(given.out, what | {"epochs": given.epochs - done}, ("images", images))


@contextmanager
def _warnings_told(place: Place) -> Iterator[None]:
    """Inside, a warning is a sentence on stderr, of the first process."""

    def say(message: Warning | str, *_where: object, **_more: object) -> None:
        if place.rank == 0:
            typer.echo(f"interp-plugins: {message}", err=True)

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = say
        yield


def _named(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def _interrupted(given: Request, place: Place) -> str:
    """One sentence: what is kept, and how to go on."""
    if not (given.out / TrainingFolder.manifest_name).is_file():
        return "interrupted before the training run was begun; type the same command again"
    among = f" in {place.world} processes" if place.world > 1 else ""
    return f"interrupted; {_kept(given)}; go on{among} with: {given.to_resume()}"


def _kept(given: Request) -> str:
    done = len(TrainingFolder.open(given.out).reports())
    return f"{done} of {given.epochs} epochs are finished and kept"
