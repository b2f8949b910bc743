"""Which units carried a decision? The prediction difference of every unit of a layer.

    PD_i(x, c) = S(c | x) - S(c | x with the map of unit i ablated)

The score S is the probability of class c, its logit, or its log-odds in bits, log2 p / (1 - p); of these the last is
the weight of evidence of Robnik-Sikonja & Kononenko (2008) and Zintgraf et al. (arXiv:1702.04595). Dong et al. (arXiv
1708.05493) name prediction differences as their way to influential neurons and give no formula; the above is our
reading. c is the predicted class unless it is given.

- The model runs once up to the layer; then only what comes after it runs, one ablated unit a row.
- A unit that is ablated is set to zero, or to its mean over reference images. A mean over the places of its own map
  would be no ablation where the network averages over places anyway.
- Where a network is sure, all probabilities stay put: use logits or log-odds. Units are not independent: single
  differences do not add up to what ablating several does.
- First-order estimate: sum over places of (map - ablated value) dS/dmap, from one backward pass. It costs as much as
  two units and chooses those that are worth the exact number.
"""

from dataclasses import dataclass
from math import log
from typing import Literal

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor, nn

from interp_plugins.foundation import check
from interp_plugins.foundation.borrow import borrow
from interp_plugins.foundation.tiles import check_tile, fill, spans, tile_size
from interp_plugins.neurons.activations import record_scores
from interp_plugins.neurons.heads import Cut, Reached, Whole, split

Score = Literal["prob", "logit", "log_odds"]
Ablation = Literal["zero", "mean"]


@dataclass(frozen=True)
class Influence:
    """What each unit of a layer adds to the score of one class, for each image.

    `differences` is nan for units that were not chosen by the estimate.
    """

    differences: Float64[Tensor, "n u"]
    scores: Float64[Tensor, " n"]  # of the class when nothing is ablated
    targets: Int64[Tensor, " n"]  # the class

    def top(self, m: int) -> Int64[Tensor, "n m"]:
        """The m units that add most, the first first; of equal ones the lower number.

        Raises:
            ValueError: There are fewer than m units whose difference is known.
        """
        known = int((~self.differences.isnan()).sum(1).min())
        if not 1 <= m <= known:
            raise ValueError(f"expected m from 1 to {known}, the units whose difference is known, got {m}")
        low = self.differences.nan_to_num(nan=float("-inf"))
        return low.sort(dim=1, descending=True, stable=True).indices[:, :m]


