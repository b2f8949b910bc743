"""A folder of images, a folder of masks, and a table of what the masks' numbers mean."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from interp_plugins.foundation import check
from interp_plugins.sources import decoding
from interp_plugins.sources.images import cut, resized
from interp_plugins.sources.layouts import SUFFIXES
from interp_plugins.sources.legend import read_legend
from interp_plugins.sources.marked import KEEP, Layers, MarkedImages
from interp_plugins.sources.tables import Complain, heard, refuse

SIZE = 224


class PlainMasks(MarkedImages):
    """Images in images/, a mask for each in masks/, and a labels.csv.

    A mask is a PNG of its image's size and name. A pixel stores a number: as grey, as the index into a palette, or as
    red + 256 * green. Further layers of labels, such as parts over objects, lie in further folders whose names begin
    with "masks", and need not have all images.

    labels.csv has the columns number and name, and if wanted category ("object" where it is empty) and color. The
    number 0 is unlabelled unless the table names it, and so is each number whose name is empty. Where colors (#rrggbb)
    are given, masks are read by their colours.

    Images are resized (shorter side, bilinear) and cut (centre) to a square. Labels have half its size, and are read
    from the masks at the pixels where the centres of that grid fall.

    Args:
        folder: Holds images/, masks/ and labels.csv.
        categories: Those that are asked about; None for all. Their order is that of labels.csv.
        size: Height and width of the images that come out.
        limit: Take the first so many images.
        keep: How many bytes of decoded labels are kept for a second reading.
        complain: Is told of a row of labels.csv that is wrong and of an image without a mask, which are then left
            out; by default it is raised.

    Raises:
        FileNotFoundError: There are no images, no masks, no labels.csv, or no mask for an image.
        ValueError: A row of labels.csv is wrong, there is no such category, or two images have one mask.
    """

    def __init__(
        self,
        folder: Path | str,
        categories: Sequence[str] | None = None,
        *,
        size: int = SIZE,
        limit: int | None = None,
        keep: int = KEEP,
        complain: Complain = refuse,
    ) -> None:
        check.positive(size=size, limit=1 if limit is None else limit)
        folder, self._size = Path(folder), size
        self._legend = read_legend(folder / "labels.csv", categories, complain)
        self._files = _pairs(folder, complain)[:limit]
        ids = [image.removeprefix("images/") for image, *_ in self._files]
        half = (size + 1) // 2
        super().__init__(folder, self._legend.vocabulary, ids, (half, half), keep=keep)

    def files(self, number: int) -> tuple[str, ...]:
        """An image's file and its masks, relative to the folder."""
        return self._files[number]

    def image(self, number: int) -> NDArray[np.uint8]:
        """One image, (size, size, 3)."""
        return cut(decoding.rgb(self.folder / self._files[number][0]), self._size)

    def layer(self, number: int, mask: str) -> Layers:
        """The concepts in one of an image's masks, (h, w)."""
        height, width = shape = decoding.shape(self.folder / self._files[number][0])
        concepts = self._legend.concepts(self.folder / mask, shape)
        row, column = _centres(height, width, self._size)
        return concepts[row[:, None], column]


def _pairs(folder: Path, complain: Complain) -> list[tuple[str, ...]]:
    """For each image its file and those of its masks."""
    images, *layers = folder / "images", *sorted(path for path in folder.glob("masks*") if path.is_dir())
    masks = {layer.name: set(_below(layer, (".png",))) for layer in layers}
    found = _below(images, SUFFIXES)
    if not found or "masks" not in masks:
        raise FileNotFoundError(f"no {'masks' if found else 'images'} in {folder / ('masks' if found else 'images')}")
    pairs: dict[str, tuple[str, ...]] = {}
    for name in found:
        with heard(complain):
            mask = Path(name).with_suffix(".png").as_posix()
            if mask in pairs:
                raise ValueError(f"expected one image for each mask, got {pairs[mask][0]} and images/{name} for {mask}")
            if mask not in masks["masks"]:
                raise FileNotFoundError(f"no mask {folder / 'masks' / mask} for the image {images / name}")
            pairs[mask] = f"images/{name}", *(f"{layer}/{mask}" for layer, names in masks.items() if mask in names)
    if not pairs:
        raise FileNotFoundError(f"no image in {images} has a mask")
    return list(pairs.values())


def _below(folder: Path, suffixes: Sequence[str]) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.suffix.lower() in suffixes)


def _centres(height: int, width: int, size: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows and columns of an image that lie under the centres of its labels, after it was resized and cut.

    A centre between two pixels takes the first, as every second pixel of an image that was not resized.
    """
    half = (size + 1) // 2
    places = []
    for length, scaled in zip((height, width), resized(height, width, size), strict=True):
        centre = 2 * half * ((scaled - size) // 2) + (2 * np.arange(half) + 1) * size  # in 1 / (2 half) pixels
        places.append(-(-centre * length // (2 * half * scaled)) - 1)
    return places[0], places[1]
