from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from interp_plugins.neurons.trace import Share
from interp_plugins.report.sheets import RED, Row, Shown, draw

NAMES = ("cat", "dog", "$100 bill", "a class with quite a long name, longer than there is room for, much longer")
RED_LEVELS = [int(RED[place : place + 2], 16) for place in (1, 3, 5)]


def grey(k, size=8):
    return np.full((k, 3, size, size), 128, np.uint8)


MEANING = (Share(0, 0.6), Share(1, 0.4))


def row(targets=(1, 0, 2), meaning=MEANING, size=8, regions=None, **more):
    attacked = Shown(grey(len(targets), size), tuple(targets), regions)
    return Row(unit=5, meaning=meaning, lc=0.8, lc_adv=0.2, real=Shown(grey(3, size)), attacked=attacked, **more)


def picture(png):
    return np.asarray(Image.open(BytesIO(png)).convert("RGB"))


def frames(png, least=100):
    """Whether long red lines run across, as a frame's do and no letter's."""
    red = (picture(png) == RED_LEVELS).all(2)
    return bool((red.sum(1) >= least).any())


def test_an_attacked_image_is_framed_if_it_aims_at_what_the_unit_stands_for_and_only_then():
    assert [row().framed(number) for number in range(3)] == [False, True, False]


def test_a_second_class_of_the_unit_is_no_reason_for_a_frame():
    assert not any(row(targets=(1, 1)).framed(number) for number in range(2))


def test_a_unit_that_stands_for_nothing_frames_nothing():
    assert not any(row(meaning=()).framed(number) for number in range(3))


def test_frames_are_red_and_only_there():
    assert frames(draw([row()], names=NAMES))
    assert not frames(draw([row(targets=(1, 2, 3))], names=NAMES))


@pytest.mark.parametrize("size", [8, 32, 299])
def test_images_of_any_size_make_rows_of_about_one_height(size):
    height, width, _ = picture(draw([row(size=size)], names=NAMES)).shape
    assert 300 < height < 360
    assert 1100 < width < 1400


def test_a_row_more_makes_the_sheet_higher_and_no_attacked_images_make_it_narrower():
    both, two = picture(draw([row()], names=NAMES)), picture(draw([row(), row()], names=NAMES))
    alone = picture(draw([Row(unit=1, meaning=(), lc=float("nan"), real=Shown(grey(3)))], names=NAMES))
    assert two.shape[0] > both.shape[0] + 100
    assert two.shape[1] == both.shape[1]
    assert alone.shape[1] < both.shape[1] - 300


def test_regions_are_outlined():
    regions = np.zeros((3, 8, 8), bool)
    regions[:, 2:6, 2:6] = True
    plain, outlined = (picture(draw([row(regions=some)], names=NAMES)) for some in (None, regions))
    assert (outlined != plain).any()
    half = plain.shape[1] // 2
    assert (plain[104:280, :half] == outlined[104:280, :half]).all()  # the real images have none


def test_units_with_fewer_images_leave_their_places_empty():
    short = Row(unit=2, meaning=(Share(3, 1.0),), lc=1.0, real=Shown(grey(1)), attacked=Shown(grey(0)))
    assert picture(draw([row(), short], names=NAMES)).shape[1] == picture(draw([row()], names=NAMES)).shape[1]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: draw([], names=NAMES), "at least one unit with images, got 0 units"),
        (lambda: draw([Row(unit=1, meaning=(), lc=1.0, real=Shown(grey(0)))], names=NAMES), "got 1 unit"),
        (lambda: Shown(grey(3), (1, 2)), "a target for each of 3 images, got 2"),
        (lambda: Shown(grey(3), regions=np.zeros((3, 9, 8), bool)), r"shape \(3, 8, 8\), as the images', got \(3, 9"),
    ],
)
def test_what_it_refuses(make, words):
    with pytest.raises(ValueError, match=words):
        make()
