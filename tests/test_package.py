"""What is shipped: the wheel holds every file of the packages and nothing else, and says truly what it needs."""

import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PACKAGES = [ROOT / "interp_plugins", *sorted((ROOT / "adapters").glob("interp_*"))]


def shipped(package: Path) -> set[str]:
    """The files of a package as a wheel names them."""
    files = (file for file in package.rglob("*") if file.is_file() and "__pycache__" not in file.parts)
    return {file.relative_to(package.parent).as_posix() for file in files}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel, built offline from a copy of what a checkout holds, with the build backend that is installed."""
    source = tmp_path_factory.mktemp("source")
    for name in ("interp_plugins", "adapters"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE", ".gitignore"):
        shutil.copy(ROOT / name, source)
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(source / "dist")]
    done = subprocess.run(command, cwd=source, env={**os.environ, "PYTHONPATH": ""}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return next((source / "dist").glob("*.whl"))


@pytest.fixture(scope="module")
def names(wheel: Path) -> set[str]:
    """The files in the wheel."""
    return set(zipfile.ZipFile(wheel).namelist())


def read(wheel: Path, name: str) -> str:
    """A file of the wheel's own description."""
    archive = zipfile.ZipFile(wheel)
    return archive.read(next(entry for entry in archive.namelist() if entry.endswith(f".dist-info/{name}"))).decode()


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> Message:
    """The wheel's metadata."""
    return Parser().parsestr(read(wheel, "METADATA"))


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_the_wheel_holds_every_file_of_a_package(names: set[str], package: Path):
    assert shipped(package) <= names


def test_the_wheel_holds_nothing_but_the_packages(names: set[str]):
    ours = set().union(*(shipped(package) for package in PACKAGES))
    assert {name for name in names - ours if ".dist-info/" not in name} == set()


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_every_package_says_that_it_is_typed(names: set[str], package: Path):
    assert f"{package.name}/py.typed" in names


def test_the_licence_travels_with_the_wheel(wheel: Path, metadata: Message):
    assert metadata["License-Expression"] == "MIT"
    assert read(wheel, "licenses/LICENSE") == (ROOT / "LICENSE").read_text(encoding="utf-8")


def test_the_command_and_every_adapter_are_announced(wheel: Path):
    announced = read(wheel, "entry_points.txt")
    assert "interp-plugins = interp_plugins.cli:main" in announced
    for package in PACKAGES[1:]:
        assert f"= {package.name}\n" in announced.partition("[interp_plugins]")[2] + "\n"


def test_no_host_is_needed_to_install_the_package(metadata: Message):
    needed = [line for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line]
    assert len(needed) == len(PROJECT["dependencies"])
    assert not [
        line
        for line in needed
        if line.startswith(("torchattacks", "adversarial-robustness-toolbox", "captum", "torchvision"))
    ]


def test_every_requirement_has_a_lower_bound():
    lines = [*PROJECT["dependencies"], *(line for extra in PROJECT["optional-dependencies"].values() for line in extra)]
    assert [line for line in lines if ">=" not in line and not line.startswith("interp-plugins[")] == []


def test_the_extra_all_names_every_extra_for_users(metadata: Message):
    extras = set(metadata.get_all("Provides-Extra", []))
    assert extras == {"torchattacks", "art", "captum", "wordnet", "vision", "all", "test", "lint", "docs"}
    (all_of_them,) = PROJECT["optional-dependencies"]["all"]
    assert set(all_of_them.partition("[")[2].rstrip("]").split(",")) == extras - {"all", "test", "lint", "docs"}


def test_the_version_is_the_one_that_the_package_says(metadata: Message):
    import interp_plugins

    assert metadata["Version"] == interp_plugins.__version__


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
@pytest.mark.parametrize("target", ["demo", "test"])
def test_make_says_which_python_is_needed_when_it_gets_an_older_one(tmp_path: Path, target: str):
    older = tmp_path / "python"
    older.write_text("#!/bin/sh\nexit 1\n")  # what the comparison of versions ends with on Python 3.10
    older.chmod(0o755)
    command = ["make", target, f"PYTHON={older}", f"VENV={tmp_path / 'venv'}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode != 0
    assert "Python 3.11 or newer is needed" in done.stderr
    assert f"make {target} PYTHON=python3.12" in done.stderr
