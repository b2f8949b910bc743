"""What evaluators take: DataLoaders and other iterables of batches, or one batch as a tuple of tensors.

Images are float in [0, 1] or uint8 grey levels, and are moved to the model's device. Labels, targets and numbers of
pictures stay on the CPU. The records of an adversarial set, in batches as a DataLoader makes them, are understood.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from interp_plugins.foundation.measuring import levels
from interp_plugins.store.dataset import Record

FORM = "a DataLoader or another iterable of tuples (images, labels), or one such tuple"


@dataclass(frozen=True)
class Batch:
    """Images with what is known of them."""

    images: Tensor
    labels: Tensor  # a class an image, (n,); or which concepts it shows, bool (n, m)
    targets: Tensor | None = None  # the classes they are to be taken for
    sources: Tensor | None = None  # which picture each was made from


@dataclass(frozen=True)
class Pairs:
    """Real images with the t images that were made from each, if any."""

    clean: Tensor
    labels: Tensor
    attacked: Tensor | None = None  # (n, t, c, h, w)
    targets: Tensor | None = None  # (n, t)


def batches_of(inputs: Any) -> Iterable[Any]:
    """The batches; a tuple of tensors is one batch."""
    if isinstance(inputs, Tensor):
        raise TypeError(f"expected images with their labels, got a tensor; give {FORM}")
    return [inputs] if isinstance(inputs, tuple) and inputs and isinstance(inputs[0], Tensor) else inputs


def twice(inputs: Any) -> Iterable[Any]:
    """The batches, which are gone through twice.

    Raises:
        TypeError: They are an iterator, which ends after the first time.
    """
    batches = batches_of(inputs)
    if isinstance(batches, Iterator):
        raise TypeError(
            f"expected inputs that can be gone through twice, got a {type(batches).__name__}; give a DataLoader"
        )
    return batches


def labelled(batches: Iterable[Any], device: torch.device) -> Iterator[Batch]:
    """Real images: batches (images, labels); what comes after these is left alone.

    Raises:
        TypeError: A batch has no labels, or comes from an adversarial set.
    """
    for batch in batches:
        if isinstance(batch, Record):
            raise TypeError("expected real images and their labels, got records of an adversarial set; give them as "
                            "attacked")  # fmt: skip
        images, labels = first(batch, 2, "(images, labels)")
        yield Batch(levels(images, device), labels.cpu())


def attacked(batches: Iterable[Any], device: torch.device) -> Iterator[Batch]:
    """Attacked images: batches (images, labels), (..., targets), (..., targets, sources), or records of a set.

    Raises:
        TypeError: A batch has no labels.
    """
    for batch in batches:
        if isinstance(batch, Record):
            adversarial, _, *known = _fields(batch)
            batch = (adversarial, *known)
        images, labels, *more = first(batch, 2, "(images, labels)", most=4)
        yield Batch(levels(images, device), labels.cpu(), *(each.cpu() for each in more))


def paired(batches: Iterable[Any], device: torch.device) -> Iterator[Pairs]:
    """Real images with what was made of them: (images, labels, attacked, targets), or records of a set with its images.

    Without the last two, images that were not attacked. Records of one image follow each other; they are put together,
    also where they lie in two batches.

    Raises:
        TypeError: A batch is something else.
        ValueError: Records have no clean images, or those of an image do not follow each other.
    """
    waiting: list[list[Tensor]] = []  # the records of the last image, of which the next batch may hold more
    known: set[int] = set()
    for batch in batches:
        if isinstance(batch, Record):
            records = [torch.cat(parts) for parts in zip(*waiting, _fields(batch), strict=True)]
            start = int((records[-1] == records[-1][-1]).nonzero()[0])
            yield from _grouped([field[:start] for field in records], known, device)
            waiting = [[field[start:] for field in records]]
            continue
        clean, labels, *rest = first(batch, 2, "(images, labels, attacked, targets)", most=4)
        if not rest:
            yield Pairs(levels(clean, device), labels.cpu())
            continue
        if len(rest) != 2:
            raise TypeError("expected batches (images, labels, attacked, targets), got attacked images without targets")
        moved, targets = levels(rest[0], device), rest[1].cpu()
        several = targets.ndim == 2
        yield Pairs(
            levels(clean, device),
            labels.cpu(),
            moved if several else moved[:, None],
            targets if several else targets[:, None],
        )
    for records in waiting:
        yield from _grouped(records, known, device)


def first(batch: Any, least: int, form: str, most: int | None = None) -> list[Tensor]:
    """The tensors that a batch begins with."""
    parts = list(batch[: most or least]) if isinstance(batch, tuple | list) else [batch]
    if len(parts) < least or not all(isinstance(part, Tensor) for part in parts):
        found = ", ".join(type(part).__name__ for part in parts)
        raise TypeError(f"expected batches {form} of tensors, got ({found})")
    return parts


def _fields(record: Record) -> list[Tensor]:
    """The fields of a batch of records, which are tensors there."""
    return [torch.as_tensor(field) for field in record]


def _grouped(records: list[Tensor], known: set[int], device: torch.device) -> Iterator[Pairs]:
    """Whole runs of records of one image each."""
    adversarial, clean, labels, targets, index = records
    numbers, counts = torch.unique_consecutive(index, return_counts=True)
    for number in numbers.tolist():
        if number in known:
            raise ValueError(f"expected all records of image {number} after each other, got some later; take a "
                             "DataLoader that does not shuffle")  # fmt: skip
        known.add(number)
    if len(numbers) and not clean.numel():
        raise ValueError("expected records with their clean images, got none; open the set with AdversarialImages(set, "
                         "images)")  # fmt: skip
    start = 0
    for count, runs in groupby(counts.tolist()):
        images = len(list(runs))
        rows = slice(start, start := start + images * count)
        yield Pairs(
            levels(clean[rows][::count], device),
            labels[rows][::count],
            levels(adversarial[rows], device).unflatten(0, (images, count)),
            targets[rows].unflatten(0, (images, count)),
        )
