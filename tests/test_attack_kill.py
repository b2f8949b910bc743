"""`attack run` killed at any moment, resumed, and the same to the bit as if nothing had happened."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import attack_world
import pytest
from attack_world import bits, finished, start, words

from interp_plugins.store.sets import AdversarialSet

pytestmark = pytest.mark.slow

SHARDS, STEPS = 24, 100  # a shard takes about as long as the longest pause before a kill


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images, networks and a set whose making nothing disturbed."""
    world = attack_world.build(tmp_path_factory.mktemp("world"), images=48)
    attack_world.run(words(world, world / "undisturbed", steps=STEPS))
    return world


# Runs the command in children that need not load torch anew; that would be most of what these tests take.
WARM = """
import json, os, sys
import interp_plugins.cli.attack.making
from interp_plugins.cli import main
for line in sys.stdin:
    pid = os.fork()
    if pid == 0:
        os.dup2(2, 1)  # what is said here is for the test
        os._exit(main(json.loads(line)))
    print(pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


@pytest.fixture(scope="module")
def warm() -> Iterator[subprocess.Popen[str]]:
    """A process that has loaded what the command needs."""
    process = subprocess.Popen(
        [sys.executable, "-c", WARM],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with process:
        yield process
        process.stdin.close()


class Child:
    """The command in a child of the warm process."""

    def __init__(self, warm: subprocess.Popen[str], given: list[str]) -> None:
        self.warm = warm
        warm.stdin.write(json.dumps(given) + "\n")
        warm.stdin.flush()
        self.pid = int(warm.stdout.readline())

    def poll(self) -> int | None:
        """None while it runs."""
        return None if Path(f"/proc/{self.pid}").exists() else -1

    def communicate(self) -> int:
        """Wait for it; its exit code."""
        return int(self.warm.stdout.readline())


Running = subprocess.Popen[str] | Child


def state(pid: int) -> tuple[str, int]:
    """What a process does, in the letter of `ps`, and which process started it; Z and 0 for one that is gone."""
    try:
        letter, parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:2]
    except OSError:
        return "Z", 0
    return letter, int(parent)


def family(process: Running) -> list[int]:
    """A process and all that it started, and those started; the youngest last."""
    parents = {int(folder.name): state(int(folder.name))[1] for folder in Path("/proc").glob("[0-9]*")}
    found = [process.pid]
    for pid in found:  # grows as it is walked
        found += [child for child, parent in parents.items() if parent == pid]
    return found


def runs(pid: int) -> bool:
    """Whether a process has not ended; one that has may still wait to be noticed by init, which takes orphans over."""
    return state(pid)[0] != "Z"


def is_tracker(pid: int) -> bool:
    """Whether a process is Python's own, which cleans up after the last of the others has ended, and then ends."""
    return b"multiprocessing.resource_tracker" in Path(f"/proc/{pid}/cmdline").read_bytes()


def kill(process: Running) -> None:
    """kill -9 of the process and all that it started."""
    for pid in family(process):  # the parent first, so that it starts and says nothing more
        os.kill(pid, signal.SIGKILL)
    process.communicate()


def shards(out: Path) -> int:
    return len(list((out / "shards").glob("*.json"))) if out.exists() else 0


def until(condition: Callable[[], bool], process: Running) -> None:
    """Wait for something that has to happen while the process runs."""
    while not condition():
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds processes to kill in /proc")
def test_killed_ten_times_at_any_moment_it_ends_with_the_bits_of_an_undisturbed_run(
    world: Path, tmp_path: Path, warm: subprocess.Popen[str]
):
    out, chance, between = tmp_path / "set", random.Random(4), 0
    for number in range(10):
        before = finished(out) if out.exists() else {}
        started = shards(out)
        process = Child(warm, words(world, out, "--resume", steps=STEPS, processes=2 if number % 4 == 2 else 1))
        if number == 0:
            time.sleep(chance.uniform(0, 0.1))  # while it starts
        elif number == 1:
            until((out / "manifest.json").exists, process)  # the set is begun, nothing is finished
        else:
            until(lambda at=started: shards(out) > at, process)
            time.sleep(chance.uniform(0, 0.15))
        kill(process)
        between += 0 < shards(out) < SHARDS
        assert {name: when for name, when in finished(out).items() if name in before} == before
    assert between >= 6
    assert shards(out) < SHARDS
    before = finished(out)
    assert Child(warm, words(world, out, "--resume", steps=STEPS)).communicate() == 0
    assert {name: finished(out)[name] for name in before} == before
    assert bits(out) == bits(world / "undisturbed")


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds processes to kill in /proc")
def test_one_of_two_processes_killed_ends_the_other_and_leaves_what_resume_completes(world: Path, tmp_path: Path):
    out = tmp_path / "set"
    process = start(words(world, out, steps=STEPS, processes=2))
    until(lambda: shards(out) >= 4, process)
    os.kill(family(process)[-1], signal.SIGKILL)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 4, said
    (sentence,) = (line for line in said.splitlines() if line.startswith("interp-plugins:"))
    assert "of 2 was killed by signal 9; " in sentence
    assert "--resume" in sentence
    before = finished(out)
    attack_world.run(words(world, out, "--resume", steps=STEPS))
    assert {name: finished(out)[name] for name in before} == before
    assert bits(out) == bits(world / "undisturbed")


@pytest.fixture
def hearing() -> Iterator[None]:
    """A suite that a shell runs in the background ignores Ctrl-C, and what it starts would as well."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("hearing")
@pytest.mark.parametrize("told", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("processes", [1, 2])
def test_told_to_stop_it_ends_with_4_and_leaves_no_process(
    world: Path, tmp_path: Path, processes: int, told: signal.Signals
):
    out = tmp_path / "set"
    process = start(words(world, out, steps=STEPS, processes=processes))
    until(lambda: shards(out) >= 2, process)
    others = [pid for pid in family(process)[1:] if not is_tracker(pid)]
    assert len(others) == (0 if processes == 1 else 3)  # they, and what they were forked of
    process.send_signal(told)
    printed, said = process.communicate(timeout=60)
    assert (process.returncode, printed) == (4, ""), said
    (sentence,) = (line for line in said.splitlines() if not line.startswith("running the code in"))
    done = len(AdversarialSet.open(out).finished())
    assert f"interrupted; {done} of {SHARDS} shards are finished and kept; go on with: interp-plugins" in sentence
    assert [pid for pid in others if runs(pid)] == []
    assert json.loads((out / "manifest.json").read_text())["digest"] is None
    assert not [file for file in (out / "shards").iterdir() if file.name.startswith(".")]


def test_a_second_run_on_the_folder_is_refused_while_the_first_works(world: Path, tmp_path: Path):
    out = tmp_path / "set"
    process = start(words(world, out, steps=STEPS))
    until(lambda: shards(out) >= 1, process)
    second = start(words(world, out, "--resume", steps=STEPS, processes=2))
    _, said = second.communicate(timeout=60)
    assert second.returncode == 2, said
    assert str(process.pid) in said
    process.communicate(timeout=120)
    assert process.returncode == 0
    assert bits(out) == bits(world / "undisturbed")
