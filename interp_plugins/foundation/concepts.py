"""Concepts, and images in which it is marked where they are."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int32, Int64, UInt8
from torch import Tensor

SUFFIX = {
    "color": "-c",
    "scene": "-s",
}  # Broden tells the colour orange from the fruit, the scene street from the object


@dataclass(frozen=True)
class Concept:
    """Something that can be pointed at in a picture.

    Args:
        number: What stands for it in the masks, from 1; each number is one concept's.
        name: What people call it.
        category: Its kind: color, object, part, scene, texture.
    """

    number: int
    name: str
    category: str


@dataclass(frozen=True)
class Vocabulary:
    """The concepts that are asked about.

    Args:
        concepts: In the order of their numbers, which may have gaps.
        categories: In the order of the tables.

    Raises:
        ValueError: Numbers are below 1, not ascending, or a category is not among those named.
    """

    concepts: tuple[Concept, ...]
    categories: tuple[str, ...]

    def __post_init__(self) -> None:
        numbers = [concept.number for concept in self.concepts]
        if not numbers or numbers[0] < 1 or any(a >= b for a, b in pairwise(numbers)):
            raise ValueError(f"expected concepts with ascending numbers from 1, got {numbers[:8] or 'none'}")
        for concept in self.concepts:
            if concept.category not in self.categories:
                raise ValueError(
                    f"expected categories of {', '.join(self.categories)}, got {concept.category!r} for "
                    f"{concept.name!r}"
                )

    @property
    def size(self) -> int:
        """One more than the largest number: the length of tables by number."""
        return self.concepts[-1].number + 1

    @cached_property
    def category_of(self) -> Int64[Tensor, " c"]:
        """For each number the category's place in `categories`; -1 for numbers that are not asked about."""
        found = torch.full((self.size,), -1)
        for concept in self.concepts:
            found[concept.number] = self.categories.index(concept.category)
        return found

    def name(self, number: int) -> str:
        """What people call a concept, without the ending by which Broden tells categories apart.

        Raises:
            KeyError: The number is not asked about.
        """
        concept = self._by_number[number]
        return concept.name.removesuffix(SUFFIX.get(concept.category, ""))

    @cached_property
    def _by_number(self) -> dict[int, Concept]:
        return {concept.number: concept for concept in self.concepts}


@dataclass(frozen=True)
class Labels:
    """What is where in one image."""

    pixels: Int32[Tensor, "l h w"]  # concepts' numbers, 0 = none; no place has one number in two layers
    whole: tuple[int, ...] = ()  # concepts of the whole image; none of them is in pixels


@runtime_checkable
class LabelledImages(Protocol):
    """Images with their concepts, read by number from 0."""

    @property
    def vocabulary(self) -> Vocabulary:
        """The concepts."""

    @property
    def ids(self) -> tuple[str, ...]:
        """Names of the images."""

    @property
    def mask_size(self) -> tuple[int, int]:
        """Height and width of all labels."""

    def __len__(self) -> int:
        """How many there are."""

    def tensor(self, numbers: Sequence[int]) -> UInt8[Tensor, "n 3 h w"] | Float[Tensor, "n 3 h w"]:
        """Some images: grey levels, or float in [0, 1]."""

    def labels(self, number: int) -> Labels:
        """What is where in one image."""
