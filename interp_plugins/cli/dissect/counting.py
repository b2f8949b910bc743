"""The first phase in two, where the largest activations are too many to keep: thresholds by counting."""

from collections.abc import Sequence

from interp_plugins.cli.dissect.inputs import Inputs
from interp_plugins.cli.dissect.looking import Tops
from interp_plugins.dissection.counting import CoarseCounts, FineCounts
from interp_plugins.dissection.passes import located
from interp_plugins.store.dissections import DissectionFolder


class Coarse:
    """The first of the two: between which values the thresholds lie, and the top images."""

    def __init__(self, loaded: Inputs) -> None:
        self._loaded, self._tops = loaded, Tops(loaded)
        self._counts = {
            (kind, layer): CoarseCounts(units, len(loaded.images) * height * width, method.share, method.quantile)
            for method in [loaded.method]
            for kind in loaded.kinds
            for layer, (units, height, width) in loaded.shapes.items()
        }
        self.metrics = self._tops.metrics | {
            f"{kind}/thresholds/{layer}": metric for (kind, layer), metric in self._counts.items()
        }

    def expect(self, shards: Sequence[int]) -> None:
        """Read the images of these shards ahead."""
        self._loaded.expect(shards)

    def look(self, shard: int) -> None:
        """Look at the images of a shard."""
        for kind, images, ids in self._loaded.shard(shard):
            for numbers, maps in self._tops.watched(kind, self._loaded.sight.maps(images), ids):
                for layer, found in maps.items():
                    with located(layer):
                        self._counts[kind, layer].update(found, numbers)


class Fine:
    """The second of the two: the thresholds themselves, once the first is finished."""

    def __init__(self, loaded: Inputs, folder: DissectionFolder) -> None:
        self._loaded = loaded
        coarse = {name: metric for name, metric in Coarse(loaded).metrics.items() if "/thresholds/" in name}
        self.metrics = {name: FineCounts(bins) for name, bins in folder.computed("coarse", coarse).items()}

    def expect(self, shards: Sequence[int]) -> None:
        """Read the images of these shards ahead."""
        self._loaded.expect(shards)

    def look(self, shard: int) -> None:
        """Look at the images of a shard."""
        for kind, images, ids in self._loaded.shard(shard):
            for span, maps in self._loaded.sight.maps(images):
                for layer, found in maps.items():
                    self.metrics[f"{kind}/thresholds/{layer}"].update(found, ids[span])
