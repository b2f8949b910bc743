"""What the demo leaves in its folder for people to read; the set and what it was made from lie there already."""

import json
import platform
from collections.abc import Mapping
from datetime import UTC, datetime

from interp_plugins.demo.examples import chosen
from interp_plugins.demo.hero import draw
from interp_plugins.demo.numbers import results
from interp_plugins.demo.sections import page
from interp_plugins.demo.study import Outcome
from interp_plugins.foundation.files import write_whole
from interp_plugins.report.results import Results


def write(outcome: Outcome, *, seconds: Mapping[str, float], processes: int) -> Results:
    """Write results.json, run.json, index.html and, if an attack succeeded that can be shown, demo.png.

    Args:
        outcome: What happened; in its folder, files of these names are replaced.
        seconds: How long each part took. It goes into run.json with all else that may differ between equal runs.
        processes: How many were started.

    Returns:
        What stands in results.json.
    """
    found, folder = results(outcome), outcome.folder.path
    found.write(folder / "results.json")
    run = {
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{platform.system()} {platform.machine()}",
        "processes": processes,
        "seconds": {part: round(took, 1) for part, took in seconds.items()},
    }
    write_whole(folder / "run.json", json.dumps(run, indent=2) + "\n")
    if examples := chosen(outcome, 1):
        write_whole(folder / "demo.png", draw(examples[0]))
    write_whole(folder / "index.html", page(outcome))
    return found
