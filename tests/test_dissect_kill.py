"""`dissect run` killed at several moments, resumed, and the same as if nothing had happened."""

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import dissect_world
import pytest
from attack_world import here
from dissect_world import bits, rows, words
from test_attack_kill import Child, kill, until

from interp_plugins.store.dissections import DissectionFolder

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds processes to kill in /proc"),
]

# Runs the command in children that need not load torch anew, with more and slower shards than so few images have.
WARM = """
import json, os, sys, time
from interp_plugins.cli import main
from interp_plugins.cli.dissect import inputs, looking, measuring, tallying
from interp_plugins.store import work
inputs.SHARD, work.PATIENCE = 10, 0
for kind in (looking.Looking, tallying.Tallying):
    kind.look = lambda self, shard, look=kind.look: (time.sleep(0.1), look(self, shard))
for line in sys.stdin:
    pid = os.fork()
    if pid == 0:
        os.dup2(2, 1)  # what is said here is for the test
        os._exit(main(json.loads(line)))
    print(pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A world with a dissection that nothing disturbed."""
    world = dissect_world.build(tmp_path_factory.mktemp("world"))
    here(words(world, world / "undisturbed"))
    return world


@pytest.fixture
def warm() -> Iterator[subprocess.Popen[str]]:
    """A process that has loaded what the command needs."""
    process = subprocess.Popen(
        [sys.executable, "-c", WARM],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    with process:
        yield process
        process.stdin.close()


def done(out: Path) -> set[tuple[str, int]]:
    """The finished shards of both phases."""
    if not (out / "dissection.json").exists():
        return set()
    return {(phase, shard) for phase in ("look", "tally") for shard in DissectionFolder.open(out).done(phase)}


def test_killed_at_several_moments_it_ends_with_what_an_undisturbed_run_finds(
    world: Path, tmp_path: Path, warm: subprocess.Popen[str]
):
    out, chance = tmp_path / "out", random.Random(4)
    for finished in (0, 2, 7, 12, 16, 20, 24):  # of thirty shards, the last fifteen of the second phase
        before = done(out)
        process = Child(warm, words(world, out, "--resume"))
        if finished == 0:
            until((out / "dissection.json").exists, process)  # it is begun, nothing is finished
        else:
            until(lambda finished=finished: len(done(out)) >= finished, process)
            time.sleep(chance.uniform(0, 0.3))
        kill(process)
        assert done(out) >= before
        assert len(done(out)) < 30
    assert Child(warm, words(world, out, "--resume")).communicate() == 0
    assert bits(out) == bits(world / "undisturbed")
    assert rows(out) == rows(world / "undisturbed")
