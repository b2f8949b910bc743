"""Runs that were killed or stopped go on to the same bits, and what cannot go on says why."""

import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from trained_world import ATTACK, TERM, Trainer, kept, loader, network, optimiser, steps

from interp_plugins.errors import LossNotFinite
from interp_plugins.store.checkpoints import CheckpointFolder
from interp_plugins.training import Term
from interp_plugins.training.snapshots import Snapshot, chance, pack, restore_chance, unpack

TESTS = Path(__file__).parents[1]
TOTAL = 16  # steps of the run

# Trains in a child that is killed once it has finished so many steps, and again.
KILLED = """
import os, random, signal, sys, time
from pathlib import Path
from trained_world import kept, steps
folder, chance = Path(sys.argv[1]), random.Random(5)
for finished in (1, 3, 4, 9, 13):
    pid = os.fork()
    if pid == 0:
        kept(folder)
        os._exit(0)
    while steps(folder) < finished:
        time.sleep(0.01)
    time.sleep(chance.uniform(0, 0.05))
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    print(steps(folder), flush=True)
"""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, nn.Module, list]:
    """A run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("world") / "undisturbed"
    return folder, *kept(folder)


@pytest.fixture
def stopped(undisturbed: tuple[Path, nn.Module, list], tmp_path: Path) -> Path:
    """The run's folder after its end, to be tampered with."""
    return Path(shutil.copytree(undisturbed[0], tmp_path / "stopped"))


def same(model: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(value, other.state_dict()[name]) for name, value in model.state_dict().items())


@pytest.mark.slow
def test_killed_at_several_moments_it_ends_with_the_same_bits_and_reports(
    undisturbed: tuple[Path, nn.Module, list], tmp_path: Path
):
    path = os.pathsep.join([str(TESTS), str(TESTS.parent), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    told = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path / "out")], env=environment, check=True, capture_output=True
    )
    at = [int(line) for line in told.stdout.split()]
    assert at == sorted(at)
    assert at[0] < TOTAL
    _, expected, reports = undisturbed
    model, found = kept(tmp_path / "out")
    assert same(model, expected)
    assert found == reports


