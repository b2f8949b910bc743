"""What all tests share: one thread, hypothesis without chance, and the folder of real data where there is one."""

import os
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is loaded: bits are promised for one thread

import jaxtyping
import pytest
import torch
from hypothesis import settings

torch.set_num_threads(1)

# derandomized: a suite that passes passes again; no deadline: the machine may be busy with something else
settings.register_profile("suite", derandomize=True, deadline=None, max_examples=50)
settings.load_profile("suite")


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """Folder of real networks and images ($INTERP_DATA, else shared/data beside the checkout); without it a skip."""
    named = os.environ.get("INTERP_DATA")
    folder = Path(named) if named else Path(__file__).resolve().parents[2] / "shared" / "data"
    if not (folder / "nets.py").is_file():
        pytest.skip(f"needs the real networks and images: set INTERP_DATA to their folder ({folder} has no nets.py)")
    return folder


@pytest.fixture
def unchecked() -> Iterator[None]:
    """Shapes and types unchecked, as for a user: a wrong argument meets our own message."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
