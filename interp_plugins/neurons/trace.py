"""Why was this image misread? The units that carried a decision, for a picture and for what an attack made of it.

For the clean and for the attacked image: the m units of a layer that add most to the predicted class (`influence`),
what their real top images show (the leading classes of the histogram p), and how far that is from the prediction c:

    conflict(unit) = 1 - p^T A e_c / sqrt(p^T A p)          as in `detection`, here one unit at a time

Dong et al. (arXiv:1708.05493, Fig. 1) show some influential units shared by both images, and some that appear only for
the wrong class: those are where the error comes from. Their figure has no formula; ours here:

- Influential are the m units with the largest prediction difference for the class that the network says, by the logit.
- The cosine is the taxonomy's, so that a unit for tabby cats hardly contradicts a Persian cat. A unit of which nothing
  is known, whose histogram is nan, has a conflict of nan and is left out of the mean.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from interp_plugins.foundation import check
from interp_plugins.foundation.borrow import borrow
from interp_plugins.foundation.tiles import fill, tile_size
from interp_plugins.neurons.averages import average
from interp_plugins.neurons.detection import agreement
from interp_plugins.neurons.influence import NeuronInfluence

MOST = 3  # classes told of a unit, and of what the network says


class Share(NamedTuple):
    """A class and its share: of a unit's top images, or its probability."""

    label: int
    share: float


@dataclass(frozen=True)
class Unit:
    """One of the units that carried the decision about an image."""

    number: int  # in its layer
    influence: float  # what the score of the predicted class loses without it
    shared: bool  # it is also among those that carried the decision about the other image
    meaning: tuple[Share, ...]  # leading classes of its real top images; none if nothing is known of it
    conflict: float  # 0: it stands for the predicted class; nan if nothing is known of it


@dataclass(frozen=True)
class Decision:
    """What the network says about one image, the most probable class first, and the units behind it."""

    says: tuple[Share, ...]
    units: tuple[Unit, ...]  # the most influential first

    @property
    def predicted(self) -> int:
        """The class the network says."""
        return self.says[0].label

    @property
    def confidence(self) -> float:
        """Its probability."""
        return self.says[0].share

    @property
    def conflict(self) -> float:
        """The mean conflict of the units of which something is known; nan if there is none."""
        return average(torch.tensor([unit.conflict for unit in self.units], dtype=torch.float64)).mean


@dataclass(frozen=True)
class Trace:
    """The decisions about a picture and about what an attack made of it, through the units of one layer."""

    layer: str
    clean: Decision
    attacked: Decision | None = None

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """One or both."""
        return (self.clean,) if self.attacked is None else (self.clean, self.attacked)

    @property
    def units(self) -> tuple[int, ...]:
        """All influential units, each once: those whose exemplars a picture needs."""
        return tuple(dict.fromkeys(unit.number for decision in self.decisions for unit in decision.units))

    @property
    def shared(self) -> tuple[int, ...]:
        """Units that carried both decisions."""
        return tuple(unit.number for unit in self.clean.units if unit.shared)

    @property
    def only_attacked(self) -> tuple[int, ...]:
        """Units that carried the decision about the attacked image alone."""
        return tuple(unit.number for unit in self.decisions[-1].units if not unit.shared) if self.attacked else ()


