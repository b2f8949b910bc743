"""Float images to bytes: the nearest grey levels inside the box and the ball."""

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from oracles import bytes_in_l2, inside, nearest_bytes

from interp_plugins.attacks import to_bytes

BALLS = [(None, "linf"), (Fraction(2, 255), "linf"), (Fraction(5, 510), "linf"), (Fraction(3, 255), "l2")]


def grey(*levels):
    return torch.tensor(levels, dtype=torch.uint8).view(1, 1, 1, -1)


def floats(*levels):
    return torch.tensor(levels, dtype=torch.float64).view(1, 1, 1, -1) / 255


def radius(epsilon):
    return None if epsilon is None else float(epsilon)


@st.composite
def attacked(draw, ball=None, most=12):
    """Clean bytes, floats (float64, on [0, 1]) inside the ball around them, the ball's exact epsilon and its norm."""
    epsilon, norm = ball or draw(st.sampled_from(BALLS))
    count, rows = draw(st.integers(1, most)), draw(st.integers(1, 3))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    origin = torch.randint(256, (rows, 1, 1, count), generator=generator, dtype=torch.uint8)
    change = torch.rand(origin.shape, generator=generator, dtype=torch.float64) * 2 - 1
    if norm == "l2":
        change = change / change.flatten(1).norm(dim=1).view(-1, 1, 1, 1).clamp_min(1)
    images = (origin.double() / 255 + change * (1.0 if epsilon is None else float(epsilon))).clamp(0, 1)
    return origin, images, epsilon, norm


def test_rounding_by_hand():
    assert to_bytes(floats(10.4, 10.6, 0.2, 254.7), grey(0, 0, 0, 0)).flatten().tolist() == [10, 11, 0, 255]


def test_rounding_into_linf_by_hand():
    found = to_bytes(floats(12.4, 7.6, 10.0, 1.5), grey(10, 10, 10, 0), 2.5 / 255)
    assert found.flatten().tolist() == [12, 8, 10, 2]  # a ball of 2.5 levels holds two


def test_rounding_into_l2_by_hand():
    origin, images = grey(10, 10, 10), floats(12.6, 9.3, 10.9)  # 2.6² + 0.7² + 0.9² = 8.06, rounded 3² + 1² + 1² = 11
    assert to_bytes(images, origin, 10**0.5 / 255, "l2").flatten().tolist() == [12, 9, 11]  # 2.6 to 3 was closest


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("epsilon", [8 / 255, math.nextafter(8 / 255, 0)])
def test_a_radius_that_just_misses_eight_levels_is_eight_levels(epsilon, norm):
    assert to_bytes(torch.ones(1, 1, 1, 1), grey(100), epsilon, norm).item() == 108


def test_float32_images_of_whole_levels_come_back():
    every = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    assert torch.equal(to_bytes(every.float() / 255, torch.zeros_like(every)), every)


@given(attacked(most=3))
def test_no_grid_point_inside_is_nearer(case):
    origin, images, epsilon, norm = case
    found = to_bytes(images, origin, radius(epsilon), norm)
    for row, image, centre in zip(found.flatten(1), images.flatten(1), origin.flatten(1), strict=True):
        values, centre = (image * 255).tolist(), centre.tolist()
        plain = [round(value) for value in values]
        if norm == "linf" or inside(plain, centre, epsilon, norm):
            assert tuple(row.tolist()) == nearest_bytes(values, centre, epsilon, norm)


@given(attacked(ball=(Fraction(3, 255), "l2")))
def test_a_rounded_image_outside_l2_goes_back_on_its_closest_calls(case):
    origin, images, epsilon, _ = case
    found = to_bytes(images, origin, float(epsilon), "l2")
    for row, image, centre in zip(found.flatten(1), images.flatten(1), origin.flatten(1), strict=True):
        assert row.tolist() == bytes_in_l2((image * 255).tolist(), centre.tolist(), epsilon)


@given(attacked())
def test_bytes_keep_the_box_and_the_ball_exactly(case):
    origin, images, epsilon, norm = case
    found = to_bytes(images, origin, radius(epsilon), norm)
    for row, centre in zip(found.flatten(1), origin.flatten(1), strict=True):
        assert inside(row.tolist(), centre.tolist(), epsilon, norm)


@given(attacked(), st.sampled_from(BALLS[1:]))
def test_images_outside_the_ball_are_brought_into_it(case, ball):
    origin, _, _, _ = case
    epsilon, norm = ball
    found = to_bytes(1 - origin.double() / 255, origin, float(epsilon), norm)
    for row, centre in zip(found.flatten(1), origin.flatten(1), strict=True):
        assert inside(row.tolist(), centre.tolist(), epsilon, norm)


@given(attacked())
def test_bytes_are_less_than_a_level_from_the_floats(case):
    origin, images, epsilon, norm = case
    found = to_bytes(images, origin, radius(epsilon), norm)
    assert float((found.double() - images * 255).abs().max()) < (1 if epsilon else 0.5 + 1e-9)


@given(attacked())
def test_bytes_inside_the_ball_stay_as_they_are(case):
    origin, images, epsilon, norm = case
    found = to_bytes(images, origin, radius(epsilon), norm)
    assert torch.equal(to_bytes(found.float() / 255, origin, radius(epsilon), norm), found)


@given(attacked())
def test_an_image_alone_gives_the_same_bytes(case):
    origin, images, epsilon, norm = case
    found = to_bytes(images, origin, radius(epsilon), norm)
    pairs = zip(images.split(1), origin.split(1), strict=True)
    alone = [to_bytes(image, centre, radius(epsilon), norm) for image, centre in pairs]
    assert torch.equal(torch.cat(alone), found)


def test_more_images_than_are_held_at_once_keep_their_places():
    images = torch.rand(150, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    assert torch.equal(to_bytes(images, torch.zeros(150, 1, 2, 2).byte()), (images.double() * 255).round().byte())


@pytest.mark.parametrize(
    ("call", "error", "sentence"),
    [
        (lambda: to_bytes(floats(3.0) * 255, grey(0)), ValueError, r"expected images in \[0, 1\]"),
        (lambda: to_bytes(floats(3.0), floats(0.0)), TypeError, "expected origin in grey levels, torch.uint8, got"),
        (lambda: to_bytes(floats(3.0), [0]), TypeError, "expected origin as a torch tensor, got list"),
        (
            lambda: to_bytes(floats(3.0), grey(0, 0)),
            ValueError,
            r"expected origin of shape \(1, 1, 1, 1\), got \(1, 1, 1, 2\)",
        ),
        (lambda: to_bytes(floats(3.0), grey(0), 8), ValueError, "write 8 / 255"),
        (lambda: to_bytes(floats(3.0), grey(0), norm="l1"), ValueError, "expected norm to be one of"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_wrong_floats_and_origins_are_one_sentence(call, error, sentence):
    with pytest.raises(error, match=sentence):
        call()
