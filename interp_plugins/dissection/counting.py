"""Thresholds of layers whose largest activations are too many to keep: by counting, in two passes over the maps.

A float has 32 bits, and there is an order of integers in which they are its rank among all floats. The first pass
counts, for each unit, how many activations have each upper half of those bits, and so finds the upper half that the
threshold has. The second counts the lower halves of the activations with that upper half, and so finds the threshold
itself: the bits that keeping the largest gives. Memory depends on the number of units alone.

Not all activations need counting: what is below the upper half of the rank so far is dropped by one comparison.
"""

import math
from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float, Float32, Int, Int64
from torch import Tensor
from torchmetrics import Metric

from interp_plugins.dissection.largest import UNITS
from interp_plugins.dissection.ranks import Rank, Rule
from interp_plugins.dissection.thresholds import Thresholds, activations, check_count
from interp_plugins.foundation.running import divided, from_ordered, to_ordered, where_larger, where_true

BINS = 2**16  # values of half the bits
HALF = BINS // 2  # what makes the upper half, which has a sign, a place from 0
TOGETHER = 2**18  # activations looked at together: few enough to stay in a processor's cache
GROWTH = 1.25  # of the positions seen, before the rank so far is looked for again


class Bins:
    """In which bins of the first pass the values stand that the thresholds depend on.

    No dataclass, because torchmetrics reaches into those and refuses frozen ones.

    Attributes:
        number: For each unit and each of the rank's places the bin, from 0 to 65535.
        held: How many activations are in that bin.
        within: The place's rank among them, the largest being 0.
        highest: Each unit's largest activation.
        positions: Of how many activations each.
        rank: What is looked for.
    """

    __slots__ = ("held", "highest", "number", "positions", "rank", "within")

    def __init__(
        self,
        number: Int64[Tensor, "u b"],
        held: Int64[Tensor, "u b"],
        within: Int64[Tensor, "u b"],
        highest: Float32[Tensor, " u"],
        positions: int,
        rank: Rank,
    ) -> None:
        self.number, self.held, self.within = number, held, within
        self.highest, self.positions, self.rank = highest, positions, rank

    @property
    def lowest(self) -> Float32[Tensor, "u b"]:
        """The smallest float of each bin."""
        return _edge(self.number, 0)

    def to(self, device: torch.device) -> "Bins":
        """The same on a device."""
        number, held, within = (part.to(device) for part in (self.number, self.held, self.within))
        return Bins(number, held, within, self.highest.to(device), self.positions, self.rank)


class CoarseCounts(Metric):
    """The first pass: counts activations by the upper half of their bits.

    Args:
        units: Of the layer.
        positions: All that will come: images x height x width.
        share: Of the positions, may be active.
        rule: As `UnitThresholds` takes it.
        settings: torchmetrics' own, such as `process_group`.

    Raises:
        ValueError: As `UnitThresholds` does.

    Example:
        >>> maps, images = torch.arange(8.0).reshape(2, 1, 2, 2), torch.tensor([0, 1])
        >>> coarse = CoarseCounts(units=1, positions=8, share=0.25)
        >>> coarse.update(maps, images)
        >>> fine = FineCounts(coarse.compute())
        >>> fine.update(maps, images)
        >>> fine.compute().value
        tensor([5.], dtype=torch.float64)
    """

    is_differentiable = False
    higher_is_better = None
    full_state_update = False

    counts: Tensor
    highest: Tensor
    floor: Tensor
    count: Tensor

    def __init__(self, units: int, positions: int, share: float = 0.005, rule: Rule = "exact", **settings: Any) -> None:
        super().__init__(**settings)
        self.units, self.positions, self.rank = units, positions, Rank.of(positions, share, rule)
        self.add_state("counts", torch.zeros(units, BINS, dtype=torch.int64), "sum")
        self.add_state("highest", torch.full((units,), -torch.inf), "max")
        self.add_state("floor", torch.full((units,), -torch.inf), "max")
        self.add_state("count", torch.tensor(0), "sum")

    def update(self, maps: Float[Tensor, "n u h w"], images: Int[Tensor, " n"]) -> None:
        """Take in the maps of some images, as `UnitThresholds.update` does."""
        rows = activations(maps, images, self.units)
        if not len(rows):
            return
        self.highest = torch.maximum(self.highest, rows.amax(0) + 0.0)  # the sum makes -0 a 0
        for unit, values in _reaching(rows, self.floor):
            _count(self.counts, unit, (to_ordered(values) >> 16).long() + HALF)
        before, now = int(self.count), int(self.count) + len(rows)
        self.count += len(rows)
        if now > self.rank.place and _grew(max(before, self.rank.place), now):
            self.floor = _edge(self._find(self.rank.place)[0], 0)

    @property
    def bar(self) -> Float32[Tensor, " u"] | None:
        """What the thresholds cannot be below, from what has come so far; None while that is too little."""
        return self.floor if self.units and self.floor[0] > -torch.inf else None

    def compute(self) -> Bins:
        """The bins to look into, over all processes.

        Raises:
            ValueError: Other than `positions` positions have come.
        """
        check_count(int(self.count), self.positions)
        found = [self._find(place) for place in self.rank.places]
        number, held, within = (torch.stack(parts, 1) for parts in zip(*found, strict=True))
        return Bins(number, held, within, self.highest, self.positions, self.rank)

    def _find(self, place: int) -> tuple[Tensor, Tensor, Tensor]:
        blocks = [_at(counts, torch.full((len(counts),), place).to(counts)) for counts in self.counts.split(UNITS)]
        number, held, within = (torch.cat(parts) for parts in zip(*blocks, strict=True))
        return number, held, within


