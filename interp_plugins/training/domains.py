"""Clean and attacked images as two domains: their representations are brought to one distribution, not pair by pair.

    Coral, norm "l1"         sum abs(C_D - C_A) / d^2                 Song et al. 2019, Xie
    Coral, norm "frobenius"  sum (C_D - C_A)^2 / (4 d^2)              Sun and Saenko 2016, Deep CORAL
    MeanDifference           sum abs(mean_D - mean_A) / d             Song et al. 2019, Xie
    MultiKernelMMD           E k(D, D') + E k(A, A') - 2 E k(D, A)    Long et al. 2015

D are representations of clean images, A of attacked ones, d their width, C their covariance. Song et al. (ATDA,
arXiv:1810.00740) take the logits, Xie the last layer of features or an adaptation layer after it. Both call
MeanDifference "MMD"; it is 0 whenever the means agree. Absolute values are entry by entry, no norm of a matrix.

Departures and open points:

- The published code of ATDA sums the covariance without dividing it by anything: at a batch of 32 it is 31 times as
  large, and so is its weight. Ours divides by n - 1; `covariance="scatter"` is theirs.
- The widths of MultiKernelMMD's kernels are ours: 1/4 to 4 times the mean squared distance between two rows of both
  batches, through which no gradient flows. Long et al. take multiples of the median.
- `across_ranks` takes the statistics over the global batch of all processes; without it each rank has its own.

All is computed in fp32 at least. The two batches may differ in size.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from interp_plugins.foundation import check
from interp_plugins.training import batches

Norm = Literal["l1", "frobenius"]
Covariance = Literal["unbiased", "biased", "scatter"]
Estimator = Literal["biased", "unbiased"]


@dataclass(frozen=True, kw_only=True)
class Coral:
    """The difference of two covariances (arXiv:1607.01719, arXiv:1810.00740)."""

    norm: Norm = "l1"  # entry by entry; "frobenius" is Deep CORAL's
    covariance: Covariance = "unbiased"  # divided by n - 1, by n, or not at all
    across_ranks: bool = False  # over the batches of all processes; each has to take part

    def __post_init__(self) -> None:
        check.one_of("norm", self.norm, ("l1", "frobenius"))
        check.one_of("covariance", self.covariance, ("unbiased", "biased", "scatter"))

    def __call__(self, clean: Float[Tensor, "n d"], adversarial: Float[Tensor, "m d"]) -> Float[Tensor, ""]:
        """The loss of two batches, at least two rows each; memory holds a few tables of d x d.

        Raises:
            TypeError: A dtype that is not floating.
            ValueError: A wrong shape, or a batch of one, which has no covariance.

        Example:
            >>> clean = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
            >>> Coral()(clean, torch.tensor([[2.0, 0.0], [0.0, 2.0], [0.0, 0.0]]))
            tensor(0.7500)
        """
        clean, adversarial = batches.pair(clean, adversarial, least=2, across_ranks=self.across_ranks)
        difference = self._covariance(clean) - self._covariance(adversarial)
        return difference.abs().mean() if self.norm == "l1" else difference.square().mean() / 4

    def _covariance(self, rows: Float[Tensor, "n d"]) -> Float[Tensor, "d d"]:
        centred, n = rows - rows.mean(0), len(rows)
        with batches.no_autocast(rows):
            scatter = centred.T @ centred
        return scatter / {"unbiased": n - 1, "biased": n, "scatter": 1}[self.covariance]


@dataclass(frozen=True, kw_only=True)
class MeanDifference:
    """The difference of two means, entry by entry: "MMD" in arXiv:1810.00740."""

    across_ranks: bool = False  # over the batches of all processes; each has to take part

    def __call__(self, clean: Float[Tensor, "n d"], adversarial: Float[Tensor, "m d"]) -> Float[Tensor, ""]:
        """The loss of two batches.

        Raises:
            TypeError: A dtype that is not floating.
            ValueError: A wrong shape, or nothing in it.

        Example:
            >>> MeanDifference()(torch.tensor([[1.0, 5.0]]), torch.tensor([[0.0, 0.0], [0.0, 4.0]]))
            tensor(2.)
        """
        clean, adversarial = batches.pair(clean, adversarial, least=1, across_ranks=self.across_ranks)
        return (clean.mean(0) - adversarial.mean(0)).abs().mean()


@dataclass(frozen=True, kw_only=True)
class MultiKernelMMD:
    """The squared maximum mean discrepancy under a mean of Gaussian kernels (arXiv:1502.02791).

    A kernel of width b is exp(-sum (x - y)^2 / (b scale)).
    """

    bandwidths: tuple[float, ...] = (0.25, 0.5, 1.0, 2.0, 4.0)  # b, in units of `scale`
    scale: float | None = None  # a squared distance; None: the mean of it between any two rows of both batches
    estimator: Estimator = "biased"  # "unbiased" leaves out pairs of a row with itself and may be below 0
    across_ranks: bool = False  # over the batches of all processes; each has to take part

    def __post_init__(self) -> None:
        check.one_of("estimator", self.estimator, ("biased", "unbiased"))
        if not self.bandwidths:
            raise ValueError("expected at least one bandwidth, got none")
        for bandwidth in self.bandwidths:
            check.positive(bandwidth=bandwidth)
        if self.scale is not None:
            check.positive(scale=self.scale)

    def __call__(self, clean: Float[Tensor, "n d"], adversarial: Float[Tensor, "m d"]) -> Float[Tensor, ""]:
        """The loss of two batches; memory holds a few tables of (n + m) x (n + m).

        Raises:
            TypeError: A dtype that is not floating.
            ValueError: A wrong shape, or too few rows: one each, or two each for "unbiased".
        """
        least = 1 if self.estimator == "biased" else 2
        clean, adversarial = batches.pair(clean, adversarial, least=least, across_ranks=self.across_ranks)
        squares, n = _squared_distances(torch.cat([clean, adversarial])), len(clean)
        scale = _mean_square(squares) if self.scale is None else self.scale
        kernel = torch.stack([torch.exp(-squares / (width * scale)) for width in self.bandwidths]).mean(0)
        return self._mean(kernel[:n, :n]) + self._mean(kernel[n:, n:]) - 2 * kernel[:n, n:].mean()

    def _mean(self, kernel: Float[Tensor, "n n"]) -> Float[Tensor, ""]:
        if self.estimator == "biased":
            return kernel.mean()
        return (kernel.sum() - kernel.diagonal().sum()) / (len(kernel) * (len(kernel) - 1))


def _squared_distances(rows: Float[Tensor, "n d"]) -> Float[Tensor, "n n"]:
    rows = rows - rows.detach().mean(0)  # distances stay; what is subtracted below becomes small, and so its error
    lengths = rows.square().sum(1)
    with batches.no_autocast(rows):
        products = rows @ rows.T
    return (lengths[:, None] + lengths - 2 * products).clamp_min(0)


def _mean_square(squares: Float[Tensor, "n n"]) -> Float[Tensor, ""]:
    """The mean over pairs of different rows; 1 where all rows are alike and any will do."""
    mean = squares.detach().sum() / (len(squares) * (len(squares) - 1))
    return torch.where(mean > 0, mean, 1)
