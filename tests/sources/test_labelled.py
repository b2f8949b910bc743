import shutil
from multiprocessing.reduction import ForkingPickler

import numpy as np
import pytest
import torch
from broden_world import change, put, put_mask, table, write
from PIL import Image

from interp_plugins.foundation.concepts import LabelledImages
from interp_plugins.sources import scenes
from interp_plugins.sources.labelled import Broden, open_labelled


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """Thirty-two scenes and the Broden directory that keeps all their concepts."""
    world = scenes.draw(32, size=32)
    return world, scenes.write_broden(world, tmp_path_factory.mktemp("drawn"), min_frequency=0, min_coverage=0)


@pytest.fixture
def small(tmp_path):
    return write(tmp_path / "small")


def test_what_was_drawn_is_read_back(drawn):
    world, folder = drawn
    images = open_labelled(folder)
    numbers = {(c.category, images.vocabulary.name(c.number)): c.number for c in images.vocabulary.concepts}
    new = np.zeros(len(world.concepts) + 1, np.int32)
    for concept in world.concepts:
        new[concept.number] = numbers.get((concept.category, concept.name), 0)
    for i in range(len(images)):
        labels = images.labels(i)
        layers = [mask[i, :, ::2, ::2] for category, mask in world.masks.items() if category != "scene"]
        expected = new[np.concatenate(layers)]
        assert np.array_equal(labels.pixels.numpy(), expected[expected.any((1, 2))])
        assert labels.whole == (new[world.masks["scene"][i, 0, 0, 0]],)
    assert torch.equal(images.tensor(range(len(images))), world.images)


def test_a_broden_directory_is_what_a_dissection_reads(drawn):
    images = Broden(drawn[1])
    assert isinstance(images, LabelledImages)
    assert images.vocabulary.categories == ("color", "object", "part", "scene", "texture")
    assert images.ids[7] == "scenes/0/7.png"
    assert images.mask_size == (16, 16)
    assert images.labels(0).pixels.dtype == torch.int32


def test_a_number_counts_once_at_each_place(small):
    layers = Broden(small, ["part"]).labels(0).pixels
    assert (layers > 0).sum() == 4
    assert not (layers[0] * layers[1]).any()


def test_what_holds_for_the_whole_image_is_in_no_pixel(small):
    street = table(small, "label.csv")[4]["number"]
    change(small, "index.csv", 2, object="c_object.png")
    put_mask(small / "images" / "c_object.png", np.full((4, 4), int(street)))
    labels = Broden(small).labels(2)
    assert labels.whole == (int(street),)
    assert not labels.pixels.any()


def test_whole_images_make_no_maps(small):
    images = Broden(small)
    assert images.labels(2).pixels.shape == (0, 4, 4)
    assert images.labels(2).whole == (5,)


def test_images_without_the_chosen_categories_are_skipped_and_counted(small):
    images = Broden(small, ["color", "part"])
    assert images.ids == ("a.png",)
    assert images.skipped == 2


def test_concepts_of_other_categories_are_none(small):
    images = Broden(small, ["object"])
    assert [concept.name for concept in images.vocabulary.concepts] == ["car", "tree"]
    put_mask(small / "images" / "a_object.png", np.array([[1, 2], [4, 0]]).repeat(2, 0).repeat(2, 1))
    assert images.labels(0).pixels.unique().tolist() == [0, 2]


def test_categories_stay_in_the_order_of_their_table(small):
    assert Broden(small, ["part", "color"]).vocabulary.categories == ("color", "part")


@pytest.mark.parametrize(("shares", "category"), [((0.4, 0.2), "object"), ((0.2, 0.4), "part"), ((0.3, 0.3), "part")])
def test_a_concept_of_two_categories_belongs_where_it_covers_most_and_of_equals_to_the_later(small, shares, category):
    change(small, "c_object.csv", 0, coverage=shares[0])
    put(small, "c_part.csv", [*table(small, "c_part.csv"), {**table(small, "c_object.csv")[0], "coverage": shares[1]}])
    vocabulary = Broden(small).vocabulary
    assert next(concept for concept in vocabulary.concepts if concept.name == "car").category == category
    assert vocabulary.categories[vocabulary.category_of[2]] == category


