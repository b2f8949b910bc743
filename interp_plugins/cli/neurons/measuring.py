"""Measure a network's neurons: begin a survey or go on with it, in this process or in several."""

from functools import partial

from interp_plugins.cli.neurons import inputs, passes
from interp_plugins.cli.neurons.ending import RESULTS, finish, tell
from interp_plugins.cli.neurons.request import Request
from interp_plugins.cli.working import Command, run
from interp_plugins.report.results import Results
from interp_plugins.store.surveys import SurveyFolder


def measure(given: Request) -> None:
    """Do what was asked for; errors as `working.run`'s."""
    command = Command(
        words=("neurons", "run"),
        kind=SurveyFolder,
        load=partial(inputs.load, given),
        start=passes.begin,  # type: ignore[arg-type]  # phases are told by name
        finish=finish,
        tell=lambda: tell(given, Results.read(given.out / RESULTS)),
    )
    run(given, command)
