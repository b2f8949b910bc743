"""Shapes in signatures are checked while the tests run, and only then: a user pays nothing for them."""

import subprocess
import sys
from pathlib import Path

import jaxtyping
import pytest
import torch

from interp_plugins.foundation import ball

ROOT = Path(__file__).resolve().parents[1]


def test_a_wrong_shape_raises_in_the_suite():
    with pytest.raises(jaxtyping.TypeCheckError, match="origin"):
        ball.project(torch.zeros(2, 3, 4, 4), torch.zeros(1, 3, 4, 4), 0.1, "linf")  # broadcasts, were it not checked


def test_a_user_pays_for_no_check():
    call = "ball.project(torch.zeros(2, 3, 4, 4), torch.zeros(1, 3, 4, 4), 0.1, 'linf')"
    subprocess.run(
        [sys.executable, "-c", f"import torch; from interp_plugins.foundation import ball; {call}"], check=True
    )


def test_no_module_hides_its_shapes_from_the_checker():
    files = [
        file for file in (ROOT / "interp_plugins").rglob("*.py") if "jaxtyping" in file.read_text(encoding="utf-8")
    ]
    hidden = [file.name for file in files if "from __future__ import annotations" in file.read_text(encoding="utf-8")]
    assert files
    assert hidden == []
