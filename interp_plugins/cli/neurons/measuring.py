"""Measure a network's neurons: begin a survey or go on with it, in this process or in several."""

from functools import partial

from interp_plugins.cli import working
from interp_plugins.cli.launching import device_for
from interp_plugins.cli.neurons import inputs, passes
from interp_plugins.cli.neurons.ending import RESULTS, finish, tell
from interp_plugins.cli.neurons.request import Request
from interp_plugins.foundation.distributed import Place
from interp_plugins.report.results import Results
from interp_plugins.store.surveys import SurveyFolder


def measure(given: Request) -> None:
    """Do what was asked for.

    Raises:
        typer.Exit: Interrupted (code 4), or another process has failed and said why.
        ValueError: An input, or the survey that is there, is not as expected.
        OSError: The survey cannot be written.
    """
    with working.resumable(given, SurveyFolder):
        place = Place.here() if given.worker else Place()
        device = device_for(given.device, place)
        loaded = inputs.load(given, device, quiet=given.worker is not None)
        if given.worker is not None:
            folder = SurveyFolder.open(given.out)
            start = partial(passes.begin, given.worker, loaded, folder)  # type: ignore[arg-type]  # one of the phases
            working.share(folder, given.worker, place, start, device)
            return
        folder = working.begin(given, SurveyFolder, loaded.manifest)
        if folder.finished:
            folder.clear()
            tell(given, Results.read(given.out / RESULTS))
            return
        for phase in loaded.manifest.shards:
            working.do(given, folder, phase, partial(passes.begin, phase, loaded, folder), device, ("neurons", "run"))
        finish(loaded, folder)
        folder.clear()
