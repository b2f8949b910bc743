"""Files that are whole or not there at all."""

import errno
import os
import tempfile
from collections.abc import Callable
from pathlib import Path


def write_whole(path: Path, content: str | bytes) -> None:
    """Write `content` to `path` so that a reader, or a crash, never meets half a file.

    The bytes go to a temporary file in the same folder, reach the disk, and then take the name, which reaches the disk
    too. Text is UTF-8.

    Raises:
        OSError: The folder is missing or cannot be written; a file already at `path` is then untouched.
    """
    _write(path, content, os.replace)


def write_new(path: Path, content: str | bytes) -> None:
    """Like `write_whole`, for a file that must not be there: of two who write it at once, one does.

    Raises:
        FileExistsError: It is there.
        OSError: The folder is missing or cannot be written.
    """
    _write(path, content, _link)


def _write(path: Path, content: str | bytes, take: Callable[[str, Path], None]) -> None:
    data = content.encode() if isinstance(content, str) else content
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes files that only their owner may read; a report is for everybody the folder is for.
        os.chmod(name, 0o666 & ~_umask())
        take(name, path)
    finally:
        Path(name).unlink(missing_ok=True)
    keep_names(path.parent)


def keep_names(folder: Path) -> None:
    """Bring what `folder` calls its files to the disk, so that a rename outlives a power failure.

    Raises:
        OSError: The folder cannot be opened or the disk fails.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno != errno.EINVAL:  # the answer of file systems that know no such thing
            raise
    finally:
        os.close(handle)


def _link(name: str, path: Path) -> None:
    try:
        os.link(name, path)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS):  # the answers of file systems without links
            raise
        if path.exists():
            raise FileExistsError(errno.EEXIST, "it is there already", str(path)) from None
        os.replace(name, path)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
