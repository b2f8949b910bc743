"""Which concept a unit points at, and how many units point at one.

    label       of unit k: arg max_c IoU(k, c) over all concepts asked about; of equal ones the lowest number
    detector    a unit whose label's IoU is above 0.04
    ratio       100 * detectors with a label of the category / all units of the layer        (Xie Table 2)

A unit has one label and counts once, so that the categories add up to "all". Every entry of Xie's Table 2 is such a
count. (The plots of Bau et al. count a unit in each category in which it passes; their text and NetDissect-Lite do not.
NetDissect-Lite asks for 0.04 or more, the paper for more than 0.04, as here.)

A unit that lights nothing, or nothing that is labelled, has no label: 0.

What chance gives: the same units and the same lit pixels with the labels of other images. With few images many units
pass 0.04 by chance, but they point at the same few large concepts; so the number of different labels says more than the
number of detectors.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from interp_plugins.dissection.overlap import Overlap
from interp_plugins.foundation.concepts import Vocabulary

DETECTOR = 0.04
ALL = "all"


@dataclass(frozen=True)
class Counts:
    """What is counted of the labels of a layer's units, by each of p permutations or draws."""

    detectors: Int64[Tensor, " p"]
    unique: Int64[Tensor, " p"]  # different labels of detectors
    by_category: Int64[Tensor, "p k"]
    unique_by_category: Int64[Tensor, "p k"]


@dataclass(frozen=True)
class UnitLabels:
    """The label of each of u units, and its best concept in each of k categories."""

    concept: Int64[Tensor, " u"]  # 0 = none
    category: Int64[Tensor, " u"]  # its place among the vocabulary's; -1 = none
    iou: Float64[Tensor, " u"]
    per_category_concept: Int64[Tensor, "u k"]
    per_category_iou: Float64[Tensor, "u k"]
    silent: Bool[Tensor, " u"]  # no place of any map lies above the unit's threshold: dead or saturated
    detector: float = DETECTOR  # IoU above which a unit detects its label

    @property
    def detectors(self) -> Bool[Tensor, " u"]:
        """The units that detect their label."""
        return self.iou > self.detector

    @property
    def by_category(self) -> Int64[Tensor, " kinds"]:
        """How many detectors have a label of each category."""
        return torch.bincount(self.category[self.detectors], minlength=self.per_category_iou.shape[1])

    @property
    def unique(self) -> int:
        """How many different labels detectors have."""
        return len(self.concept[self.detectors].unique())

    @property
    def unique_by_category(self) -> Int64[Tensor, " kinds"]:
        """How many different labels of each category detectors have."""
        pairs = torch.stack([self.concept, self.category])[:, self.detectors].unique(dim=1)
        return torch.bincount(pairs[1], minlength=self.per_category_iou.shape[1])

    def ratio(self, vocabulary: Vocabulary) -> dict[str, tuple[int, int]]:
        """A line of Xie's Table 2: for each category, and at last for "all", the number of detectors and of units."""
        counts = dict(zip(vocabulary.categories, self.by_category.tolist(), strict=True))
        return {name: (count, len(self.iou)) for name, count in {**counts, ALL: int(self.detectors.sum())}.items()}


def best_labels(overlap: Overlap, silent: Bool[Tensor, " u"], detector: float = DETECTOR) -> UnitLabels:
    """The label of every unit.

    Args:
        overlap: Of a layer.
        silent: Its units that are dead or saturated, from its thresholds.
        detector: IoU above which a unit detects its label, from 0 to below 1.

    Raises:
        ValueError: The limit is outside [0, 1).
    """
    if not 0 <= detector < 1:
        raise ValueError(f"expected an IoU from 0 to below 1 for detectors, got {detector}; the paper has {DETECTOR}")
    found = overlap.iou
    value, best = found.max(1)  # of equal ones the first; number 0 is no concept, and its IoU is 0
    each = [found.masked_fill(overlap.category_of != category, 0).max(1) for category in range(overlap.active.shape[1])]
    return UnitLabels(
        concept=best,
        category=overlap.category_of[best],
        iou=value,
        per_category_concept=torch.stack([found.indices for found in each], 1),
        per_category_iou=torch.stack([found.values for found in each], 1),
        silent=silent,
        detector=detector,
    )


def chance_of(labels: Sequence[UnitLabels]) -> Counts:
    """Count what each permutation gives.

    Args:
        labels: The units' labels by the overlap of each permutation.

    Raises:
        ValueError: There is none.
    """
    if not labels:
        raise ValueError("expected the labels of at least one permutation, got none")
    return Counts(
        detectors=torch.stack([each.detectors.sum() for each in labels]),
        unique=torch.tensor([each.unique for each in labels]),
        by_category=torch.stack([each.by_category for each in labels]),
        unique_by_category=torch.stack([each.unique_by_category for each in labels]),
    )


def quantile95(counts: Int64[Tensor, "p *rest"]) -> Int64[Tensor, "*rest"]:
    """The count that chance exceeds in at most 5 % of the cases: of 19 to 38 permutations it is the largest.

    With fewer than 19 it is the largest as well, but then chance may exceed it more often.

    Example:
        >>> quantile95(torch.arange(20)), quantile95(torch.arange(100))
        (tensor(19), tensor(95))
    """
    p = len(counts)
    rank = -(-95 * (p + 1) // 100)  # rounded up: the data themselves are one more of the equally likely cases
    return counts.sort(0).values[min(p, rank) - 1]