@dataclass(frozen=True, kw_only=True)
class NeuronInfluence:
    """Ablates each unit of a layer and tells what the score of a class loses.

    Example:
        >>> from interp_plugins.testing import Affine
        >>> model = nn.Sequential(nn.Identity(), Affine(torch.tensor([[2.0, 1.0, 4.0], [0.0, 0.0, 0.0]])))
        >>> image = torch.tensor([1.0, 0.5, 0.0]).view(1, 3, 1, 1)
        >>> NeuronInfluence(score="logit")(model, "0", image).differences
        tensor([[2.0000, 0.5000, 0.0000]], dtype=torch.float64)
    """

    score: Score = "prob"
    ablation: Ablation = "zero"
    preselect: int | None = None  # units an image that are computed exactly, chosen by the estimate; None: all
    laplace: int | None = None  # for log_odds, N of p <- (p N + 1) / (N + classes): images the model was trained with
    tile: int | None = None  # rows a network call, a power of two; None: 8 on a CPU, 64 on a GPU

    def __post_init__(self) -> None:
        check.one_of("score", self.score, ("prob", "logit", "log_odds"))
        check.one_of("ablation", self.ablation, ("zero", "mean"))
        check_tile(self.tile)
        if self.preselect is not None:
            check.positive(preselect=self.preselect)
        if self.laplace is not None:
            check.positive(laplace=self.laplace)
            if self.score != "log_odds":
                raise ValueError(f"expected laplace with score 'log_odds' alone, got it with {self.score!r}")

    def __call__(
        self,
        model: nn.Module,
        layer: str,
        images: Float[Tensor, "n c h w"],
        targets: Int64[Tensor, " n"] | None = None,
        *,
        reference: Float[Tensor, "r c h w"] | None = None,
    ) -> Influence:
        """The prediction differences of a layer's units.

        Args:
            model: The network, from images to logits; given back as found.
            layer: Its dotted name, as in `named_modules()`; it puts out (n, units, ...) and runs once in a pass. To
                ablate what later layers see, name the activation and not the convolution before it.
            images: In [0, 1]; normalisation belongs inside the model.
            targets: Class whose score is looked at, one an image; None: the predicted ones.
            reference: Images over which the mean is taken that ablated units are set to, with ablation="mean".

        Raises:
            LayerNotReached: The layer did not run.
            TypeError: The layer put out something other than a tensor.
            ValueError: A wrong name, target, shape or setting, or a model that answers one image in two ways.
        """
        return self._over(model, layer, images, targets, reference, exact=True)[0]

    def estimate(
        self,
        model: nn.Module,
        layer: str,
        images: Float[Tensor, "n c h w"],
        targets: Int64[Tensor, " n"] | None = None,
        *,
        reference: Float[Tensor, "r c h w"] | None = None,
    ) -> Float64[Tensor, "n u"]:
        """The first-order estimate of the differences, from one backward pass an image; arguments as for a call."""
        return self._over(model, layer, images, targets, reference, exact=False)[1]

    def _over(
        self,
        model: nn.Module,
        layer: str,
        images: Tensor,
        targets: Tensor | None,
        reference: Tensor | None,
        exact: bool,
    ) -> tuple[Influence, Tensor]:
        images = check.images(images)
        rows = tile_size(self.tile, images.device)
        if (reference is None) != (self.ablation == "zero"):
            raise ValueError(f"expected reference images with ablation 'mean' alone, got ablation {self.ablation!r}")
        given = None if targets is None else check.labels(targets, len(images), name="targets")
        found: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
        with borrow(model), torch.no_grad():
            parts = split(model, layer, fill(images[:rows], rows))
            mean = None if reference is None else record_scores(model, [layer], reference, "mean", rows)[layer].mean(0)
            for span in spans(len(images), rows):
                reached = parts.reach(fill(images[span], rows))
                off = reached.maps.new_zeros(reached.maps.shape[1]) if mean is None else mean
                for row in range(span.stop - span.start):
                    target = None if given is None else given[span.start + row]
                    found.append(self._one(_At(parts, reached, row, off), target, exact))
        differences, estimates, scores, classes = (torch.stack(column) for column in zip(*found, strict=True))
        return Influence(differences, scores, classes), estimates

    def _one(self, at: "_At", target: Tensor | None, exact: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Differences, estimates, score and class of one image."""
        clean = at.logits(at.copies())
        target = clean[0].argmax() if target is None else target
        check.class_range(target[None], clean.shape[1], "targets")
        score = self._score(clean, target)[0]
        nothing = torch.full(at.off.shape, torch.nan, dtype=score.dtype, device=score.device)
        estimates = self._estimate(at, target) if self.preselect is not None or not exact else nothing
        differences = nothing.clone()
        if exact:
            units = torch.argsort(estimates, descending=True, stable=True)[: self.preselect].sort().values
            for span in spans(len(units), at.rows):
                ablated = self._score(at.logits(at.ablated(fill(units[span], at.rows))), target)
                differences[units[span]] = (score - ablated)[: span.stop - span.start]
        return differences, estimates, score, target

    def _estimate(self, at: "_At", target: Tensor) -> Tensor:
        leaf = at.copies().requires_grad_()
        with torch.enable_grad():
            score = self._score(at.logits(leaf.clone()), target)[0]  # a clone, as what follows may work in place
            if not score.requires_grad:
                raise ValueError("expected a model that torch can differentiate after the layer, got no gradient")
            (gradient,) = torch.autograd.grad(score, leaf)
        first = (leaf.detach()[0] - _over_places(at.off, leaf[0])) * gradient[0]
        return first.double().reshape(len(first), -1).sum(1)

    def _score(self, logits: Tensor, target: Tensor) -> Tensor:
        """The score of one class in each row of logits (n, k)."""
        logits = logits.double()
        if self.score == "logit":
            return logits[:, target]
        if self.score == "prob":
            return logits.softmax(1)[:, target]
        if self.laplace is not None:
            p = (logits.softmax(1)[:, target] * self.laplace + 1) / (self.laplace + logits.shape[1])
            return torch.log2(p / (1 - p))
        others = logits.index_fill(1, target, float("-inf"))  # no 1 - p, which is zero where the network is sure
        return (logits[:, target] - others.logsumexp(1)) / log(2)


@dataclass(frozen=True)
class _At:
    """One image at the layer."""

    parts: Cut | Whole
    reached: Reached
    row: int
    off: Tensor  # the value of each unit when it is ablated

    @property
    def rows(self) -> int:
        return len(self.reached.maps)

    def copies(self) -> Tensor:
        return torch.stack([self.reached.maps[self.row]] * self.rows)

    def ablated(self, units: Tensor) -> Tensor:
        """The image's maps once for each unit, with that unit ablated."""
        maps = self.copies()
        maps[torch.arange(self.rows, device=units.device), units] = _over_places(self.off[units], maps[:, 0])
        return maps

    def logits(self, maps: Tensor) -> Tensor:
        return self.parts.logits(self.reached, self.row, maps)


def _over_places(values: Tensor, maps: Tensor) -> Tensor:
    """One value a map (m,), at each of its places."""
    return values.view(-1, *[1] * (maps.ndim - 1)).expand_as(maps)