class FineCounts(Metric):
    """The second pass: counts, within the bins of the first, by the lower half of the bits.

    Args:
        bins: What the first pass found.
        settings: torchmetrics' own, such as `process_group`.
    """

    is_differentiable = False
    higher_is_better = None
    full_state_update = False

    counts: Tensor
    count: Tensor

    def __init__(self, bins: Bins, **settings: Any) -> None:
        super().__init__(**settings)
        self.bins = bins
        self.add_state("counts", torch.zeros(*bins.number.shape, BINS, dtype=torch.int64), "sum")
        self.add_state("count", torch.tensor(0), "sum")

    def update(self, maps: Float[Tensor, "n u h w"], images: Int[Tensor, " n"]) -> None:
        """Take in the maps of some images, the same as in the first pass."""
        rows, bins = activations(maps, images, len(self.counts)), self.bins.to(self.device)
        for unit, values in _reaching(rows, self.bar):  # the bin of a rank's second place is the first's or higher
            bits = to_ordered(values)
            upper, lower = (bits >> 16).long() + HALF, (bits & (BINS - 1)).long()
            for place, number in enumerate(bins.number.T):
                inside = where_true(upper == number[unit])
                _count(self.counts[:, place], unit[inside], lower[inside])
        self.count += len(rows)

    @property
    def bar(self) -> Float32[Tensor, " u"]:
        """What the thresholds cannot be below."""
        return self.bins.lowest[:, 0].to(self.device)

    def compute(self) -> Thresholds:
        """The thresholds, over all processes.

        Raises:
            ValueError: Other than the first pass's positions have come, or other maps.
        """
        bins = self.bins.to(self.device)
        check_count(int(self.count), bins.positions)
        different = (self.counts.sum(2) != bins.held).any(1).nonzero()
        if len(different):
            raise ValueError(
                f"expected the maps of the first pass again, got others of unit {int(different[0])}; the network must "
                "answer an image in one way"
            )
        found = [_at(counts, within)[0] for counts, within in zip(self.counts.unbind(1), bins.within.T, strict=True)]
        values = [_edge(number, lower) for number, lower in zip(bins.number.T, found, strict=True)]
        return Thresholds(bins.rank.between(values), bins.highest, bins.positions)


def _reaching(rows: Tensor, lowest: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Values that are not below the lowest (u,) that count, some at a time, with their units."""
    below, units = torch.nextafter(lowest, torch.full_like(lowest, -torch.inf)), rows.shape[1]
    for some in rows.split(-(-TOGETHER // units)):
        chosen = where_larger(some, below)
        yield divided(chosen, units)[1], some.reshape(-1).index_select(0, chosen)


def _count(counts: Tensor, unit: Tensor, bin: Tensor) -> None:
    """Add 1 to the counts (u, bins) of each pair."""
    counts.index_put_((unit, bin), torch.ones_like(bin), accumulate=True)


def _at(counts: Tensor, place: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """In which bin (u,) of each unit a place from the largest is, how many the bin holds, and the place among them."""
    from_top = counts.flip(1).cumsum(1)
    behind = (from_top <= place[:, None]).sum(1, keepdim=True)
    number = counts.shape[1] - 1 - behind
    held = counts.gather(1, number)
    within = place[:, None] - from_top.gather(1, behind) + held
    return number[:, 0], held[:, 0], within[:, 0]


def _edge(number: Tensor, lower: Tensor | int) -> Tensor:
    """The float with the upper half that is a bin's number, and a lower half."""
    return from_ordered((((number - HALF) << 16) | lower).int())


def _grew(before: int, now: int) -> bool:
    return math.floor(math.log(now, GROWTH)) > math.floor(math.log(before, GROWTH))
