"""`run.json`: how the runs on a folder went, times and hosts; it decides nothing."""

import json
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Any

from interp_plugins.foundation.files import write_whole


class Clock:
    """When a run began, by a clock for people and by one that never jumps."""

    def __init__(self) -> None:
        self._began, self._clock = datetime.now(UTC), monotonic()

    def note(self, folder: Path, what: Mapping[str, Any], rate: tuple[str, float]) -> None:
        """Add the run, which ends now, to run.json, after those that were there before.

        Args:
            folder: Of the work.
            what: Is worth noting, by name.
            rate: What was done, and how much of it; it is noted for a second, too.
        """
        file, (name, count), seconds = folder / "run.json", rate, monotonic() - self._clock
        try:
            earlier = json.loads(file.read_text(encoding="utf-8"))["runs"]
        except (OSError, ValueError, LookupError, TypeError):
            earlier = []
        this = {
            "began": self._began.isoformat(timespec="seconds"),
            "seconds": round(seconds, 3),
            "host": platform.node(),
            **what,
            name: count,
            f"{name}_per_second": round(count / seconds, 3),
        }
        write_whole(file, json.dumps({"schema_version": 1, "runs": [*earlier, this]}, indent=2) + "\n")
