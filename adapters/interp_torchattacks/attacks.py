"""The core's attacks as attacks of torchattacks.

Each class is a `torchattacks.attack.Attack`: `attack(images, labels)` on float images in [0, 1], modes by `set_mode_*`,
normalisation by `set_normalization_used`, sets written by `save`. No mathematics is done here. The settings are the
core's, under the core's names, but for the radius, which this host calls `eps`.

What the host leaves open and these classes settle:

* `labels=None` means the members' own prediction.
* The model under test comes back as it was found: module by module, and also when something raises.
* Under `torch.no_grad()` an attack works as it does outside.
* Images out of range and settings that cannot be are refused, in a sentence.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torchattacks.attack import Attack

from interp_plugins import attacks
from interp_plugins.attacks.targets import TargetPolicy, mean_probabilities
from interp_plugins.foundation import check
from interp_plugins.foundation.borrow import borrow


class _Guest(Attack):
    """What every attack of ours does at this host's table: it hands over the model, and leaves the model as it was."""

    def __call__(self, inputs: Tensor, labels: Tensor | None = None, *args: Any, **kwargs: Any) -> Tensor:
        """Attack as the host does; whatever happens, every module has its mode back, and normalisation its flag."""
        modes = [(module, module.training) for module in self.model.modules()]
        applied = self._normalization_applied
        try:
            return super().__call__(inputs, labels, *args, **kwargs)  # type: ignore[no-any-return]
        finally:
            for module, training in modes:
                module.training = training
            self._set_normalization_applied(applied)

    def _subject(self) -> nn.Module | Callable[[Tensor], Tensor]:
        """The model under test, as the core is to have it.

        The module itself gives the core's own bits. Where the host normalises, or runs the network in training mode,
        the core gets a plain function: nothing is prepared, and the modes stay as the host has set them.
        """
        if self.normalization_used is None and not self._model_training:
            return self.model  # type: ignore[no-any-return]
        return self._logits

    def _logits(self, images: Tensor) -> Tensor:
        """Logits of the model under test for [0, 1] images; `get_logits` alone normalises only during an attack."""
        images = self.normalize(images) if self._normalization_applied else images
        return self.get_logits(images)  # type: ignore[no-any-return]


