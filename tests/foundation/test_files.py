"""A file is whole or not there, whatever the disk says."""

import errno
import os
import stat
from pathlib import Path
from threading import Barrier, Thread

import pytest

from interp_plugins.foundation.files import keep_names, write_new, write_whole


def failing(number: int):
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


def test_text_and_bytes_take_their_name(tmp_path: Path):
    write_whole(tmp_path / "text", "ä")
    write_whole(tmp_path / "bytes", b"\xff")
    assert (tmp_path / "text").read_bytes() == "ä".encode()
    assert (tmp_path / "bytes").read_bytes() == b"\xff"


def test_a_file_is_for_everybody_the_folder_is_for(tmp_path: Path):
    before = os.umask(0o027)
    try:
        write_whole(tmp_path / "file", "")
        write_new(tmp_path / "new", "")
    finally:
        os.umask(before)
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("file", "new")]
    assert modes == [0o640, 0o640]


@pytest.mark.parametrize("write", [write_whole, write_new])
def test_a_disk_that_fails_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write):
    monkeypatch.setattr(os, "fsync", failing(errno.ENOSPC))
    with pytest.raises(OSError, match="No space left"):
        write(tmp_path / "file", "content")
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fails_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_whole(tmp_path / "file", "old")
    monkeypatch.setattr(os, "fsync", failing(errno.EIO))
    with pytest.raises(OSError, match="Input/output"):
        write_whole(tmp_path / "file", "new")
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("file", "old")]


def test_a_new_file_does_not_replace_one(tmp_path: Path):
    write_new(tmp_path / "file", "first")
    with pytest.raises(FileExistsError):
        write_new(tmp_path / "file", "second")
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("file", "first")]


def test_of_many_who_write_a_new_file_at_once_one_does(tmp_path: Path):
    start, refused = Barrier(8), []

    def write(number: int) -> None:
        start.wait()
        try:
            write_new(tmp_path / "file", str(number))
        except FileExistsError:
            refused.append(number)

    threads = [Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {int((tmp_path / "file").read_text()), *refused} == set(range(8))
    assert len(refused) == 7


def test_a_new_file_is_written_where_there_are_no_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "link", failing(errno.EPERM))
    write_new(tmp_path / "file", "first")
    with pytest.raises(FileExistsError):
        write_new(tmp_path / "file", "second")
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("file", "first")]


def test_a_folder_that_cannot_be_brought_to_the_disk_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "fsync", failing(errno.EINVAL))
    keep_names(tmp_path)


def test_a_folder_whose_disk_fails_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "fsync", failing(errno.EIO))
    with pytest.raises(OSError, match="Input/output"):
        keep_names(tmp_path)
