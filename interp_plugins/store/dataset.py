"""A finished set as a torch dataset: each adversarial image beside its clean one, read when it is asked for.

pairs = AdversarialImages(AdversarialSet.open(Path("set")), images.load("photos"))
for adversarial, clean, label, target, index in DataLoader(pairs, batch_size=64, num_workers=4): ...
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset

from interp_plugins.store.images import Images, places
from interp_plugins.store.sets import AdversarialSet

OPEN = 16  # shards a process keeps open; the files are mapped, so only what is read takes memory
NONE = torch.empty(0, dtype=torch.uint8)


class Record(NamedTuple):
    """One adversarial image; in a DataLoader's batch each field is a tensor with a first dimension more."""

    adversarial: Tensor  # uint8 (c, h, w)
    clean: Tensor  # uint8 (c, h, w); uint8 (0,) where the dataset was given no clean images
    label: int  # the true class
    target: int  # the class it is meant to be taken for
    index: int  # type: ignore[assignment]  # the image's place in `ids`; its targets follow each other


class _Mapped(NamedTuple):
    """A shard whose images lie in its file until they are looked at."""

    images: Tensor  # uint8 (n, t, c, h, w)
    labels: list[int]
    targets: list[list[int]]  # (n, t); numbers are quicker to hand out from lists than from tensors


class AdversarialImages(Dataset[Record]):
    """The records of a finished set: image 0 with all its targets, image 1 with all its targets, and so on.

    Args:
        adversarial: The set.
        clean: The images it was made from, in any order and among others; None leaves them out.

    Raises:
        ValueError: The set is not finished, or an image is not among the clean ones. On reading: a shard is not what
            the manifest says, or a clean image has another shape.
    """

    def __init__(self, adversarial: AdversarialSet, clean: Images | None = None) -> None:
        self.set, self.ids = adversarial, adversarial.manifest.data.ids
        if missing := adversarial.missing():
            raise ValueError(
                f"expected a finished set at {adversarial.folder}, {len(missing)} of its {adversarial.manifest.shards} "
                "shards are missing; run the same command again with --resume"
            )
        self._clean = clean
        self._places = None if clean is None else places(adversarial.manifest.data, clean)
        self._open: dict[int, _Mapped] = {}

    def __len__(self) -> int:
        return len(self.ids) * self.set.manifest.targets

    def __getitem__(self, number: int) -> Record:
        if not 0 <= number < len(self):
            raise IndexError(f"expected a record from 0 to {len(self) - 1}, got {number}")
        index, target = divmod(number, self.set.manifest.targets)
        shard, row = divmod(index, self.set.manifest.images_per_shard)
        found = self._shard(shard)
        return Record(
            adversarial=found.images[row, target].clone(),
            clean=self._original(index),
            label=found.labels[row],
            target=found.targets[row][target],
            index=index,
        )

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_open": {}}  # each worker opens the files it reads

    def _original(self, index: int) -> Tensor:
        if self._clean is None or self._places is None:
            return NONE
        image: Tensor = self._clean.tensor([self._places[index]])[0]
        if image.shape != self.set.manifest.shape:
            raise ValueError(
                f"expected the clean image {self.ids[index]!r} to have the set's shape {self.set.manifest.shape}, "
                f"got {tuple(image.shape)}; load the images with the size the set was made with"
            )
        return image

    def _shard(self, number: int) -> _Mapped:
        if number not in self._open:
            if len(self._open) == OPEN:
                del self._open[next(iter(self._open))]
            mapped = self.set.mapped(number)
            self._open[number] = _Mapped(mapped["images"], mapped["labels"].tolist(), mapped["targets"].tolist())
        return self._open[number]
