import csv

import numpy as np
import pytest
import torch
from PIL import Image

from interp_plugins.foundation.concepts import Concept
from interp_plugins.sources import broden, scenes


def table(folder, name):
    with (folder / name).open(newline="") as file:
        return list(csv.DictReader(file))


def numbers(file):
    """A mask's labels as Broden defines them: red + 256 * green."""
    pixels = np.asarray(Image.open(file)).astype(int)
    return pixels[..., 0] + 256 * pixels[..., 1]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Forty-eight scenes and the directory that keeps all their concepts."""
    world = scenes.draw(48, size=32)
    return world, scenes.write_broden(world, tmp_path_factory.mktemp("broden"), min_frequency=0, min_coverage=0)


def test_the_index_has_brodens_columns(written):
    columns = ["image", "split", "ih", "iw", "sh", "sw", "color", "object", "part", "scene", "texture"]
    assert list(table(written[1], "index.csv")[0]) == columns


def test_every_image_is_written_as_it_was_drawn(written):
    world, folder = written
    for row, image in zip(table(folder, "index.csv"), world.images, strict=True):
        assert np.array_equal(np.asarray(Image.open(folder / "images" / row["image"])), image.permute(1, 2, 0).numpy())


def test_masks_have_half_the_size_and_the_drawn_concepts(written):
    world, folder = written
    known = {
        (row["name"].removesuffix("-c"), row["category"].partition("(")[0]): int(row["number"])
        for row in table(folder, "label.csv")
    }
    for i, row in enumerate(table(folder, "index.csv")):
        assert (row["ih"], row["iw"], row["sh"], row["sw"]) == ("32", "32", "16", "16")
        drawn = world.masks["object"][i, 0, ::2, ::2]
        expected = np.vectorize(lambda n: known[world.concepts[n - 1].name, "object"])(drawn)
        assert np.array_equal(numbers(folder / "images" / row["object"]), expected)


def test_a_scene_is_a_whole_image_label(written):
    world, folder = written
    label = {row["number"]: row["name"] for row in table(folder, "label.csv")}
    for i, row in enumerate(table(folder, "index.csv")):
        assert label[row["scene"]] == world.concepts[world.masks["scene"][i, 0, 0, 0] - 1].name + "-s"


def test_parts_of_parts_are_a_second_layer(written):
    layers = [row["part"].split(";") for row in table(written[1], "index.csv")]
    assert max(map(len, layers)) == 2


def test_frequency_and_coverage_are_counted_over_the_masks(written):
    _, folder = written
    sky = next(row for row in table(folder, "label.csv") if row["name"] == "sky")
    shares = [
        (numbers(folder / "images" / row["object"]) == int(sky["number"])).mean() for row in table(folder, "index.csv")
    ]
    assert int(sky["frequency"]) == sum(share > 0 for share in shares)
    assert float(sky["coverage"]) == pytest.approx(sum(shares), abs=1e-5)


def test_every_category_has_a_dense_numbering_of_its_own(written):
    for category in table(written[1], "category.csv"):
        codes = table(written[1], f"c_{category['name']}.csv")
        assert [row["code"] for row in codes] == [str(k) for k in range(1, int(category["count"]) + 1)]
        assert (codes[0]["number"], codes[-1]["number"]) == (category["first"], category["last"])


def test_seven_of_ten_images_are_for_training(written):
    splits = [row["split"] for row in table(written[1], "index.csv")]
    assert 0.5 < splits.count("train") / len(splits) < 0.9


def two_concepts():
    """Four images half of which show concept 1, and one of which shows concept 300 in one corner."""
    mask = np.zeros((4, 1, 4, 4), np.int16)
    mask[:2] = 1
    mask[3, 0, :2, :2] = 300
    return mask, (Concept(1, "common", "object"), Concept(300, "rare", "object"))


def write(folder, **limits):
    mask, concepts = two_concepts()
    images = torch.zeros(4, 3, 4, 4, dtype=torch.uint8)
    return broden.write(folder, images, {"object": mask}, concepts, ("a", "b", "c", "d"), **limits)


def test_a_rare_concept_is_left_out(tmp_path):
    write(tmp_path, min_frequency=2, min_coverage=0)
    assert [row["name"] for row in table(tmp_path, "label.csv")] == ["common"]


def test_a_small_concept_is_left_out(tmp_path):
    write(tmp_path, min_frequency=0, min_coverage=0.5)
    assert [row["name"] for row in table(tmp_path, "label.csv")] == ["common"]


def test_images_without_a_concept_are_skipped(tmp_path):
    write(tmp_path, min_frequency=0, min_coverage=0)
    assert [row["image"] for row in table(tmp_path, "index.csv")] == ["a.png", "b.png", "d.png"]


def test_numbers_above_255_use_the_green_channel(tmp_path):
    concepts = [Concept(k, f"c{k}", "object") for k in range(1, 301)]
    masks = np.arange(1, 305, dtype=np.int16).clip(max=300).reshape(19, 1, 4, 4).repeat(2, 2).repeat(2, 3)
    broden.write(
        tmp_path, torch.zeros(19, 3, 8, 8, dtype=torch.uint8), {"object": masks}, concepts,
        [str(i) for i in range(19)], min_frequency=0, min_coverage=0,
    )  # fmt: skip
    assert numbers(tmp_path / "images" / "18_object.png").max() == 300


def test_when_every_concept_is_rare_the_way_out_is_said(tmp_path):
    with pytest.raises(
        ValueError, match=r"no concept is in 10 of the 4 images .* lower min_frequency and min_coverage"
    ):
        write(tmp_path)


def test_a_directory_is_not_written_over(tmp_path):
    write(tmp_path, min_frequency=0)
    with pytest.raises(FileExistsError, match="already holds a Broden directory"):
        write(tmp_path, min_frequency=0)


def test_images_of_odd_size_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"expected images of even height and width, .*, got 5 x 4"):
        broden.write(tmp_path, torch.zeros(1, 3, 5, 4, dtype=torch.uint8), {}, [], ["a"])
