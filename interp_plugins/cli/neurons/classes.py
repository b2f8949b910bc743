"""The classes of a survey: what they are called, and how alike they are."""

import csv
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from interp_plugins.cli.neurons.request import Request
from interp_plugins.foundation.taxonomy import Taxonomy, similarity
from interp_plugins.sources import wordnet
from interp_plugins.sources.images import ImageSet


def of(real: ImageSet, classes: int) -> tuple[tuple[str, ...], tuple[str, ...] | None]:
    """The classes' names, and their wnids if all are known.

    Images of some of ImageNet's classes tell by their wnids which the others are.
    """
    ids = dict(real.wnids)
    for label_set in ("imagenet-1k", "cifar-10", "scenes"):
        known = wordnet.wnids(label_set)
        told = [(label, wnid) for label, wnid in ids.items() if label < classes]
        if told and len(known) == classes and all(known[label] == wnid for label, wnid in told):
            ids = dict(enumerate(known))
    whole = tuple(ids[label] for label in range(classes)) if len(ids) == classes else None
    named = real.classes if real.classes and len(real.classes) == classes else None
    return named or whole or tuple(map(str, range(classes))), whole


def similarity_of(given: Request, names: tuple[str, ...], wnids: tuple[str, ...] | None) -> Float[Tensor, "c c"]:
    """How alike the classes are, by the taxonomy that was asked for.

    Raises:
        ValueError: Classes have no wnid or are not in the table, or the table is no taxonomy.
        FileNotFoundError: There is no such table.
    """
    if given.taxonomy == "none":
        return torch.eye(len(names), dtype=torch.float64)
    if given.taxonomy != "wordnet":
        return similarity(_read(Path(given.taxonomy)).distances(names, given.metric), given.sigma)  # type: ignore[arg-type]
    if wnids is None:
        raise ValueError(
            f"expected a wnid for each of {len(names)} classes, the images name fewer; call the class folders by their "
            "wnids, or give --taxonomy a table of child,parent lines, or none"
        )
    inside = set(wordnet.packaged().ids)
    whole = wordnet.packaged() if inside.issuperset(wnids) else wordnet.read(wnids)
    return similarity(whole.distances(wnids, given.metric), given.sigma)  # type: ignore[arg-type]


def _read(table: Path) -> Taxonomy:
    with table.open(newline="", encoding="utf-8") as file:
        rows = [[cell.strip() for cell in row] for row in csv.reader(file) if row]
    if wrong := next((row for row in rows if len(row) != 2), None):
        raise ValueError(f"expected lines of child,parent in {table}, got {','.join(wrong)!r}")
    return Taxonomy.from_edges([(child, parent) for child, parent in rows])
