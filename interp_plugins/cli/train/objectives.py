"""What `train run --objective` stands for: a loss on logits, terms on a layer, and the attack that goes with them.

standard      CE of clean images
fgsm          half CE of clean images, half CE of images one step away
consistent    the same, plus the distance between what a layer sees in both            Dong et al., arXiv:1901.09035
coral         the same, plus how far the layer's covariances are apart                 Song et al., arXiv:1810.00740
mmd           the same, plus how far its means are apart
uda           the same, plus both: the unsupervised part of Song et al., on a layer
pgd           CE of images attacked by several steps                                   Madry et al., arXiv:1706.06083
trades        CE of clean images, plus how far the answers to attacked ones differ     Zhang et al., arXiv:1901.08573
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import Tensor

from interp_plugins.cli.train.attacks import FEATURES, ONE_STEP, STEPPED, Spec
from interp_plugins.training import MADRY, ConsistentLoss, Coral, MeanDifference, Mixed, Term, Trades
from interp_plugins.training.steps import Classify
from interp_plugins.training.terms import Shape

MAPS = 4  # dimensions of what a convolution puts out for a batch


@dataclass(frozen=True, kw_only=True)
class Objective:
    """An objective of the command.

    Args:
        logits: The loss on logits; in `Trades` the weight is its beta.
        losses: On a layer's outputs, by name.
        moments: Whether these look at moments of a batch, which takes one row an image.
        weight: Of the losses, or the beta; None: there is nothing to weigh.
        attack: As it would be typed; None: clean images alone.
        allowed: Which attacks can take its place.
    """

    logits: Classify | Trades = field(default_factory=Mixed)
    losses: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = field(default_factory=dict)
    moments: bool = False
    weight: float | None = None
    attack: str | None = "fgsm:8/255"
    allowed: tuple[str, ...] = ONE_STEP + STEPPED + FEATURES

    def classify(self, weight: float | None) -> Classify:
        """The loss on logits, with a weight where it takes one."""
        if isinstance(self.logits, Trades) and weight is not None:
            return Trades(beta=weight)  # type: ignore[return-value]  # its objective always has logits of both
        return self.logits  # type: ignore[return-value]

    def terms(self, layer: str, dimensions: int, weight: float) -> tuple[Term, ...]:
        """The terms on a layer.

        Args:
            layer: Its name.
            dimensions: Of what it puts out for a batch.
            weight: Of each.
        """
        shape: Shape = "map" if not self.moments else "pooled" if dimensions == MAPS else "flat"
        return tuple(
            Term(name=name, layer=layer, loss=loss, weight=weight, shape=shape) for name, loss in self.losses.items()
        )


CORAL, MEANS = Coral(across_ranks=True), MeanDifference(across_ranks=True)  # of the whole batch, however many share it
OBJECTIVES = {
    "standard": Objective(logits=Mixed(alpha=1), attack=None, allowed=()),
    "fgsm": Objective(allowed=ONE_STEP),
    "consistent": Objective(losses={"consistent": ConsistentLoss()}, weight=0.1),
    "coral": Objective(losses={"coral": CORAL}, moments=True, weight=1 / 3),
    "mmd": Objective(losses={"mmd": MEANS}, moments=True, weight=1 / 3),
    "uda": Objective(losses={"coral": CORAL, "mmd": MEANS}, moments=True, weight=1 / 3),
    "pgd": Objective(logits=MADRY, attack="pgd:8/255", allowed=STEPPED),
    "trades": Objective(logits=Trades(), weight=Trades().beta, attack="pgd:8/255", allowed=STEPPED),
}


def attack_of(name: str, typed: str | None) -> Spec | None:
    """The attack of an objective, or the one that was typed in its place.

    Raises:
        ValueError: It cannot take that place.
    """
    objective = OBJECTIVES[name]
    if objective.attack is None:
        if typed is not None:
            raise ValueError(
                f"expected no --attack for --objective {name}, which sees clean images alone, got {typed!r}; measure "
                "attacks afterwards with interp-plugins train evaluate"
            )
        return None
    return Spec.read(objective.attack if typed is None else typed, objective.allowed)


def weight_of(name: str, typed: float | None) -> float | None:
    """The weight in an objective, or the one that was typed in its place.

    Raises:
        ValueError: It is not above 0, or there is nothing to weigh.
    """
    own = OBJECTIVES[name].weight
    if typed is None:
        return own
    if own is None:
        raise ValueError(f"expected no --weight for --objective {name}, which has nothing to weigh, got {typed:g}")
    if not 0 < typed < float("inf"):
        raise ValueError(f"expected --weight above 0, got {typed:g}")
    return typed


def check_layer(name: str, typed: str) -> None:
    """Refuse a layer where nothing is asked of any.

    Raises:
        ValueError: That.
    """
    if typed != "auto" and not OBJECTIVES[name].losses:
        raise ValueError(f"expected no --layer for --objective {name}, which looks at logits alone, got {typed!r}")
