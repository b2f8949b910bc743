"""Labelled images that lie in files: decoded when they are asked for, here or ahead of time in other processes."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import UInt8
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from interp_plugins.foundation.concepts import Labels, Vocabulary

KEEP = 256 * 2**20  # bytes of decoded labels that are kept for a second reading

Layers = NDArray[np.uint16]  # concepts' numbers, (layers, height, width): half of what Labels take
Decoded = tuple[Layers, tuple[int, ...]]


class Batch(NamedTuple):
    """Some images, and what is where in them."""

    numbers: tuple[int, ...]
    images: UInt8[Tensor, "n 3 h w"]
    labels: dict[int, Labels]  # by the image's number


class MarkedImages(ABC):
    """Images with their concepts, read by number from 0: what a dissection reads.

    Args:
        vocabulary: The concepts.
        ids: One name for each image.
        mask_size: Height and width of all labels.
        skipped: How many images were left out because nothing in them is labelled.
        keep: How many bytes of decoded labels are kept for a second reading.
    """

    def __init__(
        self, vocabulary: Vocabulary, ids: Sequence[str], mask_size: tuple[int, int], skipped: int, keep: int = KEEP
    ) -> None:
        self.vocabulary, self.ids, self.mask_size, self.skipped = vocabulary, tuple(ids), mask_size, skipped
        self._kept: dict[int, Decoded] = {}
        self._room = keep

    @abstractmethod
    def image(self, number: int) -> NDArray[np.uint8]:
        """One image, (h, w, 3)."""

    @abstractmethod
    def decode(self, number: int) -> Decoded:
        """An image's concepts as they are stored: layers of numbers, and those of the whole image."""

    @abstractmethod
    def content(self, number: int) -> bytes:
        """The bytes of an image's file."""

    @abstractmethod
    def label_content(self, number: int) -> list[bytes]:
        """The bytes from which an image's concepts are read."""

    def __len__(self) -> int:
        return len(self.ids)

    def tensor(self, numbers: Sequence[int]) -> UInt8[Tensor, "n 3 h w"]:
        """Some images.

        Raises:
            FileNotFoundError: An image is not there.
            ValueError: One cannot be read, or is of another size than it should be.
        """
        return torch.from_numpy(np.stack([self.image(number).transpose(2, 0, 1) for number in numbers]))

    def labels(self, number: int) -> Labels:
        """What is where in one image.

        Raises:
            FileNotFoundError: A mask is not there.
            ValueError: One cannot be read, is of another size than it should be, or has a number without a meaning.
        """
        return _labels(self._ready(number))

    def sha256(self, number: int) -> str:
        """The sha256 of an image's file."""
        return hashlib.sha256(self.content(number)).hexdigest()

    def labels_sha256(self, number: int) -> str:
        """The sha256 of all from which an image's concepts are read."""
        digests = [hashlib.sha256(content).digest() for content in self.label_content(number)]
        return hashlib.sha256(b"".join(digests)).hexdigest()

    def ahead(self, batches: Sequence[Sequence[int]], workers: int = 0) -> Iterator[Batch]:
        """Go through images and labels, which other processes decode before they are needed.

        Args:
            batches: Numbers of images.
            workers: How many processes decode; 0 decodes here, when it is needed.
        """
        loader = DataLoader(_Batches(self, batches), batch_size=None, num_workers=workers, collate_fn=_unchanged)
        for numbers, images, read in loader:
            for number, decoded in zip(numbers, read, strict=True):
                self._keep(number, decoded)
            labels = {number: _labels(decoded) for number, decoded in zip(numbers, read, strict=True)}
            yield Batch(numbers, images, labels)

    def _ready(self, number: int) -> Decoded:
        """What was kept, or is decoded now."""
        if (kept := self._kept.get(number)) is not None:
            return kept
        decoded = _once(*self.decode(number))
        self._keep(number, decoded)
        return decoded

    def _keep(self, number: int, decoded: Decoded) -> None:
        if number not in self._kept and decoded[0].nbytes <= self._room:
            self._room -= decoded[0].nbytes
            self._kept[number] = decoded


class _Batches(Dataset[tuple[tuple[int, ...], Tensor, list[Decoded]]]):
    """What a worker sends. Labels travel as arrays: each tensor would hold a file descriptor."""

    def __init__(self, images: MarkedImages, batches: Sequence[Sequence[int]]) -> None:
        self._images, self._batches = images, batches

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, index: int) -> tuple[tuple[int, ...], Tensor, list[Decoded]]:
        numbers = tuple(self._batches[index])
        return numbers, self._images.tensor(numbers), [self._images._ready(number) for number in numbers]


def _unchanged(batch: Any) -> Any:
    return batch


def _labels(decoded: Decoded) -> Labels:
    layers, whole = decoded
    return Labels(torch.from_numpy(layers.astype(np.int32)), whole)


def _once(layers: Layers, whole: tuple[int, ...]) -> Decoded:
    """No place has a number twice: a layer has none that an earlier one has there, or that the whole image has."""
    for number in whole:
        layers *= layers != number
    for earlier, later in combinations(layers, 2):
        later *= earlier != later
    return layers, whole
