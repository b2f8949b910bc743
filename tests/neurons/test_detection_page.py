"""The page on detection runs, and so does its recipe, small."""

import re
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
RECIPE = ROOT / "examples" / "was_this_image_attacked.py"
SMALL = ["--training", "32", "--clean", "40", "--images", "4", "--size", "16", "--steps", "2"]


@pytest.fixture
def main(monkeypatch):
    monkeypatch.setitem(sys.modules, "recipe", type(sys)("recipe"))
    return runpy.run_path(str(RECIPE), run_name="recipe")["main"]


def test_the_python_of_the_page_on_detection_runs(tmp_path, capsys):
    page = (ROOT / "docs" / "detection.md").read_text(encoding="utf-8")
    (tmp_path / "page.py").write_text("".join(re.findall(r"```python\n(.*?)```", page, re.DOTALL)))
    flags = runpy.run_path(str(tmp_path / "page.py"))["flags"]
    assert tuple(flags.shape) == (32,)
    assert capsys.readouterr().out == "counts 32 32 0\n"


def test_the_recipe_asks_both_scores_about_each_attack(main, capsys):
    result = main(SMALL)
    attacks = ["PGD, 2 grey levels", "PGD, 8 grey levels", "least likely class"]
    assert list(result.separations) == [(score, attack) for score in ("conflict", "distance") for attack in attacks]
    assert {row.denominator for row in result.flagged.values()} == {4}
    assert capsys.readouterr().out.count(" of 4 flagged") == 8


def test_the_recipe_takes_a_network_and_images_of_yours(main, tmp_path):
    (tmp_path / "nets.py").write_text(
        "from interp_plugins.testing import toy_classifier\n\n\ndef net():\n    return toy_classifier(width=16)\n"
    )
    generator = np.random.default_rng(0)
    images, labels = generator.integers(0, 256, (80, 3, 16, 16), np.uint8), np.sort(generator.integers(0, 10, 80))
    np.savez(tmp_path / "photos.npz", images=images, labels=labels)
    words = ["--model", f"{tmp_path / 'nets.py'}:net", "--layer", "3", "--data", str(tmp_path / "photos.npz")]
    result = main([*SMALL, *words])
    assert {found.clean + found.attacked + found.undefined for found in result.separations.values()} == {8}


def test_half_of_the_flags_are_refused(main, capsys):
    with pytest.raises(SystemExit):
        main(["--model", "nets.py:net"])
    assert "--model, --layer and --data go together" in capsys.readouterr().err
