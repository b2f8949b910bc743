"""Does a unit stand for one thing? LC, consis and consis_adv.

    LC(unit) = p^T A p = sum_ij p_i p_j a_ij       p: class histogram of the unit's top images
                                                   a_ij: similarity of classes i and j, 1 for i = j
    debiased = (n LC - 1) / (n - 1)                n: number of top images
    by pairs = (n^2 LC - sum_s n_s^2 g_s) / (n^2 - sum_s n_s^2)
                                                   n_s: copies of picture s; g_s: its similarity to itself, 1 for labels

LC is the mean similarity of two of the unit's images, drawn with replacement: 1 if all show one class, high if their
classes are near in the taxonomy. Dong et al. call it LC (arXiv:1708.05493) and, later, consis (arXiv:1901.09035);
consis_adv is the same on attacked images by the label of what they contain. Departures:

- Drawn with replacement, an image meets itself in 1/n of the pairs, so few images look more consistent than many. The
  debiased value leaves such pairs out; for independent images it is unbiased.
- An attacked set holds several copies of one picture, which fill the top images together and share their label. The
  value by pairs counts pairs of different pictures only. Neither correction is in the papers.
- Concepts, several an image, make a p that need not sum to 1, so LC may exceed 1 (our reading of the second paper).

A unit without images, or with too few for the correction, is nan.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Float64, Int
from torch import Tensor

from interp_plugins.neurons.histograms import copies, counted, histogram, select, unique_sources

IMAGES_AT_ONCE = 4096  # bounds the float copy of a table of images x concepts


@dataclass(frozen=True)
class Consistency:
    """What is known of each of u units, float64, nan where undefined."""

    raw: Float64[Tensor, " u"]  # LC as printed
    debiased: Float64[Tensor, " u"]  # without pairs of an image with itself or with a copy of its picture
    images: Int[Tensor, " u"]  # images counted
    sources: Int[Tensor, " u"]  # different pictures among them


def consistency(
    ids: Int[Tensor, "u k"],
    labels: Int[Tensor, " n"] | Bool[Tensor, "n m"],
    similarity: Float[Tensor, "c c"],
    *,
    sources: Int[Tensor, " n"] | None = None,
    dead: Bool[Tensor, " u"] | None = None,
) -> Consistency:
    """LC of all units from their top images, raw and corrected, with the number of pictures behind it.

    Args:
        ids: Top images of each unit, -1 for none.
        labels: What every image of the data set shows: a class, or which concepts. Of attacked images the true class.
        similarity: a_ij of the classes, from `interp_plugins.foundation.taxonomy.similarity`.
        sources: Number of the picture each image was made from; None if each is a picture of its own.
        dead: Units whose activations are all equal; they become nan.

    Example:
        >>> similarity = torch.tensor([[1.0, 0.5], [0.5, 1.0]])
        >>> found = consistency(torch.tensor([[0, 1, 2, 3]]), torch.tensor([0, 0, 1, 1]), similarity)
        >>> found.raw, found.debiased
        (tensor([0.7500], dtype=torch.float64), tensor([0.6667], dtype=torch.float64))
    """
    ids = select(ids, dead=dead)
    raw = level_consistency(histogram(ids, labels, len(similarity)), similarity)
    same = (ids >= 0).long() if sources is None else copies(ids, sources)
    own = None
    if labels.dtype == torch.bool:
        own = self_similarity(labels, similarity)[ids.clamp_min(0)]
    return Consistency(
        raw=raw,
        debiased=source_debiased(raw, same, own),
        images=counted(ids),
        sources=counted(ids) if sources is None else unique_sources(ids, sources),
    )


def level_consistency(p: Float[Tensor, "u c"], similarity: Float[Tensor, "c c"]) -> Float64[Tensor, " u"]:
    """p^T A p of every unit, in one matrix product.

    Args:
        p: Class histogram of each unit.
        similarity: a_ij, symmetric, ones on the diagonal.

    Example:
        >>> level_consistency(torch.tensor([[1.0, 0.0], [0.5, 0.5]]), torch.tensor([[1.0, 0.5], [0.5, 1.0]]))
        tensor([1.0000, 0.7500], dtype=torch.float64)
    """
    similarity = check_similarity(similarity, p.shape[1])
    p = p.double()
    return ((p @ similarity) * p).sum(1)


def debiased(lc: Float[Tensor, " u"], images: Int[Tensor, " u"]) -> Float64[Tensor, " u"]:
    """(n LC - 1) / (n - 1): the mean similarity of two different images; labels only; nan for fewer than two.

    Args:
        lc: Raw values.
        images: Images counted for each unit.
    """
    n = images.double()
    return torch.where(n > 1, (n * lc.double() - 1) / (n - 1), torch.nan)


def source_debiased(
    lc: Float[Tensor, " u"], copies: Int[Tensor, "u k"], own: Float[Tensor, "u k"] | None = None
) -> Float64[Tensor, " u"]:
    """The mean similarity of two images of different pictures; nan where there is one picture only.

    Args:
        lc: Raw values.
        copies: For each top image the number of its unit's images of the same picture, from `histograms.copies`.
        own: Similarity of each top image to itself; None for labels, where it is 1.
    """
    n = (copies > 0).sum(1).double()
    same = copies.sum(1).double()  # sum over images of n_s = sum over pictures of n_s^2
    own_pairs = same if own is None else (copies * own.double()).sum(1)
    return torch.where(n**2 > same, (n**2 * lc.double() - own_pairs) / (n**2 - same), torch.nan)


def self_similarity(concepts: Bool[Tensor, "n m"], similarity: Float[Tensor, "m m"]) -> Float64[Tensor, " n"]:
    """Similarity of each image's concepts to themselves, s^T A s: what a pair of an image with itself adds."""
    similarity = check_similarity(similarity, concepts.shape[1])
    blocks = (block.double() for block in concepts.split(IMAGES_AT_ONCE))
    return torch.cat([((block @ similarity) * block).sum(1) for block in blocks])


def check_similarity(similarity: Tensor, classes: int) -> Tensor:
    """Check that A is symmetric, with ones on its diagonal, one row a class, and return it in float64.

    Raises:
        ValueError: It is not; distances given for similarities are the usual reason.
    """
    if similarity.shape != (classes, classes):
        raise ValueError(f"expected a similarity of shape ({classes}, {classes}), got {tuple(similarity.shape)}")
    checked: Tensor = similarity.double()
    if not (checked.diagonal() == 1).all() or not torch.equal(checked, checked.T):
        raise ValueError(
            "expected a symmetric similarity with ones on its diagonal, got something else; "
            "distances become similarities by taxonomy.similarity"
        )
    return checked
