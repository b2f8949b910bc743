"""The two passes over images from which every measure of a network's units comes.

First pass, real images: the top images of each unit, the class means of the last maps, and what the network says.
Second pass, clean images and what was made of them: the top attacked images, how far from those means they lie, and
what the network says. The means must be known before distances to them can be summed, so r_1 and r_2 need this pass.

Memory holds the top images of each unit, a table of class means, and a few numbers an attacked image.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torchmetrics import Metric

from interp_plugins.foundation import check
from interp_plugins.neurons.activations import Reduction, Seen, observe
from interp_plugins.neurons.centres import Centres, ClassCentres
from interp_plugins.neurons.distance import DistanceRatios
from interp_plugins.neurons.exemplars import NeuronExemplars


@dataclass(frozen=True, kw_only=True)
class Sight:
    """A network and what is looked at in it."""

    network: nn.Module
    layers: tuple[str, ...]  # whose units' top images are sought
    representation: str  # the layer whose whole output is phi of r_1 and r_2
    reduction: Reduction = "max"
    tile: int | None = None

    def look(self, images: Float[Tensor, "n c h w"]) -> Seen:
        """One forward pass."""
        return observe(self.network, self.layers, images, self.reduction, self.tile, self.representation)


class Answers(Metric):
    """Which class the network names for each image; 16 bytes an image."""

    full_state_update = False
    given: list[Tensor]

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.set_dtype(torch.float64)  # of the empty tensor by which a rank without images takes part
        self.add_state("given", [], dist_reduce_fx="cat")

    def update(self, logits: Float[Tensor, "n k"], ids: Int[Tensor, " n"]) -> None:
        """Add images.

        Args:
            logits: Of each.
            ids: Their numbers.
        """
        logits = check.logits(logits, len(ids), "the model")
        self.given.append(torch.stack([ids.to(logits.device, torch.int64), logits.argmax(1)], 1).double().flatten())

    def compute(self) -> Int[Tensor, " n"]:
        """The classes, in the order of the images' numbers."""
        parts = self.given if isinstance(self.given, list) else [self.given]
        pairs = torch.cat([torch.empty(0, dtype=torch.float64, device=self.device), *parts]).long().reshape(-1, 2)
        return pairs[pairs[:, 0].argsort(), 1]


class RealPass:
    """The first pass.

    Args:
        sight: What is looked at.
        k: Top images of a unit.
        classes: Number of classes.
        width: Numbers in a representation.
    """

    def __init__(self, sight: Sight, k: int, classes: int, width: int) -> None:
        self.sight = sight
        self.metrics: dict[str, Metric] = {
            "exemplars": NeuronExemplars(sight.layers, k),
            "centres": ClassCentres(classes, width),
            "answers": Answers(),
        }

    def update(self, images: Float[Tensor, "n c h w"], labels: Int[Tensor, " n"], ids: Int[Tensor, " n"]) -> None:
        """Look at real images.

        Args:
            images: In [0, 1].
            labels: What they show.
            ids: Their numbers.
        """
        seen = self.sight.look(images)
        self.metrics["exemplars"].update(seen.scores, ids)
        self.metrics["answers"].update(seen.logits, ids)
        self.metrics["centres"].update(seen.whole, labels)


class AttackedPass:
    """The second pass.

    Args:
        sight: What is looked at.
        k: Top attacked images of a unit.
        centres: The class means of the first pass.
        held_out: The clean images of this pass are not those of the first.
    """

    def __init__(self, sight: Sight, k: int, centres: Centres, *, held_out: bool) -> None:
        self.sight = sight
        self.metrics: dict[str, Metric] = {
            "exemplars": NeuronExemplars(sight.layers, k),
            "ratios": DistanceRatios(centres, held_out=held_out),
            "answers": Answers(),
        }

    def update(
        self,
        clean: Float[Tensor, "n c h w"],
        labels: Int[Tensor, " n"],
        attacked: Float[Tensor, "n t c h w"] | None = None,
        targets: Int[Tensor, "n t"] | None = None,
        ids: Int[Tensor, "n t"] | None = None,
    ) -> None:
        """Look at clean images and at what was made of them.

        Args:
            clean: In [0, 1].
            labels: What they show.
            attacked: In [0, 1]; None for images that were not attacked, which count as real ones.
            targets: The classes these are to be taken for.
            ids: The attacked images' numbers.
        """
        whole = observe(self.sight.network, (), clean, tile=self.sight.tile, whole=self.sight.representation).whole
        if attacked is None or ids is None:
            self.metrics["ratios"].update(whole, labels)
            return
        seen = self.sight.look(attacked.flatten(0, 1))
        assert seen.whole is not None
        self.metrics["exemplars"].update(seen.scores, ids.flatten())
        self.metrics["answers"].update(seen.logits, ids.flatten())
        self.metrics["ratios"].update(whole, labels, seen.whole.unflatten(0, attacked.shape[:2]), targets, ids)


def last_layers(layers: Sequence[str], representation: str) -> tuple[str, ...]:
    """The layers with the representation as the last one, whether it is one of them or not."""
    return (*(layer for layer in layers if layer != representation), representation)
