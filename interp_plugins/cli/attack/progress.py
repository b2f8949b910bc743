"""How far a set is: what each process says in a small file of its own, and one bar for all of them.

The files lie in the set's folder, so the bar sees processes on other machines as well. They decide nothing.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread
from time import monotonic
from uuid import uuid4

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from interp_plugins.foundation.distributed import Place
from interp_plugins.store.sets import AdversarialSet

FOLDER = "progress"
PAUSE = 0.5  # seconds between two looks, and between two words of one process


class Tell:
    """What one process says of its shard under way; `watch` of a Generator.

    Args:
        folder: The set's.
        place: Who this is.
        orphan_stops: Whether to stop when the process that started this one has died.
    """

    def __init__(self, folder: Path, place: Place, orphan_stops: bool) -> None:
        self._file = folder / FOLDER / f"{place.rank}-of-{place.world}"
        self._file.parent.mkdir(exist_ok=True)
        self._parent = os.getppid() if orphan_stops else None
        self._last = -PAUSE

    def __call__(self, number: int, done: int) -> None:
        """Say that `done` records of a shard are attacked; more often than twice a second it is kept to itself.

        Raises:
            KeyboardInterrupt: The process that started this one is no more.
        """
        if self._parent is not None and os.getppid() != self._parent:
            raise KeyboardInterrupt
        if monotonic() - self._last >= PAUSE:
            self._last = monotonic()
            with suppress(OSError):  # a full disk stops the shard itself, and says so
                self._file.write_text(f"{number} {done}")


def records_done(target_set: AdversarialSet, world: int) -> int:
    """How many records are finished or attacked, by a look at the names of files."""
    manifest, folder = target_set.manifest, target_set.folder
    finished = {int(line.stem) for line in (folder / "shards").glob("*.json") if line.stem.isdecimal()}
    done = sum(len(manifest.span(number)) for number in finished if number < manifest.shards) * manifest.targets
    for file in (folder / FOLDER).glob(f"*-of-{world}"):
        with suppress(OSError, ValueError):  # half written, or gone
            number, records = map(int, file.read_text().split())
            done += records if number not in finished else 0
    return done


@contextmanager
def shown(target_set: AdversarialSet, world: int, console: Console) -> Iterator[None]:
    """A bar with rate and remaining time while the body runs; nothing where the console is no terminal."""
    if not console.is_terminal:
        yield
        return
    total = len(target_set.manifest.data.ids) * target_set.manifest.targets
    columns = (TextColumn("attacking"), BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn())
    with Progress(*columns, console=console, speed_estimate_period=600) as progress:
        bar = progress.add_task("", total=total, completed=records_done(target_set, world))
        ended = Event()

        def look() -> None:
            while not ended.wait(PAUSE):
                progress.update(bar, completed=records_done(target_set, world))

        watcher = Thread(target=look, daemon=True)
        watcher.start()
        try:
            yield
        finally:
            ended.set()
            watcher.join()
            progress.update(bar, completed=records_done(target_set, world))


def claim_the_end(folder: Path) -> bool:
    """Put the processes' files away; True for the one process that did it, whoever else tries at the same moment."""
    away = folder / f".{FOLDER}-{uuid4().hex}"
    try:
        (folder / FOLDER).rename(away)
    except FileNotFoundError:
        return False
    shutil.rmtree(away, ignore_errors=True)
    return True


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text("" if task.speed is None else f"{task.speed:.1f} attacks/s")
