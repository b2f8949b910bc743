"""Small networks in a model file and small images in an .npz, and the command `attack run` on them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from interp_plugins.cli import main

NETS = """
import torch
from torch import nn

CLASSES = 6

class Net(nn.Module):
    def __init__(self, seed):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.first, self.norm = nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6)
            self.head = nn.Linear(6 * 64, CLASSES)
            for layer in (self.first, self.head):
                layer.weight.data *= 4

    def forward(self, images):
        return self.head(torch.relu(self.norm(self.first(images))).flatten(1))

def first():
    return Net(1)

def second():
    return Net(2)
"""


def build(folder: Path, images: int = 16) -> Path:
    """Write nets.py and images.npz; images of 8 x 8 pixels in 6 classes. With four targets a shard is two images."""
    rng = np.random.default_rng(5)
    pictures = rng.integers(0, 256, (images, 8, 8, 3), dtype=np.uint8)
    (folder / "nets.py").write_text(NETS)
    np.savez(folder / "images.npz", images=pictures, labels=rng.integers(0, 6, images))
    return folder


def words(world: Path, out: Path, *more: str, **options: object) -> list[str]:
    """The words of `attack run`; options replace or add to what is set here."""
    chosen = {"data": world / "images.npz", "targets": "least-likely:4", "steps": 5, "processes": 1, "out": out}
    given = ["attack", "run", "--model", f"{world}/nets.py:first", "--model", f"{world}/nets.py:second"]
    for name, value in (chosen | options).items():
        given += [f"--{name.replace('_', '-')}", str(value)]
    return [*given, *more]


def start(given: list[str], **environment: str) -> subprocess.Popen[str]:
    """Start the command in a fresh process."""
    return subprocess.Popen(
        [sys.executable, "-m", "interp_plugins", *given],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )


def run(given: list[str], **environment: str) -> str:
    """Run the command in a fresh process, which has to end well, and return what it printed."""
    process = start(given, **environment)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return out


def here(*given: list[str]) -> None:
    """Run the command in this process; it has to end well."""
    for each in given:
        assert main(each) == 0


def bits(out: Path) -> dict[str, bytes]:
    """Every file of the shards by its name, and the digest of the set."""
    files = {file.name: file.read_bytes() for file in sorted((out / "shards").iterdir())}
    return files | {"digest": (json.loads((out / "manifest.json").read_text())["digest"] or "").encode()}


def finished(out: Path) -> dict[str, int]:
    """The finished shards, and when their files were last changed, in nanoseconds."""
    lines = sorted((out / "shards").glob("*.json"))
    return {file.name: file.stat().st_mtime_ns for line in lines for file in (line, line.with_suffix(".safetensors"))}
