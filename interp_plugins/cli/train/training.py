"""Train: begin a run or go on with it, epoch by epoch, until its network is kept."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import typer
from rich.console import Console

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
    device = device_for(given.device, Place())
    try:
        with termination_interrupts(), torch.random.fork_rng([device] if device.type == "cuda" else []):
            loaded = inputs.load(given, device)
            folder = begin(given, TrainingFolder, loaded.manifest)
            if not folder.finished:
                with hold(given.out, Place()):
                    _train(loaded, folder)
                    finish(loaded, folder)
        tell(given)
    except KeyboardInterrupt as error:
        typer.echo(f"interp-plugins: {_interrupted(given)}", err=True)
        raise typer.Exit(INTERRUPTED) from error
    except LossNotFinite as error:
        typer.echo(f"interp-plugins: {error}; {_kept(given)}", err=True)
        raise typer.Exit(FAILED) from error


def _train(loaded: Inputs, folder: TrainingFolder) -> None:
    given, clock, done = loaded.given, Clock(), len(folder.reports())
    torch.manual_seed(given.seed)  # whatever the network has drawn
    loaded.module.train()
    optimizer = loaded.optimizer()
    run = loaded.trainer(
        loaded.module,
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
    with shown(given.epochs, loaded.loader, Console(stderr=True)) as bar, _warnings_told():
        bar.begin(1)
        for report in run:
            bar.begin(report.epoch + 1)
            if report.epoch > done:
                images += report.images
                if not given.json:
                    typer.echo(f"{report}{', the best' if report.best else ''}")
    what = {"device": _named(loaded.device), "threads": torch.get_num_threads(), "epochs": given.epochs - done}
    clock.note(given.out, what, ("images", images))


@contextmanager
def _warnings_told() -> Iterator[None]:
    """Inside, a warning is a sentence on stderr."""

    def say(message: Warning | str, *_where: object, **_more: object) -> None:
        typer.echo(f"interp-plugins: {message}", err=True)

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = say
        yield


def _named(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def _interrupted(given: Request) -> str:
    """One sentence: what is kept, and how to go on."""
    if not (given.out / TrainingFolder.manifest_name).is_file():
        return "interrupted before the training run was begun; type the same command again"
    return f"interrupted; {_kept(given)}; go on with: {given.to_resume()}"


def _kept(given: Request) -> str:
    done = len(TrainingFolder.open(given.out).reports())
    return f"{done} of {given.epochs} epochs are finished and kept"
