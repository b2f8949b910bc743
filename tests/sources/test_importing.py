import csv

import numpy as np
import pytest
import torch
from PIL import Image

from interp_plugins.sources.importing import write_masks
from interp_plugins.sources.labelled import Broden
from interp_plugins.sources.masks import PlainMasks


@pytest.fixture
def data(tmp_path):
    """Three oblong images: a pond under a tree, a tree that has a leaf in a further layer, and nothing."""
    folder = tmp_path / "data"
    for name in ("images", "masks", "masks_more"):
        (folder / name / "x").mkdir(parents=True)
    rng = np.random.default_rng(0)
    masks = np.zeros((3, 20, 30), np.uint8)
    masks[0, :10], masks[0, 10:], masks[1, :, 15:] = 3, 7, 3
    for name, mask in zip(("a", "b", "x/c"), masks, strict=True):
        Image.fromarray(rng.integers(0, 256, (20, 30, 3), np.uint8)).save(folder / "images" / f"{name}.png")
        Image.fromarray(mask).save(folder / "masks" / f"{name}.png")
    leaf = np.zeros((20, 30), np.uint8)
    leaf[5:15, 16:20] = 9
    Image.fromarray(leaf).save(folder / "masks_more" / "b.png")
    (folder / "labels.csv").write_text("number,name,category\n3,tree,\n7,pond,\n9,leaf,part\n")
    return folder


def named(images, number):
    """Layers of names, by category, so that numbers and the order of files do not matter."""
    labels, vocabulary = images.labels(number), images.vocabulary
    found = {}
    for concept in vocabulary.concepts:
        where = (labels.pixels == concept.number).any(0)
        if where.any():
            found[concept.category, concept.name] = where.tolist()
    return found


@pytest.mark.parametrize("workers", [0, 2])
def test_what_is_written_is_what_was_there(data, tmp_path, workers):
    written = write_masks(data, tmp_path / "out", size=16, workers=workers)
    before, after = PlainMasks(data, size=16), Broden(tmp_path / "out")
    assert after.ids == ("a.png", "b.png")
    assert after.vocabulary.categories == ("object", "part")
    for number in range(2):
        assert named(before, number) == named(after, number)
    assert torch.equal(before.tensor([0, 1]), after.tensor([0, 1]))
    assert (written.images, written.unlabelled, written.rare) == (2, 1, ())


def test_two_processes_write_the_same_files_as_one(data, tmp_path):
    for workers in (0, 2):
        write_masks(data, tmp_path / str(workers), size=16, workers=workers)
    one, two = tmp_path / "0", tmp_path / "2"
    files = sorted(path.relative_to(one) for path in one.rglob("*.*"))
    assert files == sorted(path.relative_to(two) for path in two.rglob("*.*"))
    assert all((one / file).read_bytes() == (two / file).read_bytes() for file in files)


def test_rare_concepts_are_left_out_and_named(data, tmp_path):
    written = write_masks(data, tmp_path / "out", size=16, min_frequency=2)
    assert [concept.name for concept in written.concepts] == ["tree"]
    assert [concept.name for concept in written.rare] == ["pond", "leaf"]


def test_chosen_categories_are_written_alone(data, tmp_path):
    write_masks(data, tmp_path / "out", size=16, categories=["part"])
    assert Broden(tmp_path / "out").ids == ("b.png",)


def test_odd_sizes_have_masks_of_half_rounded_up(data, tmp_path):
    write_masks(data, tmp_path / "out", size=15)
    with (tmp_path / "out" / "index.csv").open() as file:
        row = next(csv.DictReader(file))
    assert (row["ih"], row["iw"], row["sh"], row["sw"]) == ("15", "15", "8", "8")
    assert Broden(tmp_path / "out").labels(0).pixels.shape[1:] == (8, 8)


def test_what_was_interrupted_can_be_begun_again(data, tmp_path):
    def stop(done, of):
        if done == of - 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_masks(data, tmp_path / "out", size=16, watch=stop)
    assert not (tmp_path / "out" / "index.csv").exists()
    write_masks(data, tmp_path / "out", size=16)
    assert len(Broden(tmp_path / "out")) == 2


@pytest.mark.parametrize("out", ["", "images", "out", ".."])
def test_nothing_is_written_among_what_is_read(data, out):
    with pytest.raises(ValueError, match=r"expected a folder outside .*data to write to, got"):
        write_masks(data, data / out)


def test_a_directory_is_not_written_over(data, tmp_path):
    write_masks(data, tmp_path / "out", size=16)
    with pytest.raises(FileExistsError, match="already holds a Broden directory"):
        write_masks(data, tmp_path / "out", size=16)


def test_a_name_that_would_be_another_images_mask(data, tmp_path):
    for name in ("images", "masks"):
        (data / name / "b.png").rename(data / name / "a_object.png")
    with pytest.raises(ValueError, match=r"expected names other than IMAGE_object beside the image a, .*got a_object"):
        write_masks(data, tmp_path / "out", size=16)


def test_a_fault_ends_the_writing_with_one_sentence(data, tmp_path):
    Image.new("L", (30, 20), 5).save(data / "masks" / "b.png")
    with pytest.raises(ValueError, match=r"^expected numbers of labels.csv in the mask .*b.png, got 5$"):
        write_masks(data, tmp_path / "out", size=16, workers=2)
    assert not (tmp_path / "out" / "index.csv").exists()
