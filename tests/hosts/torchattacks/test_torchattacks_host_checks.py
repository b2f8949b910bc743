"""torchattacks' own test against our classes, found by name in its namespace as it finds its own.

The host's test asks of an attack that it can be built from the model alone, that it runs in the default mode and, where
that is supported, with random targets, and that accuracy under attack is no higher than without. An attack that returns
its input passes (shown below), so the check is *contract only*: it says that a class fits in, not that it attacks. The
same check with "no higher" made "lower" is ours, and doing nothing fails it.

The host's test file is in its repository alone: the wheel leaves it out, and there is no source distribution. It runs
here, unchanged, when TORCHATTACKS_TESTS names it (`code_coverage/test_atks.py` of a checkout).
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch

import interp_plugins

torchattacks = pytest.importorskip("torchattacks")

OURS = ["EnsembleOptimization", "PredictedLabelFGSM"]
DOES_NOTHING = "VANILA"
STAND_IN = Path(__file__).parent / "stand_in"

# what surrounds the host's file when it is run unchanged: our classes in the namespace, and nothing else to be tested
SURROUNDINGS = f"""
import interp_plugins
import torchattacks
interp_plugins.install("torchattacks")
torchattacks.__all__ = {[*OURS, DOES_NOTHING]}
"""


@pytest.fixture(autouse=True)
def installed() -> Iterator[ModuleType]:
    """The host with our classes among its own."""
    with interp_plugins.install("torchattacks"):
        yield torchattacks


def accuracies(name: str, monkeypatch: pytest.MonkeyPatch) -> tuple[float, list[float]]:
    """Accuracy without an attack, and under the attack of that name in each mode the host's test uses."""
    monkeypatch.syspath_prepend(str(STAND_IN))
    from robustbench.data import load_cifar10
    from robustbench.utils import clean_accuracy, load_model

    model, (images, labels) = load_model(), load_cifar10()
    attack = getattr(torchattacks, name)(model)
    under_attack = [clean_accuracy(model, attack(images, labels), labels)]
    if "targeted" in attack.supported_mode:
        torch.manual_seed(0)
        attack.set_mode_targeted_random(quiet=True)
        under_attack.append(clean_accuracy(model, attack(images, labels), labels))
    return clean_accuracy(model, images, labels), under_attack


def test_our_classes_are_all_that_the_host_is_given():
    assert sorted(method.name for method in interp_plugins.methods(host="torchattacks")) == OURS


@pytest.mark.host
@pytest.mark.parametrize("name", [*OURS, DOES_NOTHING])
def test_contract_only_accuracy_under_attack_is_no_higher(name, monkeypatch):
    clean, under_attack = accuracies(name, monkeypatch)
    assert all(clean >= accuracy for accuracy in under_attack)


@pytest.mark.host
@pytest.mark.parametrize("name", OURS)
def test_accuracy_under_attack_is_lower_in_every_mode(name, monkeypatch):
    clean, under_attack = accuracies(name, monkeypatch)
    assert all(clean > accuracy for accuracy in under_attack)


@pytest.mark.host
def test_an_attack_that_does_nothing_lowers_no_accuracy(monkeypatch):
    clean, under_attack = accuracies(DOES_NOTHING, monkeypatch)
    assert under_attack == [clean]


@pytest.mark.host
def test_contract_only_the_hosts_own_file_passes_unchanged_and_so_does_doing_nothing(tmp_path: Path):
    named = os.environ.get("TORCHATTACKS_TESTS")
    if named is None:
        pytest.skip("needs torchattacks' own test, which no package holds: set TORCHATTACKS_TESTS to its test_atks.py")
    (tmp_path / "conftest.py").write_text(SURROUNDINGS)
    shutil.copytree(STAND_IN / "robustbench", tmp_path / "robustbench")
    (tmp_path / "code_coverage").mkdir()
    shutil.copy(named, tmp_path / "code_coverage" / "test_atks.py")
    command = [sys.executable, "-m", "pytest", "-q", "--rootdir", str(tmp_path), "-c", os.devnull, "code_coverage"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "3 passed" in run.stdout, run.stdout + run.stderr
