"""Do a unit's attacked top images show what its real ones show? CS_1 and CS_2.

    CS = cos(p, q) = p . q / (|p| |q|)                               plain
    CS = p^T A q / sqrt(p^T A p  q^T A q)                            weighted by the taxonomy
    CS_1: p from the real top images, q from the attacked ones by the class they were made from
    CS_2: the same p, q from the attacked ones by the class they are to be (or are) taken for

High CS_1 and low CS_2: the unit still answers to the content. Low CS_1 and high CS_2: it answers to whatever the
network mistakes for its class (Dong et al., arXiv:1708.05493, Fig. 4). Departures and open points:

- The paper says cosine similarity, so plain is our default; the weighted one is a cosine only while A is positive
  definite (for ImageNet's classes up to a sigma of 1.8 with shortest ways, of 2.2 with the minimal tree) and may leave
  [0, 1] beyond.
- Part of a rise with LC is a ceiling: two halves of the *real* top images are more alike too where LC is high. So we
  measure that ceiling as well. Its halves have half the images of a whole, so it is if anything a little low.

A unit without images on either side is nan.
"""

import torch
from jaxtyping import Bool, Float, Float64, Int
from torch import Tensor

from interp_plugins.foundation import check
from interp_plugins.foundation.randomness import derive
from interp_plugins.neurons.consistency import check_similarity
from interp_plugins.neurons.histograms import histogram, select


def class_similarity(
    p: Float[Tensor, "u c"], q: Float[Tensor, "u c"], similarity: Float[Tensor, "c c"] | None = None
) -> Float64[Tensor, " u"]:
    """The cosine of each unit's two class histograms.

    Args:
        p: Histogram of the real top images.
        q: Histogram of the attacked ones, by true class (CS_1), or by target or prediction (CS_2).
        similarity: a_ij for the weighted cosine; None for the plain one.

    Example:
        >>> class_similarity(torch.tensor([[0.5, 0.5, 0.0]]), torch.tensor([[0.0, 0.5, 0.5]]))
        tensor([0.5000], dtype=torch.float64)
    """
    if p.shape != q.shape:
        raise ValueError(f"expected histograms of one shape, got {tuple(p.shape)} and {tuple(q.shape)}")
    p, q = p.double(), q.double()
    ours, theirs = p, q
    if similarity is not None:
        similarity = check_similarity(similarity, p.shape[1])
        ours, theirs = p @ similarity, q @ similarity
    both = ((ours * p).sum(1) * (theirs * q).sum(1)).sqrt()
    return torch.where(both > 0, (ours * q).sum(1) / both, torch.nan)


def split_half_ceiling(
    ids: Int[Tensor, "u k"],
    labels: Int[Tensor, " n"] | Bool[Tensor, "n m"],
    classes: int | None = None,
    similarity: Float[Tensor, "c c"] | None = None,
    *,
    splits: int = 10,
    seed: int = 0,
) -> Float64[Tensor, " u"]:
    """How alike the class histograms of two random halves of the data set are, for each unit: the mean over `splits`.

    A split that leaves a unit without images in one half does not count; nan where none counts.

    Args:
        ids: Top real images of each unit, -1 for none.
        labels: What every image of the data set shows: a class, or which concepts.
        classes: Number of classes; concepts bring their own.
        similarity: a_ij for the weighted cosine; None for the plain one.
        splits: How many random splits of the data set, each for all units.
        seed: Same seed, same splits.
    """
    check.positive(splits=splits)
    generator = torch.Generator().manual_seed(derive(seed, "split halves"))
    found = []
    for _ in range(splits):
        first = (torch.randperm(len(labels), generator=generator) < len(labels) // 2).to(ids.device)
        p, q = (histogram(select(ids, images=half), labels, classes) for half in (first, ~first))
        found.append(class_similarity(p, q, similarity))
    return torch.stack(found).nanmean(0)
