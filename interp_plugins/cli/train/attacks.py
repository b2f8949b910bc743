"""Attacks as the commands spell them: `fgsm:8/255`, `pgd:8/255:20`, `pgd-l2:0.5:20`, and some more.

A network in training is attacked away from what it says itself where one step is taken, so that no label leaks into
the images. PGD leads away from the true label; for TRADES, whose attack knows none, away from what the network answers
to the clean image. `feature-pgd` leads away from what the compared layer sees in it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from interp_plugins.attacks import PGD, FeaturePGD, PredictedLabelFGSM
from interp_plugins.cli.attack.request import fraction
from interp_plugins.foundation.precision import Precision
from interp_plugins.training import SharedFGSM
from interp_plugins.training.evaluation import Attack

STEPS = 10  # of PGD, where none are typed
REACH = 2.5  # radii that all steps of PGD are long together
NORMS = {"linf": "Linf", "l2": "L2"}
WHOLE = {"clean"}  # have no radius
ONE_STEP = ("fgsm", "shared-fgsm")
STEPPED = ("pgd", "pgd-l2")  # these may be told how many steps
FEATURES = ("feature-pgd", "feature-pgd-l2")
FOREIGN = ("autoattack", "autoattack-l2")


@dataclass(frozen=True)
class Spec:
    """An attack as it was typed."""

    kind: str
    epsilon: float = 0.0  # radius in [0, 1] pixels
    steps: int = 1

    @classmethod
    def read(cls, text: str, kinds: Sequence[str]) -> "Spec":
        """Read one of these kinds.

        Raises:
            ValueError: It is none of them.
        """
        kind, colon, rest = text.partition(":")
        expected = f"expected --attack as {_listed([_form(each) for each in kinds])}, got {text!r}"
        if kind not in kinds or bool(colon) == (kind in WHOLE):
            raise ValueError(expected)
        if kind in WHOLE:
            return cls(kind)
        radius, colon, steps = rest.partition(":")
        if colon and (kind not in STEPPED + FEATURES or not steps.isdecimal() or int(steps) == 0):
            raise ValueError(expected)
        epsilon = fraction("attack", radius)
        if not (0 < epsilon < float("inf")) or (epsilon > 1 and not kind.endswith("-l2")):
            raise ValueError(f"{expected}; a radius is above 0, and up to 1 where it is one of each pixel")
        return cls(kind, epsilon, int(steps or STEPS) if kind in STEPPED + FEATURES else 1)

    @property
    def norm(self) -> str:
        """Of the ball: "linf" or "l2"."""
        return "l2" if self.kind.endswith("-l2") else "linf"

    @property
    def ball(self) -> str:
        """The kind of PGD in the same ball."""
        return "pgd-l2" if self.norm == "l2" else "pgd"

    @property
    def step_size(self) -> float:
        """The length of a step of PGD."""
        return REACH * self.epsilon / self.steps

    def __str__(self) -> str:
        """What the attack is, in words."""
        if self.kind in WHOLE:
            return self.kind
        radius = f"{self.epsilon:g}" if self.norm == "l2" else f"{255 * self.epsilon:g}/255"
        size = f"{NORMS[self.norm]} {radius}"
        named = {"fgsm": "FGSM", "shared-fgsm": "FGSM in the network's own pass"} | dict.fromkeys(FOREIGN, "AutoAttack")
        of = " on features" if self.kind in FEATURES else ""
        return f"{named.get(self.kind, f'PGD{of} of {self.steps} steps')}, {size}"


@dataclass(frozen=True)
class AwayFromItsOwn:
    """One step away from the class that the network itself says; labels are not looked at."""

    step: PredictedLabelFGSM

    def __call__(self, model: nn.Module, images: Tensor, _labels: Tensor) -> Tensor:
        """Attack images."""
        return self.step(model, images)


@dataclass(frozen=True)
class AnywhereInTheBall:
    """Several steps from a start that torch's own chance draws anew for each batch."""

    search: PGD | FeaturePGD

    def __call__(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        """Attack images."""
        return self.search(model, images, labels, seed=int(torch.randint(2**31, ())))


def for_training(spec: Spec, tile: int | None, precision: Precision, layer: str | None, answers: bool) -> Attack:
    """The attack that a network in training meets.

    Args:
        spec: Of one of the kinds in `ONE_STEP`, `STEPPED` or `FEATURES`.
        tile: Rows a network call.
        precision: Of the search.
        layer: Whose features are led away from the clean image's.
        answers: Whether PGD leads away from the network's own answers instead of the labels.
    """
    if spec.kind == "shared-fgsm":
        return SharedFGSM(epsilon=spec.epsilon)
    if spec.kind == "fgsm":
        return AwayFromItsOwn(PredictedLabelFGSM(epsilon=spec.epsilon, tile=tile, precision=precision))
    if not (answers or spec.kind in FEATURES):
        return AnywhereInTheBall(search(spec, tile, precision))
    farthest = FeaturePGD(
        layer=None if answers else layer,
        distance="divergence" if answers else "squared",
        epsilon=spec.epsilon,
        step_size=spec.step_size,
        steps=spec.steps,
        norm=spec.norm,  # type: ignore[arg-type]  # one of the two
        tile=tile,
        precision=precision,
    )
    return AnywhereInTheBall(farthest)


def search(spec: Spec, tile: int | None = None, precision: Precision = "fp32") -> PGD:
    """PGD as it is spelled, from a random start; arguments as for `for_training`."""
    return PGD(
        epsilon=spec.epsilon,
        step_size=spec.step_size,
        steps=spec.steps,
        norm=spec.norm,  # type: ignore[arg-type]  # one of the two
        random_start=True,
        tile=tile,
        precision=precision,
    )


def _form(kind: str) -> str:
    radius = "0.5" if kind.endswith("-l2") else "8/255"
    return kind if kind in WHOLE else f"{kind}:{radius}" + (f"[:{STEPS}]" if kind in STEPPED + FEATURES else "")


def _listed(words: Sequence[str]) -> str:
    *before, last = words
    return f"{', '.join(before)} or {last}" if before else last
