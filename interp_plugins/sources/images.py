"""Labelled images from folders and arrays, decoded when they are asked for.

Four layouts: a folder of class folders, a flat folder with a labels.csv, CIFAR-10, and an .npz. Each image has an id
that stays the same wherever the data lie: its path inside the folder, or `<split>/<index>` in an array.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from interp_plugins.foundation import check
from interp_plugins.sources.layouts import Array, Files, Pixels, read_npz, read_table, readable, walk


class ImageSet(Dataset[tuple[Tensor, int, int]]):
    """Labelled images; a torch dataset of (uint8 image (3, h, w), label, index) that works in DataLoader's workers.

    Args:
        store: Where the images come from.
        labels: int64 (n,), at least 0.
        ids: One name for each image, no two alike.
        classes: Names of the classes, or None.
        wnids: WordNet synsets of the labels for which they are known.
        size: The shorter side is resized to it (bilinear, antialiased) and a centred square cut out; None leaves
            images alone.
        skipped: Names of the images that were left out because they could not be read.

    Raises:
        ValueError: No images, labels out of range, or an id twice.
    """

    def __init__(
        self,
        store: Files | Array,
        labels: Sequence[int],
        ids: Iterable[str],
        *,
        classes: Sequence[str] | None = None,
        wnids: Mapping[int, str] | None = None,
        size: int | None = None,
        skipped: Sequence[str] = (),
    ) -> None:
        self.store, self.size, self.skipped = store, size, tuple(skipped)
        self.labels = torch.tensor(labels, dtype=torch.int64)
        self.ids = tuple(ids)
        self.classes = None if classes is None else tuple(classes)
        self.wnids = dict(wnids or {})
        self._check()

    def _check(self) -> None:
        if not self.ids:
            raise ValueError(
                f"expected images, got none{f' that can be read of {len(self.skipped)}' * bool(self.skipped)}"
            )
        if len(self.labels) != len(self.ids):
            raise ValueError(f"expected a label for each of {len(self.ids)} images, got {len(self.labels)}")
        if len(set(self.ids)) < len(self.ids):
            twice = Counter(self.ids).most_common(1)[0][0]
            raise ValueError(f"the id {twice!r} stands for two images; ids must differ")
        last = len(self.classes) - 1 if self.classes else None
        wrong = (self.labels < 0) | (self.labels > (last if last is not None else self.labels.max()))
        if wrong.any():
            first = int(wrong.nonzero()[0])
            most = "above" if last is None else f"to {last}"
            raise ValueError(f"expected labels from 0 {most}, got {int(self.labels[first])} for {self.ids[first]!r}")
        if self.size is not None and self.size < 1:
            raise ValueError(f"expected a size of at least 1 pixel, got {self.size}")

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> tuple[Tensor, int, int]:
        if not 0 <= index < len(self):
            raise IndexError(f"expected an index from 0 to {len(self) - 1}, got {index}")
        pixels = self.store.pixels(index)
        if self.size is not None:
            pixels = cut(pixels, self.size)
        return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1))), int(self.labels[index]), index

    def tensor(self, indices: Iterable[int]) -> Tensor:
        """These images in one tensor, uint8 (n, 3, h, w).

        Raises:
            ValueError: They are of different sizes.
        """
        images = [self[index][0] for index in indices]
        shapes = sorted({tuple(image.shape[1:]) for image in images})
        if len(shapes) != 1:
            raise ValueError(
                f"expected images of one size, got {shapes[:3]} (height, width); give size= to cut them alike"
            )
        return torch.stack(images)

    def sha256(self, index: int) -> str:
        """The sha256 of an image's bytes: of the file, or of an array's pixels in rows of RGB."""
        return hashlib.sha256(self.store.content(index)).hexdigest()


def load(
    path: Path | str,
    size: int | None = None,
    labels: Path | str | None = None,
    skip_bad: bool = False,
    split: str | None = None,
) -> ImageSet:
    """Load images from a folder or an .npz.

    - The folder of CIFAR-10's published batches, or of its lossless tiles (`sources.cifar`): the test images, with
      ids such as `test/00042`, or the training images if `split` asks for them.
    - A folder of class folders: classes are the folders' names in order; names such as n02084071 are also wnids. Ids
      are relative paths such as `n02084071/7.jpg`.
    - A folder with a labels.csv (or another file named by `labels`): columns `file` and `class_index`, and `wnid` if
      known.
    - An .npz: `images` uint8 (n, h, w, 3) or (n, 3, h, w), `labels` (n,), and `classes` and `wnids` if known. Ids are
      `<name of the file>/<index>`.

    Args:
        path: Folder or .npz.
        size: Cut images to squares of this side; None leaves them alone.
        labels: A labels csv elsewhere.
        skip_bad: Leave out images that cannot be read instead of stopping, and list them in `skipped`. All are read
            once.
        split: "train" or "test", of CIFAR-10 alone; None is "test" there.

    Raises:
        FileNotFoundError: There is no such folder or file.
        ValueError: The data are empty or of another layout, an image cannot be read, or there is no such split.
    """
    from interp_plugins.sources import cifar  # here, because it builds on this module

    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"no images at {path}")
    if path.suffix == ".npz" and split is None:
        return _from_npz(path, size)
    if not path.is_dir() and path.suffix != ".npz":
        raise ValueError(f"expected a folder or an .npz, got {path}")
    table = Path(labels) if labels else path / "labels.csv"
    if not labels and not table.exists() and (published := cifar.reader(path)):
        check.one_of("split", split or "test", ("train", "test"))
        return published(path, split=split or "test", size=size)
    if split is not None:
        raise ValueError(f"expected a split of CIFAR-10 alone, got {split!r} of {path}; name that part's own folder")
    if labels or table.exists():
        files, numbers, wnids = read_table(table, path)
        classes = None
    else:
        files, numbers, classes = walk(path)
        wnids = {k: name for k, name in enumerate(classes) if re.fullmatch(r"n\d{8}", name)}
    store, bad = Files(path, files), frozenset[int]()
    if skip_bad:
        bad = frozenset(i for i in range(len(files)) if not readable(store, i))
        store = Files(path, tuple(file for i, file in enumerate(files) if i not in bad))
    kept = [number for i, number in enumerate(numbers) if i not in bad]
    skipped = [files[i] for i in sorted(bad)]
    return ImageSet(store, kept, store.files, classes=classes, wnids=wnids, size=size, skipped=skipped)


def from_arrays(
    images: NDArray[Any],
    labels: Sequence[int] | NDArray[Any],
    split: str,
    *,
    classes: Sequence[str] | None = None,
    wnids: Mapping[int, str] | None = None,
    size: int | None = None,
) -> ImageSet:
    """Images that are already in memory, with ids such as `train/00042`.

    Args:
        images: uint8 (n, h, w, 3) or (n, 3, h, w).
        labels: Integers, (n,).
        split: The first half of the ids.
        classes: Names of the classes, or None.
        wnids: WordNet synsets of the labels for which they are known.
        size: Cut images to squares of this side; None leaves them alone.

    Raises:
        TypeError: Images are not uint8 or labels not integers.
        ValueError: Another shape, labels out of range, or no images.
    """
    labels = np.asarray(labels)
    if images.dtype != np.uint8:
        raise TypeError(f"expected images of uint8, 0 to 255, got {images.dtype}; round and convert them first")
    if images.ndim != 4 or 3 not in (images.shape[1], images.shape[3]):
        raise ValueError(f"expected images of shape (n, h, w, 3) or (n, 3, h, w), got {images.shape}")
    if labels.dtype.kind not in "iu" and labels.size:
        raise TypeError(f"expected labels that are integers, got {labels.dtype}")
    if images.shape[3] != 3:
        images = images.transpose(0, 2, 3, 1)
    ids = (f"{split}/{index:05d}" for index in range(len(images)))
    return ImageSet(Array(images), labels.tolist(), ids, classes=classes, wnids=wnids, size=size)


def resized(height: int, width: int, size: int) -> tuple[int, int]:
    """Height and width of an image whose shorter side was brought to `size`."""
    if min(height, width) == size:
        return height, width
    scale = size / min(height, width)
    return max(size, round(height * scale)), max(size, round(width * scale))


def cut(pixels: Pixels, size: int) -> Pixels:
    """Resize the shorter side to `size` (bilinear, antialiased), then cut out the centre."""
    height, width = resized(pixels.shape[0], pixels.shape[1], size)
    if pixels.shape[:2] != (height, width):
        pixels = np.array(Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR))
    top, left = (height - size) // 2, (width - size) // 2
    return pixels[top : top + size, left : left + size]


def _from_npz(path: Path, size: int | None) -> ImageSet:
    arrays = read_npz(path)
    classes = arrays["classes"].tolist() if "classes" in arrays else None
    wnids = dict(enumerate(arrays["wnids"].tolist())) if "wnids" in arrays else None
    return from_arrays(arrays["images"], arrays["labels"], path.stem, classes=classes, wnids=wnids, size=size)
