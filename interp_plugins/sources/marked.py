"""Labelled images that lie in files: decoded when they are asked for, here or ahead of time in other processes."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import UInt8
from numpy.typing import NDArray
from torch import Tensor

from interp_plugins.foundation.concepts import Labels, Vocabulary
from interp_plugins.sources import decoding
from interp_plugins.sources.workers import each

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
        folder: Where the files are.
        vocabulary: The concepts.
        ids: One name for each image.
        mask_size: Height and width of all labels.
        skipped: How many images were left out because nothing in them is labelled.
        keep: How many bytes of decoded labels are kept for a second reading.
    """

    def __init__(
        self,
        folder: Path,
        vocabulary: Vocabulary,
        ids: Sequence[str],
        mask_size: tuple[int, int],
        *,
        skipped: int = 0,
        keep: int = KEEP,
    ) -> None:
        self.folder, self.vocabulary, self.ids, self.mask_size = folder, vocabulary, tuple(ids), mask_size
        self.skipped = skipped
        self._kept: dict[int, Decoded] = {}
        self._room = keep

    @abstractmethod
    def files(self, number: int) -> tuple[str, ...]:
        """An image's file and its masks, relative to the folder."""

    @abstractmethod
    def image(self, number: int) -> NDArray[np.uint8]:
        """One image, (h, w, 3)."""

    @abstractmethod
    def layer(self, number: int, mask: str) -> Layers:
        """The concepts in one of an image's masks, (h, w)."""

    def whole(self, number: int) -> tuple[int, ...]:
        """The concepts of a whole image."""
        return ()

    def path(self, file: str) -> Path:
        """Where a file is.

        Raises:
            ValueError: It is nowhere it should be.
        """
        return self.folder / file

    def __len__(self) -> int:
        return len(self.ids)

    def __getstate__(self) -> dict[str, object]:
        """What is sent to another process: without the kept labels, which would take longer than to decode some."""
        kept = sum(layers.nbytes for layers, _ in self._kept.values())
        return self.__dict__ | {"_kept": {}, "_room": self._room + kept}

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
        return _labels(self._decoded(number))

    def sha256(self, number: int) -> str:
        """The sha256 of an image's file."""
        return hashlib.sha256(decoding.content(self.path(self.files(number)[0]), "image")).hexdigest()

    def labels_sha256(self, number: int) -> str:
        """One sha256 of the files of an image's masks and of the concepts of the whole image."""
        masks = (decoding.content(self.path(name), "mask") for name in self.files(number)[1:])
        digests = b"".join(hashlib.sha256(mask).digest() for mask in masks)
        return hashlib.sha256(digests + repr(self.whole(number)).encode()).hexdigest()

    def ahead(self, batches: Sequence[Sequence[int]], workers: int = 0) -> Iterator[Batch]:
        """Go through images and labels, which other processes decode before they are needed.

        Args:
            batches: Numbers of images.
            workers: How many processes decode; 0 decodes here, when it is needed.

        Raises:
            FileNotFoundError, ValueError: As `tensor` and `labels`.
        """
        for numbers, images, decoded in each(partial(self._batch, batches), len(batches), workers):
            for number, labels in zip(numbers, decoded, strict=True):
                self._keep(number, labels)
            yield Batch(numbers, images, dict(zip(numbers, map(_labels, decoded), strict=True)))

    def _batch(self, batches: Sequence[Sequence[int]], k: int) -> tuple[tuple[int, ...], Tensor, list[Decoded]]:
        """What a worker sends. Labels travel as arrays: each tensor would hold a file descriptor."""
        return tuple(batches[k]), self.tensor(batches[k]), [self._decoded(number) for number in batches[k]]

    def _decoded(self, number: int) -> Decoded:
        """What was kept, or is decoded now."""
        if (kept := self._kept.get(number)) is not None:
            return kept
        masks = self.files(number)[1:]
        layers = np.empty((len(masks), *self.mask_size), np.uint16)
        for layer, mask in zip(layers, masks, strict=True):
            layer[:] = self.layer(number, mask)
        decoded = layers, self.whole(number)
        _once(*decoded)
        self._keep(number, decoded)
        return decoded

    def _keep(self, number: int, decoded: Decoded) -> None:
        if number not in self._kept and decoded[0].nbytes <= self._room:
            self._room -= decoded[0].nbytes
            self._kept[number] = decoded


def _labels(decoded: Decoded) -> Labels:
    layers, whole = decoded
    return Labels(torch.from_numpy(layers.astype(np.int32)), whole)


def _once(layers: Layers, whole: tuple[int, ...]) -> None:
    """Blank, in each layer, what an earlier one has at the same place, and what the whole image has."""
    for number in whole:
        layers *= layers != number
    for earlier, later in combinations(layers, 2):
        later *= earlier != later
