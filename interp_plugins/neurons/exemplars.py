"""Which images excite a unit most? The top images of every unit of any number of layers, in one pass.

What a unit means is read from the images that it answers most strongly, the top 1 % in Dong et al. (arXiv 1708.05493,
section 3). Real and adversarial images are collected separately: one `NeuronExemplars` each.

Memory holds k images a unit and never all; the result is exact. Of equal scores the image with the lower id comes
first, so that batches, their order and the number of processes change nothing.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Float32, Int, Int64
from torch import Tensor, nn
from torchmetrics import Metric

from interp_plugins.foundation.running import TopK, largest
from interp_plugins.neurons.activations import Reduction, for_measuring, record_scores


@dataclass(frozen=True)
class Exemplars:
    """The top images of each unit of a layer, the strongest first.

    Args:
        layer: Its name.
        values: The units' scores on them.
        ids: Which images they are.
        images: How many images were seen.
        dead: Units with the same score on all of them: their order says nothing.
    """

    layer: str
    values: Float32[Tensor, "u k"]
    ids: Int64[Tensor, "u k"]
    images: int
    dead: Bool[Tensor, " u"]


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
        self.add_state("keys", [], lambda parts: [largest(parts, k)])
        self.add_state("lowest", [], lambda parts: [_of_all(parts, torch.amin)])
        self.add_state("highest", [], lambda parts: [_of_all(parts, torch.amax)])
        self.add_state("widths", torch.zeros(len(layers), dtype=torch.int64), "max")
        self.add_state("count", torch.tensor(0), "sum")
        self._begin()
