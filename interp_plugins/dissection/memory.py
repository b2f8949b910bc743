"""How much memory a layer's thresholds take, so that one of the two ways to find them can be chosen."""

from typing import NamedTuple

from interp_plugins.dissection.counting import BINS
from interp_plugins.dissection.largest import places_for
from interp_plugins.dissection.ranks import Rank, Rule


class Memory(NamedTuple):
    """Bytes that finding a layer's thresholds takes, by either way."""

    largest: int  # UnitThresholds, in one pass
    counts: int  # CoarseCounts and FineCounts, the larger of the two, in a pass each


def memory(units: int, positions: int, share: float = 0.005, rule: Rule = "exact") -> Memory:
    """What each way takes between two batches, whatever has come.

    Args:
        units: Of the layer.
        positions: All that will come: images x height x width.
        share: Of the positions, may be active.
        rule: As `UnitThresholds` takes it.

    Raises:
        ValueError: As `UnitThresholds` does.

    Example:
        >>> memory(units=64, positions=63_305 * 112 * 112)
        Memory(largest=1143632128, counts=33554432)
    """
    rank = Rank.of(positions, share, rule)
    return Memory(4 * units * places_for(rank.place + 1), 8 * units * BINS * len(rank.places))
