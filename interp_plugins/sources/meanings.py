"""From what masks store to concepts."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from interp_plugins.sources.decoding import BLUE, Numbers


class Meanings:
    """What stored numbers stand for.

    Args:
        known: Numbers that may be stored, below 65 536; those that are not in `concepts` stand for none.
        concepts: For some of them the concept's number.
        table: What lists them; messages name it.

    Example:
        >>> meanings = Meanings({0, 1, 300}, {300: 2}, "labels.csv")
        >>> meanings.concepts(np.array([[0, 1, 300]]), Path("mask.png")).tolist()
        [[0, 0, 2]]
    """

    def __init__(self, known: Iterable[int], concepts: Mapping[int, int], table: str) -> None:
        self._table, self._concept = table, np.full(BLUE, -1, np.int32)
        self._concept[list(known)] = 0
        self._concept[list(concepts)] = list(concepts.values())
        other = self._concept != np.arange(BLUE)
        self._same = int(other.argmax()) if other.any() else BLUE  # numbers below it are their own concepts

    def concepts(self, stored: Numbers, mask: Path) -> NDArray[np.uint16]:
        """The concepts of a mask's numbers.

        Raises:
            ValueError: A number is not known; the message names the mask.
        """
        if stored.max() < self._same:  # as in most of Broden, and ten times as fast
            return stored.astype(np.uint16)
        concepts = self._concept.take(stored)
        if concepts.min() < 0:
            strange = ", ".join(map(str, np.unique(stored[concepts < 0])[:5].tolist()))
            raise ValueError(f"expected numbers of {self._table} in the mask {mask}, got {strange}")
        return concepts.astype(np.uint16)
