"""Images and masks as they lie about, written as a Broden directory."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from interp_plugins.sources.broden import Written, write_pictures
from interp_plugins.sources.broden_files import Layers
from interp_plugins.sources.masks import SIZE, PlainMasks


def write_masks(
    data: Path | str,
    folder: Path | str,
    *,
    size: int = SIZE,
    categories: Sequence[str] | None = None,
    min_frequency: int = 1,
    min_coverage: float = 0,
    workers: int = 0,
    watch: Callable[[int, int], object] = lambda done, of: None,
) -> Written:
    """Write a folder of images, masks and a labels.csv as a Broden directory; otherwise as `write_pictures`.

    Args:
        data: What `masks.PlainMasks` reads.
        folder: Made if missing; must hold no index.csv.
        size: Height and width of the images.
        categories: Those that are written; None for all.
        min_frequency: The fewest images a concept must be in. Broden: 10.
        min_coverage: The smallest area a concept must have in all images together, in units of an image. Broden: 0.5.
        workers: How many processes read and write; 0 does it here.
        watch: Is told how many steps of how many are done.

    Raises:
        FileNotFoundError: There are no images, no masks, no labels.csv, or no mask for an image.
        ValueError: One folder lies in the other, a file is wrong, or nothing is left after the rare concepts are
            dropped.
        FileExistsError: The folder already holds an index.csv.
    """
    source, target = Path(data).resolve(), Path(folder).resolve()
    if source == target or source in target.parents or target in source.parents:
        raise ValueError(f"expected a folder outside {data} to write to, got {folder}")
    images = PlainMasks(data, categories, size=size, keep=0)
    vocabulary = images.vocabulary
    return write_pictures(
        folder, _InFiles(images), vocabulary.concepts, vocabulary.categories, whole=(),
        min_frequency=min_frequency, min_coverage=min_coverage, workers=workers, watch=watch,
    )  # fmt: skip


class _InFiles:
    """Images and masks in files; the concepts of one mask may be of several categories."""

    def __init__(self, images: PlainMasks) -> None:
        self.names: Sequence[str] = [image.rpartition(".")[0] for image in images.ids]
        self._images = images
        self._category = images.vocabulary.category_of.numpy()

    def pixels(self, number: int) -> NDArray[np.uint8]:
        return self._images.image(number)

    def layers(self, number: int) -> dict[str, Layers]:
        layers = self._images.labels(number).pixels.numpy()
        category = self._category[layers]
        return {name: layers * (category == k) for k, name in enumerate(self._images.vocabulary.categories)}
