"""All that some layers put out for a batch of images, and what the model says of them."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from interp_plugins.foundation import check
from interp_plugins.foundation.borrow import borrow
from interp_plugins.foundation.measuring import for_measuring
from interp_plugins.foundation.record import record
from interp_plugins.foundation.tiles import check_tile, fill, spans, tile_size


class Representations:
    """Runs a network, or where it can a quicker copy of it.

    Args:
        model: The network, given back as found.
        layers: Their names.
        tile: Rows a network call, a power of two; None for the core's choice.
    """

    def __init__(self, model: nn.Module, layers: Sequence[str], tile: int | None) -> None:
        check_tile(tile)
        self.model, self.layers, self.tile = model, layers, tile
        self._network: nn.Module | None = None

    def __call__(self, images: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """What each layer puts out, (n, ...), and the logits, of images (n, c, h, w) in [0, 1].

        Raises:
            LayerNotReached: A layer did not run.
            TypeError: A layer put out something other than a tensor.
            ValueError: A name is no layer, or images or logits are none.
        """
        images = check.images(images)
        rows = tile_size(self.tile, images.device)
        self._network = for_measuring(self.model, images) if self._network is None else self._network
        found: dict[str, list[Tensor]] = {layer: [] for layer in self.layers}
        logits = []
        with borrow(self._network), torch.no_grad():
            for span in spans(len(images), rows):
                count = span.stop - span.start
                with record(self._network, self.layers) as outputs:
                    answer = self._network(fill(images[span], rows))
                if not isinstance(answer, Tensor) or answer.ndim != 2:
                    found_shape = tuple(answer.shape) if isinstance(answer, Tensor) else type(answer).__name__
                    raise ValueError(f"expected a model that puts out (n, classes), got {found_shape}")
                logits.append(answer[:count])
                for layer, parts in found.items():
                    parts.append(outputs[layer][:count])
        return {layer: torch.cat(parts) for layer, parts in found.items()}, torch.cat(logits)
