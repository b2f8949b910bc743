"""The core's ensemble attack as an evasion attack of ART.

`EnsembleOptimization` is an `EvasionAttack`: `generate(x, y)` on arrays, `set_params`, a summary writer, a bar. The
settings are the core's. Where ART has a word, it is used, and so are ART's units:

    core         here
    epsilon      eps, in the units of x, as everywhere in ART
    step_size    step_size, in the units of x; left out, it is the core's share of the range of `clip_values`
    norm         np.inf or "inf", 2

No mathematics is done here; `members` turns classifiers into what the core takes. What the host leaves open and this
class settles: a model comes back as it was found, module by module; x outside `clip_values` is refused, in a sentence.
"""

from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any, Literal, cast

import numpy as np
import torch
from art.attacks.attack import EvasionAttack
from art.estimators.classification import EnsembleClassifier, PyTorchClassifier
from art.estimators.classification.classifier import ClassifierMixin
from art.estimators.estimator import BaseEstimator, LossGradientsMixin
from art.summary_writer import SummaryWriter
from torch import Tensor, nn
from tqdm.auto import tqdm

from interp_art.members import classifiers, member
from interp_art.summary import told
from interp_art.units import Array, Units, class_indices
from interp_plugins import attacks as core
from interp_plugins.attacks import targets as policies
from interp_plugins.foundation.borrow import borrow
from interp_plugins.foundation.prepare import prepare
from interp_plugins.foundation.tiles import tile_size

NORMS: dict[Any, Literal["linf", "l2"]] = {np.inf: "linf", "inf": "linf", 2: "l2"}


