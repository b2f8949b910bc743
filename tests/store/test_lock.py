"""Two runs never work on one folder unless they agree; the dead are recognised, whoever may live is not touched."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import random_sets

from interp_plugins.foundation.distributed import Place
from interp_plugins.store.lock import Holder, hold
from interp_plugins.store.sets import AdversarialSet

IN_PROC = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="the system has no /proc")


def locks(folder: Path) -> list[str]:
    return sorted(file.name for file in (folder / "locks").iterdir())


def left(folder: Path, name: str = "0-of-1.json", **changes: object) -> Path:
    """A lock as this process would write it, with other fields."""
    (folder / "locks").mkdir(exist_ok=True)
    path = folder / "locks" / name
    path.write_text(json.dumps(Holder.here().model_dump() | changes))
    return path


def taken(folder: Path, place: Place = Place()) -> bool:  # noqa: B008  # it is frozen
    with hold(folder, place):
        return (folder / "locks" / f"{place.rank}-of-{place.world}.json").exists()


@pytest.fixture
def stranger() -> Iterator[int]:
    """The number of another process that runs."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process.pid
    process.kill()
    process.communicate()


def test_a_lock_lasts_as_long_as_the_work(tmp_path: Path):
    with hold(tmp_path, Place(1, 4)):
        assert locks(tmp_path) == ["1-of-4.json"]
    assert locks(tmp_path) == []


def test_a_lock_goes_with_an_error(tmp_path: Path):
    with pytest.raises(KeyError), hold(tmp_path, Place()):
        raise KeyError
    assert locks(tmp_path) == []


def test_processes_that_agree_work_side_by_side(tmp_path: Path):
    with hold(tmp_path, Place(0, 2)), hold(tmp_path, Place(1, 2)):
        assert locks(tmp_path) == ["0-of-2.json", "1-of-2.json"]


def test_the_same_place_is_taken_once(tmp_path: Path):
    with (
        hold(tmp_path, Place(1, 2)),
        pytest.raises(
            ValueError,
            match=rf"{tmp_path} is in use: process {os.getpid()} on \S+, since \S+ by its clock, is already process "
            r"1-of-2 here; wait for it or name another folder, and if it is certain .*, delete .*1-of-2\.json",
        ),
        hold(tmp_path, Place(1, 2)),
    ):
        pass
    assert locks(tmp_path) == []


def test_another_number_of_processes_is_refused(tmp_path: Path):
    with (
        hold(tmp_path, Place(0, 2)),
        pytest.raises(ValueError, match=r"works here as 0-of-2, not one of 3; wait .* delete .*0-of-2\.json"),
        hold(tmp_path, Place(1, 3)),
    ):
        pass


def test_who_is_refused_leaves_the_others_lock_and_none_of_its_own(tmp_path: Path):
    with hold(tmp_path, Place(0, 2)):
        with pytest.raises(ValueError, match="in use"), hold(tmp_path, Place(1, 3)):
            pass
        with pytest.raises(ValueError, match="in use"), hold(tmp_path, Place(0, 2)):
            pass
        assert locks(tmp_path) == ["0-of-2.json"]


def test_a_lock_of_a_process_that_is_gone_is_cleared(tmp_path: Path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    left(tmp_path, pid=gone.pid, started="1")
    left(tmp_path, "2-of-3.json", pid=gone.pid, started="1")
    assert taken(tmp_path)
    assert locks(tmp_path) == []


@IN_PROC
def test_a_number_that_another_process_has_now_does_not_keep_a_lock(tmp_path: Path, stranger: int):
    left(tmp_path, pid=stranger, started="1")
    assert taken(tmp_path)


@IN_PROC
def test_a_killed_process_that_nobody_has_buried_does_not_keep_a_lock(tmp_path: Path):
    code = (
        "import sys, time; from pathlib import Path; from interp_plugins.store.lock import hold, Place\n"
        "with hold(Path(sys.argv[1]), Place()): print('held', flush=True); time.sleep(99)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    with pytest.raises(ValueError, match=f"in use: process {process.pid} on"):
        taken(tmp_path)
    process.send_signal(signal.SIGKILL)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # it is dead, and still in the list of processes
    assert taken(tmp_path)
    process.communicate()


def test_a_lock_of_a_live_process_is_kept(tmp_path: Path, stranger: int):
    started = Path(f"/proc/{stranger}/stat")
    path = left(tmp_path, pid=stranger, started=started.read_text().split()[21] if started.exists() else "")
    with pytest.raises(ValueError, match=f"in use: process {stranger} on"):
        taken(tmp_path)
    assert path.exists()


@pytest.mark.parametrize("field", ["host", "boot", "processes"])
def test_a_lock_of_another_machine_is_never_cleared(tmp_path: Path, field: str):
    path = left(tmp_path, pid=2**22 + 1, started="1", **{field: "elsewhere"})
    with pytest.raises(ValueError, match="in use: process 4194305 on"):
        taken(tmp_path)
    assert path.exists()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 1}', '{"pid": -1}'])
def test_a_lock_that_cannot_be_read_is_kept_and_told(tmp_path: Path, text: str):
    left(tmp_path).write_text(text)
    with pytest.raises(ValueError, match=r"in use: somebody whose lock cannot be read .* delete .*0-of-1\.json"):
        taken(tmp_path)


@pytest.mark.parametrize("since", ["1970-01-01T00:00:00+00:00", "2999-01-01T00:00:00+00:00", "yesterday"])
def test_clocks_decide_nothing(tmp_path: Path, since: str):
    live = left(tmp_path, since=since)
    os.utime(live, (1, 1))
    with pytest.raises(ValueError, match=f"since {since}".replace("+", r"\+")):
        taken(tmp_path)
    left(tmp_path, pid=2**22 + 1, since=since)
    assert taken(tmp_path)


def test_other_files_among_the_locks_are_left_alone(tmp_path: Path):
    (tmp_path / "locks").mkdir()
    (tmp_path / "locks" / "notes.json").write_text("mine")
    assert taken(tmp_path)
    assert locks(tmp_path) == ["notes.json"]


def test_locks_behind_a_link_are_refused(tmp_path: Path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "locks").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="to lie in the set, got a link to elsewhere"):
        taken(tmp_path)


def test_a_lock_taken_over_by_another_is_not_removed_at_the_end(tmp_path: Path):
    with hold(tmp_path, Place()):
        left(tmp_path, since="later")
    assert locks(tmp_path) == ["0-of-1.json"]


def test_a_lock_is_no_part_of_the_set(tmp_path: Path):
    made = AdversarialSet.create(tmp_path / "set", random_sets.manifest())
    with hold(made.folder, Place()):
        digest = random_sets.write(made).seal()
    (tmp_path / "other").mkdir()
    assert random_sets.finished(tmp_path / "other").seal() == digest
