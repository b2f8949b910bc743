"""A term of a training objective: a loss on what a layer puts out, or on the logits, with a weight.

    Term(name="consistent", layer="layer4", loss=ConsistentLoss(), weight=0.1)
    Term(name="margin", loss=MarginLoss(classes=10, width=10), weight=1 / 3, labelled=True)      # on the logits

A loss that is a module, as `MarginLoss` with its centres, is brought to the network's device, and its state is kept
with the network's. Parameters in it have to be the optimiser's, and are for one process: nothing averages their
gradients over several.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp_plugins.foundation import check
from interp_plugins.training import batches

Shape = Literal["map", "pooled", "flat"]


@dataclass(frozen=True, kw_only=True)
class Term:
    """A loss on what a network puts out for clean and for attacked images.

    The loss is called with the clean and the attacked representations, as `ConsistentLoss` or `Coral`; if `labelled`,
    as `MarginLoss`: with all of them, clean ones first, and the label of each. Where such a loss has
    `update(representations, labels)`, it is called with the same after the optimiser's step.
    """

    name: str  # in reports
    layer: str | None = None  # dotted, as in `named_modules()`; None: the logits
    loss: Callable[..., Tensor]
    weight: float  # what the loss is multiplied by
    shape: Shape = "map"  # as the layer puts it out; "pooled": the mean over height and width; "flat": (n, d)
    labelled: bool = False  # whether the loss takes labels

    def __post_init__(self) -> None:
        check.positive(weight=self.weight)
        check.one_of("shape", self.shape, ("map", "pooled", "flat"))

    def __call__(self, outputs: Float[Tensor, "two_n *features"], labels: Int[Tensor, " n"]) -> Float[Tensor, ""]:
        """The loss, without its weight.

        Args:
            outputs: Of n clean images, and then of the same attacked.
            labels: Of the n images.

        Raises:
            ValueError: "pooled" is asked of outputs without height and width, or the loss refuses them.
        """
        shaped = self._shaped(outputs)
        return self.loss(shaped, torch.cat([labels, labels])) if self.labelled else self.loss(*shaped.chunk(2))

    @property
    def follows(self) -> bool:
        """Whether the loss has a state that follows the representations."""
        return self.labelled and hasattr(self.loss, "update")

    def follow(self, outputs: Float[Tensor, "two_n *features"], labels: Int[Tensor, " n"]) -> None:
        """Let the loss follow the representations; arguments as above."""
        self.loss.update(self._shaped(outputs.detach()), torch.cat([labels, labels]))  # type: ignore[attr-defined]

    def _shaped(self, outputs: Tensor) -> Tensor:
        if self.shape == "pooled":
            if outputs.ndim != 4:
                place = "the logits" if self.layer is None else f"layer {self.layer!r}"
                raise ValueError(
                    f"expected maps of shape (n, d, height, width) to pool from {place}, got {tuple(outputs.shape)}; "
                    "use shape='flat'"
                )
            return batches.at_least_fp32(outputs).mean((2, 3))
        return outputs.flatten(1) if self.shape == "flat" else outputs


def layers(terms: Iterable[Term]) -> list[str]:
    """The layers whose outputs the terms need."""
    return [term.layer for term in terms if term.layer is not None]
