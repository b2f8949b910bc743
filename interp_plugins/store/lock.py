"""Who is working on a folder: a small file for each process, `locks/0-of-4.json`.

Several processes may share a folder if they agree on how many they are, because that settles who makes which shard. A
process that was killed leaves its file behind. Such a file is known by its process being gone: the same machine since
the same start, the same view of its processes, and no process of that number that began at that moment. No clock and no
time of a file decides anything; a file of another machine is never taken for a dead one's.
"""

import json
import os
import platform
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from pydantic import ValidationError

from interp_plugins.foundation.distributed import Place
from interp_plugins.foundation.files import write_new
from interp_plugins.store.disk import explained
from interp_plugins.store.manifest import Frozen, Positive

NAME = re.compile(r"(\d+)-of-(\d+)\.json")


class Holder(Frozen):
    """The process that wrote a lock."""

    host: str
    boot: str  # of the machine's start; "" where the system tells none
    processes: str  # which processes it can see; containers on one machine differ in this
    pid: Positive
    started: str  # when it began, in the system's own count; "" where the system tells none
    since: str  # by its own clock, for people

    @classmethod
    def here(cls) -> "Holder":
        """This process."""
        return cls(
            host=platform.node(),
            boot=_read(Path("/proc/sys/kernel/random/boot_id")),
            processes=_processes(),
            pid=os.getpid(),
            started=_started(os.getpid()) or "",
            since=datetime.now().astimezone().isoformat(timespec="seconds"),
        )

    def is_gone(self) -> bool:
        """Whether this process certainly runs no more; False also where that cannot be known from here."""
        here = Holder.here()
        if (self.host, self.boot, self.processes) != (here.host, here.boot, here.processes):
            return False
        started = _started(self.pid)
        return started is None or ("" not in (started, self.started) and started != self.started)


@contextmanager
def hold(folder: Path, place: Place) -> Iterator[None]:
    """Work on a set while the body runs.

    Args:
        folder: The set.
        place: Which process this is, and of how many.

    Raises:
        ValueError: Another process that may be alive has the same place, or shares the work among another number of
            processes. The message says who, since when, and what to delete if it is known to be gone.
        OSError: The folder cannot be written.
    """
    own = folder / "locks" / f"{place.rank}-of-{place.world}.json"
    text = json.dumps(Holder.here().model_dump(), indent=2) + "\n"
    with explained(folder):
        own.parent.mkdir(parents=True, exist_ok=True)
        if own.parent.is_symlink():
            raise ValueError(f"expected {own.parent} to lie in the set, got a link to elsewhere")
        _take(own, text)
    try:
        for other in sorted(own.parent.glob("*.json")):
            found = NAME.fullmatch(other.name)
            if found and int(found[2]) != place.world and not _cleared(other):
                raise ValueError(_refusal(other, place))
        yield
    finally:
        if _read(own) == text.strip():
            own.unlink(missing_ok=True)


def _take(own: Path, text: str) -> None:
    """Write the lock unless somebody has it; of two who try at once, one does."""
    for _ in range(2):
        try:
            write_new(own, text)
        except FileExistsError:
            if not _cleared(own):
                break
        else:
            return
    rank, world = NAME.fullmatch(own.name).groups()  # type: ignore[union-attr]  # it was named by `hold`
    raise ValueError(_refusal(own, Place(int(rank), int(world))))


def _cleared(lock: Path) -> bool:
    """Remove a lock whose process is gone; whether it is out of the way.

    It is set aside under another name first: if in between another process has cleared it and put its own there, that
    one is put back.
    """
    seen = _read(lock)
    holder = _holder(seen)
    if holder is None or not holder.is_gone():
        return not seen and not lock.exists()
    aside = lock.with_name(f".{lock.name}.{os.getpid()}")
    try:
        os.rename(lock, aside)
    except FileNotFoundError:
        return True
    mine = _read(aside) == seen
    if not mine:
        os.rename(aside, lock)
    aside.unlink(missing_ok=True)
    return mine


def _refusal(lock: Path, place: Place) -> str:
    holder = _holder(_read(lock))
    who = (
        f"process {holder.pid} on {holder.host}, since {holder.since} by its clock,"
        if holder
        else "somebody whose lock cannot be read"
    )
    same = lock.name == f"{place.rank}-of-{place.world}.json"
    does = f"is already process {lock.stem} here" if same else f"works here as {lock.stem}, not one of {place.world}"
    return (
        f"{lock.parent.parent} is in use: {who} {does}; wait for it or name another folder, and if it is certain that "
        f"it runs no more, delete {lock}"
    )


def _holder(text: str) -> Holder | None:
    try:
        return Holder.model_validate_json(text, strict=True)
    except ValidationError:
        return None


def _started(pid: int) -> str | None:
    """When a process began, in ticks since the machine did.

    Returns:
        None if there is no such process or it is dead; "" if there is one and the system does not tell.
    """
    try:
        os.kill(pid, 0)  # sends nothing
    except (ProcessLookupError, OverflowError):
        return None
    except PermissionError:
        pass  # somebody else's
    # after the name, which is in brackets and may hold anything: the state, and 19 fields later the start
    fields = _read(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()
    if not fields:
        return ""
    return None if fields[0] in "ZX" else fields[19]


def _processes() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def _read(path: Path) -> str:
    """The text of a small file; nothing where there is none."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except (FileNotFoundError, ProcessLookupError):  # the latter from /proc, of a process that ends just now
        return ""