class EnsembleOptimization(EvasionAttack):
    """Ensemble optimisation: Adam on the pixels, through several networks at once, until all of them say the target.

    With `targeted=True` the labels that `generate` is given are the targets, or `targets` chooses them; with
    `targeted=False` they are the classes to get away from, by default what the estimator predicts.

    Args:
        estimator: The classifier under attack: a `PyTorchClassifier`, or an `EnsembleClassifier` of them, whose
            classifiers are the members and whose `classifier_weights` are their weights.
        surrogates: Further members beside a `PyTorchClassifier`.
        steps: Optimiser steps.
        step_size: Adam's step, in the units of x; None for the core's 5/255 of the range of `clip_values`.
        fusion: What is averaged over the members: "loss", "prob" or "logit"; only "loss" with a defence in numpy.
        weights: One weight per member, the estimator first; None for equal ones, or the `EnsembleClassifier`'s.
        balance: Bring the members' gradients to one length per image before they are added.
        distance: Length of the perturbation that is added to the loss: "l2", "squared" or "rmse".
        distance_weight: Weight of that length, taken on images scaled to [0, 1].
        eps: Radius of a ball around x, in the units of x; None for no ball.
        norm: Norm of that ball: `np.inf`, "inf" or 2.
        tile: Images per call of a network, a power of two; None for the core's choice.
        precision: "fp32" or "bf16".
        targets: Who chooses one target per image: a policy of the core, or its name, such as "least-likely:1".
        seed: Seed of random targets.
        targeted: Whether to aim at a class, or to get away from one.
        batch_size: Images that are held on the device at once; the result does not depend on it.
        summary_writer: As in every attack of ART. It is told each step of each tile.
        verbose: Whether to show a bar.

    Raises:
        EstimatorError: For an estimator without loss gradients.
        TypeError: For members of another framework, and for settings of a wrong type.
        ValueError: For members that do not fit together, an estimator without `clip_values`, and wrong settings.

    Example:
        >>> attack = EnsembleOptimization(classifier, surrogates=[second], targets="least-likely:1")  # doctest: +SKIP
        >>> x_adv = attack.generate(x)  # doctest: +SKIP
    """

    attack_params = [  # noqa: RUF012 - the host's own form
        *EvasionAttack.attack_params,
        "steps",
        "step_size",
        "fusion",
        "weights",
        "balance",
        "distance",
        "distance_weight",
        "eps",
        "norm",
        "tile",
        "precision",
        "targets",
        "seed",
        "targeted",
        "batch_size",
        "verbose",
    ]
    _estimator_requirements = (BaseEstimator, LossGradientsMixin, ClassifierMixin)

    def __init__(
        self,
        estimator: PyTorchClassifier | EnsembleClassifier,
        surrogates: Sequence[PyTorchClassifier] | None = None,
        steps: int = core.EnsembleOptimization.steps,
        step_size: float | None = None,
        fusion: Literal["loss", "prob", "logit"] = core.EnsembleOptimization.fusion,
        weights: tuple[float, ...] | None = None,
        balance: bool = core.EnsembleOptimization.balance,
        distance: Literal["l2", "squared", "rmse"] = core.EnsembleOptimization.distance,
        distance_weight: float = core.EnsembleOptimization.distance_weight,
        eps: float | None = None,
        norm: float | str = np.inf,
        tile: int | None = None,
        precision: Literal["fp32", "bf16"] = core.EnsembleOptimization.precision,
        targets: str | policies.TargetPolicy | None = None,
        seed: int = 0,
        targeted: bool = True,
        batch_size: int = 32,
        summary_writer: str | bool | SummaryWriter = False,
        verbose: bool = True,
    ) -> None:
        super().__init__(estimator=estimator, summary_writer=summary_writer)
        self._surrogates = tuple(surrogates or ())
        self._members = classifiers(estimator, self._surrogates)
        self.steps = steps
        self.step_size = (
            core.EnsembleOptimization.step_size * Units.of(estimator).span if step_size is None else step_size
        )
        self.fusion = fusion
        self.weights = weights
        self.balance = balance
        self.distance = distance
        self.distance_weight = distance_weight
        self.eps = eps
        self.norm = norm
        self.tile = tile
        self.precision = precision
        self.targets = targets
        self.seed = seed
        self.targeted = targeted
        self.batch_size = batch_size
        self.verbose = verbose
        self._check_params()

    def generate(self, x: Array, y: Array | None = None, **kwargs: Any) -> Array:
        """Inputs that the members take for the targets, or no longer for the labels.

        Args:
            x: Inputs, of the estimator's `input_shape`, inside its `clip_values`. Not modified.
            y: Classes, one-hot (n, nb_classes) or indices (n,). Targets when targeted; where `targets` chooses those,
                the true labels, which it never chooses. Untargeted, the classes to get away from.
            kwargs: `mask`, an array that broadcasts to x and is 0 where a feature must not change, and `ids`, one
                sample id per input, which seed random targets (default: its place in x). Others are ignored.

        Returns:
            Inputs like x, float32, inside `clip_values`.

        Raises:
            TypeError: For an x that is no array.
            ValueError: For an x of a wrong shape or range, labels that do not fit, no targets for a targeted attack.
        """
        units = Units.of(self.estimator)
        x = units.checked(x)
        mask = units.mask(kwargs.get("mask"), x)
        ids = range(len(x)) if kwargs.get("ids") is None else kwargs["ids"]
        with borrow(*(classifier.model for classifier in self._members)):
            images, labels = units.images(x), self._labels(x, y)
            adversarial = self._attacked(images, labels, mask, ids, units)
        if self.summary_writer is not None:
            self.summary_writer.reset()
        return units.result(adversarial, images, x)

    def _attacked(
        self, images: Tensor, labels: Tensor | None, mask: Tensor | None, ids: Sequence[Any], units: Units
    ) -> Tensor:
        device = self._members[0].device
        example = images[:1].to(device)
        members = [member(classifier, units, example) for classifier in self._members]
        ready = [prepare(net, example, self.precision) if isinstance(net, nn.Module) else net for net in members]
        method, policy = self._method(units), self._policy()
        rows = tile_size(self.tile, device)
        batch = -(-self.batch_size // rows) * rows  # whole tiles: a padded one would cost as much as a full one
        adversarial = torch.empty_like(images)
        for start in tqdm(
            range(0, len(images), batch), desc="EnsembleOptimization", leave=False, disable=not self.verbose
        ):
            part = slice(start, min(start + batch, len(images)))
            classes = None if labels is None else labels[part].to(device)
            watch = told(self.summary_writer, self._members[0], units, part, rows=rows, targeted=self.targeted)
            adversarial[part] = method(
                ready,
                images[part].to(device),
                policy or cast(Tensor, classes),
                labels=classes if policy else None,
                mask=None if mask is None else mask[part].to(device),
                seed=self.seed,
                ids=ids[part],
                watch=watch,
            ).reshape(images[part].shape)
        return adversarial

    def _labels(self, x: Array, y: Array | None) -> Tensor | None:
        """Class indices (n,); None where a policy is to choose and knows no true labels."""
        if y is not None:
            return class_indices(y, len(x), self.estimator.nb_classes)
        if not self.targeted:
            return torch.from_numpy(self.estimator.predict(x, batch_size=self.batch_size).argmax(1))
        if self.targets is None:
            raise ValueError("Target labels `y` need to be provided for a targeted attack.")  # the host's own sentence
        return None

    def _method(self, units: Units) -> core.EnsembleOptimization:
        """The core's attack by the settings as they are now."""
        weights = self.weights
        if weights is None and isinstance(self.estimator, EnsembleClassifier):
            weights = tuple(float(weight) for weight in self.estimator.classifier_weights)
        if weights is not None and len(weights) != len(self._members):
            raise ValueError(f"expected {len(self._members)} weights, one per member, got {len(weights)}")
        return core.EnsembleOptimization(
            steps=self.steps,
            step_size=float(self.step_size / units.span),
            fusion=self.fusion,
            weights=weights,
            balance=self.balance,
            distance=self.distance,
            distance_weight=float(self.distance_weight),
            epsilon=None if self.eps is None else float(self.eps / units.span),
            norm=NORMS[self.norm],
            targeted=self.targeted,
            tile=self.tile,
            precision=self.precision,
        )

    def _policy(self) -> policies.TargetPolicy | None:
        """Who chooses the targets, held to one per input."""
        policy = policies.parse(self.targets) if isinstance(self.targets, str) else self.targets
        if policy is None:
            return None

        def one(probabilities: Tensor, labels: Tensor, seeds: Sequence[int]) -> Tensor:
            chosen = policy(probabilities, labels, seeds)
            if chosen.shape[1] != 1:
                raise ValueError(
                    f"expected one target per input, got {chosen.shape[1]} from {self.targets}: ART's attacks return "
                    "one array like x; the core's EnsembleOptimization returns several per image"
                )
            return chosen

        return one

    def _check_params(self) -> None:
        for name in ("targeted", "balance", "verbose"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"The flag `{name}` has to be of type bool.")
        for name in ("steps", "batch_size", "seed"):
            if not isinstance(getattr(self, name), Integral):
                raise TypeError(f"expected {name} as an integer, got {getattr(self, name)!r}")
        for name in ("step_size", "distance_weight", "eps"):
            if not isinstance(getattr(self, name), Real) and (name, getattr(self, name)) != ("eps", None):
                raise TypeError(f"expected {name} as a number, got {getattr(self, name)!r}")
        if self.batch_size <= 0:
            raise ValueError("The batch size `batch_size` has to be positive.")
        if self.norm not in NORMS:
            raise ValueError(f'Norm order must be `np.inf`, "inf" or 2, got {self.norm!r}.')
        if self.targets is not None and not self.targeted:
            raise ValueError(
                "expected targeted=True with targets, got False: an untargeted attack has nothing to aim at"
            )
        self._policy()
        self._method(Units.of(self.estimator))