def test_stopped_within_an_epoch_it_goes_on_to_the_same_bits(
    undisturbed: tuple[Path, nn.Module, list], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    write = CheckpointFolder.write

    def full(self, which, snapshot):
        write(self, which, snapshot)
        if steps(tmp_path) == 6:  # of four an epoch
            raise OSError("no space left")

    monkeypatch.setattr(CheckpointFolder, "write", full)
    with pytest.raises(OSError, match="no space left"):
        kept(tmp_path)
    monkeypatch.undo()
    model, reports = kept(tmp_path)
    assert same(model, undisturbed[1])
    assert reports == undisturbed[2]


def test_a_finished_run_yields_its_reports_again_and_trains_no_more(
    undisturbed: tuple[Path, nn.Module, list], stopped: Path
):
    model, reports = kept(stopped)
    assert same(model, undisturbed[1])
    assert reports == undisturbed[2]
    assert (stopped / "last.safetensors").read_bytes() == (undisturbed[0] / "last.safetensors").read_bytes()


def test_more_epochs_may_be_asked_of_a_finished_run(undisturbed: tuple[Path, nn.Module, list], tmp_path: Path):
    kept(tmp_path, epochs=2, save_every=None)
    model, reports = kept(tmp_path)
    assert same(model, undisturbed[1])
    assert reports == undisturbed[2]


def test_the_best_checkpoint_is_of_the_best_epoch(undisturbed: tuple[Path, nn.Module, list]):
    folder, _, reports = undisturbed
    found = CheckpointFolder(folder).read("best")
    best = max(report.epoch for report in reports if report.best)
    assert len(unpack(found.plain["reports"], found.tensors)) == best


def test_another_configuration_is_told_what_differs(stopped: Path):
    with pytest.raises(ValueError, match=r"another: attack_mode was 'eval' and is 'train'; change it back"):
        kept(stopped, attack_mode="train")


def test_a_changed_weight_of_a_term_and_another_optimizer_are_told(tmp_path: Path):
    def run(weight: float, optimizer: type[torch.optim.Optimizer]) -> list:
        model, term = network(), Term(name="t", layer="3", loss=TERM.loss, weight=weight)
        trainer, folder = Trainer(epochs=1, terms=(term,)), CheckpointFolder(tmp_path)
        given = {"attack": ATTACK, "checkpoints": folder, "resume": True}
        return list(trainer(model, optimizer(model.parameters(), lr=0.01), loader(8), **given))

    run(0.1, torch.optim.SGD)
    with pytest.raises(ValueError, match=r"weight=0\.1.* and is .*weight=0\.2.*; optimizer was SGD .* and is Adam"):
        run(0.2, torch.optim.Adam)


def test_a_checkpoint_that_nobody_asked_to_resume_is_not_overwritten(stopped: Path):
    model = network()
    with pytest.raises(ValueError, match=r"got one of 4 finished epochs; go on from it with resume=True"):
        Trainer()(model, optimiser(model), loader(), attack=ATTACK, checkpoints=CheckpointFolder(stopped))


def test_resuming_without_checkpoints_is_refused():
    model = network()
    with pytest.raises(ValueError, match="expected checkpoints to resume from, got None"):
        Trainer()(model, optimiser(model), loader(), attack=ATTACK, resume=True)


@pytest.mark.parametrize("keep", [0, 7, 1000, 20_000])
def test_a_truncated_checkpoint_is_named_with_a_way_out(stopped: Path, keep: int):
    path = stopped / "last.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"expected a whole checkpoint in .*last.safetensors.*copy best.safetensors"):
        kept(stopped)


def test_another_safetensors_file_is_no_checkpoint(stopped: Path):
    import safetensors.torch

    (stopped / "last.safetensors").write_bytes(safetensors.torch.save({"weight": torch.zeros(2)}))
    with pytest.raises(ValueError, match="its kind is None"):
        kept(stopped)


def test_a_loss_that_is_not_finite_keeps_the_last_good_checkpoint(tmp_path: Path):
    model, calls = network(), []

    def spoiled(clean, adversarial):
        calls.append(0)
        return (clean - adversarial).square().mean() * (float("nan") if len(calls) == 5 else 1)

    trainer = Trainer(terms=(Term(name="spoiled", layer="3", loss=spoiled, weight=1.0),), save_every=2)
    with pytest.raises(LossNotFinite, match="at step 5"):
        list(trainer(model, optimiser(model), loader(), attack=ATTACK, checkpoints=CheckpointFolder(tmp_path)))
    found = CheckpointFolder(tmp_path).read("last")
    assert steps(tmp_path) == 4
    assert all(value.isfinite().all() for name, value in found.tensors.items() if name.startswith("model/"))


@pytest.mark.parametrize("kind", ["Adam", "AdamW", "RMSprop", "Adagrad"])
def test_the_state_of_an_optimizer_survives_to_the_bit(tmp_path: Path, kind: str):
    def optimizer(model: nn.Module) -> torch.optim.Optimizer:
        return getattr(torch.optim, kind)(model.parameters(), lr=0.01)

    model = network()
    before = optimizer(model)
    model(torch.rand(4, 3, 8, 8)).sum().backward()
    before.step()
    tensors: dict[str, torch.Tensor] = {}
    plain = pack(before.state_dict(), tensors, "optimizer")
    CheckpointFolder(tmp_path).write("last", Snapshot(tensors, {"optimizer": plain}))
    found = CheckpointFolder(tmp_path).read("last")
    after = optimizer(model)
    after.load_state_dict(unpack(found.plain["optimizer"], found.tensors))
    assert str(after.state_dict()) == str(before.state_dict())


def test_what_cannot_be_kept_without_pickle_is_refused():
    with pytest.raises(TypeError, match=r"in the state of scheduler/rule, got function; .* without pickle"):
        pack({"rule": lambda: None}, {}, "scheduler")


def test_no_tree_is_made_of_something_else():
    with pytest.raises(ValueError, match="expected the state of a run"):
        unpack({"tensor": "missing"}, {})


def test_all_randomness_comes_back():
    generator = torch.Generator().manual_seed(1)
    state = chance([generator])

    def drawn() -> list[float]:
        torch_drawn = [float(torch.rand(())), float(torch.rand((), generator=generator))]
        return [*torch_drawn, random.random(), float(np.random.rand())]

    first = drawn()
    restore_chance(state, [generator])
    assert drawn() == first
