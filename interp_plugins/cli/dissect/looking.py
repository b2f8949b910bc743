"""The first phase: images run through the network once, and what can matter of all its maps is kept."""

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor
from torchmetrics import Metric

from interp_plugins.cli.dissect.inputs import TOP, Inputs
from interp_plugins.dissection.dissection import CLEAN
from interp_plugins.dissection.passes import Gathering
from interp_plugins.neurons.exemplars import NeuronExemplars


class Tops:
    """The top images of all units, by the largest value of each map, among clean images and among attacked ones."""

    def __init__(self, loaded: Inputs) -> None:
        k = min(TOP, len(loaded.images))
        self._tops = {kind: NeuronExemplars(loaded.sight.layers, k) for kind in loaded.kinds}
        self.metrics: dict[str, Metric] = {f"{kind}/tops": metric for kind, metric in self._tops.items()}

    def watched(
        self, kind: str, maps: Iterator[tuple[slice, dict[str, Tensor]]], ids: Tensor
    ) -> Iterator[tuple[Tensor, Mapping[str, Tensor]]]:
        """Hand on maps with the numbers of their images, and at the end take in their largest values."""
        scores: dict[str, list[Tensor]] = {}
        for span, each in maps:
            for layer, found in each.items():
                scores.setdefault(layer, []).append(found.amax((2, 3)))
            yield ids[span], each
        self._tops[kind].update({layer: torch.cat(parts) for layer, parts in scores.items()}, ids)


class Looking:
    """The phase, shard by shard; of each kind of images the thresholds, the cells and the top images of all units."""

    def __init__(self, loaded: Inputs) -> None:
        self._loaded, self._tops = loaded, Tops(loaded)
        self.gathered = {
            kind: Gathering(
                loaded.sight, loaded.shapes, len(loaded.images), loaded.method.share, loaded.method.quantile
            )
            for kind in loaded.kinds
        }
        self.metrics = self._tops.metrics | {
            f"{kind}/{name}": metric
            for kind, gathered in self.gathered.items()
            for name, metric in gathered.metrics.items()
        }

    def expect(self, shards: Sequence[int]) -> None:
        """Read the images of these shards ahead."""
        self._loaded.expect(shards)

    def look(self, shard: int) -> None:
        """Look at the images of a shard."""
        for kind, images, ids in self._loaded.shard(shard):
            bars = self._loaded.method.bars(self.gathered[CLEAN]) if kind != CLEAN else None
            for numbers, maps in self._tops.watched(kind, self._loaded.sight.maps(images), ids):
                self.gathered[kind].add(maps, numbers, bars)
