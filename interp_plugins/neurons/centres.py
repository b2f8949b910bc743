"""Where the representations of each class lie: class means and sizes, in one pass over the real images.

mu_c = mean of phi(x) over the real images x of class c
"""

from typing import Any

import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor
from torchmetrics import Metric

from interp_plugins.foundation import check


class Centres:  # no dataclass: torchmetrics refuses frozen ones from compute, and squeezes the tensors of others
    """Class means `means` (c, d), nan for a class without images, and numbers of images `counts` (c,)."""

    def __init__(self, means: Float64[Tensor, "c d"], counts: Int[Tensor, " c"]) -> None:
        self.means, self.counts = means, counts

    def without(self, rows: Float64[Tensor, "n d"], labels: Int[Tensor, " n"]) -> Float64[Tensor, "n d"]:
        """For each row the mean of its class with that row left out; nan where it is the only one."""
        others = self.counts[labels] - 1
        means = self.means[labels]
        left = means + (means - rows) / others[:, None]
        return left.masked_fill((others < 1)[:, None], torch.nan)


class ClassCentres(Metric):
    """Class means of representations, streamed; sums in float64.

    Args:
        classes: Number of classes.
        width: Numbers in one representation, after flattening.
    """

    full_state_update = False
    sums: Tensor
    counts: Tensor

    def __init__(self, classes: int, width: int, **settings: Any) -> None:
        super().__init__(**settings)
        check.positive(classes=classes, width=width)
        self.add_state("sums", torch.zeros(classes, width, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("counts", torch.zeros(classes, dtype=torch.long), dist_reduce_fx="sum")

    def update(self, representations: Float[Tensor, "n *shape"], labels: Int[Tensor, " n"]) -> None:
        """Add real images.

        Args:
            representations: phi(x), of any shape an image.
            labels: Their true classes.
        """
        rows = flat(representations, self.sums.shape[1], "representations")
        labels = check.labels(labels, len(rows), len(self.counts))
        self.sums.index_add_(0, labels, rows)
        self.counts += torch.bincount(labels, minlength=len(self.counts))

    def compute(self) -> Centres:
        """The means of all images so far."""
        return Centres(self.sums / self.counts[:, None], self.counts.clone())


def class_centres(representations: Float[Tensor, "n *shape"], labels: Int[Tensor, " n"], classes: int) -> Centres:
    """Class means of representations that are all at hand; as `ClassCentres`."""
    metric = ClassCentres(classes, representations[0].numel()).to(representations.device)
    metric.update(representations, labels)
    return metric.compute()


def flat(representations: Tensor, width: int | None, name: str) -> Tensor:
    """Check representations and return them as float64 rows.

    Raises:
        ValueError: Rows have not the width that came before, or hold NaN or infinity.
    """
    rows = representations.detach().flatten(1).double()
    if width is not None and rows.shape[1] != width:
        raise ValueError(f"expected {name} of {width} numbers an image, got {rows.shape[1]}; use one layer throughout")
    if rows.sum().isfinite():  # then all of them are, and one pass over them was enough
        return rows
    bad = (~rows.isfinite()).any(1).nonzero().flatten().tolist()
    if bad:
        raise ValueError(f"expected finite {name}, got NaN or infinity in row {bad[0]}; look at the network's weights")
    return rows
