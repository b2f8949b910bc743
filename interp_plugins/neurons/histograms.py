"""Which classes a unit's top images show, and how many different pictures they come from.

Top images are numbers into a data set: one row a unit, -1 where a unit has fewer images than the row has places.

    p_i = (number of the unit's top images that show class i) / (number of its top images)

Classes may be labels, one an image, so that p sums to 1; or concepts, any number an image, so that it need not (Dong et
al., arXiv:1708.05493 and arXiv:1901.09035). A unit without images has a row of nan: nothing is known of it.
"""

import torch
from jaxtyping import Bool, Float64, Int
from torch import Tensor

from interp_plugins.foundation import check

CONCEPTS_AT_ONCE = 64  # bounds the float copy of a table of images x concepts


def select(
    ids: Int[Tensor, "u k"], *, images: Bool[Tensor, " n"] | None = None, dead: Bool[Tensor, " u"] | None = None
) -> Int[Tensor, "u k"]:
    """The same top images with -1 for those that do not count.

    Args:
        ids: Top images of each unit, -1 for none.
        images: Which images of the data set count, such as those whose attack succeeded; None for all.
        dead: Units whose images mean nothing because all their activations are equal; all of theirs are left out.

    Example:
        >>> select(torch.tensor([[2, 0], [1, 2]]), images=torch.tensor([True, True, False]))
        tensor([[-1,  0],
                [ 1, -1]])
    """
    if images is not None:
        _check_ids(ids, len(images))
        ids = torch.where(images[ids.clamp_min(0)], ids, -1)
    return ids if dead is None else ids.masked_fill(dead[:, None], -1)


def counted(ids: Int[Tensor, "u k"]) -> Int[Tensor, " u"]:
    """How many images each unit has."""
    return (ids >= 0).sum(1)


def histogram(
    ids: Int[Tensor, "u k"], labels: Int[Tensor, " n"] | Bool[Tensor, "n m"], classes: int | None = None
) -> Float64[Tensor, "u c"]:
    """Share of each unit's top images that show each class; nan for a unit without images.

    Args:
        ids: Top images of each unit, -1 for none.
        labels: Label of every image of the data set, or which concepts it contains.
        classes: Number of classes; concepts bring their own.

    Example:
        >>> histogram(torch.tensor([[0, 1, 2, 4]]), torch.tensor([3, 3, 0, 1, 1]), classes=4)
        tensor([[0.2500, 0.2500, 0.0000, 0.5000]], dtype=torch.float64)
    """
    return tally(ids, labels, classes, (ids >= 0).double()) / counted(ids)[:, None]


def tally(
    ids: Int[Tensor, "u k"],
    labels: Int[Tensor, " n"] | Bool[Tensor, "n m"],
    classes: int | None,
    weights: Float64[Tensor, "u k"],
) -> Float64[Tensor, "u c"]:
    """Sum of the weights of each unit's images that show each class; a place without image must weigh 0."""
    _check_ids(ids, len(labels))
    ids = ids.clamp_min(0)
    if labels.dtype == torch.bool:
        blocks = labels.split(CONCEPTS_AT_ONCE, dim=1)
        return torch.cat([_weighted_sum(ids, block.double(), weights) for block in blocks], dim=1)
    if classes is None:
        raise ValueError("expected the number of classes beside labels, got None; give classes=")
    labels = check.labels(labels, len(labels), classes)
    sums = torch.zeros(len(ids), classes, dtype=torch.float64, device=ids.device)
    return sums.scatter_add_(1, labels[ids], weights)


def copies(ids: Int[Tensor, "u k"], sources: Int[Tensor, " n"]) -> Int[Tensor, "u k"]:
    """For each top image, how many of its unit's top images come from the same picture, itself included; 0 for none.

    Args:
        ids: Top images of each unit, -1 for none.
        sources: Number of the picture that each image of the data set was made from.

    Example:
        >>> copies(torch.tensor([[0, 1, 3, -1]]), torch.tensor([7, 7, 8, 9]))
        tensor([[2, 2, 1, 0]])
    """
    ordered, order, run = _runs(ids, sources)
    sizes = torch.zeros_like(run).scatter_add_(1, run, (ordered >= 0).long())
    return torch.zeros_like(run).scatter_(1, order, sizes.gather(1, run))


def unique_sources(ids: Int[Tensor, "u k"], sources: Int[Tensor, " n"]) -> Int[Tensor, " u"]:
    """How many different pictures each unit's top images come from.

    Args:
        ids: Top images of each unit, -1 for none.
        sources: Number of the picture that each image of the data set was made from.

    Example:
        >>> unique_sources(torch.tensor([[0, 1, 3, -1]]), torch.tensor([7, 7, 8, 9]))
        tensor([2])
    """
    ordered, _, run = _runs(ids, sources)
    return run[:, -1] + 1 - (ordered[:, 0] < 0).long()


def _runs(ids: Tensor, sources: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Sources in order, -1 first, with the order that sorts them and the number of the run each stands in."""
    _check_ids(ids, len(sources))
    found = torch.where(ids >= 0, sources.long()[ids.clamp_min(0)], -1)
    ordered, order = found.sort(dim=1)
    run = torch.zeros_like(ordered)
    run[:, 1:] = (ordered[:, 1:] != ordered[:, :-1]).cumsum(1)
    return ordered, order, run


def _weighted_sum(ids: Tensor, table: Tensor, weights: Tensor) -> Tensor:
    return torch.nn.functional.embedding_bag(ids, table, mode="sum", per_sample_weights=weights)


def _check_ids(ids: Tensor, n: int) -> None:
    if ids.numel() == 0:
        raise ValueError(f"expected top images of shape (units, k) with k of at least 1, got {tuple(ids.shape)}")
    low, high = (int(value) for value in torch.aminmax(ids))
    if low < -1 or high >= n:
        raise ValueError(
            f"expected ids from 0 to {n - 1} (-1 for none), got {low if low < -1 else high}; "
            "the data set described must be the one the top images were found in"
        )
