"""Dealings with a disk that may be full, forbidden, failing, or not what it looks like."""

import errno
import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BufferedWriter
from pathlib import Path

FULL = (errno.ENOSPC, errno.EDQUOT)
FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)


def require_plain(path: Path) -> int:
    """Refuse whatever is no plain file lying where its name says, such as a link to somewhere else; return its size.

    Raises:
        ValueError: It is a link, lies in a linked folder, or is a folder, pipe or device.
        FileNotFoundError: There is none.
    """
    found = path.lstat()
    if stat.S_ISLNK(found.st_mode) or path.parent.is_symlink():
        raise ValueError("expected a plain file in the set's own folder, got a link to elsewhere")
    if not stat.S_ISREG(found.st_mode):
        raise ValueError("expected a plain file, got something else")
    return found.st_size


def sha256_of(path: Path) -> str:
    """The sha256 of a file, read from the disk itself where the system can be asked to forget what it holds in memory.

    Raises:
        FileNotFoundError: There is none.
    """
    with path.open("rb") as file:
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        return hashlib.file_digest(file, "sha256").hexdigest()


def create(path: Path) -> BufferedWriter:
    """Open a new file in place of whatever lay there, without following a link."""
    path.unlink(missing_ok=True)
    return path.open("xb")


@contextmanager
def explained(folder: Path, kept: Callable[[], tuple[int, int]] | None = None, size: int = 0) -> Iterator[None]:
    """Say what a full or forbidden disk means for the set that is being written.

    Args:
        folder: The set.
        kept: Says how many shards are finished, and of how many.
        size: Bytes of a shard.

    Raises:
        OSError: The error of the body, in a sentence with a way out.
    """
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            said, room = "", "free some"
            if kept is not None:
                done, shards = kept()
                said = f": {done} of {shards} shards are finished and kept"
                room = f"free about {-(-size * (shards - done) // 10**6)} MB" if size else room
            again = "and run the same command with --resume"
            raise OSError(error.errno, f"no space left in {folder}{said}; {room} {again}") from error
        if error.errno in FORBIDDEN:
            raise OSError(
                error.errno,
                f"{folder} may not be written ({error.strerror}); name another folder with --out, or get the right to "
                "write there",
            ) from error
        raise
