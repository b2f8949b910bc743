"""Images decoded before they are needed, in other processes, where a GPU would wait for them."""

from collections.abc import Iterator, Sequence
from functools import partial

import torch
from jaxtyping import UInt8
from torch import Tensor

from interp_plugins.foundation.processor import cores
from interp_plugins.sources.marked import MarkedImages
from interp_plugins.sources.workers import each

Numbers = tuple[int, ...]


class Ahead:
    """Reads images; those that were announced, ahead of who asks for them.

    Args:
        images: All of them.
        device: Where the network runs. On a CPU each process decodes its own, as there is no core to spare.
    """

    def __init__(self, images: MarkedImages, device: torch.device) -> None:
        self._images, self._device = images, device
        self._coming: Iterator[tuple[Numbers, UInt8[Tensor, "n 3 h w"]]] | None = None

    def expect(self, batches: Sequence[Sequence[int]]) -> None:
        """Announce the images that will be asked for, in this order."""
        if workers := workers_on(self._device):
            work = partial(_read, self._images, [tuple(batch) for batch in batches])
            self._coming = each(work, len(batches), workers)

    def tensor(self, numbers: Sequence[int]) -> UInt8[Tensor, "n 3 h w"]:
        """Some images; those that were not announced are decoded here."""
        if self._coming is not None:
            for found, pixels in self._coming:
                if found == tuple(numbers):
                    return pixels
        return self._images.tensor(numbers)


def workers_on(device: torch.device) -> int:
    """How many processes decode for one that looks."""
    return max(0, cores() // torch.cuda.device_count() - 1) if device.type == "cuda" else 0


def _read(images: MarkedImages, batches: Sequence[Numbers], number: int) -> tuple[Numbers, Tensor]:
    return batches[number], images.tensor(batches[number])
