"""Do attacked images move away from their own class and towards their target? r_1 and r_2.

    r_1(x*) = |phi(x*) - mu_y |  /  mean over real x of class y of |phi(x) - mu_y |
    r_2(x*) = |phi(x*) - mu_y*|  /  mean over real x of class y of |phi(x) - mu_y*|

phi is a representation, mu_c the mean of the real images of class c, y the true and y* the target class; lengths are
Euclidean. r_1 above 1: further from its own class than real images are. r_2 below 1: nearer to the target's.

Dong et al. (arXiv:1708.05493, Fig. 5) print averages of r_1 and r_2 but no formula that we could reach. This one is our
reconstruction; on CIFAR-10 networks it gave means and shapes of the paper's histograms. Its choices, all ours:

- phi is the flattened output of the last convolutional block.
- `denominator="class_mean"` as above; `"paired"` divides by the distance of the very image that was attacked.
- An image is left out of the mean of its own class, as is the image that was attacked, else an image would be near a
  centre only because it is part of it. The only image of a class then has no r_1: nan.

Fed with the real images themselves, the class means of r_1 and r_2 are 1, and every paired value is 1.
"""

from typing import Any, Literal

import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor
from torchmetrics import Metric

from interp_plugins.foundation import check
from interp_plugins.neurons.centres import Centres, class_centres, flat

Denominator = Literal["class_mean", "paired"]


class Ratios:  # no dataclass, for the reason given at `Centres`
    """Of m attacked images, by their numbers: `r1`, `r2` (nan where undefined), `labels`, `targets`.

    Without numbers they are in the order they came, ranks one after the other. `counts` (c,) are the real images of
    each class that were given.
    """

    def __init__(
        self,
        *,
        r1: Float64[Tensor, " m"],
        r2: Float64[Tensor, " m"],
        labels: Int[Tensor, " m"],
        targets: Int[Tensor, " m"],
        counts: Int[Tensor, " c"],
    ) -> None:
        self.r1, self.r2, self.labels, self.targets, self.counts = r1, r2, labels, targets, counts


