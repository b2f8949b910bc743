"""Dissect a network: begin a dissection or go on with it, in this process or in several."""

from functools import partial

from interp_plugins.cli.dissect import inputs
from interp_plugins.cli.dissect.counting import Coarse, Fine
from interp_plugins.cli.dissect.ending import finish
from interp_plugins.cli.dissect.gathering import gather
from interp_plugins.cli.dissect.inputs import Inputs
from interp_plugins.cli.dissect.looking import Looking
from interp_plugins.cli.dissect.request import Request
from interp_plugins.cli.dissect.summary import tell
from interp_plugins.cli.dissect.tallying import Tallying
from interp_plugins.cli.working import Command, Pass, run
from interp_plugins.store.dissections import DissectionFolder


def measure(given: Request) -> None:
    """Do what was asked for; errors as `working.run`'s."""
    command = Command(
        words=("dissect", "run"),
        kind=DissectionFolder,
        load=partial(inputs.load, given),
        start=start,
        prepare=prepare,
        finish=finish,
        tell=partial(tell, given),
    )
    run(given, command)


def start(phase: str, loaded: Inputs, folder: DissectionFolder) -> Pass:
    """A pass that has seen nothing."""
    if phase in ("look", "coarse"):
        return Looking(loaded) if phase == "look" else Coarse(loaded)
    return Fine(loaded, folder) if phase == "fine" else Tallying(loaded, folder)


def prepare(phase: str, loaded: Inputs, folder: DissectionFolder) -> None:
    """Gather, before the last phase, what those before have kept."""
    if phase == "tally":
        gather(loaded, folder)
