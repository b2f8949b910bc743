import pytest
import torch

from interp_plugins.foundation.intervals import around, between


def numbers(*values):
    return torch.tensor(values, dtype=torch.float64)


def test_draws_are_moved_to_the_value_by_hand():
    found = around(numbers(10.0), numbers(*range(21))[:, None], level=0.8)  # mean 10, tails at 2 and 18
    assert (found.low.item(), found.high.item()) == pytest.approx((2, 18))
    moved = around(numbers(0.0), numbers(*range(21))[:, None], level=0.8)
    assert (moved.low.item(), moved.high.item()) == pytest.approx((-8, 8))


def test_the_middle_of_the_draws_is_widened_to_hold_the_value():
    draws = numbers(*range(21))[:, None]
    inside, outside = (between(numbers(value), draws, level=0.8) for value in (10.0, 19.0))
    assert (inside.low.item(), inside.high.item()) == pytest.approx((2, 18))
    assert (outside.low.item(), outside.high.item()) == pytest.approx((2, 19))


def test_a_value_alone_needs_no_shape():
    assert around(torch.tensor(1.0, dtype=torch.float64), numbers(0, 1, 2), level=0.5).high.item() == pytest.approx(1.5)


@pytest.mark.parametrize("interval", [around, between])
def test_draws_that_define_nothing_are_left_out(interval):
    nan = float("nan")
    found = interval(numbers(1, nan), torch.stack([numbers(0, nan), numbers(nan, nan), numbers(2, nan)]), level=0.5)
    assert found.high.tolist()[0] == pytest.approx(1.5)
    assert found.low[1].isnan()


@pytest.mark.parametrize("interval", [around, between])
@pytest.mark.parametrize("level", [0, 1, 95])
def test_a_level_is_a_share(interval, level):
    with pytest.raises(ValueError, match="expected a level between 0 and 1, got"):
        interval(numbers(1), numbers(1, 2)[:, None], level)
