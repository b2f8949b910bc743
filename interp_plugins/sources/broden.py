"""Directories in the layout of the Broden data set (Bau et al. 2017): images, their concepts, and tables about both.

index.csv names for each image its masks or whole-image labels, category.csv and label.csv what the numbers mean, one
c_*.csv per category a dense numbering. Masks are PNGs of half the height and width that store number = red + 256 *
green, 0 = unlabelled.
"""

import csv
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from interp_plugins.foundation.concepts import SUFFIX, Concept


def write(
    folder: Path | str,
    images: Tensor,
    masks: Mapping[str, NDArray[np.int16]],
    concepts: Sequence[Concept],
    ids: Sequence[str],
    *,
    whole: Sequence[str] = ("scene",),
    min_frequency: int = 10,
    min_coverage: float = 0.5,
) -> Path:
    """Write labelled images as a Broden directory.

    Concepts in too few images or of too small an area are left out, as Broden leaves them out; the others are
    numbered anew from 1, category after category. An image without any concept is skipped. The split is drawn from
    the image's name: seven of ten are "train", the others "val".

    Args:
        folder: Made if missing; must hold no index.csv.
        images: uint8 (n, 3, h, w), h and w even.
        masks: Category -> concept numbers (n, layers, h, w), 0 = none.
        concepts: What the numbers mean.
        ids: Names of the images; "scenes/0/7" becomes images/scenes/0/7.png.
        whole: Categories that hold for the whole image: written as a number, not as a mask.
        min_frequency: The fewest images a concept must be in. Broden: 10.
        min_coverage: The smallest area a concept must have in all images together, in units of an image. Broden: 0.5.

    Returns:
        The folder.

    Raises:
        ValueError: Odd sizes, or nothing is left after the rare concepts are dropped.
        FileExistsError: The folder already holds an index.csv.
    """
    folder = Path(folder)
    height, width = images.shape[-2:]
    if height % 2 or width % 2:
        raise ValueError(
            f"expected images of even height and width, since masks are half as large, got {height} x {width}"
        )
    if (folder / "index.csv").exists():
        raise FileExistsError(f"{folder} already holds a Broden directory; name another folder")
    halves = {category: mask[..., ::2, ::2] for category, mask in masks.items()}
    counts = _counts(halves, max(c.number for c in concepts))
    kept = [c for c in concepts if _is_common(counts, c.number, min_frequency, min_coverage)]
    if not kept:
        raise ValueError(
            f"no concept is in {min_frequency} of the {len(images)} images and covers {min_coverage} images in all; "
            "give more images, or lower min_frequency and min_coverage"
        )
    renumber = np.zeros(max(c.number for c in concepts) + 1, np.int64)
    renumber[[c.number for c in kept]] = np.arange(1, len(kept) + 1)
    rows: list[dict[str, object]] = []
    for i, name in enumerate(ids):
        cells = {
            category: _cell(folder, f"{name}_{category}", renumber[half[i]], category in whole)
            for category, half in halves.items()
        }
        if any(cells.values()):
            _save(folder / "images" / f"{name}.png", images[i].permute(1, 2, 0).numpy())
            split = "train" if hashlib.sha256(name.encode()).digest()[0] < 0.7 * 256 else "val"
            row: dict[str, object] = {"image": f"{name}.png", "split": split, "ih": height, "iw": width}
            rows.append(row | {"sh": height // 2, "sw": width // 2} | cells)
    _table(folder / "index.csv", rows)
    _tables(folder, rows, kept, counts, tuple(masks))
    return folder


def _counts(halves: Mapping[str, NDArray[np.int16]], last: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """For each number: in how many images it is, and its area in units of an image."""
    frequency, coverage = np.zeros(last + 1, np.int64), np.zeros(last + 1)
    for half in halves.values():
        area = half.shape[-2] * half.shape[-1]
        for image in half:
            numbers, pixels = np.unique(image, return_counts=True)
            frequency[numbers] += 1
            coverage[numbers] += pixels / area
    return frequency, coverage


def _is_common(counts: tuple[NDArray[np.int64], NDArray[np.float64]], number: int, images: int, area: float) -> bool:
    frequency, coverage = counts[0][number], counts[1][number]
    return bool(frequency >= max(images, 1) and coverage >= area)


def _cell(folder: Path, name: str, layers: NDArray[np.int64], is_whole: bool) -> str:
    """Write an image's masks of a category; what index.csv says about them."""
    if is_whole:
        numbers, pixels = np.unique(layers[layers > 0], return_counts=True)
        return ";".join(str(number) for number in numbers[np.argsort(-pixels, kind="stable")].tolist())
    files = []
    for k, layer in enumerate(layers):
        if layer.any():
            files.append(f"{name}_{k}.png" if k else f"{name}.png")
            planes = np.stack([layer % 256, layer // 256, np.zeros_like(layer)], -1).astype(np.uint8)
            _save(folder / "images" / files[-1], planes)
    return ";".join(files)


def _save(path: Path, pixels: NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def _tables(
    folder: Path,
    rows: Sequence[Mapping[str, object]],
    kept: Sequence[Concept],
    counts: tuple[NDArray[np.int64], NDArray[np.float64]],
    categories: Iterable[str],
) -> None:
    labels: dict[str, list[dict[str, object]]] = {category: [] for category in categories}
    everything, summary = [], []
    for number, concept in enumerate(kept, start=1):
        name, category = concept.name + SUFFIX.get(concept.category, ""), concept.category
        frequency, coverage = int(counts[0][concept.number]), f"{counts[1][concept.number]:.6f}"
        everything.append(
            {"number": number, "name": name, "category": f"{category}({frequency})"}
            | {"frequency": frequency, "coverage": coverage, "syns": ""}
        )
        code = len(labels[category]) + 1
        labels[category].append(
            {"code": code, "number": number, "name": name, "frequency": frequency, "coverage": coverage}
        )
    for category, entries in labels.items():
        if entries:
            span = {"first": entries[0]["number"], "last": entries[-1]["number"], "count": len(entries)}
            summary.append({"name": category, **span, "frequency": sum(bool(row[category]) for row in rows)})
            _table(folder / f"c_{category}.csv", entries)
    _table(folder / "label.csv", everything)
    _table(folder / "category.csv", summary)


def _table(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
