"""NetDissect-Lite's algorithm written down once more, slowly, in float64 NumPy and from its description alone.

It is what ours is held against where NetDissect-Lite itself is not at hand, and what explains where the two differ.
Three of its habits are switches or answers here:

- Its quantile is linear interpolation between sorted values, at 994/999 of the way. How far the way is depends on where
  its sort puts two copies of the extremes that weigh nothing: `readings` has the four answers, half a rank apart.
- It counts a unit's lit pixels for a category where a label of that category lies under them. In an image without masks
  it does not look, but takes over what lay under the unit, or the image, that it looked at last: `stale`.
- It enlarges maps in float32 and keeps those in float64 that it is given.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

POINT, LAST = 994, 999  # of the points 0 to 999 between the smallest and the largest value: that of a share of 0.005

Floats = NDArray[np.float64]
Marked = tuple[NDArray[np.int32], tuple[int, ...]]  # an image's masks (l, h, w), and its labels as a whole


@dataclass(frozen=True)
class Counts:
    """Pixels, by unit u, label number c and category k."""

    both: Floats  # (u, c)
    labelled: Floats  # (c,)
    active: Floats  # (u,)
    active_by_category: Floats  # (u, k)


def thresholds(maps: Floats, point: int = POINT) -> Floats:
    """Of (n, u, h, w) for each unit: NumPy's linear interpolation at 994/999, or another point."""
    first: Floats = readings(maps, point)[0]
    return first


def readings(maps: Floats, point: int = POINT) -> Floats:
    """What NetDissect-Lite may read off as threshold, (4, u); the first is NumPy's own."""
    values = np.sort(maps.transpose(1, 0, 2, 3).reshape(maps.shape[1], -1), axis=1)
    count = values.shape[1]
    # the extremes' copies lie before or behind the extremes themselves, at either end
    places = point / LAST * np.array([count - 1, count, count - 0.5, count - 0.5]) - np.array([0, 0.5, 0, 0.5])
    first = np.clip(np.floor(places).astype(np.int64), 0, count - 2)
    low, high = values[:, first], values[:, first + 1]
    found: Floats = (low + (places - first) * (high - low)).T
    return found


def enlarged(values: Floats, size: tuple[int, int]) -> Floats:
    """A map (h, w) at another size, bilinearly, pixels' centres at half numbers and the edge carried on."""
    for axis, pixels in enumerate(size):
        count = values.shape[axis]
        source = np.clip((np.arange(pixels) + 0.5) * (count / pixels) - 0.5, 0, count - 1)
        first = np.minimum(np.floor(source).astype(np.int64), max(count - 2, 0))
        low, high = values.take(first, axis), values.take(np.minimum(first + 1, count - 1), axis)
        weight = np.expand_dims(source - first, 1 - axis)
        values = low + weight * (high - low)
    return values


def count(
    maps: Floats,
    levels: Floats,
    marked: Sequence[Marked],
    category_of: NDArray[np.int64],
    size: tuple[int, int],
    *,
    stale: bool = False,
) -> Counts:
    """Go through images and units as NetDissect-Lite does.

    Args:
        maps: (n, u, h, w).
        levels: Thresholds (u,).
        marked: Of each image.
        category_of: Of each label number, -1 for none.
        size: Of the masks.
        stale: Take over, for images without masks, what lay under the unit before.
    """
    units, numbers, categories = maps.shape[1], len(category_of), int(category_of.max()) + 1
    both, labelled = np.zeros((units, numbers)), np.zeros(numbers)
    active, by_category = np.zeros(units), np.zeros((units, categories))
    last: set[int] = set()
    for values, (masks, whole) in zip(maps, marked, strict=True):
        labelled += np.bincount(masks.ravel(), minlength=numbers)
        labelled[list(whole)] += size[0] * size[1]
        for unit in range(units):
            if values[unit].max() <= levels[unit]:
                continue
            lit = enlarged(values[unit], size) > levels[unit]
            pixels = lit.sum()
            active[unit] += pixels
            under = np.bincount(masks[:, lit].ravel(), minlength=numbers)
            under[list(whole)] += pixels
            both[unit] += under
            found = set(category_of[list(whole)].tolist())
            if len(masks):
                last = found | set(category_of[np.flatnonzero(under)].tolist())
            else:
                last = found | (last if stale else set())
            by_category[unit, [category for category in last if category >= 0]] += pixels
    labelled[0], both[:, 0] = 0, 0
    return Counts(both, labelled, active, by_category)
