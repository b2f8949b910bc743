"""Intervals by drawing the data again (a bootstrap), in two ways.

between    the middle of the draws, widened to hold the value: for counts and differences of counts
around     value + quantiles of (value of a draw - mean over the draws): for means of agreement

Drawing adds something of its own: a set drawn with replacement has fewer different members than the set it is drawn
from, so that agreement and best matches come out too high. `around` takes that out where it is the same for all draws.
Counts of what passes a limit move in jumps; there it is not, and `between` errs on the wide side.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float64
from torch import Tensor


@dataclass(frozen=True)
class Interval:
    """Values with the limits of their interval, nan where undefined."""

    value: Float64[Tensor, "*dims"]
    low: Float64[Tensor, "*dims"]
    high: Float64[Tensor, "*dims"]


def between(value: Float64[Tensor, "*dims"], draws: Float64[Tensor, "d *shape"], level: float = 0.95) -> Interval:
    """The middle of the draws, widened to hold the values; nan where the value is, or where no draw defines it.

    Args:
        value: Of the data themselves.
        draws: The same of each draw.
        level: How often the interval is to hold the truth, between 0 and 1.

    Raises:
        ValueError: The level is not between 0 and 1.
    """
    low, high = _tails(draws, level)
    return Interval(value, torch.minimum(low, value), torch.maximum(high, value))


def around(value: Float64[Tensor, "*dims"], draws: Float64[Tensor, "d *shape"], level: float = 0.95) -> Interval:
    """The draws moved so that their mean is the value; arguments, errors and nan as for `between`."""
    low, high = _tails(draws - draws.nanmean(0), level)
    return Interval(value, value + low, value + high)


def _tails(draws: Tensor, level: float) -> tuple[Tensor, Tensor]:
    if not 0 < level < 1:
        raise ValueError(f"expected a level between 0 and 1, got {level}")
    tails = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=draws.dtype, device=draws.device)
    low, high = torch.nanquantile(draws, tails, dim=0)
    return low, high