@dataclass(frozen=True, kw_only=True)
class DecisionTrace:
    """Finds the units of a layer that carried the decision about an image, and what they stand for.

    Example:
        >>> from interp_plugins.testing import Affine
        >>> model = nn.Sequential(nn.Identity(), Affine(torch.tensor([[2.0, 1.0, 0.0], [0.0, 1.0, 4.0]])))
        >>> images = torch.tensor([[1.0, 0.5, 0.0], [0.5, 0.5, 1.0]]).view(2, 3, 1, 1)
        >>> known = torch.tensor([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]])
        >>> found = DecisionTrace(units=2)(model, "0", known, torch.eye(2), images[0], images[1])
        >>> found.clean.predicted, found.attacked.predicted, found.shared, found.only_attacked
        (0, 1, (1,), (2,))
    """

    units: int = 8  # told of each image
    influence: NeuronInfluence = field(default_factory=lambda: NeuronInfluence(score="logit"))

    def __post_init__(self) -> None:
        check.positive(units=self.units)

    def __call__(
        self,
        model: nn.Module,
        layer: str,
        histograms: Float[Tensor, "u k"],
        similarity: Float[Tensor, "k k"] | None,
        image: Float[Tensor, "c h w"],
        attacked: Float[Tensor, "c h w"] | None = None,
    ) -> Trace:
        """Trace the decision about one image, or about it and what an attack made of it.

        Args:
            model: The network, from images to logits; given back as found.
            layer: Its dotted name, as in `named_modules()`.
            histograms: Share of each class among each unit's real top images, from `histograms.histogram`; nan for
                units of which nothing is known.
            similarity: a_ij of the classes, in the order of the logits; None for the plain cosine.
            image: In [0, 1].
            attacked: The same picture after an attack, in [0, 1]; None if there is none.

        Raises:
            LayerNotReached: The layer did not run.
            ValueError: A wrong shape, classes that are not the logits', units that are not the layer's, or more units
                asked for than there are.
        """
        given = [check.images(one[None], "an image") for one in (image, attacked) if one is not None]
        if given[0].shape != given[-1].shape:
            raise ValueError(
                f"expected both images of one shape, got {tuple(given[0].shape[1:])} and {tuple(given[-1].shape[1:])}"
            )
        images = torch.cat(given)
        probabilities = self._probabilities(model, images)
        if probabilities.shape[1] != histograms.shape[1]:
            raise ValueError(
                f"expected histograms over the model's {probabilities.shape[1]} classes, got {histograms.shape[1]}"
            )
        found = self.influence(model, layer, images, probabilities.argmax(1))
        if found.differences.shape[1] != len(histograms):
            raise ValueError(
                f"expected histograms of the {found.differences.shape[1]} units of layer {layer!r}, "
                f"got {len(histograms)}; take the exemplars of that layer"
            )
        tops = found.top(self.units)
        rows = tops.to(histograms.device)
        told, agrees = leading(histograms), agreement(histograms, similarity)
        decisions = []
        for row, (numbers, predicted) in enumerate(zip(tops.tolist(), found.targets.tolist(), strict=True)):
            elsewhere = {unit for other in range(len(tops)) if other != row for unit in tops[other].tolist()}
            conflicts = (1 - agrees[rows[row], predicted]).tolist()
            units = tuple(
                Unit(number, float(found.differences[row, number]), number in elsewhere, told[number], apart)
                for number, apart in zip(numbers, conflicts, strict=True)
            )
            decisions.append(Decision(leading(probabilities[row : row + 1])[0], units))
        return Trace(layer, *decisions)

    def _probabilities(self, model: nn.Module, images: Tensor) -> Tensor:
        rows = tile_size(self.influence.tile, images.device)
        with borrow(model), torch.no_grad():
            logits = [check.logits(model(fill(one[None], rows)), rows, "the model")[:1] for one in images]
        return torch.cat(logits).double().softmax(1)


def leading(shares: Float[Tensor, "u k"], most: int = MOST) -> list[tuple[Share, ...]]:
    """The classes with the largest shares in each row, the largest first, of equal ones the lower number.

    Classes with no share at all are not told, so a row of zeros or nan gives none.

    Example:
        >>> leading(torch.tensor([[0.25, 0.75, 0.0], [float("nan")] * 3]))
        [(Share(label=1, share=0.75), Share(label=0, share=0.25)), ()]
    """
    check.positive(most=most)
    ordered, labels = shares.double().nan_to_num(0).sort(dim=1, descending=True, stable=True)
    return [
        tuple(Share(label, share) for label, share in zip(some, values, strict=True) if share > 0)
        for some, values in zip(labels[:, :most].tolist(), ordered[:, :most].tolist(), strict=True)
    ]
