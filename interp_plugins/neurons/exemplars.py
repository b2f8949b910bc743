"""Which images excite a unit most? The top images of every unit of any number of layers, in one pass.

What a unit means is read from the images that it answers most strongly, the top 1 % in Dong et al. (arXiv 1708.05493,
section 3). Real and adversarial images are collected separately: one `NeuronExemplars` each.

Memory holds k images a unit and never all; the result is exact. Of equal scores the image with the lower id comes
first, so that batches, their order and the number of processes change nothing.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float, Float32, Int, Int64
from torch import Tensor, nn
from torchmetrics import Metric

from interp_plugins.foundation.measuring import conv_layers, for_measuring
from interp_plugins.foundation.running import TopK, largest
from interp_plugins.neurons.activations import Reduction, record_scores


class Exemplars:
    """The top images of each unit of a layer, the strongest first.

    No dataclass, because torchmetrics reaches into those and drops the axes of tensors with one element.

    Attributes:
        layer: Its name.
        values: The units' scores on them, float32 (u, k).
        ids: Which images they are, int64 (u, k).
        images: How many images were seen.
        dead: Units with the same score on all of them, bool (u,): their order says nothing.
    """

    __slots__ = ("dead", "ids", "images", "layer", "values")

    def __init__(
        self,
        layer: str,
        values: Float32[Tensor, "u k"],
        ids: Int64[Tensor, "u k"],
        images: int,
        dead: Bool[Tensor, " u"],
    ) -> None:
        self.layer, self.values, self.ids, self.images, self.dead = layer, values, ids, images, dead


class NeuronExemplars(Metric):
    """Collects, batch by batch, the k images that each unit of each layer scores highest.

    Args:
        layers: Their names.
        k: Images a unit; `top_count` makes it of a share.
        settings: torchmetrics' own, such as `process_group`.

    Example:
        >>> metric = NeuronExemplars(["conv"], k=1)
        >>> metric.update({"conv": torch.tensor([[0.2, 0.9], [0.6, 0.9]])}, torch.tensor([10, 11]))
        >>> metric.compute()["conv"].ids
        tensor([[11],
                [10]])
    """

    is_differentiable = False
    higher_is_better = None
    full_state_update = True

    # In all states the layers' units stand side by side, so that a batch is one update, and a process that has seen
    # no image, and so knows of no units, takes part with tensors of none.
    keys: list[Tensor]
    lowest: list[Tensor]
    highest: list[Tensor]
    widths: Tensor
    count: Tensor

    def __init__(self, layers: Sequence[str], k: int, **settings: Any) -> None:
        super().__init__(**settings)
        if not layers or len(set(layers)) < len(layers):
            raise ValueError(f"expected the names of different layers, got {list(layers)}")
        self.layers = tuple(layers)
        self._top = TopK(k)
        self.add_state("keys", [], partial(_all_keys, k=k))
        self.add_state("lowest", [], _all_lowest)
        self.add_state("highest", [], _all_highest)
        self.add_state("widths", torch.zeros(len(layers), dtype=torch.int64), "max")
        self.add_state("count", torch.tensor(0), "sum")
        self._know_no_units()

    def update(self, scores: Mapping[str, Float[Tensor, "n _"]], ids: Int[Tensor, "n"]) -> None:
        """Take in a batch of images, each of which comes once.

        Args:
            scores: For each layer (n, u), as `record_scores` gives them; kept as float32.
            ids: The images' numbers, from 0 to 2^32 - 1.

        Raises:
            ValueError: A layer is missing or has another number of units than before; a NaN, whose layer, unit and
                image are named.
        """
        missing = [layer for layer in self.layers if layer not in scores]
        if missing:
            raise ValueError(f"expected scores of layer {missing[0]!r}, got those of {', '.join(scores) or 'none'}")
        parts = [scores[layer].detach().float() for layer in self.layers]
        widths = torch.tensor([part.shape[1] for part in parts], device=self.widths.device)
        if self.count and not torch.equal(widths, self.widths):
            number = int((widths != self.widths).nonzero()[0])
            raise ValueError(
                f"expected {int(self.widths[number])} units of layer {self.layers[number]!r} as before, "
                f"got {int(widths[number])}"
            )
        if not len(ids):
            return
        batch = torch.cat(parts, 1)
        low, high = batch.amin(0), batch.amax(0)
        if high.isnan().any():
            self._refuse_nan(parts, ids)
        if self._top.keys is not self.keys[0]:  # states come back from a sync or a reset as other tensors
            self._top.load_state_dict({"k": torch.tensor(self._top.k), "count": self.count, "keys": self.keys[0]})
        self._top.update(batch, ids)
        self.keys = [self._top.keys]
        self.lowest, self.highest = _all_lowest([*self.lowest, low]), _all_highest([*self.highest, high])
        self.widths = widths
        self.count += len(ids)

    def compute(self) -> dict[str, Exemplars]:
        """The exemplars of each layer, over all processes.

        Raises:
            ValueError: Fewer than k images were seen, or one of them twice.
        """
        k, images = self._top.k, int(self.count)
        if images < k:
            raise ValueError(f"expected at least k={k} images, got {images}; choose k with top_count")
        top = TopK(k)
        top.load_state_dict({"k": torch.tensor(k), "count": self.count, "keys": self.keys[0]})
        widths = self.widths.tolist()
        dead = self.lowest[0] == self.highest[0]
        pieces = zip(self.layers, top.values.split(widths), top.ids.split(widths), dead.split(widths), strict=True)
        return {layer: Exemplars(layer, values, ids, images, idle) for layer, values, ids, idle in pieces}

    def merge_state(self, incoming_state: dict[str, Any] | Metric) -> None:
        """Take in what another metric of the same layers and k has seen, given itself or as its `metric_state`."""
        state: dict[str, Any] = incoming_state.metric_state if isinstance(incoming_state, Metric) else incoming_state
        self.keys = _all_keys([*self.keys, *state["keys"]], self._top.k)
        self.lowest = _all_lowest([*self.lowest, *state["lowest"]])
        self.highest = _all_highest([*self.highest, *state["highest"]])
        self.widths, self.count = torch.maximum(self.widths, state["widths"]), self.count + state["count"]

    def reset(self) -> None:
        """Forget all images; the layers may have other units afterwards."""
        super().reset()
        self._know_no_units()

    def _know_no_units(self) -> None:
        self.keys = [torch.empty(0, self._top.k, dtype=torch.int64, device=self.device)]
        self.lowest = [torch.empty(0, device=self.device)]
        self.highest = [torch.empty(0, device=self.device)]

    def _refuse_nan(self, parts: Sequence[Tensor], ids: Tensor) -> None:
        for layer, part in zip(self.layers, parts, strict=True):
            for row, unit in part.isnan().nonzero()[:1].tolist():
                raise ValueError(f"expected no NaN, got one in layer {layer!r}, unit {unit}, image {int(ids[row])}")


def neuron_exemplars(
    model: nn.Module,
    layers: Sequence[str] | Literal["auto"],
    batches: Iterable[tuple[Float[Tensor, "n c h w"], Int[Tensor, "n"]]],
    k: int,
    *,
    reduction: Reduction = "max",
    tile: int | None = None,
) -> dict[str, Exemplars]:
    """The exemplars of each unit of each layer over all batches, in one pass.

    Args:
        model: The network, given back as found.
        layers: Names as in `named_modules()`; "auto" is every convolution.
        batches: Images in [0, 1] and their numbers, each image once.
        k: Images a unit; `top_count` makes it of a share.
        reduction: "max" or "mean" over a map.
        tile: Rows a network call, a power of two; None is 8 on a CPU and 64 on a GPU.

    Raises:
        ValueError: There are fewer than k images, a score is NaN, or the model answers one image in two ways.
    """
    network: nn.Module | None = None
    names = conv_layers(model) if isinstance(layers, str) else list(layers)
    metric = NeuronExemplars(names, k)
    for images, ids in batches:
        network = for_measuring(model, images) if network is None else network
        scores = record_scores(network, names, images, reduction, tile)
        if not metric.count:
            refuse_chance(scores, record_scores(network, names, images[:1], reduction, tile))
        metric.update(scores, ids)
    return metric.compute()


def top_count(n: int, share: float = 0.01) -> int:
    """How many images a share of n is, rounded down and at least one.

    Raises:
        ValueError: n is below 1 or the share is not in (0, 1].

    Example:
        >>> top_count(50_000)
        500
    """
    if n < 1 or not 0 < share <= 1:
        raise ValueError(f"expected n of at least 1 and a share in (0, 1], got n={n} and {share}")
    return max(1, int(n * share + 1e-9))  # the sum makes up for shares that are no binary fractions


def refuse_chance(scores: Mapping[str, Float[Tensor, "n _"]], again: Mapping[str, Float[Tensor, "1 _"]]) -> None:
    """Check that a model answers an image in one way.

    Args:
        scores: For each layer the scores of a batch.
        again: The scores of its first image, from another pass.

    Raises:
        ValueError: They differ by more than a change of rows a call can.
    """
    for layer, first in again.items():
        change = (first[0] - scores[layer][0]).abs().max()
        if change > 1e-3 * first.abs().max():
            raise ValueError(
                f"expected a model that answers an image in one way, got two answers from layer {layer!r}; "
                "switch off its dropout or its noise"
            )


def _all_keys(parts: Sequence[Tensor], k: int) -> list[Tensor]:
    return [largest(_seen(parts), k)]


def _all_lowest(parts: Sequence[Tensor]) -> list[Tensor]:
    return [torch.stack(_seen(parts)).amin(0)]


def _all_highest(parts: Sequence[Tensor]) -> list[Tensor]:
    return [torch.stack(_seen(parts)).amax(0)]


def _seen(parts: Sequence[Tensor]) -> list[Tensor]:
    return [part for part in parts if len(part)] or list(parts[:1])
