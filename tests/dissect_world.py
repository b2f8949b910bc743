"""A small network, labelled images of more than two shards in the layout of Broden, and `dissect run` on them."""

import csv
import json
from pathlib import Path
from typing import Any

import attack_world
import neurons_world
import numpy as np
import safetensors.torch
import torch

from interp_plugins.foundation.concepts import Concept
from interp_plugins.sources import broden

IMAGES = 150  # three shards

STUCK = """

class Stuck(Net):
    def __init__(self):
        super().__init__(1)
        self.stuck = nn.ReLU6()

    def forward(self, images):
        maps = self.first(images)
        shift = torch.tensor([100.0, 100.0, -100.0, 0.0, 0.0, 0.0]).view(1, 6, 1, 1)
        return self.head(torch.relu(self.norm(self.stuck(maps + shift))).flatten(1))

class InPlace(Net):
    def __init__(self):
        super().__init__(1)

    def forward(self, images):
        return self.head(self.norm(self.first(images).sub_(100)).flatten(1))
"""


def build(folder: Path, images: int = IMAGES) -> Path:
    """Networks, and in `broden` images of 8 x 8 pixels: two colours, two objects, and scenes of the whole image."""
    attack_world.build(folder)
    (folder / "odd.py").write_text(neurons_world.ODD.replace("from nets import Net", attack_world.NETS) + STUCK)
    rng = np.random.default_rng(7)
    pixels = rng.integers(0, 256, (images, 3, 8, 8))
    objects, colours = np.zeros((2, images, 1, 8, 8), np.int16)
    for i in range(images):
        y, x = rng.integers(0, 5, 2)
        kind = int(rng.integers(0, 2))
        pixels[i, kind, y : y + 4, x : x + 4] = 255
        objects[i, 0, y : y + 4, x : x + 4] = 3 + kind
    colours[:, 0] = np.where(pixels.mean(1) > 150, 1, 2)
    scenes = np.broadcast_to(rng.integers(5, 7, (images, 1, 1, 1)), objects.shape).astype(np.int16)
    names = {"color": ("light", "dark"), "object": ("box", "crate"), "scene": ("inside", "outside")}
    concepts = [Concept(i, name, kind) for i, (name, kind) in
                enumerate(((name, kind) for kind, each in names.items() for name in each), 1)]  # fmt: skip
    ids = [f"pictures/{i:03}" for i in range(images)]
    masks = {"color": colours, "object": objects, "scene": scenes}
    broden.write(folder / "broden", torch.from_numpy(pixels.astype(np.uint8)), masks, concepts, ids, min_frequency=1)
    with (folder / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("file", "class_index"), *((f"{name}.png", 0) for name in ids)])
    return folder


def words(world: Path, out: Path, *more: str, **options: object) -> list[str]:
    """The words of `dissect run`; options replace or add to what is set here, None takes one away."""
    chosen: dict[str, object] = {
        "model": f"{world}/nets.py:first",
        "data": world / "broden",
        "layers": "first",
        "attack": "fgsm:8/255",
        "out": out,
        "share": 0.05,
        "permutations": 3,
        "draws": 20,
        "sheet": 0,
        "processes": 1,
    }
    given = ["dissect", "run"]
    for name, value in (chosen | options).items():
        if value is not None:
            given += [f"--{name}", str(value)]
    return [*given, *more]


def bits(out: Path) -> dict[str, Any]:
    """The result, to the bit: thresholds, counts, top images."""
    found = safetensors.torch.load_file(out / "dissection.safetensors")
    return {name: values.tolist() for name, values in found.items()}


def rows(out: Path) -> dict[str, dict[str, Any]]:
    """The rows of results.json by name."""
    return {row["name"]: row for row in json.loads((out / "results.json").read_text())["rows"]}
