"""Averages over units in which nothing undefined is hidden: nan is left out and counted.

The curves of Dong et al. (arXiv:1708.05493, Fig. 4) are means over units of all convolutional layers in bins of LC. The
paper does not say how its bins were chosen; ours are of equal width unless edges are given.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor


@dataclass(frozen=True)
class Average:
    """A mean over the values that are defined, and how many were and were not; nan if none was."""

    mean: float
    defined: int
    undefined: int


@dataclass(frozen=True)
class Curve:
    """Means of values in b bins of LC; nan in an empty bin."""

    means: Float64[Tensor, " b"]
    counts: Int[Tensor, " b"]  # units in the bin
    edges: Float64[Tensor, " b+1"]
    undefined: int  # units whose value or LC is nan
    outside: int  # units whose LC lies beyond the edges


def average(values: Float[Tensor, "..."]) -> Average:
    """The mean of the values that are no nan.

    Example:
        >>> average(torch.tensor([1.0, float("nan"), 2.0]))
        Average(mean=1.5, defined=2, undefined=1)
    """
    known = values[~values.isnan()].double()
    return Average(float(known.mean()), known.numel(), values.numel() - known.numel())


def binned(values: Float[Tensor, " u"], lc: Float[Tensor, " u"], bins: int | Float[Tensor, " e"] = 10) -> Curve:
    """Mean of the values of the units in each bin of LC.

    Args:
        values: One a unit, such as CS_1.
        lc: LC of the same units.
        bins: How many of equal width between the lowest and the highest LC; or their edges, ascending. A bin holds its
            lower edge; the last holds its upper one too.

    Example:
        >>> curve = binned(torch.tensor([1.0, 3.0, 5.0]), torch.tensor([0.1, 0.2, 0.9]), torch.tensor([0.0, 0.5, 1.0]))
        >>> curve.means, curve.counts
        (tensor([2., 5.], dtype=torch.float64), tensor([2, 1]))
    """
    if values.shape != lc.shape:
        raise ValueError(f"expected a value and an LC a unit, got {tuple(values.shape)} and {tuple(lc.shape)}")
    known = ~(values.isnan() | lc.isnan())
    y, x = values[known].double(), lc[known].double()
    edges = _equal(x, bins) if isinstance(bins, int) else _ascending(bins.to(x))
    inside = (x >= edges[0]) & (x <= edges[-1])
    y, x = y[inside], x[inside]
    count = len(edges) - 1
    place = (torch.searchsorted(edges, x, right=True) - 1).clamp(max=count - 1)
    counts = torch.bincount(place, minlength=count)
    sums = torch.zeros(count, dtype=torch.float64, device=x.device).index_add_(0, place, y)
    return Curve(sums / counts, counts, edges, int((~known).sum()), int((~inside).sum()))


def _equal(x: Tensor, bins: int) -> Tensor:
    if bins < 1:
        raise ValueError(f"expected at least one bin, got {bins}")
    if len(x) == 0:
        raise ValueError("expected at least one unit with a value and an LC, got none; were all units dead?")
    low, high = (float(value) for value in torch.aminmax(x))
    edges = torch.linspace(low, high, bins + 1, dtype=torch.float64, device=x.device)
    edges[-1] = high
    return edges


def _ascending(edges: Tensor) -> Tensor:
    if len(edges) < 2 or not (edges[1:] > edges[:-1]).all():
        raise ValueError(f"expected at least two edges in ascending order, got {edges.tolist()}")
    return edges
