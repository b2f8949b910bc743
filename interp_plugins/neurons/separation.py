"""How well do scores tell attacked images from clean ones? AUROC, and false alarms where 95 % are caught.

    AUROC = share of the pairs of an attacked and a clean image in which the attacked one scores higher; ties count half
    FPR at 95 % TPR = share of clean images that score at least t, the highest threshold that 95 % of the attacked reach

Intervals are the middle 95 % of what comes out when the pictures are drawn again with replacement. All copies of a
picture, clean or attacked, share its draw: ten attacks on one picture are not ten pictures. Where no draw changes
anything, as when every attacked image scores higher, the interval has no width and says nothing about other images.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp_plugins.foundation import check
from interp_plugins.foundation.randomness import derive

CAUGHT = 0.95


@dataclass(frozen=True)
class Share:
    """A share in [0, 1] with the limits of its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Separation:
    """How well scores tell attacked images from clean ones."""

    auroc: Share
    fpr_at_95: Share
    clean: int  # images with a score
    attacked: int
    undefined: int  # images whose score is nan, clean or attacked: left out


def separation(
    clean: Float[Tensor, " n"],
    attacked: Float[Tensor, " m"],
    sources: Int[Tensor, " m"] | None = None,
    *,
    draws: int = 500,
    seed: int = 0,
) -> Separation:
    """Compare the scores of attacked images, of one attack or of several together, with those of clean ones.

    Args:
        clean: Scores of clean images, each a picture of its own; nan where undefined.
        attacked: Scores of attacked images.
        sources: Number of the picture that each attacked image was made from: below n, the clean image of that place;
            from n on, pictures that are not among the clean. None: each is a picture of its own.
        draws: How often the pictures are drawn again.
        seed: Same seed, same draws.

    Raises:
        ValueError: No clean or no attacked image has a score, or sources do not fit.

    Example:
        >>> found = separation(torch.tensor([0.1, 0.2, 0.3, 0.4]), torch.tensor([0.25, 0.5]))
        >>> found.auroc.value, found.fpr_at_95.value
        (0.75, 0.5)
    """
    check.positive(draws=draws)
    n, m = len(clean), len(attacked)
    pictures = torch.arange(n, n + m) if sources is None else check.labels(sources, m, name="sources").cpu()
    pictures = torch.cat([torch.arange(n), pictures])
    scores = torch.cat([clean, attacked.to(clean)]).cpu().double()
    known, is_clean = ~scores.isnan(), torch.arange(n + m) < n
    counts = int((known & is_clean).sum()), int((known & ~is_clean).sum())
    if not all(counts):
        raise ValueError(f"expected scores of clean and of attacked images, got {counts[0]} and {counts[1]} defined")
    scores, pictures, is_clean = scores[known], pictures[known], is_clean[known]
    levels = scores.unique(return_inverse=True)[1]  # ranks, the same for ties
    present, picture = pictures.unique(return_inverse=True)
    value = _curve(levels, is_clean, torch.ones_like(scores))
    generator = torch.Generator().manual_seed(derive(seed, "separation"))
    drawn = []
    for _ in range(draws):
        chosen = torch.randint(len(present), (len(present),), generator=generator)
        drawn.append(_curve(levels, is_clean, torch.bincount(chosen, minlength=len(present)).double()[picture]))
    tails = torch.tensor([0.025, 0.975], dtype=torch.float64)
    low, high = torch.nanquantile(torch.stack(drawn), tails, dim=0)
    auroc, fpr = (Share(*each) for each in torch.stack([value, low, high], 1).tolist())
    return Separation(auroc, fpr, *counts, undefined=n + m - len(scores))


def _curve(levels: Tensor, is_clean: Tensor, weights: Tensor) -> Tensor:
    """AUROC and FPR at 95 % TPR of weighted images; nan where all clean or all attacked ones weigh nothing."""
    size = int(levels.max()) + 1
    clean, attacked = (torch.bincount(levels, weights * kind, minlength=size) for kind in (is_clean, ~is_clean))
    pairs = clean.sum() * attacked.sum()
    if not pairs:
        return torch.full((2,), torch.nan, dtype=torch.float64)
    auroc = (attacked * (clean.cumsum(0) - clean / 2)).sum() / pairs
    caught, alarms = attacked.flip(0).cumsum(0), clean.flip(0).cumsum(0)
    enough = caught >= CAUGHT * attacked.sum() - 1e-9  # what binary fractions add is taken off
    return torch.stack([auroc, alarms[int(enough.nonzero()[0])] / clean.sum()])
