"""Images whose concepts are known: Broden directories (Bau et al. 2017, arXiv 1704.05796) and folders of masks."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from interp_plugins.foundation import check
from interp_plugins.sources import broden_tables, decoding
from interp_plugins.sources.images import cut
from interp_plugins.sources.marked import KEEP, Layers, MarkedImages
from interp_plugins.sources.masks import SIZE, PlainMasks
from interp_plugins.sources.meanings import Meanings
from interp_plugins.sources.tables import Complain, refuse


def open_labelled(
    folder: Path | str,
    categories: Sequence[str] | None = None,
    *,
    size: int | None = None,
    limit: int | None = None,
    keep: int = KEEP,
    complain: Complain = refuse,
) -> MarkedImages:
    """Open labelled images: a Broden directory if an index.csv lies there, a folder of images and masks otherwise.

    Args:
        folder: Where they are.
        categories: Those that are asked about; None for all.
        size: Height and width of the images that come out. None leaves a Broden directory's as they are, and is 224
            for a folder of images and masks.
        limit: Take the first so many images.
        keep: How many bytes of decoded labels are kept for a second reading.
        complain: Is told of a row of a table that is wrong, which is then left out; by default it is raised.

    Raises:
        FileNotFoundError: There is no such folder, or a table of it is missing.
        ValueError: A table is wrong, there is no such category, or nothing is labelled.

    Example:
        >>> images = open_labelled("broden_scenes")  # doctest: +SKIP
        >>> images.vocabulary.name(images.labels(0).whole[0])  # doctest: +SKIP
        'harbour'
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder {folder}")
    if (folder / "index.csv").exists():
        return Broden(folder, categories, size=size, limit=limit, keep=keep, complain=complain)
    if (folder / "labels.csv").exists():
        return PlainMasks(folder, categories, size=size or SIZE, limit=limit, keep=keep, complain=complain)
    raise ValueError(
        f"expected the index.csv of a Broden directory, or images/, masks/ and labels.csv, in {folder}, got neither"
    )


class Broden(MarkedImages):
    """A Broden directory.

    Args:
        folder: Holds index.csv, category.csv, label.csv, the c_*.csv and images/.
        categories: Those that are asked about; None for all. Their order is that of category.csv.
        size: Bring the images, which must be square, to this height and width; None leaves them alone. The masks stay
            as they are: they cover the same picture.
        limit: Take the first so many images that are labelled.
        keep: How many bytes of decoded labels are kept for a second reading.
        complain: Is told of a row of a table that is wrong, which is then left out; by default it is raised.

    Raises:
        FileNotFoundError: There is no such table.
        ValueError: A table lacks a column or a value in it is wrong, there is no such category, no image has labels
            of the categories, or images or masks are of several sizes.
    """

    def __init__(
        self,
        folder: Path | str,
        categories: Sequence[str] | None = None,
        *,
        size: int | None = None,
        limit: int | None = None,
        keep: int = KEEP,
        complain: Complain = refuse,
    ) -> None:
        check.positive(size=1 if size is None else size, limit=1 if limit is None else limit)
        folder = Path(folder)
        vocabulary, numbers = broden_tables.vocabulary(folder, categories, complain)
        self._asked = frozenset(concept.number for concept in vocabulary.concepts)
        entries = broden_tables.entries(folder, vocabulary.categories, numbers, complain)
        labelled = [entry for entry in entries if entry.masks or self._asked.intersection(entry.whole)]
        if not labelled:
            raise ValueError(
                f"expected images with labels of {', '.join(vocabulary.categories)} in {folder / 'index.csv'}, "
                f"got none among {len(entries)} images"
            )
        height, width = labelled[0].shape
        if size is not None and height != width:
            raise ValueError(
                f"expected square images to bring to {size} x {size}, got {height} x {width} in {folder}; "
                "leave the size away"
            )
        self._size, self._entries = size, labelled[:limit]
        self._meanings = Meanings({0, *numbers}, {number: number for number in self._asked}, "label.csv")
        super().__init__(
            folder / "images",
            vocabulary,
            [entry.image for entry in self._entries],
            labelled[0].mask_shape,
            skipped=len(entries) - len(labelled),
            keep=keep,
        )

    def files(self, number: int) -> tuple[str, ...]:
        """An image's file and its masks, relative to images/."""
        return self._entries[number].image, *self._entries[number].masks

    def path(self, file: str) -> Path:
        """Where a file is.

        Raises:
            ValueError: A link leads out of images/.
        """
        return decoding.inside(self.folder, file)

    def image(self, number: int) -> NDArray[np.uint8]:
        """One image, (h, w, 3)."""
        entry = self._entries[number]
        pixels = decoding.rgb(self.path(entry.image), entry.shape)
        return pixels if self._size is None else cut(pixels, self._size)

    def layer(self, number: int, mask: str) -> Layers:
        """The concepts in one of an image's masks, (h, w)."""
        path = self.path(mask)
        return self._meanings.concepts(decoding.red_green(path, self.mask_size), path)

    def whole(self, number: int) -> tuple[int, ...]:
        """The concepts of a whole image."""
        return tuple(concept for concept in self._entries[number].whole if concept in self._asked)
