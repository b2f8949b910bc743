"""Look at every file of labelled images, and name each fault, not only the first."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from interp_plugins.sources.labelled import open_labelled
from interp_plugins.sources.marked import MarkedImages
from interp_plugins.sources.tables import heard
from interp_plugins.sources.workers import each


@dataclass(frozen=True)
class Category:
    """What is marked of one category.

    Args:
        name: Its name.
        listed: How many concepts the tables list.
        found: How many of them are in an image.
        images: How many images have at least one.
    """

    name: str
    listed: int
    found: int
    images: int


@dataclass(frozen=True)
class Examined:
    """What labelled images are, and what is wrong with them.

    Args:
        images: How many were looked at.
        unlabelled: How many have no concept, and take no part.
        categories: In the order of the tables.
        faults: A sentence each.
    """

    images: int
    unlabelled: int
    categories: tuple[Category, ...]
    faults: tuple[str, ...]


def examine(
    folder: Path | str, *, workers: int = 0, watch: Callable[[int, int], object] = lambda done, of: None
) -> Examined:
    """Read all tables, decode every image and every mask.

    Args:
        folder: What `open_labelled` opens.
        workers: How many processes decode; 0 decodes here.
        watch: Is told after each image how many of how many have been looked at.
    """
    faults: dict[str, None] = {}  # in order, each once

    def complain(fault: Exception) -> None:
        faults[str(fault)] = None

    try:
        images = open_labelled(folder, complain=complain)
    except (FileNotFoundError, ValueError) as fault:
        complain(fault)
        return Examined(0, 0, (), tuple(faults))
    vocabulary = images.vocabulary
    concepts, kinds, unlabelled = Counter[int](), Counter[int](), images.skipped
    for done, (wrong, numbers) in enumerate(each(partial(_look, images), len(images), workers), start=1):
        faults.update(dict.fromkeys(wrong))
        concepts.update(numbers)
        kinds.update(set(vocabulary.category_of[numbers].tolist()))
        unlabelled += not numbers and not wrong
        watch(done, len(images))
    if not concepts and not faults:
        complain(ValueError(f"expected a mask with a concept in {folder}, got none among {len(images)} images"))
    categories = tuple(
        Category(name, len(mine), len(mine & concepts.keys()), kinds[k])
        for k, name in enumerate(vocabulary.categories)
        if (mine := {concept.number for concept in vocabulary.concepts if concept.category == name})
    )
    return Examined(len(images), unlabelled, categories, tuple(faults))


def _look(images: MarkedImages, number: int) -> tuple[list[str], list[int]]:
    """An image's faults, and its concepts as far as they can be read."""
    faults: list[str] = []
    concepts = set(images.whole(number))

    def complain(fault: Exception) -> None:
        faults.append(str(fault))

    with heard(complain):
        images.image(number)
    for mask in images.files(number)[1:]:
        with heard(complain):
            concepts.update(np.unique(images.layer(number, mask)).tolist())
    return faults, sorted(concepts - {0})