def test_a_mask_that_a_palette_made_small_has_the_same_numbers(small):
    before = Broden(small).labels(1).pixels
    path = small / "images" / "b_object.png"
    with Image.open(path) as mask:
        few = mask.quantize(4)
    few.save(path)
    assert few.mode == "P"
    assert torch.equal(Broden(small).labels(1).pixels, before)


def test_square_images_come_in_the_size_that_is_asked_for(small):
    images = Broden(small, size=12)
    assert images.tensor([0, 1]).shape == (2, 3, 12, 12)
    assert images.labels(0).pixels.shape[1:] == (4, 4)


def test_a_limit_takes_the_first_labelled_images(small):
    assert Broden(small, ["object", "scene"], limit=2).ids == ("a.png", "b.png")
    assert Broden(small, ["scene"], limit=2).ids == ("a.png", "c.png")


def test_labels_are_kept_for_a_second_reading(small):
    images = Broden(small)
    first = images.labels(1).pixels
    shutil.rmtree(small / "images")
    assert torch.equal(images.labels(1).pixels, first)


def test_no_more_labels_are_kept_than_there_is_room_for(small):
    images = Broden(small, ["object"], keep=4 * 4 * 2)  # one mask of uint16
    images.labels(0), images.labels(1)
    shutil.rmtree(small / "images")
    images.labels(0)
    with pytest.raises(FileNotFoundError, match="no mask"):
        images.labels(1)


def test_kept_labels_are_not_changed_by_who_reads_them(small):
    images = Broden(small)
    images.labels(1).pixels.fill_(9)
    assert images.labels(1).pixels.unique().tolist() == [0, 3]


def test_images_are_sent_to_another_process_without_what_is_kept(small):
    images = Broden(small)
    before = len(ForkingPickler.dumps(images))
    images.labels(0), images.labels(1)
    assert len(ForkingPickler.dumps(images)) == before


@pytest.mark.parametrize("workers", [0, 2])
def test_what_is_decoded_ahead_is_what_is_decoded_now(drawn, workers):
    images, ahead = Broden(drawn[1]), Broden(drawn[1])
    batches = [(3, 4, 5), (0,), (31, 2)]
    for numbers, batch in zip(batches, ahead.ahead(batches, workers), strict=True):
        assert batch.numbers == numbers
        assert torch.equal(batch.images, images.tensor(numbers))
        for number in numbers:
            assert torch.equal(batch.labels[number].pixels, images.labels(number).pixels)
            assert batch.labels[number].whole == images.labels(number).whole


def test_a_fault_in_another_process_is_the_same_sentence(small):
    (small / "images" / "b.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"^no image .*b\.png$"):
        list(Broden(small).ahead([(0,), (1,)], workers=2))


def test_digests_tell_images_and_labels_apart(small):
    images = Broden(small)
    before = images.sha256(1), images.labels_sha256(1)
    put_mask(small / "images" / "b_object.png", np.full((4, 4), 2))
    assert images.sha256(1) == before[0]
    assert images.labels_sha256(1) != before[1]
    assert images.labels_sha256(2) != images.labels_sha256(1)


def test_whole_image_labels_are_part_of_the_digest(small):
    before = Broden(small).labels_sha256(2)
    change(small, "index.csv", 2, scene="5;1")
    assert Broden(small).labels_sha256(2) != before


@pytest.mark.real
def test_a_directory_of_photographs_is_read(data_folder):
    images = open_labelled(data_folder / "segmentation" / "broden_micro_224")
    assert (len(images), images.vocabulary.size, images.mask_size) == (300, 53, (112, 112))
    assert images.vocabulary.categories == ("color", "object", "part", "texture")
    striped = images.labels(299)
    assert images.vocabulary.category_of[striped.whole[0]] == 3
    assert images.labels(0).pixels.shape == (2, 112, 112)


@pytest.mark.real
def test_areas_of_photographs_are_those_their_tables_say(data_folder):
    folder = data_folder / "segmentation" / "broden_micro_224"
    images = open_labelled(folder, ["object"])
    area = sum(torch.bincount(images.labels(i).pixels.flatten(), minlength=53) for i in range(len(images)))
    for row in table(folder, "c_object.csv"):
        assert float(area[int(row["number"])]) / 112**2 == pytest.approx(float(row["coverage"]), abs=1e-5)
