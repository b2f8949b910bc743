"""What a dissection finds, by name: what each unit points at, how many are detectors, and what chance gives."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from interp_captum.results import Result, frame, plain
from interp_plugins.dissection.dissection import Alignment, Dissected
from interp_plugins.dissection.labels import ALL, quantile95
from interp_plugins.foundation.concepts import Vocabulary


@dataclass(frozen=True, eq=False)
class Pointing:
    """What the u units of a layer point at on one kind of images."""

    label: tuple[str | None, ...]  # the concept with the largest IoU; None for a unit that lights nothing labelled
    category: tuple[str | None, ...]
    iou: Tensor  # with it, float64 (u,)
    detector: Tensor  # whether that is above the constructor's limit, bool (u,)
    silent: Tensor  # dead or saturated: no activation is above the threshold, bool (u,)
    threshold: Tensor  # float64 (u,)
    detectors: dict[str, int]  # by the category of their label, and "all"
    unique: dict[str, int]  # different labels among them
    chance_detectors: dict[str, int] | None  # with the labels of other images, 95th percentile of the permutations
    chance_unique: dict[str, int] | None


@dataclass(frozen=True, eq=False)
class NetworkDissectionResult(Result):
    """What the units of a layer point at, on clean images and on attacked ones."""

    layer: str  # its dotted name
    union: str  # how the pixels count that a unit lights: "category", "lite" or "plain"
    clean: Pointing
    attacked: Pointing | None
    changed: Tensor | None  # units that point at something else under attack, bool (u,)
    found: Dissected  # all that the core knows, with intervals of the drop, where the model is; not in to_dict

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain numbers, lists and strings."""
        return {name: plain(value) for name, value in self._fields().items() if name != "found"}

    def to_dataframe(self) -> Any:
        """One row for each unit: layer, unit, label, category, iou, detector, silent, threshold, and so on as _adv.

        Raises:
            ImportError: pandas is not installed.
        """
        columns = {"layer": self.layer, "unit": torch.arange(len(self.clean.iou)), **_columns(self.clean)}
        if self.attacked is not None:
            columns |= {f"{name}_adv": value for name, value in _columns(self.attacked).items()}
            columns["changed"] = self.changed
        return frame(columns)


def result_of(layer: str, found: Dissected, vocabulary: Vocabulary) -> NetworkDissectionResult:
    """The core's result of a layer by name."""
    attacked, changed = None, None
    if found.attacked is not None:
        attacked = _pointing(found.attacked, vocabulary)
        changed = (found.clean.labels.concept != found.attacked.labels.concept).cpu()
    clean = _pointing(found.clean, vocabulary)
    return NetworkDissectionResult(layer, found.clean.overlap.union, clean, attacked, changed, found)


def _pointing(found: Alignment, vocabulary: Vocabulary) -> Pointing:
    """Numbers as names, and tensors on the CPU."""
    labels, chance, kinds = found.labels, found.chance, vocabulary.categories
    return Pointing(
        label=tuple(vocabulary.name(number) if number else None for number in labels.concept.tolist()),
        category=tuple(kinds[place] if place >= 0 else None for place in labels.category.tolist()),
        iou=labels.iou.cpu(),
        detector=labels.detectors.cpu(),
        silent=labels.silent.cpu(),
        threshold=found.thresholds.value.cpu(),
        detectors=_named(kinds, labels.by_category, labels.detectors.sum()),
        unique=_named(kinds, labels.unique_by_category, labels.unique),
        chance_detectors=None if chance is None else _by_chance(kinds, chance.by_category, chance.detectors),
        chance_unique=None if chance is None else _by_chance(kinds, chance.unique_by_category, chance.unique),
    )


def _by_chance(categories: Sequence[str], counts: Tensor, totals: Tensor) -> dict[str, int]:
    return _named(categories, quantile95(counts), quantile95(totals))


def _named(categories: Sequence[str], counts: Tensor, total: Tensor | int) -> dict[str, int]:
    return {**dict(zip(categories, counts.tolist(), strict=True)), ALL: int(total)}


def _columns(pointing: Pointing) -> dict[str, Any]:
    names = ("label", "category", "iou", "detector", "silent", "threshold")
    return {name: getattr(pointing, name) for name in names}
