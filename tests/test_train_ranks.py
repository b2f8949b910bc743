"""`train run` in two processes: they train one network as one process would, and a kill changes nothing."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import attack_world
import pytest
import torch
import train_world
from attack_world import here
from train_world import bits, rows, words
from two_processes import free_port

from interp_plugins.cli import main
from interp_plugins.cli.train import inputs
from interp_plugins.cli.train.request import Request
from interp_plugins.foundation.distributed import Place

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_world.build(tmp_path_factory.mktemp("world"))


def two(given: list[str]) -> list[subprocess.Popen[str]]:
    """The command in two processes that know of each other."""
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port(), "OMP_NUM_THREADS": "1"}
    return [attack_world.start(given, RANK=str(rank), **shared) for rank in range(2)]


def ended(processes: list[subprocess.Popen[str]]) -> list[tuple[str, str]]:
    """What they printed, once they have ended well."""
    said = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    return said


@pytest.mark.slow
def test_under_torchrun_two_processes_train_as_one_does(world: Path, tmp_path: Path):
    def given(out: Path) -> list[str]:
        whole = {"batch_size": 48, "held_out": 15}  # an epoch is one batch, so that its order plays no part
        return words(world, out, "--no-augment", model=f"{world}/nets.py:Plain", objective="uda", limit=48, **whole)

    here(given(tmp_path / "one"))
    done = subprocess.run(
        [*TORCHRUN, "-m", "interp_plugins", *given(tmp_path / "two")], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert [line.split(",")[0] for line in done.stdout.splitlines()[:2]] == ["epoch 1", "epoch 2"]
    assert done.stdout.count("Name it") == 1
    one, both = rows(tmp_path / "one"), rows(tmp_path / "two")
    assert both["kept/clean"]["denominator"] == 15
    for name in one:
        assert both[name]["value"] == pytest.approx(one[name]["value"], rel=1e-4), name
    for name, values in bits(tmp_path / "one").items():
        torch.testing.assert_close(
            torch.tensor(bits(tmp_path / "two")[name]), torch.tensor(values), rtol=1e-4, atol=1e-5
        )
    (run,) = json.loads((tmp_path / "two" / "run.json").read_text())["runs"]
    assert (run["processes"], run["images"]) == (2, 96)


@pytest.mark.slow
def test_killed_and_resumed_two_processes_end_with_the_bits_of_undisturbed_ones(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    def given(out: Path, *more: str) -> list[str]:
        return words(world, out, *more, epochs=40)

    (first, _), (second, _) = ended(two(given(tmp_path / "undisturbed")))
    assert first.count("epoch ") - 1 == 40
    assert second == ""
    processes = two(given(tmp_path / "killed"))
    while not (tmp_path / "killed" / "last.safetensors").exists():
        assert [process.poll() for process in processes] == [None, None]
        time.sleep(0.005)
    for process in processes:
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    assert not (tmp_path / "killed" / "model.safetensors").exists()
    assert main(given(tmp_path / "killed", "--resume")) == 2
    assert "processes was 2 and is 1" in capsys.readouterr().err
    ended(two(given(tmp_path / "killed", "--resume")))
    assert bits(tmp_path / "killed") == bits(tmp_path / "undisturbed")
    assert rows(tmp_path / "killed") == rows(tmp_path / "undisturbed")


# A process that has imported nothing yet joins a group of its own, and then imports what training does.
JOINED = """
from functools import partial
from pathlib import Path
import torch
from torch import distributed
from interp_plugins.cli.train import training
from interp_plugins.foundation.distributed import Place
distributed.init_process_group = partial(
    distributed.init_process_group, store=distributed.HashStore(), rank=0, world_size=1
)
with training._joined(Place(0, 2), torch.device("cpu")):
    import torch.distributed.nn.functional
    distributed.all_reduce(torch.ones(1))
print(*(path.read_text() for path in Path("/proc/self/task").glob("*/comm")))
"""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds threads in /proc")
def test_no_thread_of_the_group_is_left_to_abort_a_process_that_ends():
    done = subprocess.run([sys.executable, "-c", JOINED], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "gloo" not in done.stdout


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"batch_size": 15}, "expected --batch-size as a multiple of 2, the processes that share a batch, got 15"),
        ({"held_out": "1"}, "expected at least 2 held-out images, one for each process, got 1"),
    ],
)
def test_what_two_processes_cannot_share_is_refused(world: Path, options: dict[str, object], expected: str):
    given = {"model": f"{world}/nets.py:net", "data": f"{world}/images.npz", "objective": "standard",
             "out": world / "nowhere", "batch_size": 16, **options}  # fmt: skip
    with pytest.raises(ValueError, match=expected):
        inputs.load(Request(**given), torch.device("cpu"), Place(1, 2))
