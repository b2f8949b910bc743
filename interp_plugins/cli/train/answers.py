"""Which images a network answers rightly, clean or attacked; with `--out` kept until all are judged.

A file is named by a digest of all that decides what it holds, so that the same command, typed again after a kill, finds
it, and another command does not.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import safetensors.torch
import torch
from jaxtyping import Bool
from safetensors import SafetensorError
from torch import Tensor, nn

from interp_plugins.cli.train.asked import Asked
from interp_plugins.cli.train.batches import Part
from interp_plugins.cli.train.judges import Judge
from interp_plugins.foundation import check
from interp_plugins.foundation.borrow import borrow
from interp_plugins.foundation.files import write_whole
from interp_plugins.foundation.measuring import levels
from interp_plugins.store import disk
from interp_plugins.store.work import STATE

ROWS = 256  # images in memory, and in a file, together
NAME = "right"


@dataclass(frozen=True)
class Answers:
    """Those to all that was asked."""

    asked: Asked

    def of(
        self, network: nn.Module, attack: Judge, deciding: Mapping[str, object], tell: Callable[[int], object]
    ) -> Bool[Tensor, "n k"]:
        """Whether the true class is among a network's first answers, for each image and each number of answers.

        Args:
            network: From images to logits; given back as found.
            attack: Made for it.
            deciding: What tells network and attack from others.
            tell: Told how many images are done with, now and then.

        Raises:
            OSError: The folder cannot be written.
        """
        found, asked = [], self.asked
        with borrow(network):
            for start in range(0, asked.count, ROWS):
                places = self._places(start)
                path = self._path(start, deciding)
                right = None if path is None else _kept(path)
                if right is None:
                    right = self._judged(network, attack, places)
                    if path is not None:
                        with disk.explained(path.parents[1]):
                            path.parent.mkdir(parents=True, exist_ok=True)
                            write_whole(path, safetensors.torch.save({NAME: right}))
                found.append(right)
                tell(len(places))
        return torch.cat(found)

    def clear(self) -> None:
        """Put away what only unfinished work needs."""
        out = self.asked.given.out
        for path in [] if out is None else (out / STATE).glob("*.safetensors*"):
            path.unlink()

    def _judged(self, network: nn.Module, attack: Judge, places: list[int]) -> Bool[Tensor, "n k"]:
        images, device = self.asked.images, next(network.parameters()).device
        clean, labels = levels(images.tensor(places), device), images.labels[places].to(device)
        moved = check.images(attack(clean, labels, places), "attacked images")
        with torch.no_grad():
            hits = network(moved).topk(max(self.asked.tops), dim=1).indices == labels[:, None]
        return torch.stack([hits[:, :top].any(1) for top in self.asked.tops], 1).cpu()

    @cached_property
    def _images(self) -> dict[int, str]:
        """What tells the images that are judged together from others, by the place of the first."""
        asked = self.asked
        starts = range(0, asked.count, ROWS)
        return {start: Part(asked.images, self._places(start), asked.given.data).used().sha256 for start in starts}

    def _places(self, start: int) -> list[int]:
        return [*range(start, min(start + ROWS, self.asked.count))]

    def _path(self, start: int, deciding: Mapping[str, object]) -> Path | None:
        """The file of some images; None where nothing is kept."""
        asked, given = self.asked, self.asked.given
        if given.out is None:
            return None
        these = {
            "images": self._images[start],
            "first": start,
            "size": given.size,
            "tops": asked.tops,
            "seed": given.seed,
            "autoattack": given.autoattack,
            **deciding,
        }
        digest = hashlib.sha256(json.dumps(these, sort_keys=True).encode()).hexdigest()
        return given.out / STATE / f"{digest}.safetensors"


def _kept(path: Path) -> Bool[Tensor, "n k"] | None:
    """What a file holds; None if it is not there or damaged."""
    try:
        return safetensors.torch.load_file(path)[NAME]
    except (FileNotFoundError, SafetensorError, KeyError):
        return None
