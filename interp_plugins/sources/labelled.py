"""Images whose concepts are known, read from a Broden directory (Bau et al. 2017, arXiv 1704.05796)."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from interp_plugins.foundation import check
from interp_plugins.sources import broden_tables, decoding
from interp_plugins.sources.marked import KEEP, Decoded, MarkedImages


def open_labelled(
    path: Path | str,
    categories: Sequence[str] | None = None,
    *,
    size: int | None = None,
    limit: int | None = None,
    keep: int = KEEP,
) -> MarkedImages:
    """Open labelled images, whatever form they have.

    Args:
        path: A Broden directory.
        categories: Those that are asked about; None for all.
        size: Height and width of the images that come out; None leaves them alone.
        limit: Take the first so many images that are labelled.
        keep: How many bytes of decoded labels are kept for a second reading.

    Raises:
        FileNotFoundError: There is no such folder, or a table of it is missing.
        ValueError: A table is wrong, or nothing is labelled.
    """
    return Broden(path, categories, size=size, limit=limit, keep=keep)


class Broden(MarkedImages):
    """A Broden directory.

    Args:
        folder: Holds index.csv, category.csv, label.csv, the c_*.csv and images/.
        categories: Those that are asked about; None for all. Their order is that of category.csv.
        size: Bring the images, which must be square, to this height and width; None leaves them alone. The masks stay
            as they are: they cover the same picture.
        limit: Take the first so many images that are labelled.
        keep: How many bytes of decoded labels are kept for a second reading.

    Raises:
        FileNotFoundError: There is no such folder or table.
        ValueError: A table lacks a column or a value in it is wrong, there is no such category, no image has labels
            of the categories, or images or masks are of several sizes.

    Example:
        >>> images = Broden("broden_scenes")  # doctest: +SKIP
        >>> images.vocabulary.name(int(images.labels(0).pixels.max()))  # doctest: +SKIP
        'stripes'
    """

    def __init__(
        self,
        folder: Path | str,
        categories: Sequence[str] | None = None,
        *,
        size: int | None = None,
        limit: int | None = None,
        keep: int = KEEP,
    ) -> None:
        folder = Path(folder)
        if limit is not None:
            check.positive(limit=limit)
        if size is not None:
            check.positive(size=size)
        if not folder.is_dir():
            raise FileNotFoundError(f"no folder {folder}")
        vocabulary, names = broden_tables.vocabulary(folder, categories)
        asked = frozenset(concept.number for concept in vocabulary.concepts)
        entries, skipped = [], 0
        for entry in broden_tables.entries(folder, vocabulary.categories, frozenset(names)):
            if entry.masks or asked.intersection(entry.whole):
                entries.append(entry)
            else:
                skipped += 1
        if not entries:
            raise ValueError(
                f"expected images with labels of {', '.join(vocabulary.categories)} in {folder / 'index.csv'}, "
                f"got none among {skipped} images"
            )
        self._shape, mask_size = _one_size(entries, folder)
        if size is not None and self._shape[0] != self._shape[1]:
            raise ValueError(
                f"expected square images to bring to {size} x {size}, got {self._shape[0]} x {self._shape[1]} in "
                f"{folder}; leave the size away"
            )
        self._folder, self._entries, self._size = folder / "images", tuple(entries[:limit]), size
        # A table from what a mask stores to the concept: -1 without a meaning, 0 of a category nobody asked about.
        self._concept = np.full(decoding.BLUE, -1, np.int32)
        self._concept[[0, *names]] = 0
        self._concept[list(asked)] = list(asked)
        self._asked = asked
        super().__init__(vocabulary, [entry.image for entry in self._entries], mask_size, skipped, keep)

    def image(self, number: int) -> NDArray[np.uint8]:
        """One image, (h, w, 3)."""
        pixels = decoding.rgb(self._folder, self._entries[number].image, self._shape)
        if self._size in (None, len(pixels)):
            return pixels
        square = self._size, self._size
        return np.array(Image.fromarray(pixels).resize(square, Image.Resampling.BILINEAR))

    def decode(self, number: int) -> Decoded:
        """An image's concepts as they are stored: layers of numbers, and those of the whole image."""
        entry = self._entries[number]
        layers = np.empty((len(entry.masks), *self.mask_size), np.uint16)
        for layer, name in zip(layers, entry.masks, strict=True):
            stored = decoding.red_green(self._folder, name, self.mask_size)
            concepts = self._concept.take(stored)
            if concepts.min() < 0:
                raise ValueError(
                    f"expected numbers of label.csv in the mask {self._folder / name}, got {stored[concepts < 0][0]}"
                )
            layer[:] = concepts
        return layers, tuple(number for number in entry.whole if number in self._asked)

    def content(self, number: int) -> bytes:
        """The bytes of an image's file."""
        return decoding.content(self._folder, self._entries[number].image, "image")

    def label_content(self, number: int) -> list[bytes]:
        """The bytes from which an image's concepts are read: its masks, and the numbers for the whole image."""
        entry = self._entries[number]
        masks = [decoding.content(self._folder, name, "mask") for name in entry.masks]
        return [*masks, ";".join(map(str, entry.whole)).encode()]


def _one_size(entries: Sequence[broden_tables.Entry], folder: Path) -> tuple[tuple[int, int], tuple[int, int]]:
    """Height and width of all images, and of all masks."""
    for name, shapes in (
        ("images", {entry.shape for entry in entries}),
        ("masks", {entry.mask_shape for entry in entries}),
    ):
        if len(shapes) > 1:
            sizes = " and ".join(f"{height} x {width}" for height, width in sorted(shapes)[:2])
            raise ValueError(f"expected {name} of one size in {folder / 'index.csv'}, got {sizes}")
    return entries[0].shape, entries[0].mask_shape
