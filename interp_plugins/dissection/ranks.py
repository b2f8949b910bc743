"""How many activations may be above a threshold, and so which of the sorted ones it is.

    T = the (K + 1)-th largest of a unit's N activations, with K = floor(share N)

Strictly above T are at most K of the N (Bau et al., arXiv:1704.05796, choose the share 0.005).

The authors' code reads another value, from a grid of 1000 points between the smallest and the largest activation: the
994/999 quantile. The rule "netdissect" is that quantile, by linear interpolation between two activations. Their own
sketch of the distribution, NetDissect-Lite's, gives it to within half a rank while it still holds all activations, the
first 24 576 of a unit, and an estimate of it from then on.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from jaxtyping import Float32, Float64
from torch import Tensor

Rule = Literal["exact", "netdissect"]
GRID = 1000  # points at which the authors' code reads the distribution


def above(share: float, positions: int) -> int:
    """How many of so many positions may be active: K = floor(share * positions), of the share as it is written.

    Raises:
        ValueError: The share is not between 0 and 1, or so small that no position could be active.

    Example:
        >>> above(0.005, 63_305 * 7 * 7)
        15509
    """
    if not 0 < share < 1:
        raise ValueError(f"expected a share between 0 and 1, got {share}")
    count = _written(share) * positions // 1
    if count < 1:
        raise ValueError(
            f"expected a share of at least one position, got {share} of {positions}; take at least "
            f"{-(-1 // _written(share))} positions (images x height x width), or a larger share"
        )
    return int(count)


@dataclass(frozen=True)
class Rank:
    """Which of N sorted values a threshold is, or between which two it lies.

    Args:
        place: Of the lower one, counted from the largest, which is 0.
        part: How far on towards the next larger one, from 0 to below 1.
    """

    place: int
    part: Fraction = Fraction(0)

    @classmethod
    def of(cls, positions: int, share: float, rule: Rule) -> "Rank":
        """The rank that a rule asks for.

        Raises:
            ValueError: As `above` does; or the rule is none.
        """
        if rule not in ("exact", "netdissect"):
            raise ValueError(f"expected the rule 'exact' or 'netdissect', got {rule!r}")
        active = above(share, positions)
        if rule == "exact":
            return cls(active)
        point = max(0, (1 - _written(share)) * GRID // 1 - 1)
        lower, part = divmod(Fraction(point, GRID - 1) * (positions - 1), 1)
        return cls(positions - 1 - lower, part)

    @property
    def places(self) -> tuple[int, ...]:
        """Of all values that the threshold depends on."""
        return (self.place, self.place - 1) if self.part else (self.place,)

    def between(self, values: Sequence[Float32[Tensor, " u"]]) -> Float64[Tensor, " u"]:
        """The thresholds, from the values at those places."""
        lower, upper = values[0].double(), values[-1].double()
        return lower + (upper - lower) * float(self.part)


def _written(share: float) -> Fraction:
    return Fraction(str(share))  # 0.005 itself, and not the binary fraction beside it
