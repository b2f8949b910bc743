"""The host's training data as batches of the core: arrays, ART's generators and torch's loaders.

What is in torch stays there: of a `PyTorchDataGenerator` its `DataLoader` is gone through, once an epoch.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from art.data_generators import DataGenerator, PyTorchDataGenerator
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm.auto import tqdm

from interp_art.units import Array, Units, class_indices

Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Held:
    """Images and labels that are all at hand.

    Args:
        images: The core's, (n, c, h, w) in [0, 1].
        labels: Class indices (n,).
        size: Images in a batch.
        shuffled: In another order each time, drawn by torch's own generator; else as they are.
        drop_last: Whether a last batch of fewer images is left out.
    """

    images: Tensor
    labels: Tensor
    size: int
    shuffled: bool = False
    drop_last: bool = False

    @classmethod
    def of(
        cls, x: Array, y: Array, units: Units, classes: int, size: int, shuffled: bool = False, drop_last: bool = False
    ) -> "Held":
        """Batches of the host's arrays.

        Raises:
            TypeError: Where x is no array.
            ValueError: Inputs or labels of a wrong shape or range, or a batch size below 1.
        """
        if size < 1:
            raise ValueError(f"expected a batch_size above 0, got {size}")
        return cls(units.images(units.checked(x)), class_indices(y, len(x), classes), size, shuffled, drop_last)

    def __len__(self) -> int:
        return len(self.images) // self.size if self.drop_last else -(-len(self.images) // self.size)

    def __iter__(self) -> Iterator[Batch]:
        order = torch.randperm(len(self.images)) if self.shuffled else torch.arange(len(self.images))
        for rows in order.split(self.size)[: len(self)]:
            yield self.images[rows], self.labels[rows]


@dataclass(frozen=True)
class Streamed:
    """Batches of a loader or of one of ART's generators, an epoch each time."""

    source: DataLoader[Any] | DataGenerator
    units: Units
    classes: int

    @classmethod
    def of(cls, source: DataLoader[Any] | DataGenerator, units: Units, classes: int) -> "Streamed":
        """Batches of what the host calls a generator.

        Raises:
            TypeError: For something else.
            ValueError: For one that does not say how many inputs it has.
        """
        if isinstance(source, PyTorchDataGenerator):
            source = source.iterator
        if not isinstance(source, DataLoader | DataGenerator):
            raise TypeError(f"expected ART's DataGenerator or torch's DataLoader, got {type(source).__name__}")
        if isinstance(source, DataGenerator) and not source.size:
            raise ValueError("expected a generator with a size, got None: an epoch of it has no other end")
        return cls(source, units, classes)

    def __len__(self) -> int:
        if isinstance(self.source, DataLoader):
            return len(self.source)
        return -(-self.source.size // self.source.batch_size)  # type: ignore[operator]  # `of` has seen it

    def __iter__(self) -> Iterator[Batch]:
        for x, y, *_ in self._batches():
            images = self._images(x)
            yield images, class_indices(_array(y), len(images), self.classes)

    def _batches(self) -> Iterable[Any]:
        if isinstance(self.source, DataLoader):
            return self.source
        return (self.source.get_batch() for _ in range(len(self)))

    def _images(self, x: Tensor | Array) -> Tensor:
        """The core's images of a batch, where it is.

        Raises:
            ValueError: Where its shape is not the estimator's, or its values are outside `clip_values`.
        """
        x = torch.as_tensor(x).float()
        least, greatest = (float(value) for value in torch.aminmax(x))
        self.units.check(tuple(x.shape), least, greatest)
        return self.units.turn(x if self.units.unscaled else (x - self.units.low) / self.units.span)


@dataclass
class Shown:
    """Batches with a bar an epoch, in which one image alone joins the batch before it.

    One image has no covariance, and some networks with BatchNorm cannot train on it.

    Args:
        batches: Gone through once an epoch.
        epochs: How many there will be, for the bar.
        verbose: Whether to show it.
    """

    batches: Held | Streamed
    epochs: int
    verbose: bool

    def __post_init__(self) -> None:
        self.epoch = 0

    def __iter__(self) -> Iterator[Batch]:
        self.epoch += 1
        said = f"epoch {self.epoch} of {self.epochs}"
        yield from _joined(tqdm(self.batches, said, leave=False, disable=not self.verbose))


def _joined(batches: Iterable[Batch]) -> Iterator[Batch]:
    waiting: Batch | None = None
    for images, labels in batches:
        if waiting is not None and len(images) == 1 < len(waiting[0]):
            waiting = torch.cat([waiting[0], images]), torch.cat([waiting[1], labels])
            continue
        if waiting is not None:
            yield waiting
        waiting = images, labels
    if waiting is not None:
        yield waiting


def _array(labels: Tensor | Array) -> Array:
    return np.asarray(labels.cpu() if isinstance(labels, Tensor) else labels)
