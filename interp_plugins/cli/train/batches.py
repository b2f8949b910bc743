"""The images of a run: which are trained on, which are held out, and how they come in batches."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, DistributedSampler

from interp_plugins.cli.train.request import Request
from interp_plugins.foundation.distributed import Place
from interp_plugins.sources import cifar, images
from interp_plugins.sources.augment import TrainingImages, as_fetched
from interp_plugins.sources.images import ImageSet
from interp_plugins.store.work import Used

SHARE, MOST = 10, 1000  # held out by default: one image of ten, and no more than a thousand
JUDGED = 256  # images in memory together when a network is judged


class Told(DataLoader[tuple[Tensor, Tensor]]):
    """A loader that tells how many images are done with."""

    tell: Callable[[int], None] = staticmethod(lambda _images: None)

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]  # torch's names a class of its own
        for batch in super().__iter__():
            yield batch
            self.tell(len(batch[1]))


@dataclass(frozen=True)
class Part:
    """Some images of a set."""

    images: ImageSet
    numbers: Sequence[int]
    spec: str  # where they lie
    split: str | None = None

    def used(self) -> Used:
        """What tells them from others; every file is read.

        Raises:
            ValueError: An image cannot be read.
        """
        digest = hashlib.sha256()
        for number in self.numbers:
            known = self.images
            digest.update(f"{known.ids[number]} {int(known.labels[number])} {known.sha256(number)}\n".encode())
        return Used(
            spec=self.spec, count=len(self.numbers), sha256=digest.hexdigest(), size=self.images.size, split=self.split
        )

    def labels(self) -> Tensor:
        """Of all of them, int64 (n,)."""
        return self.images.labels[list(self.numbers)]


def parts(given: Request) -> tuple[Part, Part | None]:
    """The images to train on, and those held out.

    Raises:
        FileNotFoundError: They are not there.
        ValueError: They are too few, or cannot be read.
    """
    path = Path(given.data)
    split = "train" if path.is_dir() and cifar.reader(path) else None  # the others' training images are all there is
    found, spec = images.load(path, given.size, split=split), str(path.absolute())
    order = torch.randperm(len(found), generator=torch.Generator().manual_seed(given.seed)).tolist()
    count, held = _count(given.held_out, len(found)), None
    if count is None:
        others = images.load(given.held_out, given.size)
        held = Part(others, range(len(others)), str(Path(given.held_out).absolute()))
    elif count:
        held = Part(found, sorted(order[:count]), spec, split)
    rest = order[count or 0 :]
    if (most := len(rest)) < (given.limit or 1):
        raise ValueError(
            f"expected --limit of at most {most}, the images in {path} that are not held out, got {given.limit}"
        )
    return Part(found, sorted(rest[: given.limit]), spec, split), held


def training(part: Part, given: Request, device: torch.device, place: Place) -> Told:
    """The batches to train on, in another order in each epoch; a short last one is left out.

    Raises:
        ValueError: Several processes cannot share a batch evenly.
    """
    if given.batch_size % place.world:
        raise ValueError(
            f"expected --batch-size as a multiple of {place.world}, the processes that share a batch, got "
            f"{given.batch_size}"
        )
    found = TrainingImages(part.images, part.numbers, augment=given.augment)
    whole = len(found) >= given.batch_size
    sampler: DistributedSampler[Any] | None = None
    if place.world > 1:
        sampler = DistributedSampler(found, place.world, place.rank, seed=given.seed, drop_last=whole)
    return Told(
        found,
        given.batch_size // place.world,
        shuffle=sampler is None,
        sampler=sampler,
        drop_last=whole,
        collate_fn=as_fetched,
        pin_memory=device.type == "cuda",
    )


def judging(part: Part, place: Place) -> DataLoader[tuple[Tensor, Tensor]]:
    """The batches that a process judges by.

    Raises:
        ValueError: There is not an image for each.
    """
    if len(part.numbers) < place.world:
        raise ValueError(
            f"expected at least {place.world} held-out images, one for each process, got {len(part.numbers)}"
        )
    numbers = [part.numbers[number] for number in place.share(len(part.numbers))]
    return DataLoader(TrainingImages(part.images, numbers), JUDGED, collate_fn=as_fetched)


def _count(held_out: str, images: int) -> int | None:
    """How many images of the data are held out; None if it is other data."""
    if held_out == "auto":
        return min(images // SHARE, MOST)
    if not held_out.isdecimal():
        return None
    if int(held_out) >= images:
        raise ValueError(f"expected --held-out of at most {images - 1} images, so that some are left, got {held_out}")
    return int(held_out)
