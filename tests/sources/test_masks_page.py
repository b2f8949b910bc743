"""What the page on masks says to type does what it says, on folders laid out as the data sets are."""

import re
import runpy
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from interp_plugins.sources.faults import examine
from interp_plugins.sources.labelled import open_labelled

PAGE = Path(__file__).parents[2] / "docs" / "masks.md"


def block(kind, containing):
    (found,) = (code for code in re.findall(rf"```{kind}\n(.*?)```", PAGE.read_text(), re.S) if containing in code)
    return found


def run(code):
    Path("page.py").write_text(code)
    return runpy.run_path("page.py")


def photo(path, size=(20, 16)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (90, 120, 30)).save(path)


def mask(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def concepts(folder):
    """The names in the first image, once nothing is wrong with any."""
    assert examine(folder).faults == ()
    images = open_labelled(folder, size=16)
    return {images.vocabulary.name(n) for n in images.labels(0).pixels.unique().tolist() if n}


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def pets():
    for name in ("a", "b", "c"):
        photo(Path("oxford-iiit-pet/images") / f"{name}.jpg")
        trimap = np.full((16, 20), 2, np.uint8)
        trimap[4:12, 6:14], trimap[4, 6:14] = 1, 3
        mask(Path("oxford-iiit-pet/annotations/trimaps") / f"{name}.png", trimap)
    subprocess.run(["sh", "-ec", block("sh", "trimaps")], check=True)


def test_pets_become_a_folder_of_masks():
    pets()
    assert concepts("pets") == {"pet", "background"}


def test_the_session_in_python_runs(capsys):
    pets()
    run(block("python", "open_labelled"))
    assert capsys.readouterr().out.startswith("3 a.jpg torch.Size([2, 3, 224, 224])\n")


def test_ade20k_becomes_a_folder_of_masks():
    source = Path("ADEChallengeData2016")
    photo(source / "images" / "validation" / "ADE_val_00000001.jpg")
    mask(
        source / "annotations/validation/ADE_val_00000001.png",
        np.arange(3).repeat(107)[:320].reshape(16, 20).astype("u1"),
    )
    rows = ["Idx\tRatio\tTrain\tVal\tStuff\tName", "1\t0.15\t9\t1\t1\twall", "2\t0.1\t9\t1\t1\tbuilding, edifice"]
    (source / "objectInfo150.txt").write_text("\n".join(rows) + "\n")
    run(block("python", "objectInfo150"))
    assert concepts("ade20k") == {"wall", "building"}


def test_camvid_becomes_a_folder_of_masks():
    photo(Path("CamVid/701_StillsRaw_full/0001TP_006690.png"))
    painted = np.zeros((16, 20, 3), np.uint8)
    painted[:8], painted[8:, 10:] = (128, 128, 128), (64, 0, 128)
    mask(Path("CamVid/LabeledApproved_full/0001TP_006690_L.png"), painted)
    Path("CamVid/label_colors.txt").write_text("128 128 128\tSky\n64 0 128\t\tCar\n0 0 0\t\tVoid\n")
    run(block("python", "label_colors"))
    assert concepts("camvid") == {"Sky", "Car"}


def test_pascal_part_becomes_two_layers_of_masks():
    scipy = pytest.importorskip("scipy.io")
    photo(Path("VOC2010/JPEGImages/2008_000003.jpg"))
    Path("Annotations_Part").mkdir()
    thing, head = np.zeros((2, 16, 20), np.uint8)
    thing[2:14], head[2:6] = 1, 1
    parts = np.array([(np.array(["head"]), head)], [("part_name", "O"), ("mask", "O")])[None]
    fields = [("class", "O"), ("mask", "O"), ("parts", "O")]
    objects = np.array([(np.array(["dog"]), thing, parts), (np.array(["car"]), 1 - thing, np.zeros((0, 0)))], fields)
    anno = np.empty((1, 1), [("objects", "O")])
    anno[0, 0] = (objects[None],)
    scipy.savemat("Annotations_Part/2008_000003.mat", {"anno": anno})
    run(block("python", "loadmat"))
    assert concepts("parts") == {"dog", "car", "dog head"}
    assert open_labelled("parts").vocabulary.categories == ("object", "part")
