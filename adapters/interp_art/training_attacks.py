"""Attacks as the core's trainer calls them: with the network, images in [0, 1] and labels.

    None                    one step of FGSM away from what the network says, in torch
    an attack of the core   itself, in torch; where it draws a random start, it is given another seed each time
    an attack of ART        arrays at the attack alone: its `generate`, on the estimator that it was built with
    several of these        one of them for each batch, drawn by torch's own generator

What is fed back into training carries no graph, and every network comes back as it was.
"""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from art.attacks.attack import EvasionAttack
from art.config import ART_NUMPY_DTYPE
from torch import Tensor, nn

from interp_art.units import Units
from interp_plugins.attacks import PredictedLabelFGSM
from interp_plugins.foundation.borrow import borrow

Attack = Callable[[nn.Module, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class LabelFree:
    """FGSM away from what the network says; the labels are not looked at."""

    fgsm: PredictedLabelFGSM

    def __call__(self, model: nn.Module, images: Tensor, _labels: Tensor) -> Tensor:
        """Images that the network is to misread."""
        return self.fgsm(model, images)


@dataclass(frozen=True)
class Seeded:
    """An attack of the core with another seed each time, so that it starts at other points."""

    attack: Callable[..., Tensor]

    def __call__(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        """Images that the network is to misread."""
        return self.attack(model, images, labels, seed=int(torch.randint(2**31, ())))


@dataclass(frozen=True)
class Crafted:
    """An attack of ART, on its own estimator."""

    attack: EvasionAttack
    units: Units
    classes: int

    def __call__(self, _model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        """What `generate` makes of the images; ART's attacks leave eval mode and gradients, which are given back.

        Raises:
            ValueError: It is of another shape, or outside `clip_values`.
        """
        y = np.eye(self.classes, dtype=ART_NUMPY_DTYPE)[labels.cpu().numpy()]
        with borrow(*_networks(self.attack.estimator)), torch.enable_grad():
            found = self.attack.generate(self.units.array(images), y=y)
        return self.units.images(self.units.checked(found)).to(images.device)


@dataclass(frozen=True)
class Against:
    """An attack on a network that stays as it is, whose images are then shown to another."""

    attack: Attack
    network: nn.Module

    def __call__(self, _model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        """Images that the network at hand is to misread."""
        with borrow(self.network):
            return self.attack(self.network, images, labels)


@dataclass(frozen=True)
class OneOf:
    """One of several attacks for each batch, each as likely."""

    attacks: tuple[Attack, ...]

    def __call__(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        """Images of the attack that was drawn."""
        return self.attacks[int(torch.randint(len(self.attacks), ()))](model, images, labels)


def as_called(attack: Any, eps: float | None, units: Units, classes: int) -> Attack:
    """An attack of any kind as the trainer calls it.

    Args:
        attack: An `EvasionAttack`, an attack of the core, or None.
        eps: Radius of the one that stands in for None, in the units of x; None for the core's share of the range.
        units: The classifier's units.
        classes: How many classes it has.

    Raises:
        TypeError: For an attack that is none.
        ValueError: For a targeted attack that is given no targets, or `eps` beside an attack.
    """
    if attack is not None and eps is not None:
        raise ValueError(f"expected eps without an attack, got {eps:g} beside one: the attack has its own")
    if isinstance(attack, EvasionAttack):
        if attack.targeted and getattr(attack, "targets", None) is None:
            raise ValueError(
                "expected an attack that needs no targets, got a targeted one: build it with targeted=False, or use "
                "EnsembleOptimization(targets='least-likely:1')"
            )
        return Crafted(attack, units, classes)
    if attack is None:
        return LabelFree(PredictedLabelFGSM() if eps is None else PredictedLabelFGSM(epsilon=float(eps / units.span)))
    if isinstance(attack, PredictedLabelFGSM):
        return LabelFree(attack)
    if not callable(attack):
        raise TypeError(
            f"expected an EvasionAttack of ART, an attack of the core or None, got {attack!r}; "
            "a layer is named by layer="
        )
    return Seeded(attack) if "seed" in inspect.signature(attack).parameters else attack


@contextmanager
def without_bars(*attacks: Any) -> Iterator[None]:
    """Take ART's attacks' own bars away, one for each batch, and give them back afterwards."""
    loud = [attack for attack in attacks if isinstance(attack, EvasionAttack) and getattr(attack, "verbose", False)]
    try:
        for attack in loud:
            attack.set_params(verbose=False)
        yield
    finally:
        for attack in loud:
            attack.set_params(verbose=True)


def _networks(estimator: Any) -> list[object]:
    """The networks behind an estimator of torch, or behind the members of an ensemble."""
    return [getattr(each, "model", None) for each in getattr(estimator, "classifiers", [estimator])]
