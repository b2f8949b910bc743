"""Images for training: a batch in one tensor, and each at every look flipped or moved by chance.

The usual for small photographs such as CIFAR-10's: a mirror image half of the time, and a cut of the old size out of
the image with a black border. Chance is torch's own, so whoever seeds or restores that gets the same images.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Int64, UInt8
from torch import Tensor
from torch.utils.data import Dataset

from interp_plugins.sources.images import ImageSet

BORDER = 4  # pixels, as for CIFAR-10
HELD = 2**30  # bytes of images that are kept in memory


class TrainingImages(Dataset[tuple[Tensor, Tensor]]):
    """Some images of a set with their labels, fetched a batch at a time.

    Give it to a DataLoader with `collate_fn=as_fetched`, which then yields grey levels uint8 (n, 3, h, w) and labels
    int64 (n,). Images of one size that take less than a GiB are decoded once.

    Args:
        images: All of them.
        indices: Which of them.
        augment: Flip and move each at every look.
    """

    def __init__(self, images: ImageSet, indices: Sequence[int], *, augment: bool = False) -> None:
        self._images, self._indices, self.augment = images, tuple(indices), augment
        self._held = images.tensor(indices) if images[self._indices[0]][0].numel() * len(indices) < HELD else None

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, place: int) -> tuple[Tensor, Tensor]:
        pixels, labels = self.__getitems__([place])
        return pixels[0], labels[0]

    def __getitems__(self, places: Sequence[int]) -> tuple[UInt8[Tensor, "n 3 h w"], Int64[Tensor, " n"]]:
        """The images at these places, and their labels.

        Raises:
            ValueError: They are of different sizes.
        """
        numbers = [self._indices[place] for place in places]
        pixels = self._images.tensor(numbers) if self._held is None else self._held[torch.tensor(places)]
        return moved(pixels) if self.augment else pixels, self._images.labels[numbers]


def as_fetched(batch: Any) -> Any:
    """A batch as `TrainingImages` fetched it, for DataLoader's `collate_fn`."""
    return batch


def moved(pixels: UInt8[Tensor, "n c h w"], border: int = BORDER) -> UInt8[Tensor, "n c h w"]:
    """Each image mirrored half of the time, and moved by up to `border` pixels each way; what comes in is black."""
    n, _, height, width = pixels.shape
    mirrored = (torch.rand(n) < 0.5)[:, None, None, None]
    down, right = torch.randint(2 * border + 1, (2, n))
    cuts = F.pad(pixels, (border,) * 4).unfold(2, height, 1).unfold(3, width, 1)
    cut = cuts[torch.arange(n), :, down, right]
    return torch.where(mirrored, cut.flip(3), cut)
