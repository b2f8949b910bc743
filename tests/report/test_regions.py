"""Where units look: a sheet of images with what each unit lights, and which units are worth one."""

from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image

from interp_plugins.dissection.labels import UnitLabels
from interp_plugins.report.regions import Looks, Unit, draw, telling
from tests.counted_overlaps import VOCABULARY
from tests.dissected_world import ATTACKED, CLEAN, aligned

CATEGORIES = VOCABULARY.categories


def looks(k=3, lit=True, label="dog", category="object", detects=True, size=16):
    images = np.full((k, 3, size, size), 200, np.uint8)
    return Looks(images, np.full((k, size // 2, size // 2), lit), label, category, 0.11, detects)


def picture(units, **more):
    return np.asarray(Image.open(BytesIO(draw(units, CATEGORIES, **more))).convert("RGB"))


def test_what_a_unit_does_not_light_is_dimmed():
    bright, dim = picture([Unit(1, looks())]), picture([Unit(1, looks(lit=False))])
    assert (bright == 200).all(2).sum() > 0.9 * 3 * 176**2
    assert (dim == 120).all(2).sum() > 0.9 * 3 * 176**2


def test_attacked_images_stand_below_the_clean_ones():
    one, two = picture([Unit(1, looks())]), picture([Unit(1, looks(), looks(lit=False))])
    assert two.shape[1] == one.shape[1]
    assert two.shape[0] == one.shape[0] + 176 + 12
    rows = [(two == level).all(2).any(1).nonzero()[0].mean() for level in (200, 120)]
    assert rows[0] < rows[1]


def test_each_unit_more_makes_the_sheet_higher():
    heights = [len(picture([Unit(number, looks()) for number in range(count)])) for count in (1, 2, 3)]
    assert heights[2] - heights[1] == heights[1] - heights[0] > 176


def test_a_label_has_the_colour_of_its_category_and_nothing_has_none():
    def has(colour, units):
        levels = [int(colour[place : place + 2], 16) for place in (1, 3, 5)]
        return bool((picture(units) == levels).all(2).any())

    assert has("#3b5bdb", [Unit(1, looks())])
    assert not has("#3b5bdb", [Unit(1, looks(label="", category=""))])


def test_a_unit_brings_its_own_label():
    labels, images, regions = aligned(CLEAN).labels, np.zeros((1, 3, 8, 8), np.uint8), np.zeros((1, 4, 4), bool)
    dog, nothing = (Looks.of(unit, labels, VOCABULARY, images, regions) for unit in (0, 5))
    assert (dog.label, dog.category, dog.detects) == ("dog", "object", True)
    assert dog.iou == float(labels.iou[0])
    assert (nothing.label, nothing.category, nothing.detects) == ("", "", False)


def test_the_best_detector_of_each_concept_comes_first_then_other_detectors_then_the_rest():
    assert telling(aligned(CLEAN).labels, 6) == [0, 2, 1, 3, 4, 5]
    assert telling(aligned(ATTACKED).labels, 2) == [0, 1]


def test_units_of_equal_iou_come_in_their_own_order():
    same = torch.full((3,), 0.5, dtype=torch.float64)
    numbers = torch.ones(3, dtype=torch.int64)
    labels = UnitLabels(numbers, numbers * 0, same, numbers[:, None], same[:, None], numbers == 0)
    assert telling(labels, 3) == [0, 1, 2]


def test_a_region_is_asked_of_each_image():
    with pytest.raises(ValueError, match="expected a region for each of 2 images, got 1"):
        Looks(np.zeros((2, 3, 8, 8), np.uint8), np.zeros((1, 4, 4), bool), "dog", "object", 0.1, True)


@pytest.mark.parametrize("units", [[], [Unit(1, looks(k=0))], [Unit(1, looks(), looks(k=0))]])
def test_a_sheet_needs_units_with_images(units):
    with pytest.raises(ValueError, match="expected at least one unit with images, got"):
        draw(units, CATEGORIES)
