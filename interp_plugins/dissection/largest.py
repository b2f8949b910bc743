"""The k largest values of each unit of a stream, in bounded memory.

How it is quick: one comparison drops what is not above the unit's k-th largest value so far. The few others gather
behind the kept ones, and only when a unit has an eighth more are its k largest sought. Which place of which image
a value came from is not kept: thresholds do not ask.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from interp_plugins.foundation.running import divided, k_largest, where_larger, where_true

ROWS = 512  # positions looked at together: few enough to stay in a processor's cache
UNITS = 64  # sought together: bounds the copies made
SPARE = 16  # values a unit gathers at least before its k largest are sought; few, so that the bar keeps up


class LargestValues:
    """The k largest values of each unit, exactly, whatever order they come in.

    Memory is 4 bytes for each unit and each of k + max(k / 8, 16) + 512 places, however many values come.

    Args:
        k: How many are kept, at least 1.
        values: Those of earlier values that may yet count, at least k of each unit, with -inf in places to spare: what
            another one's `values` are.

    Attributes:
        values: (u, places), for each unit the values that may yet count, in no order; -inf in places to spare.
        bar: (u,), the k-th largest when last sought, -inf before: nothing at or below it can count.

    Example:
        >>> stream = LargestValues(2, torch.full((1, 2), -torch.inf))
        >>> stream.take(torch.tensor([[0.5], [0.9], [0.7]]))
        >>> largest_values([stream.values], 2).sort().values
        tensor([[0.7000, 0.9000]])
    """

    def __init__(self, k: int, values: Float32[Tensor, "u _"]) -> None:
        kept = largest_values([values], k)
        self.k, self._limit = k, places_for(k) - ROWS
        self.values = kept.new_full((len(kept), places_for(k)), -torch.inf)
        self.values[:, :k] = kept
        self._used = (kept > -torch.inf).sum(1)
        self.bar = kept[:, 0].clone()

    def take(self, rows: Float32[Tensor, "m u"]) -> None:
        """Take in a finite value of each unit at each of m positions."""
        for some in rows.split(ROWS):
            self._take(some)

    def _take(self, rows: Tensor) -> None:
        u, places = self.values.shape
        chosen = where_larger(rows, self.bar)
        unit = divided(chosen, u)[1]
        order = _by_unit(unit, u)
        unit, chosen = unit.index_select(0, order), chosen.index_select(0, order)
        came = torch.bincount(unit, minlength=u)
        # the first free place of each unit, less the values that stand before the unit's own in this order
        start = torch.arange(u, device=unit.device) * places + self._used + came - came.cumsum(0)
        place = start.index_select(0, unit) + torch.arange(len(unit), device=unit.device)
        values = rows.reshape(-1).index_select(0, chosen) + 0.0  # the sum makes -0 a 0
        self.values.view(-1).scatter_(0, place, values)
        self._used += came
        full = where_true(self._used > self._limit)
        for first in range(0, len(full), UNITS):
            self._drop(full[first : first + UNITS])

    def _drop(self, units: Tensor) -> None:
        """Keep the k largest of some units and nothing else; their smallest is what the next must exceed."""
        longest = int(self._used[units].max())
        kept = k_largest(self.values[units, :longest], self.k)
        self.values[units, : self.k] = kept
        self.values[units, self.k : longest] = -torch.inf
        self._used[units] = self.k
        self.bar[units] = kept[:, 0]


def places_for(k: int) -> int:
    """How many values there is room for, for each unit."""
    return k + max(k // 8, SPARE) + ROWS


def largest_values(parts: Sequence[Float32[Tensor, "_ _"]], k: int) -> Float32[Tensor, "u k"]:
    """The k largest values of each unit from several collections of them, the smallest of them first.

    Args:
        parts: Of at least k places together; those of no units are left out.
        k: How many.

    Raises:
        ValueError: The collections are of different numbers of units.
    """
    held = [part for part in parts if len(part)]
    if not held:
        return torch.empty(0, k)
    units = sorted({len(part) for part in held})
    if len(units) > 1:
        raise ValueError(f"expected the same units everywhere, got {' and '.join(map(str, units))} of them")
    kept = held[0].new_empty(units[0], k)
    for start in range(0, units[0], UNITS):
        some = slice(start, start + UNITS)
        kept[some] = k_largest(torch.cat([part[some] for part in held], 1), k)
    return kept


def _by_unit(unit: Tensor, u: int) -> Tensor:
    """The order that brings together what is of one unit."""
    if unit.device.type == "cpu":  # in numpy, and of small integers, it takes a tenth of the time
        return torch.from_numpy(np.argsort(unit.numpy().astype(np.min_scalar_type(u)), kind="stable"))
    return unit.argsort()
