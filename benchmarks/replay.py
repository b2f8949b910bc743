"""All of a dissection but the network and the files: both are known by heart.

An image carries its number in its first pixel. The network reads it and has the maps at hand, and so have both readers
the decoded images and masks. What is left is what a dissection costs of itself, and its answers are free of the last
bits in which two runs of a network differ.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks import lite
from benchmarks.plain_broden import Broden
from interp_plugins.foundation.concepts import LabelledImages, Labels

LAYER = "layer"


class Replay(nn.Module):
    """A network that knows its maps; it takes images in NetDissect-Lite's normalisation."""

    def __init__(self, maps: Tensor, *, channels_last: bool) -> None:
        super().__init__()
        self.layer = nn.Identity()
        self._maps = maps.permute(0, 2, 3, 1).contiguous() if channels_last else maps
        self._channels_last = channels_last
        self._mean, self._std = (torch.tensor(values)[:, None, None] for values in (lite.MEAN, lite.STD))

    def forward(self, images: Tensor) -> Tensor:
        """The maps' means, (n, u)."""
        stamp = ((images[:, :, :1, :1] * self._std + self._mean) * 255).round().long().flatten(1)
        maps = self._maps[stamp @ torch.tensor([1, 256, 65536])]
        answer: Tensor = self.layer(maps.permute(0, 3, 1, 2) if self._channels_last else maps).mean((2, 3))
        return answer

    def __deepcopy__(self, memo: object) -> "Replay":
        return self  # nothing in it can change, and the maps are large


class Remembered:
    """Labelled images that are decoded, with their numbers in their first pixels."""

    def __init__(self, images: LabelledImages) -> None:
        self.vocabulary, self.ids, self.mask_size = images.vocabulary, images.ids, images.mask_size
        self._images = images.tensor(range(len(images)))
        self._images[:, :, 0, 0] = torch.from_numpy(np.stack([_stamp(number) for number in range(len(images))]))
        self._labels = [images.labels(number) for number in range(len(images))]

    def __len__(self) -> int:
        return len(self._labels)

    def tensor(self, numbers: Sequence[int]) -> Tensor:
        """Some images."""
        return self._images[list(numbers)]

    def labels(self, number: int) -> Labels:
        """What is where in one image."""
        return self._labels[number]


class RememberedFiles:
    """What NetDissect-Lite reads, decoded."""

    def __init__(self, folder: Path) -> None:
        broden = Broden(folder)
        order = {row["image"]: number for number, row in enumerate(broden.rows)}
        self._files: dict[str, NDArray[np.generic]] = {}
        for path in sorted((folder / "images").iterdir()):
            pixels = lite.read(str(path))
            if path.name in order:
                pixels = pixels.copy()
                pixels[0, 0] = _stamp(order[path.name])
            self._files[str(path)] = pixels

    def __call__(self, path: str) -> NDArray[np.generic]:
        """A file's pixels."""
        return self._files[path]


def _stamp(number: int) -> NDArray[np.uint8]:
    return np.array([number % 256, number // 256 % 256, number // 65536], np.uint8)
