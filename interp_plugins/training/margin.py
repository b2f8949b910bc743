"""Representations near the centre of their own class and far from the others': the margin loss of ATDA.

    L = 1 / ((k - 1) n)  sum over x and classes c other than y of  softplus(|phi(x) - c_y|_1 - |phi(x) - c_c|_1)

    c_j <- c_j - a  sum over x of class j of (c_j - phi(x)) / (1 + count_j),    a = 0.1, centres begin at 0

The n representations are those of clean and of attacked images together, k is the number of classes. Song et al., ATDA
(arXiv:1810.00740); their phi are the logits. The centres are no parameters: they follow the representations.

When the centres move is ours to say and the caller's to choose: the loss leaves them alone, `update` moves them.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from interp_plugins.foundation import check
from interp_plugins.training import batches


class MarginLoss(nn.Module):
    """The margin loss and its centres, which are saved with the module's state.

    Args:
        classes: k, two or more.
        width: Of a representation; with logits it is k.
        rate: a, how far the centres move.
        across_ranks: Move them by the batches of all processes, so that they stay the same everywhere; each process has
            to take part.

    Raises:
        ValueError: A setting out of range.
    """

    centres: Tensor

    def __init__(self, classes: int, width: int, *, rate: float = 0.1, across_ranks: bool = False) -> None:
        super().__init__()
        if classes < 2:
            raise ValueError(f"expected at least 2 classes, got {classes}")
        check.positive(width=width, rate=rate)
        self.rate, self.across_ranks = rate, across_ranks
        self.register_buffer("centres", torch.zeros(classes, width))

    def extra_repr(self) -> str:
        """What tells this loss from another."""
        classes, width = self.centres.shape
        return f"classes={classes}, width={width}, rate={self.rate}, across_ranks={self.across_ranks}"

    def forward(self, representations: Float[Tensor, "n d"], labels: Int[Tensor, " n"]) -> Float[Tensor, ""]:
        """The loss, the centres being as they are.

        Args:
            representations: Of clean and of attacked images, in any order.
            labels: The true class of each.

        Raises:
            TypeError: A wrong dtype.
            ValueError: A wrong shape or label.

        Example:
            >>> MarginLoss(classes=3, width=2)(torch.tensor([[5.0, 7.0]]), torch.tensor([1]))
            tensor(0.6931)
        """
        rows, labels = self._checked(representations, labels)
        centres = self.centres.to(rows.dtype, copy=True)  # `update` may come before the backward pass
        with batches.no_autocast(rows):
            distances = torch.cdist(rows, centres, p=1)
        margins = F.softplus(distances.gather(1, labels[:, None]) - distances)
        return margins.scatter(1, labels[:, None], 0).sum() / (len(rows) * (len(centres) - 1))

    @torch.no_grad()
    def update(self, representations: Float[Tensor, "n d"], labels: Int[Tensor, " n"]) -> None:
        """Move each centre towards the representations of its class; a class without any keeps its own.

        Args:
            representations: As for the loss.
            labels: As for the loss.

        Raises:
            TypeError: A wrong dtype.
            ValueError: A wrong shape or label.
        """
        rows, labels = self._checked(representations, labels)
        if self.across_ranks:
            rows, labels = batches.gathered(rows), batches.gathered(labels)
        members = F.one_hot(labels, len(self.centres)).to(rows.dtype)
        counts = members.sum(0)[:, None]
        with batches.no_autocast(rows):
            sums = members.T @ rows
        self.centres -= (self.rate * (counts * self.centres - sums) / (1 + counts)).to(self.centres.dtype)

    def _checked(self, representations: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        classes, width = self.centres.shape
        if representations.ndim != 2 or representations.shape[1] != width or len(representations) == 0:
            raise ValueError(f"expected representations of shape (n, {width}), got {tuple(representations.shape)}")
        return batches.at_least_fp32(representations), batches.labels(labels, len(representations), classes)
