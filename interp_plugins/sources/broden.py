"""Write directories in the layout of the Broden data set (Bau et al. 2017): images, their concepts, and tables.

index.csv names for each image its masks or whole-image labels, category.csv and label.csv what the numbers mean, one
c_*.csv per category a dense numbering. Masks are PNGs that store number = red + 256 * green, 0 = unlabelled.
`labelled.Broden` reads them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from interp_plugins.foundation.concepts import Concept
from interp_plugins.sources.broden_files import Layers, Pictures, check_names, write_picture, write_tables
from interp_plugins.sources.workers import each


@dataclass(frozen=True)
class Written:
    """What became of pictures and concepts.

    Args:
        folder: The Broden directory.
        images: How many are in it.
        unlabelled: How many were left out because they have no concept.
        concepts: Those that are in it, with their old numbers.
        rare: Those that were left out because they are in too few images or of too small an area.
    """

    folder: Path
    images: int
    unlabelled: int
    concepts: tuple[Concept, ...]
    rare: tuple[Concept, ...]


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
    """Write labelled images that are in memory; masks are halved. Otherwise as `write_pictures`.

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
    height, width = images.shape[-2:]
    if height % 2 or width % 2:
        raise ValueError(
            f"expected images of even height and width, since masks are half as large, got {height} x {width}"
        )
    pictures = _InMemory(ids, images, {category: mask[..., ::2, ::2] for category, mask in masks.items()})
    return write_pictures(
        folder, pictures, concepts, tuple(masks), whole=whole, min_frequency=min_frequency, min_coverage=min_coverage
    ).folder


def write_pictures(
    folder: Path | str,
    pictures: Pictures,
    concepts: Sequence[Concept],
    categories: Sequence[str],
    *,
    whole: Sequence[str],
    min_frequency: int,
    min_coverage: float,
    workers: int = 0,
    watch: Callable[[int, int], object] = lambda done, of: None,
) -> Written:
    """Write labelled images as a Broden directory.

    Concepts in too few images or of too small an area are left out, as Broden leaves them out; the others are
    numbered anew from 1, category after category. An image without any concept is left out. The split is drawn from
    the image's name: seven of ten are "train", the others "val".

    All masks are read twice, first to count. index.csv comes last, so that what was interrupted is no Broden
    directory, and can be begun again.

    Args:
        folder: Made if missing; must hold no index.csv.
        pictures: Images and their concepts.
        concepts: What the numbers mean.
        categories: Their order in the tables.
        whole: Categories that hold for the whole image: written as a number, not as a mask.
        min_frequency: The fewest images a concept must be in.
        min_coverage: The smallest area a concept must have in all images together, in units of an image.
        workers: How many processes read and write; 0 does it here.
        watch: Is told how many steps of how many are done: each image is counted, and later written.

    Raises:
        ValueError: Nothing is left after the rare concepts are dropped, or a file would have two images' names.
        FileExistsError: The folder already holds an index.csv.
    """
    folder, count = Path(folder), len(pictures.names)
    if (folder / "index.csv").exists():
        raise FileExistsError(f"{folder} already holds a Broden directory; name another folder")
    check_names(pictures.names, categories)
    frequency, coverage = np.zeros((2, max(concept.number for concept in concepts) + 1))
    for done, (numbers, areas) in enumerate(each(partial(_count, pictures), count, workers), start=1):
        frequency[numbers] += 1
        coverage[numbers] += areas
        watch(done, 2 * count)
    common = (frequency >= max(min_frequency, 1)) & (coverage >= min_coverage)
    kept = [concept for category in categories for concept in concepts if concept.category == category]
    kept = [concept for concept in kept if common[concept.number]]
    if not kept:
        raise ValueError(
            f"no concept is in {min_frequency} of the {count} images and covers {min_coverage} images in all; "
            "give more images, or lower min_frequency and min_coverage"
        )
    new = np.zeros(len(common), np.int64)
    new[[concept.number for concept in kept]] = np.arange(1, len(kept) + 1)
    rows = []
    for done, row in enumerate(each(partial(write_picture, folder, pictures, new, whole), count, workers), start=1):
        if row:
            rows.append(row)
        watch(count + done, 2 * count)
    counted = [(concept, int(frequency[concept.number]), float(coverage[concept.number])) for concept in kept]
    write_tables(folder, rows, counted, categories)
    rare = tuple(concept for concept in concepts if concept not in kept)
    return Written(folder, len(rows), count - len(rows), tuple(kept), rare)


class _InMemory:
    """Images and masks in memory."""

    def __init__(self, names: Sequence[str], images: Tensor, masks: Mapping[str, NDArray[np.int16]]) -> None:
        self.names, self._images, self._masks = names, images, masks

    def pixels(self, number: int) -> NDArray[np.uint8]:
        return self._images[number].permute(1, 2, 0).numpy()

    def layers(self, number: int) -> dict[str, Layers]:
        return {category: masks[number] for category, masks in self._masks.items()}


def _count(pictures: Pictures, number: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The concepts in an image, and the share of it that each covers."""
    layers = [each for some in pictures.layers(number).values() for each in some]
    pixels = np.bincount(np.concatenate([layer.ravel() for layer in layers]))
    numbers = pixels.nonzero()[0]
    numbers = numbers[numbers > 0]
    return numbers, pixels[numbers] / layers[0].size