class EnsembleOptimization(_Guest):
    """Ensemble optimisation: Adam on the pixels, through several networks at once, until all of them say the target.

    In the default mode the loss of the true labels is ascended; in the targeted modes that of the targets is descended.
    Least likely targets go by the mean probability of all members. Neither they nor random ones are the true label.

    Args:
        model: The model under test: [0, 1] images in, logits out (normalised images after `set_normalization_used`).
        surrogates: The other members, each with its own normalisation inside: [0, 1] images in, logits out.
        steps: Optimiser steps.
        step_size: Adam's step, in units of the [0, 1] image.
        fusion: What is averaged over the members: "loss", "prob" or "logit".
        weights: One weight per member, the model under test first; None for equal ones.
        balance: Bring the members' gradients to one length per image before they are added.
        distance: Length of the perturbation that is added to the loss: "l2", "squared" or "rmse".
        distance_weight: Weight of that length.
        eps: Radius of a ball around the image, in units of the [0, 1] image; None for no ball.
        norm: Norm of that ball, "linf" or "l2".
        tile: Images per call of a network; None for the core's choice. Batches of any size give the same bits.
        precision: "fp32" or "bf16".

    Example:
        >>> net = nn.Sequential(nn.Flatten(), nn.Linear(1, 2))  # class 1 is white
        >>> _ = net.load_state_dict({"1.weight": torch.tensor([[0.0], [9.0]]), "1.bias": torch.tensor([4.0, 0.0])})
        >>> attack = EnsembleOptimization(net, steps=10)
        >>> attack.set_mode_targeted_by_label(quiet=True)
        >>> image = torch.full((1, 1, 1, 1), 0.4)
        >>> net(image).argmax(1), net(attack(image, torch.tensor([1]))).argmax(1)
        (tensor([0]), tensor([1]))
    """

    def __init__(
        self,
        model: nn.Module,
        surrogates: Sequence[nn.Module] = (),
        steps: int = 20,
        step_size: float = 5 / 255,
        fusion: Literal["loss", "prob", "logit"] = "loss",
        weights: tuple[float, ...] | None = None,
        balance: bool = False,
        distance: Literal["l2", "squared", "rmse"] = "l2",
        distance_weight: float = 1e-3,
        eps: float | None = None,
        norm: Literal["linf", "l2"] = "linf",
        tile: int | None = None,
        precision: Literal["fp32", "bf16"] = "fp32",
    ) -> None:
        super().__init__("EnsembleOptimization", model)
        self.steps = steps
        self.step_size = step_size
        self.fusion = fusion
        self.weights = weights
        self.balance = balance
        self.distance = distance
        self.distance_weight = distance_weight
        self.eps = eps
        self.norm = norm
        self.tile = tile
        self.precision = precision
        self.supported_mode = ["default", "targeted"]
        # private, so that repr stays readable; a tuple, because the host compares what it finds in a list with `in`
        self._surrogates = tuple(surrogates)
        self._method()  # settings that cannot be are refused here, not at the first batch

    def forward(self, inputs: Tensor, labels: Tensor | None = None) -> Tensor:
        """Images that the members take for the targets, or, in the default mode, no longer for the labels.

        Args:
            inputs: Images, (n, c, h, w), float in [0, 1].
            labels: Class of each image, (n,); what the mode makes of them. None: what the members say together.

        Returns:
            Images, (n, c, h, w), float in [0, 1], contiguous and detached.

        Raises:
            ValueError: For images, labels or targets out of range, and for no labels where the labels are the targets.
            TypeError: For images that are not float.
        """
        images = inputs.detach().to(self.device)
        if labels is None and self.attack_mode == "targeted(label)":
            raise ValueError("expected labels to aim at in mode targeted(label), got None: pass one class per image")
        labels = self._mean_probabilities(images).argmax(1) if labels is None else labels.to(self.device)
        if self.targeted:
            labels = self.get_target_label(images, labels).to(self.device)
        return self._method()(self._members(), images, labels).contiguous()

    def get_least_likely_label(self, inputs: Tensor, labels: Tensor | None = None) -> Tensor:
        """The class with the k-th smallest mean probability of all members but the label; k is the mode's `kth_min`."""
        return self._targets(attacks.LeastLikely(k=self._kth_min), inputs, labels)[:, -1]

    def get_random_target_label(self, inputs: Tensor, labels: Tensor | None = None) -> Tensor:
        """A class drawn for each image, the label left out; `torch.manual_seed` decides, as everywhere in this host."""
        seeds = torch.randint(2**62, (len(inputs),)).tolist()
        return self._targets(attacks.RandomTargets(k=1), inputs, labels, seeds)[:, 0]

    def _targets(
        self, policy: TargetPolicy, inputs: Tensor, labels: Tensor | None, seeds: Sequence[int] = ()
    ) -> Tensor:
        images = inputs.detach().to(self.device)
        if self._normalization_applied:  # asked between attacks: the caller's images are normalised
            images = self.inverse_normalize(images)
        probabilities = self._mean_probabilities(images)
        if labels is None:
            labels = probabilities.argmax(1)
        labels = check.labels(labels.to(self.device), *probabilities.shape)
        return policy(probabilities, labels, seeds)

    def _mean_probabilities(self, images: Tensor) -> Tensor:
        with borrow(self.model):  # the host chooses targets in eval mode, whatever mode it attacks in
            return mean_probabilities(self._members(), images, self.tile)

    def _members(self) -> tuple[nn.Module | Callable[[Tensor], Tensor], ...]:
        return (self._subject(), *self._surrogates)

    def _method(self) -> attacks.EnsembleOptimization:
        return attacks.EnsembleOptimization(
            steps=self.steps,
            step_size=self.step_size,
            fusion=self.fusion,
            weights=self.weights,
            balance=self.balance,
            distance=self.distance,
            distance_weight=self.distance_weight,
            epsilon=self.eps,
            norm=self.norm,
            targeted=self.targeted,
            tile=self.tile,
            precision=self.precision,
        )


class PredictedLabelFGSM(_Guest):
    """One step along the sign of the gradient, away from what the model itself says of the clean image.

    The labels that are passed are not used: a step away from the true label tells the model the answer (label leaking).
    The model speaks in eval mode, unless `set_model_training_mode` has the whole attack run in training mode.

    Args:
        model: The model under test: [0, 1] images in, logits out (normalised images after `set_normalization_used`).
        eps: Size of the step, in units of the [0, 1] image.

    Example:
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(1, 2))
        >>> _ = model.load_state_dict({"1.weight": torch.tensor([[0.0], [9.0]]), "1.bias": torch.tensor([4.0, 0.0])})
        >>> PredictedLabelFGSM(model, eps=0.25)(torch.full((1, 1, 1, 1), 0.25)).item()
        0.5
    """

    def __init__(self, model: nn.Module, eps: float = 8 / 255) -> None:
        super().__init__("PredictedLabelFGSM", model)
        self.eps = eps
        self.supported_mode = ["default"]
        self._method()

    def forward(self, inputs: Tensor, labels: Tensor | None = None) -> Tensor:
        """Images one step further from their predicted class.

        Args:
            inputs: Images, (n, c, h, w), float in [0, 1].
            labels: Not used.

        Returns:
            Images, (n, c, h, w), float in [0, 1], contiguous and detached.

        Raises:
            ValueError: For images out of range.
            TypeError: For images that are not float.
        """
        return self._method()(self._subject(), inputs.detach().to(self.device)).contiguous()

    def _method(self) -> attacks.PredictedLabelFGSM:
        return attacks.PredictedLabelFGSM(epsilon=self.eps)
