"""The clean images a set was made from: what is needed of them, and where each lies."""

from collections.abc import Iterable, Sequence
from typing import Protocol, runtime_checkable

from torch import Tensor

from interp_plugins.store.manifest import Data


@runtime_checkable
class Images(Protocol):
    """Clean images, such as a `sources.images.ImageSet`."""

    @property
    def ids(self) -> Sequence[str]:
        """One name for each image."""

    @property
    def labels(self) -> Tensor:
        """The true classes, int64 (n,)."""

    def tensor(self, indices: Iterable[int]) -> Tensor:
        """These images, uint8 (n, c, h, w)."""

    def sha256(self, index: int) -> str:
        """The sha256 of an image's bytes."""


def places(data: Data, images: Images) -> list[int]:
    """Where each image of a set lies among `images`, found by its id, whatever else lies there.

    Raises:
        ValueError: Images of the set are missing.
    """
    known = {name: place for place, name in enumerate(images.ids)}
    if missing := [name for name in data.ids if name not in known]:
        raise ValueError(
            f"expected the {len(data.ids)} images of the set, {len(missing)} of them are not there, the first "
            f"{missing[0]!r}; name the folder that the set was made from (--data), which was {data.spec}"
        )
    return [known[name] for name in data.ids]
