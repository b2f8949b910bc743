"""The files of a Broden directory as they are written: an image with its masks, and the tables about all."""

import csv
import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from interp_plugins.foundation.concepts import SUFFIX, Concept

Layers = NDArray[np.integer[Any]]
IndexRow = Mapping[str, object]


@runtime_checkable
class Pictures(Protocol):
    """What is written, read by number from 0."""

    names: Sequence[str]

    def pixels(self, number: int) -> NDArray[np.uint8]:
        """An image, (h, w, 3)."""

    def layers(self, number: int) -> dict[str, Layers]:
        """For each category the concepts in an image, (layers, h, w) of the masks' size, 0 = none."""


def check_names(names: Sequence[str], categories: Sequence[str]) -> None:
    """Check that no image's file is another one's mask.

    Raises:
        ValueError: One is.
    """
    known = set(names)
    for name in names:
        image, _, category = re.sub(r"_[0-9]+$", "", name).rpartition("_")
        if category in categories and image in known:
            raise ValueError(
                f"expected names other than IMAGE_{category} beside the image {image}, whose mask has that name, "
                f"got {name}; rename it"
            )


def write_picture(
    folder: Path, pictures: Pictures, new: NDArray[np.int64], whole: Sequence[str], number: int
) -> IndexRow | None:
    """Write an image and its masks.

    Args:
        folder: The Broden directory.
        pictures: Images and their concepts.
        new: For each concept its new number, 0 if it is left out.
        whole: Categories that hold for the whole image.
        number: Which image.

    Returns:
        Its row of index.csv; None, and nothing is written, if it has no concept.
    """
    name = pictures.names[number]
    layers = {category: new[old] for category, old in pictures.layers(number).items()}
    cells = {
        category: _whole(stored) if category in whole else _masks(folder / "images", f"{name}_{category}", stored)
        for category, stored in layers.items()
    }
    if not any(cells.values()):
        return None
    pixels = pictures.pixels(number)
    _save(folder / "images" / f"{name}.png", pixels)
    (height, width), (mask_height, mask_width) = pixels.shape[:2], next(iter(layers.values())).shape[-2:]
    split = "train" if hashlib.sha256(name.encode()).digest()[0] < 0.7 * 256 else "val"
    sizes = {"ih": height, "iw": width, "sh": mask_height, "sw": mask_width}
    return {"image": f"{name}.png", "split": split} | sizes | cells


def write_tables(
    folder: Path, rows: Sequence[IndexRow], concepts: Sequence[tuple[Concept, int, float]], categories: Sequence[str]
) -> None:
    """Write label.csv, category.csv, the c_*.csv, and at last index.csv.

    Args:
        folder: The Broden directory.
        rows: Those of index.csv.
        concepts: Each with the number of images it is in and its area in units of an image; their new numbers are
            their places, from 1.
        categories: Their order.
    """
    labels: dict[str, list[dict[str, object]]] = {category: [] for category in categories}
    everything, summary = [], []
    for number, (concept, frequency, area) in enumerate(concepts, start=1):
        name, category, coverage = concept.name + SUFFIX.get(concept.category, ""), concept.category, f"{area:.6f}"
        counts = {"frequency": frequency, "coverage": coverage}
        everything.append(
            {"number": number, "name": name, "category": f"{category}({frequency})", **counts, "syns": ""}
        )
        labels[category].append({"code": len(labels[category]) + 1, "number": number, "name": name, **counts})
    for category, entries in labels.items():
        if entries:
            span = {"first": entries[0]["number"], "last": entries[-1]["number"], "count": len(entries)}
            summary.append({"name": category, **span, "frequency": sum(bool(row[category]) for row in rows)})
            _table(folder / f"c_{category}.csv", entries)
    _table(folder / "label.csv", everything)
    _table(folder / "category.csv", summary)
    _table(folder / "index.csv", rows)


def _whole(layers: Layers) -> str:
    numbers, pixels = np.unique(layers[layers > 0], return_counts=True)
    return ";".join(str(number) for number in numbers[np.argsort(-pixels, kind="stable")].tolist())


def _masks(folder: Path, name: str, layers: Layers) -> str:
    files = []
    for k, layer in enumerate(layers):
        if layer.any():
            files.append(f"{name}_{k}.png" if k else f"{name}.png")
            _save(folder / files[-1], np.stack([layer % 256, layer // 256, np.zeros_like(layer)], -1).astype(np.uint8))
    return ";".join(files)


def _save(path: Path, pixels: NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def _table(path: Path, rows: Sequence[IndexRow]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
