import numpy as np
import pytest
from PIL import Image

from interp_plugins.sources import scenes
from interp_plugins.sources.faults import Category, examine
from interp_plugins.sources.importing import write_masks


@pytest.fixture
def folder(tmp_path):
    """Four drawn images and all their concepts."""
    return scenes.write_broden(scenes.draw(4, size=16), tmp_path / "drawn", min_frequency=0, min_coverage=0)


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_sound_directory_has_no_faults(folder, workers):
    found = examine(folder, workers=workers)
    assert found.faults == ()
    assert (found.images, found.unlabelled) == (4, 0)
    assert [category.name for category in found.categories] == ["color", "object", "part", "scene", "texture"]


def test_concepts_and_images_are_counted_for_each_category(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    for k, name in enumerate("abcd"):
        Image.new("RGB", (8, 8)).save(tmp_path / "images" / f"{name}.png")
        Image.fromarray(np.full((8, 8), k, np.uint8)).save(tmp_path / "masks" / f"{name}.png")
    (tmp_path / "labels.csv").write_text("number,name,category\n1,cat,\n2,dog,\n3,fur,texture\n4,silk,texture\n")
    found = examine(tmp_path)
    assert found.categories == (Category("object", 2, 2, 2), Category("texture", 2, 1, 1))
    assert (found.images, found.unlabelled, found.faults) == (4, 1, ())


@pytest.mark.parametrize("workers", [0, 2])
def test_every_fault_is_named(folder, workers):
    images = folder / "images" / "scenes" / "0"
    (images / "0.png").unlink()
    (images / "1_object.png").write_bytes(b"")
    Image.new("RGB", (9, 8)).save(images / "1_color.png")
    Image.new("RGB", (8, 8), (255, 0, 0)).save(images / "2_color.png")
    edit(folder / "index.csv", "scenes/0/3.png", "../3.png")
    edit(folder / "c_part.csv", "\n1,", "\n1,9")
    with (folder / "label.csv").open("a") as file:
        file.write("1,again,color(1),1,1,\nshort\n")
    said = "\n".join(examine(folder, workers=workers).faults)
    for sentence in (
        "no image ",
        "cannot read the mask ",
        "1_color.png to be 8 x 8 (height x width), got 8 x 9",
        "2_color.png, got 255",
        "got '../3.png'",
        "c_part.csv, line 2, got 9",
        "got 1 again in",
        "got another number of them",
    ):
        assert said.count(sentence) == 1, sentence
    assert len(said.splitlines()) == 8


def test_what_cannot_be_opened_is_the_last_fault(folder):
    (folder / "index.csv").unlink()
    with (folder / "index.csv").open("w") as file:
        file.write("image\n")
    found = examine(folder)
    assert found.images == 0
    assert "expected the columns image, ih, iw" in found.faults[-1]


def test_masks_without_any_concept_are_a_fault(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "images" / "a.png")
    Image.new("L", (8, 8)).save(tmp_path / "masks" / "a.png")
    (tmp_path / "labels.csv").write_text("number,name\n1,cat\n")
    (fault,) = examine(tmp_path).faults
    assert "expected a mask with a concept in" in fault


def test_faults_of_a_folder_of_masks_are_named_too(tmp_path):
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
        for file in ("a.png", "b.png", "c.png"):
            Image.new("L", (8, 8), 1).save(tmp_path / name / file)
    (tmp_path / "labels.csv").write_text("number,name\n1,cat\n-2,dog\n")
    (tmp_path / "masks" / "a.png").unlink()
    Image.new("L", (8, 8), 3).save(tmp_path / "masks" / "b.png")
    first, second, third = examine(tmp_path).faults
    assert "line 3, got '-2'" in first
    assert "no mask" in second
    assert "got 3" in third


def test_a_watcher_hears_of_every_image(folder):
    heard = []
    examine(folder, watch=lambda done, of: heard.append((done, of)))
    assert heard == [(1, 4), (2, 4), (3, 4), (4, 4)]


@pytest.mark.real
def test_a_directory_of_photographs_has_no_faults(data_folder):
    found = examine(data_folder / "segmentation" / "broden_micro_224", workers=2)
    assert found.faults == ()
    assert {category.name: category.found for category in found.categories} == {
        "color": 11,
        "object": 29,
        "part": 2,
        "texture": 10,
    }


def test_what_was_imported_has_no_faults(tmp_path):
    data = tmp_path / "data"
    for name in ("images", "masks"):
        (data / name).mkdir(parents=True)
        Image.new("L", (9, 8), 1).save(data / name / "a.png")
    (data / "labels.csv").write_text("number,name\n1,cat\n")
    write_masks(data, tmp_path / "out", size=6)
    assert examine(tmp_path / "out").faults == ()
