"""A dissection with what it was made of, and what its rows, tables and figures all ask of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from interp_plugins.dissection.dissection import ATTACKED, CLEAN, Alignment, Dissected, NetworkDissection
from interp_plugins.dissection.labels import ALL, UnitLabels
from interp_plugins.dissection.thresholds import Thresholds
from interp_plugins.foundation.concepts import Vocabulary

KEPT = "kept"
OTHER = "other label"
LOST = "lost"
GAINED = "gained"


@dataclass(frozen=True)
class Study:
    """A dissection.

    Attributes:
        layers: What the units of each point at.
        method: The settings.
        vocabulary: The concepts.
        images: How many there were.
        attack: In words, with its epsilon; None for clean images alone.
    """

    layers: Mapping[str, Dissected]
    method: NetworkDissection
    vocabulary: Vocabulary
    images: int
    attack: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The columns of Table 2: all categories, and at last "all"."""
        return (*self.vocabulary.categories, ALL)

    @property
    def terms(self) -> str:
        """What a detector is here, for the method of a number."""
        method = self.method
        return (
            f"IoU above {method.detector:g}, union rule {method.union!r}, top {100 * method.share:g} % of places, "
            f"{method.quantile} thresholds"
        )


def sides(found: Dissected) -> dict[str, Alignment]:
    """The kinds of images there are of a layer, by name."""
    return {CLEAN: found.clean} | ({ATTACKED: found.attacked} if found.attacked is not None else {})


def fates(before: UnitLabels, after: UnitLabels) -> list[str]:
    """What becomes of each unit: it keeps the concept it detects, takes another one, loses or gains one, or nothing."""
    detects = zip(before.detectors.tolist(), after.detectors.tolist(), strict=True)
    same = (before.concept == after.concept).tolist()
    names = {(True, False): LOST, (False, True): GAINED, (False, False): ""}
    return [names.get(pair, KEPT if alike else OTHER) for pair, alike in zip(detects, same, strict=True)]


def silence(thresholds: Thresholds) -> list[str]:
    """For each unit "dead", "saturated" or nothing."""
    pairs = zip(thresholds.silent.tolist(), thresholds.saturated.tolist(), strict=True)
    return ["saturated" if saturated else "dead" if silent else "" for silent, saturated in pairs]


def many(count: int, noun: str) -> str:
    """A number of things.

    Example:
        >>> many(1, "unit"), many(1200, "unit")
        ('1 unit', '1,200 units')
    """
    return f"{count:,} {noun}" + "s" * (count != 1)


def joined(*parts: Tensor) -> list[Any]:
    """Numbers and lists of them as one list: those of all categories, and then that of all units."""
    found: list[Any] = torch.cat([part.view(-1) for part in parts]).tolist()
    return found
