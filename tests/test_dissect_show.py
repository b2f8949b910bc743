"""`dissect show`: units of a finished dissection, drawn with the images that excite them."""

import shutil
from pathlib import Path

import dissect_world
import numpy as np
import pytest
import torch
from attack_world import here
from dissect_world import words
from neurons_world import printed, refused
from PIL import Image

from interp_plugins.cli.dissect.dissected import Finished
from interp_plugins.cli.dissect.regions import figure
from interp_plugins.report import regions


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A world with a finished dissection in `done`; tests leave both as they are."""
    world = dissect_world.build(tmp_path_factory.mktemp("world"), 70)
    here(words(world, world / "done", layers="norm,first"))
    return world


def show(folder: Path, *more: object) -> list[str]:
    return ["dissect", "show", str(folder), *map(str, more)]


def test_a_unit_is_told_in_words_and_drawn(world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    said = printed(capsys, show(world / "done", "--unit", 4, "--unit", 2, "--out", tmp_path / "units.png")).splitlines()
    assert [line.split("clean: ")[0].split() for line in said[:2]] == [["unit", "4"], ["unit", "2"]]
    assert all("attacked: " in line for line in said[:2])
    assert said[-1] == f"Look at it: {tmp_path / 'units.png'}"
    with Image.open(tmp_path / "units.png") as picture:
        assert picture.size[0] > 1000


def test_without_a_unit_those_that_detect_most_clearly_are_drawn(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    said = printed(capsys, show(world / "done", "--layer", "norm", "--images", 2)).splitlines()
    assert len(said) == 7
    assert [path.name.split("_")[0] for path in tmp_path.iterdir()] == ["norm"]


def test_bright_is_where_the_enlarged_map_is_above_the_threshold(world: Path, monkeypatch: pytest.MonkeyPatch):
    found, drawn = Finished.open(world / "done"), []
    draw = regions.draw
    monkeypatch.setattr(
        "interp_plugins.cli.dissect.regions.draw", lambda units, *a, **k: drawn.extend(units) or draw(units, *a, **k)
    )
    labels = {kind: found.folder.labels(kind, "first") for kind in ("clean", "attacked")}
    figure(found.subject, "first", [4], labels, found.thresholds("first"), found.tops("first"))
    for kind in ("clean", "attacked"):
        numbers = found.tops("first")[kind][4].tolist()
        with torch.no_grad():
            maps = found.subject.model.module.first(found.subject.pixels(kind, numbers))[:, 4:5].double()
        enlarged = torch.nn.functional.interpolate(maps, (4, 4), mode="bilinear", align_corners=False)[:, 0]
        shown = getattr(drawn[0], kind)
        far = (enlarged - found.thresholds("first")[kind][4]).abs() > 1e-4
        assert far.float().mean() > 0.9
        assert np.array_equal(shown.regions[far], (enlarged > found.thresholds("first")[kind][4])[far].numpy())
        assert shown.regions.any()


SAYS = {
    "unit": (["--unit", 6], "expected --unit from 0 to 5, the units of 'first', got 6"),
    "layer": (["--layer", "head"], "expected a layer that was dissected, norm, first, got 'head'"),
}


@pytest.mark.parametrize("case", SAYS)
def test_what_was_not_dissected_is_refused(world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], case: str):
    given, sentence = SAYS[case]
    assert sentence in refused(capsys, show(world / "done", *given, "--out", tmp_path / "out.png"))


def test_no_dissection_and_an_unfinished_one_are_told_apart(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert "make one with interp-plugins dissect run" in refused(capsys, show(tmp_path))
    (tmp_path / "dissection.json").write_bytes((world / "done" / "dissection.json").read_bytes())
    assert "is not finished; type the command that began it again, with --resume" in refused(capsys, show(tmp_path))


@pytest.mark.parametrize(("change", "sentence"), [
    ("weights", "expected the weights "),
    ("images", "expected the 70 images that "),
    ("gone", "no images at "),
])  # fmt: skip
def test_another_network_or_other_images_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: str, sentence: str
):
    world = dissect_world.build(tmp_path, 70)
    here(words(world, world / "done", attack=None, permutations=1))
    if change == "weights":
        (world / "nets.py").write_text((world / "nets.py").read_text().replace("Net(1)", "Net(3)"))
    elif change == "gone":
        shutil.rmtree(world / "broden")
    else:
        for file in (world / "broden" / "images" / "pictures").glob("[0-9][0-9][0-9].png"):
            Image.new("RGB", (8, 8)).save(file)
    assert sentence in refused(capsys, show(world / "done", "--out", tmp_path / "out.png"))