class DistanceRatios(Metric):
    """r_1 and r_2, streamed: one pass over the real images, each once and with what was made from it, if anything.

    The class means come from a pass before, by `ClassCentres`. Memory holds seven numbers an attacked image and a table
    of classes x classes.

    Args:
        centres: Class means of the real images.
        denominator: "class_mean", or "paired".
        held_out: The images given here are not those the means were taken of; then none is left out of a mean.
    """

    full_state_update = False
    distances: Tensor
    counts: Tensor
    records: list[Tensor]
    _means: Tensor
    _sizes: Tensor
    _squares: Tensor

    def __init__(
        self, centres: Centres, denominator: Denominator = "class_mean", *, held_out: bool = False, **settings: Any
    ) -> None:
        super().__init__(**settings)
        check.one_of("denominator", denominator, ("class_mean", "paired"))
        self.set_dtype(torch.float64)  # of the empty tensor by which a rank without images takes part
        self.denominator, self.held_out = denominator, held_out
        classes = len(centres.counts)
        self.register_buffer("_means", centres.means, persistent=False)
        self.register_buffer("_sizes", centres.counts, persistent=False)
        self.register_buffer("_squares", torch.linalg.vector_norm(centres.means, dim=1) ** 2, persistent=False)
        self.add_state("distances", torch.zeros(classes, classes, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("counts", torch.zeros(classes, dtype=torch.long), dist_reduce_fx="sum")
        self.add_state("records", [], dist_reduce_fx="cat")

    def update(
        self,
        clean: Float[Tensor, "n *shape"],
        labels: Int[Tensor, " n"],
        attacked: Float[Tensor, "n t *shape"] | None = None,
        targets: Int[Tensor, "n t"] | None = None,
        ids: Int[Tensor, "n t"] | None = None,
    ) -> None:
        """Add real images and the t images made from each.

        Args:
            clean: phi of the real images, of any shape an image.
            labels: Their true classes.
            attacked: phi of what was made from each; None for images that were not attacked.
            targets: The classes these are to be taken for, none of them the true one.
            ids: Numbers of the attacked images, by which they are put in order in the end.
        """
        rows = flat(clean, self._means.shape[1], "clean representations")
        labels = check.labels(labels, len(rows), len(self.counts))
        centres = self._means[labels]
        if not self.held_out:
            centres = Centres(self._means, self._sizes).without(rows, labels)
        own = (rows - centres).norm(dim=1)
        record = self._record(rows, labels, centres, own, attacked, targets, ids)  # first, as it may refuse
        self.counts += torch.bincount(labels, minlength=len(self.counts))
        if self.denominator == "class_mean":
            self.distances.index_add_(0, labels, self._to_all(rows).scatter(1, labels[:, None], own[:, None]))
        self.records.append(record)

    def compute(self) -> Ratios:
        """The ratios of all attacked images so far."""
        records = torch.cat([self.distances.new_empty(0), *_parts(self.records)]).reshape(-1, 7)
        records = records[records[:, 6].argsort(stable=True)]
        from_own, from_target, own, target = records[:, :4].unbind(1)
        labels, targets = records[:, 4:6].long().unbind(1)
        if self.denominator == "class_mean":
            table = self.distances / self.counts[:, None]
            own, target = table[labels, labels], table[labels, targets]
        return Ratios(
            r1=_ratio(from_own, own),
            r2=_ratio(from_target, target),
            labels=labels,
            targets=targets,
            counts=self.counts.clone(),
        )

    def _to_all(self, rows: Float64[Tensor, "n d"]) -> Float64[Tensor, "n c"]:
        products = (self._means @ rows.T.contiguous()).T  # this way round in half the time: the table is the large one
        squares = (rows**2).sum(1)[:, None] - 2 * products + self._squares
        return squares.clamp_min(0).sqrt()

    def _record(
        self,
        rows: Tensor,
        labels: Tensor,
        centres: Tensor,
        own: Tensor,
        attacked: Tensor | None,
        targets: Tensor | None,
        ids: Tensor | None,
    ) -> Tensor:
        """Seven numbers an attacked image in one row, so that ranks with none can be joined to others."""
        if attacked is None or targets is None:
            if attacked is not targets:
                raise ValueError("expected attacked representations and their targets together, got one of them")
            return rows.new_empty(0)
        if targets.shape != attacked.shape[:2]:
            raise ValueError(f"expected targets of shape {tuple(attacked.shape[:2])}, got {tuple(targets.shape)}")
        check.class_range(targets, len(self.counts), "targets")
        check.differ(targets, labels)
        moved = flat(attacked.flatten(0, 1), rows.shape[1], "attacked representations").unflatten(0, targets.shape)
        aims = self._means[targets]
        numbers = [
            (moved - centres[:, None]).norm(dim=2),
            (moved - aims).norm(dim=2),
            own[:, None].expand(targets.shape),
            (rows[:, None] - aims).norm(dim=2),
            labels[:, None].expand(targets.shape).double(),
            targets.double(),
            torch.full_like(targets, -1).double() if ids is None else ids.to(targets.device).double(),
        ]
        return torch.stack(numbers, dim=2).flatten()


def distance_ratios(
    clean: Float[Tensor, "n *shape"],
    labels: Int[Tensor, " n"],
    attacked: Float[Tensor, "n t *shape"],
    targets: Int[Tensor, "n t"],
    classes: int,
    denominator: Denominator = "class_mean",
) -> Ratios:
    """r_1 and r_2 of representations that are all at hand; as `ClassCentres` and `DistanceRatios`.

    Args:
        clean: phi of all real images.
        labels: Their true classes.
        attacked: phi of the t images made from each.
        targets: The classes these are to be taken for.
        classes: Number of classes.
        denominator: "class_mean", or "paired".

    Example:
        >>> clean, labels = torch.tensor([[0.0], [2.0], [10.0], [12.0]]), torch.tensor([0, 0, 1, 1])
        >>> attacked, targets = torch.tensor([[3.0], [5.0], [9.0], [13.0]]), torch.tensor([1, 1, 0, 0])
        >>> found = distance_ratios(clean, labels, attacked[:, None], targets[:, None], classes=2)
        >>> found.r1
        tensor([0.5000, 2.5000, 1.5000, 1.5000], dtype=torch.float64)
        >>> found.r2
        tensor([0.8000, 0.6000, 0.8000, 1.2000], dtype=torch.float64)
    """
    metric = DistanceRatios(class_centres(clean, labels, classes), denominator).to(clean.device)
    metric.update(clean, labels, attacked, targets)
    ratios: Ratios = metric.compute()
    return ratios


def _parts(records: list[Tensor] | Tensor) -> list[Tensor]:
    """A list while it streams; one tensor once all ranks are joined."""
    return [records] if isinstance(records, Tensor) else records


def _ratio(over: Tensor, under: Tensor) -> Tensor:
    return torch.where(under > 0, over / under, torch.nan)
