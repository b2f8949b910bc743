"""The core's exemplars as an evaluator in Captum's manner: which images excite each unit of a layer most?

The model comes first and then its layer, as a module or by its dotted name, or several in a list; `evaluate` takes a
tensor or a DataLoader. One layer gives one result, a list a list. No mathematics is done here.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from interp_captum.arguments import given
from interp_captum.layers import Layer, is_one, names_of
from interp_captum.results import Result, frame
from interp_plugins.neurons import neuron_exemplars
from interp_plugins.neurons.activations import Reduction


@dataclass(frozen=True, eq=False)
class NeuronExemplarsResult(Result):
    """The top images of each of the u units of a layer, the strongest first."""

    layer: str  # its dotted name
    values: Tensor  # the units' scores on them, float32 (u, k)
    ids: Tensor  # which images they are, by the order in which they came, int64 (u, k)
    images: int  # how many were seen
    dead: Tensor  # units with the same score on all images, bool (u,): their order says nothing

    def to_dataframe(self) -> Any:
        """One row for each unit and rank: layer, unit, rank (from 0), id, value, dead.

        Raises:
            ImportError: pandas is not installed.
        """
        units, k = self.ids.shape
        return frame(
            {
                "layer": self.layer,
                "unit": torch.arange(units).repeat_interleave(k),
                "rank": torch.arange(k).repeat(units),
                "id": self.ids.flatten(),
                "value": self.values.flatten(),
                "dead": self.dead.repeat_interleave(k),
            }
        )


class NeuronExemplars:
    """Finds the k images that each unit of one or several layers answers most strongly, in one pass.

    Args:
        model: The network: [0, 1] images in; given back as found.
        layer: A layer, as a module of the model or by its dotted name, or a list of them.
        k: Images a unit; `interp_plugins.neurons.top_count` makes it of a share.
        reduction: What stands for a channel's map: "max" or "mean".

    Raises:
        ValueError: For a module that is not in the model.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(1, 1, 1), nn.Flatten())
        >>> _ = net.load_state_dict({"0.weight": torch.ones(1, 1, 1, 1), "0.bias": torch.zeros(1)})
        >>> found = NeuronExemplars(net, net[0], k=1).evaluate(torch.tensor([0.2, 0.9, 0.4]).view(3, 1, 1, 1))
        >>> found.layer, found.ids.tolist()
        ('0', [[1]])
    """

    def __init__(
        self, model: nn.Module, layer: Layer | Sequence[Layer], *, k: int, reduction: Reduction = "max"
    ) -> None:
        self.model, self.k, self.reduction = model, k, reduction
        self._one, self.layers = is_one(layer), names_of(model, layer)

    def evaluate(
        self,
        inputs: Tensor | Iterable[Tensor | Sequence[Any]],
        additional_forward_args: Any = None,
        internal_batch_size: int | None = None,
        show_progress: bool = False,
    ) -> NeuronExemplarsResult | list[NeuronExemplarsResult]:
        """The exemplars over all images, each of which comes once.

        Args:
            inputs: Images, (n, c, h, w), float in [0, 1], on the model's device; or a DataLoader, or anything that
                yields such tensors, or tuples that begin with one.
            additional_forward_args: What the model takes besides images, the same for all of them. Default: None
            internal_batch_size: Images per call of the network, a power of two; None for the core's choice.
                Default: None
            show_progress: Whether to show a bar, one step a batch. Default: False

        Returns:
            A result, its tensors on the CPU, or a list of them where a list of layers was given.

        Raises:
            LayerNotReached: For a layer that did not run.
            ValueError: For fewer than k images, images out of range, a NaN, or a model that answers one image in two
                ways.
        """
        batches = [inputs] if isinstance(inputs, Tensor) else inputs
        bar = tqdm(batches, desc="NeuronExemplars", disable=not show_progress)
        with given(self.model, additional_forward_args):
            found = neuron_exemplars(
                self.model, self.layers, _numbered(bar), self.k, reduction=self.reduction, tile=internal_batch_size
            )
        results = [
            NeuronExemplarsResult(each.layer, each.values.cpu(), each.ids.cpu(), each.images, each.dead.cpu())
            for each in (found[layer] for layer in self.layers)
        ]
        return results[0] if self._one else results


def _numbered(batches: Iterable[Tensor | Sequence[Any]]) -> Iterator[tuple[Tensor, Tensor]]:
    """The batches' images, with numbers in the order in which they come."""
    start = 0
    for batch in batches:
        images = batch if isinstance(batch, Tensor) else batch[0]
        yield images, torch.arange(start, start + len(images), device=images.device)
        start += len(images)
