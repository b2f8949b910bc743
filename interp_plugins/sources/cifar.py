"""CIFAR-10: the published Python batches, and a folder of lossless tiles.

The batches are pickles, and a pickle may run code. They are read by an unpickler that knows the three names which
those files contain and refuses every other.
"""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from interp_plugins.sources.images import ImageSet, from_arrays
from interp_plugins.sources.layouts import Pixels

CLASSES = {  # class name -> WordNet 3.0 noun synset, in the order of the labels
    "airplane": "n02691156",
    "automobile": "n02958343",
    "bird": "n01503061",
    "cat": "n02121620",
    "deer": "n02430045",
    "dog": "n02084071",
    "frog": "n01639765",
    "horse": "n02374451",
    "ship": "n04194289",
    "truck": "n04490091",
}
BATCHES = {"train": tuple(f"data_batch_{k}" for k in range(1, 6)), "test": ("test_batch",)}
TRAINING = 50_000  # images; in the tiles' labels.npy the test labels follow them


def reader(folder: Path) -> Callable[..., ImageSet] | None:
    """Which of the two functions below reads this folder; None if it holds CIFAR-10 in neither form."""
    if (folder / "test_batch").is_file():
        return from_batches
    if (folder / "labels.npy").is_file() and any(folder.glob("test_00.*")):
        return from_tiles
    return None


def from_batches(folder: Path | str, split: Literal["train", "test"] = "test", size: int | None = None) -> ImageSet:
    """The published `cifar-10-batches-py`, unpacked.

    Args:
        folder: Holds data_batch_1 to 5 and test_batch.
        split: Which images; ids are `train/00042` and `test/00007`.
        size: Resize the images to squares of this side; None leaves them at 32.

    Raises:
        FileNotFoundError: A batch is not there.
        ValueError: A file is no CIFAR-10 batch, or wants to run code.
    """
    batches = [_read_batch(Path(folder) / name) for name in BATCHES[split]]
    rows, labels = (np.concatenate(part) for part in zip(*batches, strict=True))
    return _set(rows.reshape(-1, 3, 32, 32), labels, split, size)


def from_tiles(folder: Path | str, split: Literal["train", "test"] = "test", size: int | None = None) -> ImageSet:
    """CIFAR-10 as pictures of 25 rows of 40 images each, with all labels in one labels.npy.

    Args:
        folder: Holds train_00.webp and on, test_00.webp and on (any lossless format), and labels.npy.
        split: Which images; ids are `train/00042` and `test/00007`.
        size: Resize the images to squares of this side; None leaves them at 32.

    Raises:
        FileNotFoundError: There are no tiles or no labels.
        ValueError: A tile is of another size.
    """
    folder = Path(folder)
    files = sorted(folder.glob(f"{split}_*.*"))
    if not files or not (folder / "labels.npy").is_file():
        raise FileNotFoundError(f"expected {split}_00.webp (and on) and labels.npy in {folder}")
    images = np.concatenate([_read_tile(file) for file in files])
    first = 0 if split == "train" else TRAINING
    labels = np.load(folder / "labels.npy", allow_pickle=False)[first : first + len(images)]
    return _set(images, labels.astype(np.int64), split, size)


def _set(images: Pixels, labels: NDArray[np.int64], split: str, size: int | None) -> ImageSet:
    wnids = dict(enumerate(CLASSES.values()))
    return from_arrays(images, labels, split, classes=tuple(CLASSES), wnids=wnids, size=size)


def _read_tile(file: Path) -> Pixels:
    with Image.open(file) as image:
        if image.size != (40 * 32, 25 * 32):
            raise ValueError(
                f"expected {file} to be {40 * 32} x {25 * 32} pixels, got {image.size[0]} x {image.size[1]}"
            )
        pixels = np.array(image.convert("RGB"))
    return pixels.reshape(25, 32, 40, 32, 3).transpose(0, 2, 1, 3, 4).reshape(1000, 32, 32, 3)


class _CifarUnpickler(pickle.Unpickler):
    """Admits an array of plain numbers and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        """The object of that name, if CIFAR's files contain it."""
        match module, name:
            case "numpy.core.multiarray", "_reconstruct":
                return np.empty(0).__reduce__()[0]  # where numpy 2 keeps it, without the warning for its old address
            case "numpy", "ndarray":
                return np.ndarray
            case "numpy", "dtype":
                return np.dtype
        raise ValueError(f"it asks for {module}.{name}, which no CIFAR-10 batch does; nothing was run")


def _read_batch(file: Path) -> tuple[Pixels, list[int]]:
    """A batch's rows, uint8 (n, 3072), and labels."""
    if not file.is_file():
        raise FileNotFoundError(
            f"no batch {file}; unpack cifar-10-python.tar.gz and name its folder cifar-10-batches-py"
        )
    with file.open("rb") as stream:
        try:
            batch = _CifarUnpickler(stream, encoding="bytes").load()
            rows, labels = batch[b"data"], batch[b"labels"]
        except Exception as error:  # a broken pickle may raise anything
            raise ValueError(f"{file} is no CIFAR-10 batch: {error}") from error
    if not isinstance(rows, np.ndarray) or rows.dtype != np.uint8 or rows.shape != (len(labels), 3072):
        raise ValueError(f"{file} is no CIFAR-10 batch: expected uint8 rows of 3072 bytes, one for each label")
    return rows, list(labels)
