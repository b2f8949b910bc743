from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from interp_plugins.neurons.trace import Decision, Share, Trace, Unit
from interp_plugins.report.example import TONES
from interp_plugins.report.tracing import SHARED, draw

NAMES = ("cat", "dog", "$100 bill")
NAN = float("nan")
CLEAN = Decision(
    says=(Share(0, 0.9), Share(1, 0.1)),
    units=(Unit(3, 2.0, True, (Share(0, 0.5), Share(1, 0.5)), 0.1), Unit(1, 1.0, False, (Share(0, 1.0),), 0.0)),
)
ATTACKED = Decision(
    says=(Share(1, 0.999), Share(2, 0.001)),
    units=(Unit(7, 4.0, False, (Share(2, 0.7),), 0.8), Unit(3, -0.5, True, (), NAN)),
)
TRACE = Trace("layer4", CLEAN, ATTACKED)
IMAGES = [np.full((3, 8, 8), level, np.uint8) for level in (100, 160)]
EXEMPLARS = {unit: [np.full((3, 8, 8), 10 * unit, np.uint8)] * 4 for unit in (1, 3, 7)}


def drawn(trace=TRACE, images=IMAGES, exemplars=EXEMPLARS, **more):
    png = draw(trace, images, exemplars, names=NAMES, **more)
    return np.asarray(Image.open(BytesIO(png)).convert("RGB"))


def edges(picture, colour, left):
    """Rows in which the edge of a unit, 6 pixels from `left` on, has this colour."""
    levels = [int(colour[place : place + 2], 16) for place in (1, 3, 5)]
    return int((picture[340:-70, left + 1 : left + 5] == levels).all((1, 2)).sum())


def test_each_unit_has_the_edge_of_its_kind():
    picture = drawn()
    second = 36 + (picture.shape[1] - 72 - 56) // 2 + 56
    side = 80  # 10 times 8 pixels
    assert edges(picture, SHARED, 36) == edges(picture, TONES["truth"], 36) == side
    assert edges(picture, SHARED, second) == edges(picture, TONES["target"], second) == side


def test_one_image_makes_one_column_and_marks_nothing():
    picture = drawn(Trace("layer4", CLEAN), IMAGES[:1])
    assert picture.shape[1] < drawn().shape[1] / 2 + 36
    assert edges(picture, TONES["truth"], 36) == 0
    assert edges(picture, SHARED, 36) > 80  # of both units


def test_the_images_stand_side_by_side_at_one_size():
    picture = drawn()
    for level in (100, 160):
        assert (picture == level).all(2).sum() >= 256 * 256


@pytest.mark.parametrize("size", [8, 32, 299])
def test_images_of_any_size_make_a_picture_of_about_one_size(size):
    images = [np.zeros((3, size, size), np.uint8)] * 2
    height, width, _ = drawn(images=images, exemplars={unit: images * 3 for unit in (1, 3, 7)}).shape
    assert 540 < height < 660
    assert 1600 < width < 2000


def test_truth_and_target_have_their_own_colours():
    assert (drawn() != drawn(truth=0, target=1)).any()


@pytest.mark.parametrize("influence", [-1.0, 0.0])
def test_units_without_influence_are_drawn_too(influence):
    units = tuple(replace(unit, influence=influence) for unit in CLEAN.units)
    assert drawn(Trace("layer4", replace(CLEAN, units=units)), IMAGES[:1]).size


def test_a_unit_of_which_nothing_is_known_has_no_images():
    whole, without = drawn(), drawn(exemplars=EXEMPLARS | {7: []})
    assert whole.shape == without.shape
    assert [(picture == 70).all(2).any() for picture in (whole, without)] == [True, False]
    assert drawn(exemplars={unit: [] for unit in EXEMPLARS}).size


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"images": IMAGES[:1]}, "expected 2 images, as many as the trace has, got 1"),
        (
            {"exemplars": {unit: EXEMPLARS[unit] for unit in (1, 3)}},
            "exemplars of every unit of the trace, got none of unit 7",
        ),
    ],
)
def test_what_it_refuses(change, words):
    with pytest.raises(ValueError, match=words):
        drawn(**change)
