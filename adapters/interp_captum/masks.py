"""Images and masks of a user's own, in the form that the core dissects: images go by once, masks stay in memory."""

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import combinations
from typing import Any

import torch
from jaxtyping import Num
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset

from interp_captum.inputs import first, twice
from interp_plugins.foundation.concepts import Concept, LabelledImages, Labels, Vocabulary

Concepts = Mapping[int, str | tuple[str, str]]  # what a number means: a name, or a name and a category

FORM = "(images, masks)"
CATEGORY = "object"  # of concepts for which none is named
ADVICE = "expected concepts, what the numbers in the masks mean, such as {1: 'sky', 2: ('grass', 'texture')}, got none"


class LoadedMasks:
    """Labelled images from batches (images, masks), which are read in their order, and once.

    Args:
        data: A DataLoader, a Dataset, or anything that yields such batches and can be gone through twice; or one batch
            as a tuple. Images (n, c, h, w) are float in [0, 1] or uint8; masks (n, h', w') or (n, layers, h', w') have
            the numbers of concepts, 0 for nothing.
        concepts: What the numbers mean.

    Raises:
        TypeError: Batches are something else, or masks have no whole numbers.
        ValueError: There are no concepts, or no images.
    """

    def __init__(self, data: Any, concepts: Concepts | None) -> None:
        self.vocabulary = vocabulary_of(concepts)
        self._known = torch.zeros(self.vocabulary.size, dtype=torch.bool)
        self._known[[0, *(concept.number for concept in self.vocabulary.concepts)]] = True
        batches = _one_by_one(data) if isinstance(data, Dataset) else twice(data)
        self.ids = tuple(map(str, range(_count(batches))))
        self._batches, self._images, self._start = iter(batches), deque[Tensor](), 0
        self._masks: list[Tensor] = []
        self._read()
        self.mask_size: tuple[int, int] = (self._masks[0].shape[-2], self._masks[0].shape[-1])

    def __len__(self) -> int:
        return len(self.ids)

    def tensor(self, numbers: Sequence[int]) -> Num[Tensor, "n c h w"]:
        """Some images that follow each other; those before them are forgotten.

        Raises:
            TypeError, ValueError: A batch that is read now is not as expected, there are fewer images than there should
                be, or no mask of them all has anything in it.
        """
        while len(self._masks) <= numbers[-1]:
            self._read()
        while self._start < numbers[0]:
            self._images.popleft()
            self._start += 1
        if len(self._masks) >= len(self) and not any(mask.any() for mask in self._masks):
            raise ValueError("expected numbers of concepts in the masks, got 0 everywhere")
        return torch.stack([self._images[number - self._start] for number in numbers])

    def labels(self, number: int) -> Labels:
        """What is where in one image that has been read."""
        return Labels(self._masks[number].int())

    def _read(self) -> None:
        batch = next(self._batches, None)
        if batch is None:
            raise ValueError(f"expected {len(self)} images, as there were said to be, got {len(self._masks)}")
        images, masks = first(batch, 2, FORM)
        if self._images and images.shape[1:] != self._images[0].shape:
            raise ValueError(
                f"expected images of shape {tuple(self._images[0].shape)} as before, got {tuple(images.shape[1:])}"
            )
        self._images.extend(images)
        self._masks.extend(self._packed(masks, len(images)))

    def _packed(self, masks: Tensor, images: int) -> Tensor:
        """Checked masks (n, layers, h, w) in the smallest integers, which have each number once at a place."""
        if masks.is_floating_point() or masks.is_complex():
            raise TypeError(
                f"expected masks of whole numbers, got {masks.dtype}; read them with PILToTensor, since ToTensor "
                "makes shares of 255"
            )
        if masks.ndim not in (3, 4) or len(masks) != images:
            raise ValueError(
                f"expected masks (n, height, width) or (n, layers, height, width) for {images} images, got "
                f"{tuple(masks.shape)}"
            )
        size = (masks.shape[-2], masks.shape[-1])
        if self._masks and size != self.mask_size:
            raise ValueError(
                f"expected masks of {self.mask_size[0]} x {self.mask_size[1]} as before, got {size[0]} x {size[1]} for "
                f"image {len(self._masks)}; resize them to nearest"
            )
        masks = masks.reshape(images, -1, *size).cpu().long()
        inside = (masks >= 0) & (masks < len(self._known))
        for image, layer, y, x in (~inside | ~self._known[masks.where(inside, 0)]).nonzero()[:1].tolist():
            raise ValueError(
                f"expected numbers of concepts in the mask of image {len(self._masks) + image}, got "
                f"{int(masks[image, layer, y, x])}; name it in concepts, or set it to 0"
            )
        packed = masks.to(_smallest(len(self._known)), copy=True)
        for earlier, later in combinations(packed.unbind(1), 2):
            later *= earlier != later
        return packed


class Watched:
    """Labelled images that tell how far they have been read.

    Args:
        images: These.
        seen: Is told how many images have been looked at.
        counted: Is called for the labels of each image.
    """

    def __init__(self, images: LabelledImages, seen: Callable[[int], object], counted: Callable[[], object]) -> None:
        self.vocabulary, self.ids, self.mask_size = images.vocabulary, images.ids, images.mask_size
        self._images, self._seen, self._counted = images, seen, counted

    def __len__(self) -> int:
        return len(self._images)

    def tensor(self, numbers: Sequence[int]) -> Num[Tensor, "n c h w"]:
        """Some images."""
        self._seen(numbers[-1] + 1)
        return self._images.tensor(numbers)

    def labels(self, number: int) -> Labels:
        """What is where in one image."""
        self._counted()
        return self._images.labels(number)


def vocabulary_of(concepts: Concepts | None) -> Vocabulary:
    """The concepts in the order of their numbers, their categories in the order in which they are named.

    Raises:
        ValueError: There are none, or a number is below 1.
    """
    if not concepts:
        raise ValueError(ADVICE)
    named = {number: (each, CATEGORY) if isinstance(each, str) else each for number, each in concepts.items()}
    categories = tuple(dict.fromkeys(category for _, category in named.values()))
    return Vocabulary(tuple(Concept(number, *named[number]) for number in sorted(named)), categories)


def _one_by_one(data: Dataset[Any]) -> Iterable[Any]:
    """Its images as batches of one, so that images of several sizes meet our own sentence."""
    return DataLoader(data, batch_size=1, generator=torch.Generator())  # else it draws from the user's randomness


def _count(batches: Iterable[Any]) -> int:
    """How many images there are: a DataLoader of its own making says so, other batches are gone through."""
    if isinstance(batches, DataLoader) and batches.batch_size and not isinstance(batches.dataset, IterableDataset):
        images = len(batches.sampler)  # type: ignore[arg-type]
        count = images - images % batches.batch_size if batches.drop_last else images
    else:
        count = sum(len(first(batch, 2, FORM)[0]) for batch in batches)
    if not count:
        raise ValueError("expected at least one batch of images and masks, got none")
    return count


def _smallest(numbers: int) -> torch.dtype:
    """The smallest integers that hold so many numbers from 0."""
    return next(dtype for dtype in (torch.uint8, torch.int16, torch.int32) if numbers <= torch.iinfo(dtype).max + 1)
