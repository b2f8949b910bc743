"""How sure is a unit's LC? Intervals by drawing the pictures of the data set again.

One draw gives every picture a weight, the number of times it is drawn, and all units and all copies of the picture
share it. So the same draws also give the interval of a layer's mean, whose units look at the same pictures. Which
images are at the top is taken as known. The values are those without pairs of a picture with itself: with them, drawing
again would add bias.

    interval = value + quantiles of (value of a draw - mean over the draws)

The papers print no intervals; this one is ours. In simulations the 95 % interval held the true value in 89 to 100 % of
the cases (too narrow below about 50 pictures, too wide for a unit without preference).
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Float64, Int
from torch import Tensor

from interp_plugins.foundation import check
from interp_plugins.foundation.intervals import Interval, around
from interp_plugins.foundation.randomness import derive
from interp_plugins.neurons.consistency import check_similarity, consistency, self_similarity
from interp_plugins.neurons.histograms import copies, select, tally


@dataclass(frozen=True)
class Bootstrap:
    """Debiased LC of u units, and again for each draw of the pictures."""

    value: Float64[Tensor, " u"]
    draws: Float64[Tensor, "d u"]

    def units(self, level: float = 0.95) -> Interval:
        """The interval of each unit; nan where its value is, or where no draw defines it."""
        return around(self.value, self.draws, level)

    def mean(self, level: float = 0.95) -> Interval:
        """The interval of the mean over the units that have a value, as the only entry."""
        defined = self.value.isfinite()
        return around(self.value[defined].mean()[None], self.draws[:, defined].nanmean(1, keepdim=True), level)


def bootstrap(
    ids: Int[Tensor, "u k"],
    labels: Int[Tensor, " n"] | Bool[Tensor, "n m"],
    similarity: Float[Tensor, "c c"],
    *,
    sources: Int[Tensor, " n"] | None = None,
    dead: Bool[Tensor, " u"] | None = None,
    draws: int = 500,
    seed: int = 0,
) -> Bootstrap:
    """Debiased LC of all units under `draws` draws of the pictures with replacement.

    Each draw costs one matrix product for all units. The random numbers are this function's own.

    Args:
        ids: Top images of each unit, -1 for none.
        labels: What every image of the data set shows: a class, or which concepts.
        similarity: a_ij of the classes.
        sources: Number of the picture each image was made from, from 0; None if each is a picture of its own.
        dead: Units whose activations are all equal; they become nan.
        draws: How many; 500 are enough for a 95 % interval.
        seed: Same seed, same draws, whatever the units.
    """
    check.positive(draws=draws)
    value = consistency(ids, labels, similarity, sources=sources, dead=dead).debiased
    ids = select(ids, dead=dead)
    similarity = check_similarity(similarity, len(similarity))
    sources = torch.arange(len(labels), device=ids.device) if sources is None else sources
    pictures = sources[ids.clamp_min(0)]
    same = copies(ids, sources).double()
    own = same
    if labels.dtype == torch.bool:
        own = same * self_similarity(labels, similarity)[ids.clamp_min(0)]
    generator = torch.Generator().manual_seed(derive(seed, "bootstrap"))
    size = int(sources.max()) + 1
    present = sources.unique().cpu()
    found = []
    for _ in range(draws):
        drawn = present[torch.randint(len(present), (len(present),), generator=generator)]
        times = torch.bincount(drawn, minlength=size).double().to(ids.device)
        weights = times[pictures] * (ids >= 0)
        sums = tally(ids, labels, len(similarity), weights)
        pairs = weights.sum(1) ** 2 - (weights * same).sum(1)
        alike = ((sums @ similarity) * sums).sum(1) - (weights * own).sum(1)
        found.append(torch.where(pairs > 0, alike / pairs, torch.nan))
    return Bootstrap(value, torch.stack(found))
