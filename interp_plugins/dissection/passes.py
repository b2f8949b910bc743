"""The two halves of a dissection: gather what can matter while images run through the network, then count.

The first half needs no labels and the second no network. So one pass over the images serves any number of layers, and
labels are decoded once for clean and attacked images, for all layers, and for what chance gives.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int, Num
from torch import Tensor, nn
from torchmetrics import Metric

from interp_plugins.dissection.cells import CandidateCells, Cells, light
from interp_plugins.dissection.overlap import ConceptOverlap, Packed
from interp_plugins.dissection.thresholds import Rule, Thresholds, UnitThresholds
from interp_plugins.foundation import check
from interp_plugins.foundation.borrow import borrow
from interp_plugins.foundation.concepts import LabelledImages
from interp_plugins.foundation.measuring import levels
from interp_plugins.foundation.randomness import derive
from interp_plugins.foundation.record import record
from interp_plugins.foundation.tiles import check_tile, fill, spans, tile_size

GROUP = 32  # images whose labels are in memory together

Key = tuple[str, str]  # which images, "clean" or "attacked", and which layer


@dataclass(frozen=True, kw_only=True)
class Sight:
    """A network and the layers whose maps are looked at.

    Args:
        network: It runs as it is; `foundation.measuring.for_measuring` makes a quick copy.
        layers: Dotted names, as in `named_modules()`.
        tile: Rows a network call, a power of two; None is 8 on a CPU and 64 on a GPU.
    """

    network: nn.Module
    layers: tuple[str, ...]
    tile: int | None = None

    def maps(self, images: Num[Tensor, "n c h w"]) -> Iterator[tuple[slice, dict[str, Tensor]]]:
        """The maps (m, u, h, w) of each layer, some images at a time, with which images those are.

        Args:
            images: In [0, 1], or grey levels (uint8), which become floats when they are needed: memory and time are
                less.

        Raises:
            LayerNotReached: A layer did not run.
            TypeError: A layer put out something other than a tensor.
            ValueError: A name is no layer, or what a layer puts out are no maps.
        """
        check_tile(self.tile)
        if images.dtype != torch.uint8:
            images = check.images(images)
        rows = tile_size(self.tile, images.device)
        with borrow(self.network):
            for span in spans(len(images), rows):
                with torch.no_grad(), record(self.network, self.layers) as outputs:
                    self.network(fill(levels(images[span], images.device), rows))
                count = span.stop - span.start
                yield span, {layer: _maps(layer, outputs[layer], rows)[:count] for layer in self.layers}

    def shapes(self, image: Num[Tensor, "1 c h w"]) -> dict[str, tuple[int, int, int]]:
        """Units, height and width of each layer's maps."""
        [(_, maps)] = replace(self, tile=1).maps(image)  # one row is enough
        return {layer: (found.shape[1], found.shape[2], found.shape[3]) for layer, found in maps.items()}


def _maps(layer: str, output: Tensor, rows: int) -> Tensor:
    if output.ndim != 4 or len(output) != rows:
        raise ValueError(
            f"expected maps ({rows}, units, height, width) from layer {layer!r}, got {tuple(output.shape)}; name a "
            "convolution, or what follows it"
        )
    return output


@contextmanager
def located(layer: str) -> Iterator[None]:
    """Name the layer in what the body says is wrong with its maps."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"layer {layer!r}: {error}") from error


class Gathering:
    """The first half, for one kind of images: what their thresholds are, and which cells may lie above them.

    Args:
        sight: What is looked at.
        shapes: Of the layers' maps.
        images: How many will come in all.
        share: Of all places of a unit, the share that is to lie above its threshold.
        quantile: How the threshold is read off, "exact" or "netdissect".

    Attributes:
        metrics: What sums up, "thresholds/LAYER" and "cells/LAYER".
    """

    def __init__(
        self, sight: Sight, shapes: Mapping[str, tuple[int, int, int]], images: int, share: float, quantile: Rule
    ) -> None:
        self.sight = sight
        self.thresholds: dict[str, UnitThresholds] = {}
        self.cells: dict[str, CandidateCells] = {}
        for layer, (units, height, width) in shapes.items():
            self.thresholds[layer] = UnitThresholds(images * height * width, share, quantile)
            self.cells[layer] = CandidateCells(units, (height, width))
        self.metrics: dict[str, Metric] = {f"thresholds/{layer}": each for layer, each in self.thresholds.items()}
        self.metrics |= {f"cells/{layer}": each for layer, each in self.cells.items()}

    def update(
        self, images: Num[Tensor, "n c h w"], numbers: Int[Tensor, " n"], clean: "Gathering | None" = None
    ) -> None:
        """Look at images.

        Args:
            images: As for `Sight.maps`.
            numbers: Theirs.
            clean: Whose thresholds these images are held against; their own by default.

        Raises:
            ValueError: An activation is NaN.
        """
        for span, maps in self.sight.maps(images):
            self.add(maps, numbers[span], clean)

    def add(
        self, maps: Mapping[str, Float[Tensor, "n _ _ _"]], numbers: Int[Tensor, " n"], clean: "Gathering | None" = None
    ) -> None:
        """Take in maps of each layer that are there already; otherwise as `update`."""
        for layer, found in maps.items():
            with located(layer):
                self.thresholds[layer].update(found, numbers)
            bar = (clean or self).thresholds[layer].bar
            self.cells[layer].update(found, numbers, bar)


def shuffles(images: int, permutations: int, seed: int) -> list[list[int]]:
    """For each permutation the image whose labels each image gets."""
    generator = torch.Generator().manual_seed(derive(seed, "permutations"))
    return [torch.randperm(images, generator=generator).tolist() for _ in range(permutations)]


def count(
    images: LabelledImages,
    numbers: Sequence[int],
    cells: Mapping[Key, Cells],
    thresholds: Mapping[Key, Thresholds],
    overlaps: Mapping[Key, Sequence[ConceptOverlap]],
    shuffled: Sequence[Sequence[int]] = (),
) -> None:
    """The second half, for some images: hold what is lit against the labels.

    Args:
        images: All of them.
        numbers: Of those that are counted now, consecutive.
        cells: At least those of these images.
        thresholds: Of all images.
        overlaps: What is added to: the first counts the true labels, the others those of the shuffles.
        shuffled: For each permutation the image whose labels each image gets.
    """
    height, width = images.mask_size
    for start in range(0, len(numbers), GROUP):
        some = list(numbers[start : start + GROUP])
        ids = torch.tensor(some)
        lights = {
            key: light(found.of(some[0], some[-1] + 1), thresholds[key].value, (height, width))
            for key, found in cells.items()
        }
        for place, order in enumerate([None, *shuffled]):
            chosen = some if order is None else [order[number] for number in some]
            labels = Packed.of([images.labels(number) for number in chosen], images.vocabulary.size, height * width)
            for key, lit in lights.items():
                overlaps[key][place].update(lit, ids, labels)
