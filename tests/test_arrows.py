"""Who may import whom: the tree keeps the contracts of pyproject.toml, and a copy that breaks one is told which."""

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CONTRACTS = [
    contract["name"]
    for contract in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
]

HOSTLESS = "the core knows no host"
APART = "adapters know nothing of each other"
TORCHATTACKS_ALONE = "the torchattacks adapter knows one host"
ART_ALONE = "the ART adapter knows one host"
CAPTUM_ALONE = "the Captum adapter knows one host"
FLOORS = "floors import downwards, families never each other"
LIGHT = "the registry needs neither torch nor numpy"
NOTHING_SUMMED = "what sums nothing up does not wait for torchmetrics"
NO_FOLDER = "nothing imports through the folder adapters"

FORBIDDEN = [
    ("interp_plugins/attacks/__init__.py", "import torchattacks", HOSTLESS),
    ("interp_plugins/foundation/__init__.py", "from art.estimators import BaseEstimator", HOSTLESS),
    ("interp_plugins/cli/__init__.py", "def late():\n    import captum", HOSTLESS),
    ("interp_plugins/demo/__init__.py", "import interp_art", HOSTLESS),
    ("interp_plugins/attacks/__init__.py", "from interp_torchattacks import attacks", HOSTLESS),
    ("interp_art/__init__.py", "import interp_torchattacks", APART),
    ("interp_torchattacks/__init__.py", "import interp_art", APART),
    ("interp_torchattacks/__init__.py", "import art", TORCHATTACKS_ALONE),
    ("interp_art/__init__.py", "import torchattacks", ART_ALONE),
    ("interp_captum/__init__.py", "import interp_art", APART),
    ("interp_captum/__init__.py", "import torchattacks", CAPTUM_ALONE),
    ("interp_plugins/foundation/__init__.py", "from interp_plugins import attacks", FLOORS),
    ("interp_plugins/attacks/__init__.py", "import interp_plugins.sources", FLOORS),
    ("interp_plugins/sources/__init__.py", "import interp_plugins.report", FLOORS),
    ("interp_plugins/store/__init__.py", "import interp_plugins.sources", FLOORS),
    ("interp_plugins/report/__init__.py", "import interp_plugins.demo", FLOORS),
    ("interp_plugins/demo/__init__.py", "import interp_plugins.cli", FLOORS),
    ("interp_plugins/registry.py", "import interp_plugins.foundation", FLOORS),
    ("interp_plugins/neurons/__init__.py", "from interp_plugins import attacks", FLOORS),
    ("interp_plugins/dissection/__init__.py", "from interp_plugins import neurons", FLOORS),
    ("interp_plugins/training/__init__.py", "from interp_plugins import attacks", FLOORS),
    ("interp_plugins/newcomers/__init__.py", "import torch", FLOORS),  # a new folder that was given no floor
    ("interp_plugins/registry.py", "import torch", LIGHT),
    ("interp_plugins/errors.py", "import numpy", LIGHT),
    ("interp_plugins/training/__init__.py", "from torchmetrics import Metric", NOTHING_SUMMED),
    ("interp_plugins/cli/train/__init__.py", "import interp_plugins.neurons", NOTHING_SUMMED),
    ("interp_plugins/sources/__init__.py", "from adapters import interp_art", NO_FOLDER),
]


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packages and the contracts in a folder of their own, so that imports can be added to them."""
    folder = tmp_path_factory.mktemp("copy")
    for package in (ROOT / "interp_plugins", *(ROOT / "adapters").glob("interp_*")):
        shutil.copytree(package, folder / package.name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def lint(folder: Path, *names: str) -> subprocess.CompletedProcess[str]:
    """What lint-imports says of the packages in a folder, which come before the installed ones on the path."""
    command = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    return subprocess.run(
        [sys.executable, "-c", command, "--no-cache", "--config", str(folder / "pyproject.toml")],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder), "COLUMNS": "200"},
        capture_output=True,
        text=True,
    )


def test_the_tree_keeps_every_contract(copy: Path):
    answer = lint(copy)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert f"{len(CONTRACTS)} kept, 0 broken" in answer.stdout


@pytest.mark.parametrize(("module", "line", "contract"), FORBIDDEN, ids=[f"{m}: {line}" for m, line, _ in FORBIDDEN])
def test_a_forbidden_import_is_told_with_the_name_of_its_contract(copy: Path, module: str, line: str, contract: str):
    file = copy / module
    before = file.read_text() if file.exists() else None
    file.parent.mkdir(exist_ok=True)
    file.write_text((before or '"""."""\n') + f"\n{line}\n")
    try:
        answer = lint(copy)
    finally:
        if before is None:
            shutil.rmtree(file.parent)
        else:
            file.write_text(before)
    assert answer.returncode == 1
    assert f"{contract} BROKEN" in answer.stdout


def test_every_contract_is_broken_by_one_of_these_cases():
    assert {contract for _, _, contract in FORBIDDEN} == set(CONTRACTS)
