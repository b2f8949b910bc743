"""Small networks that are drawn anew, small images in classes that can be learnt, and `train run` on them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
import trained_world

NETS = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, classes=4):
        super().__init__()
        self.first, self.norm, self.drop = nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.Dropout(0.1)
        self.head = nn.Linear(6 * 16, classes)

    def forward(self, images):
        maps = torch.relu(self.norm(self.first(images)))
        return self.head(self.drop(nn.functional.avg_pool2d(maps, 2).flatten(1)))

def net():
    return Net()

def few():
    return Net(2)

class Viewed(Net):
    def forward(self, images):
        maps = torch.relu(self.norm(self.first(images)))
        return self.head(nn.functional.avg_pool2d(maps, 2).view(len(images), -1))

class Wild(Net):
    def forward(self, images):
        return super().forward(images) * (1e30 if self.training else 1)

class Plain(Net):
    def forward(self, images):
        return self.head(nn.functional.avg_pool2d(torch.relu(self.first(images)), 2).flatten(1))

class Odd(Net):
    def __init__(self):
        super().__init__()
        self.idle = nn.Conv2d(3, 2, 1)
"""


def build(folder: Path, images: int = 64) -> Path:
    """Write nets.py, images.npz and others.npz: images of 8 x 8 pixels in 4 classes."""
    (folder / "nets.py").write_text(NETS)
    for name, count, seed in (("images", images, 0), ("others", 40, 1)):
        pixels, labels = trained_world.images(count, seed).tensors
        grey = (pixels.permute(0, 2, 3, 1) * 255).round().to(torch.uint8).numpy()
        np.savez(folder / f"{name}.npz", images=grey, labels=labels.numpy())
    return folder


def words(world: Path, out: Path, *more: str, **options: object) -> list[str]:
    """The words of `train run`; options replace or add to what is set here, None takes one away."""
    chosen: dict[str, object] = {
        "model": f"{world}/nets.py:net",
        "data": world / "images.npz",
        "objective": "consistent",
        "out": out,
        "epochs": 2,
        "batch-size": 16,
        "held-out": 16,
    }
    given = ["train", "run"]
    for name, value in (chosen | {name.replace("_", "-"): value for name, value in options.items()}).items():
        if value is not None:
            given += [f"--{name}", str(value)]
    return [*given, *more]


def bits(out: Path) -> dict[str, Any]:
    """The network that was kept, to the bit."""
    found = safetensors.torch.load_file(out / "model.safetensors")
    return {name: values.tolist() for name, values in found.items()}


def rows(out: Path) -> dict[str, dict[str, Any]]:
    """The rows of results.json by name."""
    return {row["name"]: row for row in json.loads((out / "results.json").read_text())["rows"]}
