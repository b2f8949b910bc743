"""Broden read by the loop that everybody writes: what the peers that bring no reader are given, and the floor.

The floor of a dissection is what none can do without: each image and each mask decoded once, and the network run once
on each image, eagerly and channels first.
"""

import csv
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import Dataset

CATEGORIES = ("color", "object", "part", "material", "scene", "texture")
LAYERS = 12  # of labels that a batch of dissect's has room for


@dataclass(frozen=True)
class Broden:
    """A folder, read in the order of its index."""

    folder: Path

    @cached_property
    def rows(self) -> list[dict[str, str]]:
        """Lines of index.csv that have any label."""
        with (self.folder / "index.csv").open(newline="", encoding="utf-8") as file:
            return [row for row in csv.DictReader(file) if any(row[category] for category in CATEGORIES)]

    def __len__(self) -> int:
        return len(self.rows)

    def image(self, number: int) -> Tensor:
        """Float (3, h, w) in [0, 1]."""
        pixels = read(self.folder / "images" / self.rows[number]["image"])
        return torch.from_numpy(pixels.transpose(2, 0, 1) / np.float32(255))

    def labels(self, number: int, side: int) -> Tensor:
        """Int64 (l, side, side): every layer of every category, a whole image's label everywhere."""
        layers = []
        for cell in (self.rows[number][category] for category in CATEGORIES):
            for word in filter(None, cell.split(";")):
                if word.isdigit():
                    layers.append(torch.full((side, side), int(word)))
                    continue
                planes = read(self.folder / "images" / word).astype(np.int64)
                numbers = torch.from_numpy(planes[..., 0] + 256 * planes[..., 1])
                step = len(numbers) // side
                layers.append(numbers[step // 2 :: step, step // 2 :: step])
        return torch.stack(layers)


@dataclass
class Batches(Dataset[tuple[Tensor, ...]]):
    """Images, and with a side their labels, for a DataLoader."""

    broden: Broden
    side: int = 0

    def __len__(self) -> int:
        return len(self.broden)

    def __getitem__(self, number: int) -> tuple[Tensor, ...]:
        image = self.broden.image(number)
        if not self.side:
            return (image,)
        labels = self.broden.labels(number, self.side)
        room = torch.zeros(LAYERS - len(labels), self.side, self.side, dtype=labels.dtype)
        return image, torch.cat([labels, room])


def read(path: Path | str) -> NDArray[np.uint8]:
    """A file's pixels (h, w, 3)."""
    with Image.open(path) as image:
        return np.asarray(image)


def forward(model: nn.Module, broden: Broden, rows: int) -> None:
    """Decode all images and run the network on them."""
    with torch.no_grad():
        for start in range(0, len(broden), rows):
            model(torch.stack([broden.image(number) for number in range(start, min(start + rows, len(broden)))]))


def floor(model: nn.Module, broden: Broden, rows: int) -> None:
    """What no dissection can do without, and nothing else."""
    forward(model, broden, rows)
    for number in range(len(broden)):
        broden.labels(number, int(broden.rows[number]["sh"]))
