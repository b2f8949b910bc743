"""A drawn data set in Broden's layout, as large in every way that costs time, so that nothing has to be downloaded.

As many labels of each category as in Broden, and its four kinds of images in their shares: scenes with objects and
parts (ADE20K), objects and parts (Pascal), materials (OpenSurfaces), textures (DTD). Colours, objects, parts and
materials are PNGs of half the images' size; scenes and textures hold for whole images. Most textures have no PNG at
all, as in Broden. No place has one number twice, so that all ways of counting agree on it. Regions are the places
nearest to random points, and popular labels come first.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

LABELS = {"color": 11, "object": 584, "part": 234, "material": 32, "scene": 468, "texture": 47}
REGIONS = {"color": 6, "object": 9, "part": 7, "material": 5}  # of one mask; a map of parts or materials has gaps
GAPS = ("part", "material")
KINDS = (  # share of Broden's 63,305 images, and what is labelled
    (0.35, ("color", "object", "part", "scene")),
    (0.16, ("color", "object", "part")),
    (0.40, ("color", "material")),
    (0.09, ("texture",)),
)
COLOURED_TEXTURES, SCENES_WITH_PARTS, SECOND_LAYERS = 0.3, 0.5, 0.3  # shares of the images that could


@dataclass(frozen=True)
class Layout:
    """Where the files are and how large; `first` has each category's lowest number."""

    folder: Path
    size: int
    first: dict[str, int]

    @property
    def side(self) -> int:
        """Of the masks."""
        return self.size // 2


def draw(folder: Path, images: int, size: int = 224, seed: int = 0) -> Path:
    """Write the data set, or find that it is there.

    Args:
        folder: Where; of an earlier one with as many images, all is kept.
        images: How many.
        size: Side of the images; masks have half of it.
        seed: What is drawn.

    Raises:
        ValueError: The folder has a data set of another number of images.
    """
    index = folder / "index.csv"
    if index.exists():
        found = len(index.read_text(encoding="utf-8").splitlines()) - 1
        if found != images:
            raise ValueError(f"expected {images} images in {folder}, found {found}; name another folder")
        return folder
    (folder / "images").mkdir(parents=True)
    starts = np.cumsum([1, *LABELS.values()])
    layout = Layout(folder, size, dict(zip(LABELS, starts.tolist(), strict=False)))
    frequency, coverage = np.zeros(starts[-1], np.int64), np.zeros(starts[-1])
    rows = [_image(layout, number, np.random.default_rng([seed, number]), frequency, coverage)
            for number in range(images)]  # fmt: skip
    _tables(layout, rows, frequency, coverage)
    return folder


def _image(
    layout: Layout,
    number: int,
    chance: np.random.Generator,
    frequency: NDArray[np.int64],
    coverage: NDArray[np.float64],
) -> dict[str, object]:
    """Draw one image and its masks, count what is there, and return its line of index.csv."""
    name, side = f"{number:06d}", layout.side
    cells: dict[str, str] = dict.fromkeys(LABELS, "")
    for category in _labelled(chance):
        if category not in REGIONS:
            labels = [_popular(layout, category, chance, 1)]
            cells[category] = str(labels[0][0])
            maps = [np.full((side, side), labels[0][0])]
        else:
            maps = _masks(layout, category, chance)
            files = [f"{name}_{category}_{k}.png" for k in range(len(maps))]
            for file, numbers in zip(files, maps, strict=True):
                planes = np.stack([numbers % 256, numbers // 256, np.zeros_like(numbers)], -1).astype(np.uint8)
                Image.fromarray(planes).save(layout.folder / "images" / file)
            cells[category] = ";".join(files)
        found, places = np.unique(np.stack(maps), return_counts=True)
        frequency[found] += 1
        coverage[found] += places / side**2
    _picture(layout, name, chance)
    split = "train" if chance.random() < 0.7 else "val"
    sizes = {"ih": layout.size, "iw": layout.size, "sh": side, "sw": side}
    return {"image": f"{name}.jpg", "split": split, **sizes, **cells}


def _labelled(chance: np.random.Generator) -> list[str]:
    """The categories of an image."""
    kind = int(chance.choice(len(KINDS), p=[share for share, _ in KINDS]))
    categories = list(KINDS[kind][1])
    if "scene" in categories and chance.random() > SCENES_WITH_PARTS:
        categories.remove("part")
    if "texture" in categories and chance.random() < COLOURED_TEXTURES:
        categories.append("color")
    return categories


def _masks(layout: Layout, category: str, chance: np.random.Generator) -> list[NDArray[np.int64]]:
    """One map of numbers, and of parts sometimes a second with other numbers, because parts have parts."""
    maps: list[NDArray[np.int64]] = []
    for _ in range(1 + (category == "part" and chance.random() < SECOND_LAYERS)):
        count = REGIONS[category]
        numbers = _popular(layout, category, chance, count)
        numbers[np.isin(numbers, np.stack(maps) if maps else [])] = 0
        areas = _areas(chance, count + (category in GAPS), layout.side)
        maps.append(np.append(numbers, 0)[areas])
    return maps


def _popular(layout: Layout, category: str, chance: np.random.Generator, count: int) -> NDArray[np.int64]:
    """Numbers of a category; how often one comes falls with its rank."""
    ranks = (3 * chance.pareto(1.0, count)).astype(np.int64)
    return layout.first[category] + np.minimum(ranks, LABELS[category] - 1)


def _areas(chance: np.random.Generator, count: int, side: int) -> NDArray[np.int64]:
    """For each place which of some random points is nearest."""
    rows, columns = chance.random((2, count)) * side
    axis = np.arange(side) + 0.5
    distances = (axis[:, None, None] - rows) ** 2 + (axis[None, :, None] - columns) ** 2
    nearest: NDArray[np.int64] = distances.argmin(-1)
    return nearest


def _picture(layout: Layout, name: str, chance: np.random.Generator) -> None:
    """Smooth colours with a grain, which a JPEG keeps about as large as a photograph."""
    rough = Image.fromarray((chance.random((14, 14, 3)) * 255).astype(np.uint8))
    smooth = np.asarray(rough.resize((layout.size, layout.size), Image.Resampling.BILINEAR), np.float32)
    grain = chance.normal(0, 12, smooth.shape).astype(np.float32)
    pixels = np.clip(smooth + grain, 0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(layout.folder / "images" / f"{name}.jpg", quality=90)


def _tables(
    layout: Layout,
    rows: Sequence[dict[str, object]],
    frequency: NDArray[np.int64],
    coverage: NDArray[np.float64],
) -> None:
    everything: list[dict[str, object]] = []
    categories: list[dict[str, object]] = []
    for category, count in LABELS.items():
        numbers = range(layout.first[category], layout.first[category] + count)
        labels = [
            {"number": n, "name": f"{category} {n - numbers[0] + 1}", "frequency": int(frequency[n]),
             "coverage": f"{coverage[n]:.6f}"}
            for n in numbers
        ]  # fmt: skip
        everything += [label | {"category": f"{category}({label['frequency']})", "syns": ""} for label in labels]
        _table(layout.folder / f"c_{category}.csv", [{"code": k, **label} for k, label in enumerate(labels, start=1)])
        carried = sum(bool(row[category]) for row in rows)
        span = {"first": numbers[0], "last": numbers[-1], "count": count, "frequency": carried}
        categories.append({"name": category, **span})
    _table(layout.folder / "label.csv", everything)
    _table(layout.folder / "category.csv", categories)
    _table(layout.folder / "index.csv", rows)


def _table(path: Path, rows: Sequence[dict[str, object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
