"""Above which value a unit counts as active: its activations' top share over all places of all images.

    T = the (K + 1)-th largest of a unit's N activations, with K = floor(share N)

The unit is active where its activation is larger than T, at most K times. N, and so K, is known before the first image
is seen. So the K + 1 largest values are all that has to be kept, and T is exact: one of the activations, to the bit,
whatever the batches and the processes.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from jaxtyping import Bool, Float, Float32, Float64, Int
from torch import Tensor
from torchmetrics import Metric

from interp_plugins.dissection.largest import LargestValues, largest_values
from interp_plugins.dissection.ranks import Rank, Rule, above
from interp_plugins.foundation.running import DTYPES

__all__ = ["Rank", "Rule", "Thresholds", "UnitThresholds", "above"]


class Thresholds:
    """The thresholds of a layer's units.

    No dataclass, because torchmetrics reaches into those and refuses frozen ones.

    Attributes:
        value: Each unit's threshold; it is active where its activation is larger.
        highest: Each unit's largest activation.
        positions: Of how many activations each.
    """

    __slots__ = ("highest", "positions", "value")

    def __init__(self, value: Float64[Tensor, " u"], highest: Float32[Tensor, " u"], positions: int) -> None:
        self.value, self.highest, self.positions = value, highest, positions

    @property
    def silent(self) -> Bool[Tensor, " u"]:
        """Units without an activation above the threshold: too many are equally large, so they point at nothing."""
        return self.highest <= self.value

    @property
    def saturated(self) -> Bool[Tensor, " u"]:
        """The silent ones stuck at a value above 0, such as ReLU6's 6; the other silent ones are dead."""
        return self.silent & (self.highest > 0)


class UnitThresholds(Metric):
    """Finds each unit's threshold in a stream of maps.

    Memory is 4.5 bytes for each unit and each of the K largest activations, however many images come.

    Args:
        positions: All that will come: images x height x width.
        share: Of the positions, may be active.
        rule: "exact", or "netdissect" for the quantile that the authors' code reads.
        settings: torchmetrics' own, such as `process_group`.

    Raises:
        ValueError: The share is not between 0 and 1, or is none of the positions; or the rule is none.

    Example:
        >>> metric = UnitThresholds(positions=2 * 2 * 2, share=0.25)
        >>> metric.update(torch.arange(8.0).reshape(2, 1, 2, 2), torch.tensor([0, 1]))
        >>> metric.compute().value
        tensor([5.], dtype=torch.float64)
    """

    is_differentiable = False
    higher_is_better = None
    full_state_update = True

    kept: list[Tensor]
    count: Tensor

    def __init__(self, positions: int, share: float = 0.005, rule: Rule = "exact", **settings: Any) -> None:
        super().__init__(**settings)
        self.positions, self.rank = positions, Rank.of(positions, share, rule)
        self._k = self.rank.place + 1
        self._largest: LargestValues | None = None
        self.add_state("kept", [], partial(_all_kept, k=self._k))
        self.add_state("count", torch.tensor(0), "sum")
        self._know_no_units()

    def update(self, maps: Float[Tensor, "n u h w"], images: Int[Tensor, " n"]) -> None:
        """Take in the maps of some images, each of which comes once.

        Args:
            maps: Of float32, bfloat16 or float16; read without a copy if float32 and channels-last.
            images: The images' numbers, to name one by.

        Raises:
            TypeError: Maps of another dtype.
            ValueError: Another number of units than before, other than one number an image, or a value that is NaN or
                infinite, whose unit and image are named.
        """
        rows = activations(maps, images, len(self.kept[0]))
        if not len(rows):
            return
        if not len(self.kept[0]):
            self.kept = [rows.new_full((rows.shape[1], self._k), -torch.inf)]
        self._stream().take(rows)
        self.count += len(rows)

    @property
    def bar(self) -> Float32[Tensor, " u"] | None:
        """What the thresholds cannot be below, from what has come so far; None while that is too little."""
        if not len(self.kept[0]):
            return None
        bar = self._stream().bar
        return bar if bar[0] > -torch.inf else None

    def compute(self) -> Thresholds:
        """The thresholds, over all processes.

        Raises:
            ValueError: Other than `positions` positions have come.
        """
        check_count(int(self.count), self.positions)
        kept = largest_values(self.kept, self._k)
        values = [kept[:, 0], kept[:, 1:].amin(1)][: len(self.rank.places)]
        return Thresholds(self.rank.between(values), kept.amax(1), self.positions)

    def merge_state(self, incoming_state: dict[str, Any] | Metric) -> None:
        """Take in what another metric of the same positions has seen, given itself or as its `metric_state`."""
        state: dict[str, Any] = incoming_state.metric_state if isinstance(incoming_state, Metric) else incoming_state
        self.kept = _all_kept([*self.kept, *state["kept"]], self._k)
        self.count = self.count + state["count"]

    def reset(self) -> None:
        """Forget all maps; those that come may have other units."""
        super().reset()
        self._know_no_units()

    def _know_no_units(self) -> None:
        self.kept = [torch.empty(0, self._k, device=self.device)]

    def _stream(self) -> LargestValues:
        if self._largest is None or self._largest.values is not self.kept[0]:  # states come back as other tensors
            self._largest = LargestValues(self._k, self.kept[0])
            self.kept = [self._largest.values]
        return self._largest


def activations(maps: Float[Tensor, "n u h w"], images: Int[Tensor, " n"], units: int) -> Float32[Tensor, "m u"]:
    """The activations of all units at each position of some maps.

    Args:
        maps: Of a layer.
        images: The images' numbers.
        units: How many there were before; 0 if any number will do.

    Raises:
        TypeError: Maps of another dtype than float32, bfloat16 and float16.
        ValueError: Another number of units, other than one number an image, or a value that is NaN or infinite.
    """
    n, u = maps.shape[:2]
    if maps.dtype not in DTYPES:
        raise TypeError(f"expected maps of float32, bfloat16 or float16, got {maps.dtype}; use .float()")
    if images.shape != (n,):
        raise ValueError(f"expected images' numbers of shape ({n},), got {tuple(images.shape)}")
    if n and u != (units or u):
        raise ValueError(f"expected maps of {units} units as before, got {u}")
    rows = maps.detach().permute(0, 2, 3, 1).reshape(-1, u).float()
    if not rows.sum().isfinite():  # quicker than to look at each; a sum of large ones may pass the largest float
        for image, unit, *_ in (~maps.isfinite()).nonzero()[:1].tolist():
            value = float(maps[image, unit][~maps[image, unit].isfinite()][0])
            raise ValueError(
                f"expected maps without NaN or infinity, got {value} in unit {unit}, image {int(images[image])}"
            )
    return rows


def check_count(came: int, positions: int) -> None:
    """Check that as many positions have come as were announced.

    Raises:
        ValueError: Fewer or more have.
    """
    if came != positions:
        raise ValueError(
            f"expected {positions} positions in all, got {came}; positions are images x height x width, and each image "
            "comes once"
        )


def _all_kept(parts: Sequence[Tensor], k: int) -> list[Tensor]:
    return [largest_values(parts, k)]
