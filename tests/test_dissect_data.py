"""`dissect check` and `dissect convert`: what is printed, and how the commands end."""

import json
from pathlib import Path

import numpy as np
import pytest
from neurons_world import printed, refused
from PIL import Image

from interp_plugins.cli import main
from interp_plugins.sources.labelled import Broden


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two images with masks: half grass, and half grass with a ball in it."""
    folder = tmp_path / "data"
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    for k, name in enumerate(("a", "b")):
        mask = np.zeros((20, 24), np.uint8)
        mask[10:] = 1
        mask[12:18, 6:12] += k
        Image.fromarray(mask * 90).convert("RGB").save(folder / "images" / f"{name}.png")
        Image.fromarray(mask).save(folder / "masks" / f"{name}.png")
    (folder / "labels.csv").write_text("number,name,category\n1,grass,texture\n2,ball,\n")
    return folder


def words(*given: object) -> list[str]:
    return ["dissect", *map(str, given)]


def test_what_is_sound_is_summed_up(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys, words("check", data)).splitlines() == [
        "2 images",
        "texture  1 concept in 2 images",
        "object   1 concept in 1 image",
    ]


def test_each_fault_is_a_line_and_the_command_ends_as_for_bad_input(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("L", (24, 20), 9).save(data / "masks" / "a.png")
    (data / "images" / "b.png").write_bytes(b"")
    assert main(words("check", data, "--processes", 1)) == 2
    said = capsys.readouterr()
    assert [line.split(" in the ")[0].split(" /")[0] for line in said.out.splitlines()] == [
        "expected numbers of labels.csv",
        "cannot read the image",
    ]
    assert said.err == f"{data} has 2 faults\n"


def test_faults_and_counts_come_as_json(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (data / "masks" / "b.png").unlink()
    assert main(words("check", data, "--json")) == 2
    said = json.loads(capsys.readouterr().out)
    assert said["images"] == 1
    assert said["categories"][0] == {"name": "texture", "listed": 1, "found": 1, "images": 1}
    assert len(said["faults"]) == 1


def test_a_folder_that_is_not_there_is_a_fault(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words("check", tmp_path / "nowhere")) == 2
    assert capsys.readouterr().out == f"no folder {tmp_path / 'nowhere'}\n"


def test_images_and_masks_become_a_broden_directory(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    said = printed(capsys, words("convert", "--data", data, "--out", out, "--size", 16))
    assert said == f"{out}: 2 images with 2 concepts\n"
    assert Broden(out).tensor([0, 1]).shape == (2, 3, 16, 16)
    assert printed(capsys, words("check", out)).startswith("2 images\n")


def test_what_is_left_out_is_said(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = words("convert", "--data", data, "--out", tmp_path / "out", "--size", 16, "--categories", "object")
    assert printed(capsys, given).endswith("1 image with 1 concept\nleft out 1 image without labels\n")
    given = words("convert", "--data", data, "--out", tmp_path / "more", "--size", 16, "--min-images", 2)
    assert printed(capsys, given).endswith("2 images with 1 concept\nleft out as too rare: ball\n")


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["--categories", "part"], "expected categories among texture, object of"),
        (["--min-images", 3], "no concept is in 3 of the 2 images"),
        (["--processes", "none"], "expected --processes auto or a number of at least 1, got 'none'"),
        (["--out", "data/more"], "expected a folder outside data to write to, got data/more"),
    ],
)
def test_what_cannot_be_written_is_refused_with_one_sentence(
    more: list[object], sentence: str, data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(data.parent)
    assert sentence in refused(capsys, words("convert", "--data", "data", "--out", "out", *more))
