"""Network dissection (Bau et al., arXiv:1704.05796): which concept each unit of a layer points at; clean and attacked.

    T_k         a_k > T_k at a share 0.005 of all places of all images
    M_k(x)      the enlarged map of unit k is above T_k
    IoU(k, c)   of M_k with the pixels of concept c, over the whole data set
    label       the concept with the largest IoU, if that is above 0.04

Xie ("Interpretability analysis of deep neural networks under adversarial attacks", Eq. 10, Table 2) perturbs the
images, keeps their labels and does it all again. Whether T_k is found again is not said; it is by default, so that the
same area is lit in both.

The images pass through the network once, for all layers. What that leaves is in `passes`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from interp_plugins.dissection.drop import Drop, drop_of
from interp_plugins.dissection.labels import DETECTOR, Counts, UnitLabels, best_labels, chance_of
from interp_plugins.dissection.overlap import ConceptOverlap, Overlap, Union, blocks_for
from interp_plugins.dissection.passes import Gathering, Key, Sight, count, shuffles
from interp_plugins.dissection.thresholds import Rule, Thresholds
from interp_plugins.foundation import check
from interp_plugins.foundation.concepts import LabelledImages
from interp_plugins.foundation.measuring import for_measuring, levels

BATCH = 64  # images in memory together
CLEAN = "clean"
ATTACKED = "attacked"
Policy = Literal["recompute", "clean"]
POLICIES: tuple[Policy, ...] = ("recompute", "clean")

Attack = Callable[[Float[Tensor, "n c h w"], Int[Tensor, " n"]], Float[Tensor, "n c h w"]]


@dataclass(frozen=True)
class Alignment:
    """What the units of a layer point at on one kind of images."""

    thresholds: Thresholds
    overlap: Overlap
    labels: UnitLabels
    chance: Counts | None  # what the labels of other images give, if that was asked for


@dataclass(frozen=True)
class Dissected:
    """A layer, clean and attacked."""

    clean: Alignment
    attacked: Alignment | None = None
    drop: Drop | None = None  # if there are attacked images, and draws were asked for


@dataclass(frozen=True, kw_only=True)
class NetworkDissection:
    """Dissect layers of a network on images with labelled pixels.

    Args:
        share: Of all places of a unit, the share that is to lie above its threshold.
        quantile: "exact", or "netdissect": what the authors' code reads off.
        union: How the pixels a unit lights count; see `overlap`.
        detector: The IoU above which a unit is a detector.
        permutations: How often labels are exchanged between images to see what chance gives.
        draws: Of the bootstrap that tells whether a drop is real; 0 for none.
        threshold: Of attacked images: "recompute" it, or keep that of the "clean" ones. Not published; the default is
            ours.
        seed: Of permutations and draws.
        tile: Rows a network call, a power of two; None is 8 on a CPU and 64 on a GPU.
    """

    share: float = 0.005
    quantile: Rule = "exact"
    union: Union = "category"
    detector: float = DETECTOR
    permutations: int = 20
    draws: int = 500
    threshold: Policy = "recompute"
    seed: int = 0
    tile: int | None = None

    def __post_init__(self) -> None:
        check.one_of("threshold", self.threshold, POLICIES)
        for name in ("permutations", "draws"):
            if getattr(self, name) < 0:
                raise ValueError(f"expected {name} of at least 0, got {getattr(self, name)}")

    def __call__(
        self, model: nn.Module, layers: Sequence[str], images: LabelledImages, attack: Attack | None = None
    ) -> dict[str, Dissected]:
        """Look at all images once, clean and attacked, then hold what is lit against the labels.

        Args:
            model: The network, from images in [0, 1]; given back as found.
            layers: Dotted names, as in `named_modules()`.
            images: With their labels.
            attack: Makes attacked images (n, c, h, w) of images and their numbers; None for clean images alone.

        Returns:
            For each layer what its units point at.

        Raises:
            LayerNotReached: A layer did not run.
            TypeError: A layer put out something other than a tensor.
            ValueError: A name is no layer, its output are no maps, an activation is NaN, or there are too few images.
        """
        device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
        example = levels(images.tensor([0]), device)
        sight = Sight(network=for_measuring(model, example), layers=tuple(layers), tile=self.tile)
        shapes = sight.shapes(example)
        kinds = (CLEAN,) if attack is None else (CLEAN, ATTACKED)
        gathered = {kind: Gathering(sight, shapes, len(images), self.share, self.quantile) for kind in kinds}
        for each in gathered.values():
            for metric in each.metrics.values():
                metric.to(device)
        for start in range(0, len(images), BATCH):
            numbers = torch.arange(start, min(start + BATCH, len(images)))
            some = images.tensor(numbers.tolist()).to(device)
            gathered[CLEAN].update(some, numbers)
            if attack is not None:
                gathered[ATTACKED].update(attack(levels(some, device), numbers), numbers, self.bars(gathered[CLEAN]))
        thresholds = self.thresholds(
            {(kind, layer): gathered[kind].thresholds[layer].compute() for kind in kinds for layer in shapes}
        )
        cells = {(kind, layer): gathered[kind].cells[layer].compute() for kind, layer in thresholds}
        overlaps = {key: self.overlaps(shapes[key[1]][0], images, attacked=attack is not None) for key in thresholds}
        for metric in (metric for each in overlaps.values() for metric in each):
            metric.to(device)
        order = shuffles(len(images), self.permutations, self.seed)
        count(images, range(len(images)), cells, thresholds, overlaps, order)
        return self.dissected(
            thresholds, {key: [metric.compute() for metric in each] for key, each in overlaps.items()}
        )

    def bars(self, clean: Gathering) -> Gathering | None:
        """Whose thresholds attacked images are held against while they are looked at; None for their own."""
        return clean if self.threshold == CLEAN else None

    def thresholds(self, found: Mapping[Key, Thresholds]) -> dict[Key, Thresholds]:
        """The thresholds that count, from those of all kinds of images and layers."""
        if self.threshold == "recompute":
            return dict(found)
        return {
            (kind, layer): Thresholds(found[CLEAN, layer].value, own.highest, own.positions)
            for (kind, layer), own in found.items()
        }

    def overlaps(self, units: int, images: LabelledImages, *, attacked: bool) -> list[ConceptOverlap]:
        """What counts a layer of one kind of images: with their own labels, and with those of each permutation.

        Args:
            units: Of the layer.
            images: All of them.
            attacked: Whether there are attacked ones as well, so that a drop may be drawn.
        """
        blocks = blocks_for(len(images)) if self.draws and attacked else 0
        own = ConceptOverlap(units, images.vocabulary, self.union, blocks=blocks, images=len(images))
        return [own, *(ConceptOverlap(units, images.vocabulary, self.union) for _ in range(self.permutations))]

    def dissected(
        self, thresholds: Mapping[Key, Thresholds], counted: Mapping[Key, Sequence[Overlap]]
    ) -> dict[str, Dissected]:
        """Labels, what chance gives, and what the attack changes, for each layer.

        Args:
            thresholds: Those that count.
            counted: By the metrics of `overlaps`.
        """
        found = {key: self._aligned(thresholds[key], each) for key, each in counted.items()}
        return {
            layer: Dissected(clean, attacked := found.get((ATTACKED, layer)), self._drop(clean, attacked))
            for (kind, layer), clean in found.items()
            if kind == CLEAN
        }

    def _aligned(self, thresholds: Thresholds, counted: Sequence[Overlap]) -> Alignment:
        own, *others = (best_labels(overlap, thresholds.silent, self.detector) for overlap in counted)
        return Alignment(thresholds, counted[0], own, chance_of(others) if others else None)

    def _drop(self, clean: Alignment, attacked: Alignment | None) -> Drop | None:
        if attacked is None or not self.draws:
            return None
        return drop_of(clean.overlap, attacked.overlap, clean.labels, attacked.labels, draws=self.draws, seed=self.seed)
