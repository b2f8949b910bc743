"""The last phase: what is lit above the thresholds is held against the labels."""

from collections.abc import Sequence
from functools import cached_property

from torchmetrics import Metric

from interp_plugins.cli.dissect import gathering
from interp_plugins.cli.dissect.inputs import Inputs
from interp_plugins.dissection.cells import CandidateCells, Cells
from interp_plugins.dissection.passes import Key, count, shuffles
from interp_plugins.dissection.thresholds import Thresholds
from interp_plugins.store.dissections import DissectionFolder


class Tallying:
    """The phase, shard by shard; of each kind and layer the counts with the true labels and with each permutation's."""

    def __init__(self, loaded: Inputs, folder: DissectionFolder) -> None:
        self._loaded, self._folder = loaded, folder
        self._overlaps = {
            key: loaded.method.overlaps(loaded.shapes[key[1]][0], loaded.images, attacked=len(loaded.kinds) > 1)
            for key in loaded.keys
        }
        self._shuffled = shuffles(len(loaded.images), loaded.method.permutations, loaded.method.seed)
        self.metrics: dict[str, Metric] = {
            f"{kind}/{layer}/{number}": metric
            for (kind, layer), each in self._overlaps.items()
            for number, metric in enumerate(each)
        }

    def expect(self, shards: Sequence[int]) -> None:
        """Read the images of these shards ahead."""
        if "look" not in self._loaded.manifest.shards:
            self._loaded.expect(shards)

    def look(self, shard: int) -> None:
        """Count in the images of a shard."""
        loaded = self._loaded
        cells = self._stored(shard) if "look" in loaded.manifest.shards else self._again(shard)
        count(loaded.images, loaded.numbers(shard), cells, self._thresholds, self._overlaps, self._shuffled)

    def _stored(self, shard: int) -> dict[Key, Cells]:
        """The cells of a shard's images that were kept."""
        numbers, device = self._loaded.numbers(shard), self._loaded.device
        some = {key: found.of(numbers[0], numbers[-1] + 1) for key, found in self._cells.items()}
        return {
            key: Cells(found.keys.to(device), found.corners.to(device), found.units, found.shape)
            for key, found in some.items()
        }

    def _again(self, shard: int) -> dict[Key, Cells]:
        """The cells of a shard's images, for which these run through the network again."""
        loaded, found = self._loaded, dict[Key, Cells]()
        for kind, images, ids in loaded.shard(shard):
            kept = {
                layer: CandidateCells(units, (height, width)).to(loaded.device)
                for layer, (units, height, width) in loaded.shapes.items()
            }
            for span, maps in loaded.sight.maps(images):
                for layer, each in maps.items():
                    kept[layer].update(each, ids[span], self._thresholds[kind, layer].value)
            found |= {(kind, layer): metric.compute() for layer, metric in kept.items()}
        return found

    @cached_property
    def _thresholds(self) -> dict[Key, Thresholds]:
        known, device = gathering.thresholds(self._loaded, self._folder), self._loaded.device
        return {key: Thresholds(each.value.to(device), each.highest, each.positions) for key, each in known.items()}

    @cached_property
    def _cells(self) -> dict[Key, Cells]:
        return gathering.cells(self._loaded, self._folder)
