"""What a network is trained for, image by image: to be right when attacked, and to see what it saw before.

    Mixed          alpha CE(f(x), y) + (1 - alpha) CE(f(x*), y)
    ConsistentLoss d(phi(x), phi(x*))                                  squared by default
    Trades         CE(f(x), y) + beta KL(softmax f(x) || softmax f(x*))

x is an image, x* the same attacked, f the logits, phi a representation. Dong, Bao, Su and Zhu (arXiv:1901.09035) train
with Mixed(alpha=0.5) plus 0.1 times ConsistentLoss, x* being one step of FGSM and phi the last convolutional layer.
TRADES is that of Zhang et al. (arXiv:1901.08573), MADRY that of Madry et al. (arXiv:1706.06083): attacked images alone.

Departures and open points:

- The paper writes d as the L2 distance, later work on it as the squared one. Squared is our default: the root has no
  gradient at x* = x. Ours is zero there.
- Neither says whether features are summed. Ours are averaged: summed over the 100,352 values of a map of VGG-16, d at a
  weight of 0.1 would drown everything else.
- The cosine distance and the one-sided forms (`detach`) are ours.

Every loss is a mean over images, in fp32 at least.
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from interp_plugins.foundation import check
from interp_plugins.training import batches

Distance = Literal["squared", "l2", "cosine"]
Reduction = Literal["mean", "sum"]
Side = Literal["clean", "adversarial"]


@dataclass(frozen=True, kw_only=True)
class ConsistentLoss:
    """The distance between what a network sees in an image and in its attacked copy (arXiv:1901.09035)."""

    distance: Distance = "squared"  # |a - b|^2, |a - b|, or 1 - cos(a, b)
    reduction: Reduction = "mean"  # of the squares over features; the cosine distance is the same either way
    detach: Side | None = None  # the side through which no gradient flows; None: it flows through both

    def __post_init__(self) -> None:
        check.one_of("distance", self.distance, ("squared", "l2", "cosine"))
        check.one_of("reduction", self.reduction, ("mean", "sum"))
        check.one_of("detach", self.detach, (None, "clean", "adversarial"))

    def __call__(
        self, clean: Float[Tensor, "n *features"], adversarial: Float[Tensor, "n *features"]
    ) -> Float[Tensor, ""]:
        """The mean distance of n pairs.

        Args:
            clean: phi of the images, of any shape an image.
            adversarial: phi of the attacked images, in the same order.

        Raises:
            TypeError: A dtype that is not floating.
            ValueError: Shapes that differ, or nothing in them.

        Example:
            >>> ConsistentLoss(reduction="sum")(torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0, 4.0]]))
            tensor(25.)
        """
        if clean.shape != adversarial.shape or clean.ndim < 2 or clean.numel() == 0:
            raise ValueError(
                "expected clean and adversarial representations of one shape (n, ...), got "
                f"{tuple(clean.shape)} and {tuple(adversarial.shape)}; give a pair for each image"
            )
        a, b = (batches.at_least_fp32(values).flatten(1) for values in (clean, adversarial))
        a, b = a.detach() if self.detach == "clean" else a, b.detach() if self.detach == "adversarial" else b
        if self.distance == "cosine":
            return (_unit(a) - _unit(b)).square().sum(1).mean() / 2  # 1 - cos, without its loss of digits near 0
        squares = (a - b).square()
        squares = squares.mean(1) if self.reduction == "mean" else squares.sum(1)
        return (squares if self.distance == "squared" else _root(squares)).mean()


@dataclass(frozen=True, kw_only=True)
class Mixed:
    """Cross-entropy of clean and of attacked images, mixed."""

    alpha: float = 0.5  # the share of clean images, 0 to 1; the paper's 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.alpha <= 1:
            raise ValueError(
                f"expected alpha from 0 (attacked images alone) to 1 (clean images alone), got {self.alpha}"
            )

    def __call__(
        self,
        clean: Float[Tensor, "n classes"] | None,
        adversarial: Float[Tensor, "n classes"] | None,
        labels: Int[Tensor, " n"],
    ) -> Float[Tensor, ""]:
        """The mixed loss of n images.

        Args:
            clean: Logits of the images; may be None where alpha is 0.
            adversarial: Logits of the attacked images, in the same order; may be None where alpha is 1.
            labels: The true classes of both.

        Raises:
            TypeError: A wrong dtype.
            ValueError: Logits that alpha asks for are missing, or a wrong shape or label.
        """
        parts = (("clean", clean, self.alpha), ("adversarial", adversarial, 1 - self.alpha))
        terms = [weight * self._entropy(name, logits, labels) for name, logits, weight in parts if weight > 0]
        return torch.stack(terms).sum()

    def _entropy(self, name: str, logits: Tensor | None, labels: Tensor) -> Tensor:
        if logits is None:
            raise ValueError(f"expected {name} logits where alpha is {self.alpha:g}, got None")
        return _cross_entropy(_logits(logits), labels)


MADRY = Mixed(alpha=0.0)
"""Attacked images alone (Madry et al., arXiv:1706.06083); no clean logits are needed."""


@dataclass(frozen=True, kw_only=True)
class Trades:
    """Right on clean images, and of the same mind on attacked ones (Zhang et al., arXiv:1901.08573).

    Its attack maximises the divergence, not the cross-entropy. It has to start beside the image, where there is a
    gradient to follow: on the image itself the divergence is 0 and so is its gradient.
    """

    beta: float = 6.0  # the paper's 1 / lambda for CIFAR-10

    def __post_init__(self) -> None:
        check.positive(beta=self.beta)

    def __call__(
        self, clean: Float[Tensor, "n classes"], adversarial: Float[Tensor, "n classes"], labels: Int[Tensor, " n"]
    ) -> Float[Tensor, ""]:
        """The loss of n images; gradients flow through both logits.

        Args:
            clean: Logits of the images.
            adversarial: Logits of the attacked images, in the same order.
            labels: The true classes.

        Raises:
            TypeError: A wrong dtype.
            ValueError: A wrong shape or label.
        """
        return _cross_entropy(_logits(clean), labels) + self.beta * self.divergence(clean, adversarial)

    @staticmethod
    def divergence(clean: Float[Tensor, "n classes"], adversarial: Float[Tensor, "n classes"]) -> Float[Tensor, ""]:
        """KL(softmax(clean) || softmax(adversarial)), the mean over n images: what the attack maximises.

        Raises:
            TypeError: A dtype that is not floating.
            ValueError: Shapes that differ.
        """
        if clean.shape != adversarial.shape:
            raise ValueError(
                f"expected logits of one shape (n, classes), got {tuple(clean.shape)} and {tuple(adversarial.shape)}"
            )
        p, q = (_logits(logits).log_softmax(1) for logits in (clean, adversarial))
        return F.kl_div(q, p, reduction="batchmean", log_target=True)


def _logits(logits: Tensor) -> Tensor:
    if logits.ndim != 2 or logits.numel() == 0:
        raise ValueError(f"expected logits of shape (n, classes), got {tuple(logits.shape)}")
    return batches.at_least_fp32(logits)


def _cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(logits, batches.labels(labels, *logits.shape))


def _root(squares: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    """The square root, whose gradient is taken as 0 at 0."""
    return torch.where(squares > 0, squares, 1).sqrt() * (squares > 0)


def _unit(rows: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    """Rows of length 1; a row of zeros stays, and no gradient flows to it."""
    squares = rows.square().sum(1, keepdim=True)
    return rows / torch.where(squares > 0, squares, 1).sqrt() * (squares > 0)
