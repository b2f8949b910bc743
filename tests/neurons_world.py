"""A small network, more small images than one shard holds, a set made from the first of them, and `neurons run`."""

import json
from pathlib import Path
from typing import Any

import attack_world
import numpy as np
import pytest
import safetensors.torch
from attack_world import here

from interp_plugins.cli import main

IMAGES, ATTACKED = 1100, 24  # three shards a pass

ODD = """
import torch
from torch import nn

from nets import Net

class Odd(Net):
    def __init__(self):
        super().__init__(1)
        self.idle, self.spoil, self.twins = nn.Conv2d(3, 2, 1), nn.Identity(), Twins()

    def forward(self, images):
        maps = self.twins(self.first(images))[0]
        white = images[:, :1, :1, :1] == 1
        return self.head(torch.relu(self.norm(self.spoil(maps.masked_fill(white, torch.nan)))).flatten(1))

class Twins(nn.Module):
    def forward(self, maps):
        return maps, maps

class Chance(Net):
    def __init__(self):
        super().__init__(1)

    def forward(self, images):
        return super().forward(nn.functional.dropout(images))

class Pooled(Net):
    def __init__(self):
        super().__init__(1)

    def forward(self, images):
        return super().forward(nn.functional.interpolate(images, (8, 8)))

class Few(Net):
    def __init__(self):
        super().__init__(1)
        self.head = nn.Linear(6 * 64, 3)
"""


def build(folder: Path, images: int = IMAGES) -> Path:
    """Networks, images of 8 x 8 pixels in 6 classes, and the set of two attacks on each of the first images."""
    attack_world.build(folder, images)
    (folder / "odd.py").write_text(ODD.replace("from nets import Net", attack_world.NETS))
    here(attack_world.words(folder, folder / "set", targets="least-likely:2", limit=ATTACKED))
    return folder


def surveyed(folder: Path) -> Path:
    """A smaller world, with a finished survey in `done`."""
    build(folder, 48)
    here(words(folder, folder / "done"))
    return folder


def words(world: Path, out: Path, *more: str, **options: object) -> list[str]:
    """The words of `neurons run`; options replace or add to what is set here, None takes one away."""
    chosen: dict[str, object] = {
        "model": f"{world}/nets.py:first",
        "data": world / "images.npz",
        "adversarial": world / "set",
        "out": out,
        "taxonomy": "none",
        "share": 0.25,
        "tile": 64,
        "sheet": 0,
        "processes": 1,
    }
    given = ["neurons", "run"]
    for name, value in (chosen | options).items():
        if value is not None:
            given += [f"--{name.replace('_', '-')}", str(value)]
    return [*given, *more]


def bits(out: Path) -> dict[str, Any]:
    """The result, to the bit: which images are on top, by what score, and the labels."""
    return {name: values.tolist() for name, values in safetensors.torch.load_file(out / "neurons.safetensors").items()}


def rows(out: Path) -> dict[str, dict[str, Any]]:
    """The rows of results.json by name."""
    return {row["name"]: row for row in json.loads((out / "results.json").read_text())["rows"]}


def pixels(world: Path) -> tuple[np.ndarray, np.ndarray]:
    """The images and their labels."""
    with np.load(world / "images.npz") as file:
        return file["images"], file["labels"]


def refused(capsys: pytest.CaptureFixture[str], given: list[str]) -> str:
    """The one sentence with which the command refuses bad input."""
    assert main(given) == 2
    said = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("running the code in")]
    assert len(said) == 1, said
    return said[0]


def printed(capsys: pytest.CaptureFixture[str], given: list[str]) -> str:
    """What the command prints; it has to end well."""
    capsys.readouterr()
    here(given)
    return capsys.readouterr().out
