"""The core's attacks as perturbations of Captum.

Each class is a `captum.robust.Perturbation`: `forward_func` comes first, `perturb(inputs, target, ...)` returns what
came in, a tensor for a tensor and a tuple for a tuple. No mathematics is done here. Settings are the core's, under the
core's names; those that a search may want to vary are also arguments of `perturb`, where `MinParamPerturbation` looks
for them.

What the host leaves open and these classes settle:

* A module comes back as it was found, module by module, and also when something raises. What hides behind a function
  cannot be seen: it runs in the mode it is in.
* No gradient is left behind, in inputs or in parameters, and under `torch.no_grad()` a perturbation works as outside.
* Images out of range and probabilities in place of logits are refused, in a sentence.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal

import torch
from captum.robust import Perturbation
from torch import Tensor

from interp_captum.targets import classes_for
from interp_plugins import attacks as core
from interp_plugins.foundation import check
from interp_plugins.foundation.borrow import borrow

Attack = Callable[[Callable[..., Tensor], Tensor, slice], Tensor]


class EnsembleOptimization(Perturbation):
    """Ensemble optimisation: Adam on the pixels, through several networks at once, until all of them say the target.

    Args:
        forward_func: The model or function under attack: [0, 1] images (and `additional_forward_args`) in, logits out.
        surrogates: Further members, each with its own normalisation inside: [0, 1] images in, logits out.
        steps: Optimiser steps.
        step_size: Adam's step, in units of the [0, 1] image.
        fusion: What is averaged over the members: "loss", "prob" or "logit".
        weights: One weight per member, `forward_func` first; None for equal ones.
        balance: Bring the members' gradients to one length per image before they are added.
        distance: Length of the perturbation that is added to the loss: "l2", "squared" or "rmse".
        distance_weight: Weight of that length.
        epsilon: Radius of a ball around the image, in units of the [0, 1] image; None for no ball.
        norm: Norm of that ball, "linf" or "l2".
        tile: Images per call of a network; None for the core's choice. Batches of any size give the same bits.
        precision: "fp32" or "bf16".

    Example:
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(1, 2))  # class 1 is white
        >>> _ = net.load_state_dict({"1.weight": torch.tensor([[0.0], [9.0]]), "1.bias": torch.tensor([4.0, 0.0])})
        >>> image = torch.full((1, 1, 1, 1), 0.4)
        >>> adversarial = EnsembleOptimization(net, steps=10).perturb(image, target=1, targeted=True)
        >>> net(image).argmax(1), net(adversarial).argmax(1)
        (tensor([0]), tensor([1]))
    """

    def __init__(
        self,
        forward_func: Callable[..., Tensor],
        surrogates: Sequence[Callable[..., Tensor]] = (),
        *,
        steps: int = core.EnsembleOptimization.steps,
        step_size: float = core.EnsembleOptimization.step_size,
        fusion: Literal["loss", "prob", "logit"] = core.EnsembleOptimization.fusion,
        weights: tuple[float, ...] | None = None,
        balance: bool = core.EnsembleOptimization.balance,
        distance: Literal["l2", "squared", "rmse"] = core.EnsembleOptimization.distance,
        distance_weight: float = core.EnsembleOptimization.distance_weight,
        epsilon: float | None = None,
        norm: Literal["linf", "l2"] = core.EnsembleOptimization.norm,
        tile: int | None = None,
        precision: Literal["fp32", "bf16"] = core.EnsembleOptimization.precision,
    ) -> None:
        super().__init__()
        self.forward_func = forward_func
        self.surrogates = tuple(surrogates)
        self.settings = core.EnsembleOptimization(
            steps=steps,
            step_size=step_size,
            fusion=fusion,
            weights=weights,
            balance=balance,
            distance=distance,
            distance_weight=distance_weight,
            epsilon=epsilon,
            norm=norm,
            tile=tile,
            precision=precision,
        )

    def perturb(
        self,
        inputs: Tensor | tuple[Tensor, ...],
        target: int | Sequence[int] | Tensor,
        additional_forward_args: Any = None,
        targeted: bool = False,
        mask: Tensor | None = None,
        *,
        epsilon: float | None = None,
        steps: int | None = None,
        step_size: float | None = None,
    ) -> Tensor | tuple[Tensor, ...]:
        """Images that the members take for the target or, not targeted, no longer for it.

        Args:
            inputs: Images, (n, c, h, w), float in [0, 1]; alone or as a tuple of one.
            target: As in Captum's FGSM: the labels to get away from, or, if `targeted`, the classes to reach. One for
                all images, or one for each.
            additional_forward_args: What `forward_func` takes besides images; the surrogates get images alone. Of a
                tensor each image has its row, as everywhere in Captum, and is then attacked by itself.
            targeted: Whether to reach the target or to get away from it. Default: False
            mask: Broadcastable to the images; 0 where a pixel must not change. Default: None
            epsilon: In place of the constructor's. Default: None
            steps: In place of the constructor's. Default: None
            step_size: In place of the constructor's. Default: None

        Returns:
            Images, (n, c, h, w), float in [0, 1], detached; a tuple of one for a tuple.

        Raises:
            ValueError: For inputs, target, mask or settings out of range or of a wrong shape.
            TypeError: For inputs that are not float.
        """
        varied = {"epsilon": epsilon, "steps": steps, "step_size": step_size}
        given = {name: value for name, value in varied.items() if value is not None}
        method = replace(self.settings, targeted=targeted, **given)  # type: ignore[arg-type]
        images = _images(inputs)
        labels = classes_for(target, images)
        masks = None if mask is None else check.broadcasts(mask, images, "mask")

        def attack(forward: Callable[..., Tensor], part: Tensor, rows: slice) -> Tensor:
            return method((forward, *self.surrogates), part, labels[rows], mask=None if masks is None else masks[rows])

        return _like(inputs, _attacked(attack, self.forward_func, images, additional_forward_args))


class PredictedLabelFGSM(Perturbation):
    """One step along the sign of the gradient, away from what the model itself says of the clean image.

    A target that is passed is not used: a step away from the true label tells the model the answer (label leaking).

    Args:
        forward_func: The model or function under attack: [0, 1] images (and `additional_forward_args`) in, logits out.
        epsilon: Size of the step, in units of the [0, 1] image.
        tile: Images per call of the network; None for the core's choice. Batches of any size give the same bits.
        precision: "fp32" or "bf16".

    Example:
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(1, 2))
        >>> _ = net.load_state_dict({"1.weight": torch.tensor([[0.0], [9.0]]), "1.bias": torch.tensor([4.0, 0.0])})
        >>> PredictedLabelFGSM(net, epsilon=0.25).perturb(torch.full((1, 1, 1, 1), 0.25)).item()
        0.5
    """

    def __init__(
        self,
        forward_func: Callable[..., Tensor],
        *,
        epsilon: float = core.PredictedLabelFGSM.epsilon,
        tile: int | None = None,
        precision: Literal["fp32", "bf16"] = core.PredictedLabelFGSM.precision,
    ) -> None:
        super().__init__()
        self.forward_func = forward_func
        self.settings = core.PredictedLabelFGSM(epsilon=epsilon, tile=tile, precision=precision)

    def perturb(
        self,
        inputs: Tensor | tuple[Tensor, ...],
        target: object = None,
        additional_forward_args: Any = None,
        *,
        epsilon: float | None = None,
    ) -> Tensor | tuple[Tensor, ...]:
        """Images one step further from their predicted class.

        Args:
            inputs: Images, (n, c, h, w), float in [0, 1]; alone or as a tuple of one.
            target: Not used; taken so that it can stand beside Captum's FGSM. Default: None
            additional_forward_args: As in `EnsembleOptimization.perturb`. Default: None
            epsilon: In place of the constructor's. Default: None

        Returns:
            Images, (n, c, h, w), float in [0, 1], detached; a tuple of one for a tuple.

        Raises:
            ValueError: For inputs or an epsilon out of range.
            TypeError: For inputs that are not float.
        """
        method = self.settings if epsilon is None else replace(self.settings, epsilon=epsilon)

        def attack(forward: Callable[..., Tensor], part: Tensor, rows: slice) -> Tensor:
            return method(forward, part)

        return _like(inputs, _attacked(attack, self.forward_func, _images(inputs), additional_forward_args))


def _attacked(attack: Attack, forward_func: Callable[..., Tensor], images: Tensor, extra: Any) -> Tensor:
    """Attack the images through `forward_func` with its additional arguments.

    Without any the core gets the module itself, and its bits are the core's own. Where one is a tensor, each image goes
    alone: the core calls networks in tiles, and only so is it known which rows belong to the images of a tile.
    """
    extra = () if extra is None else extra if isinstance(extra, tuple) else (extra,)
    with borrow(forward_func):  # also where the core gets a function around it
        if not any(isinstance(each, Tensor) for each in extra):
            forward = (lambda part: forward_func(part, *extra)) if extra else forward_func
            return attack(forward, images, slice(0, len(images)))
        for each in extra:
            if isinstance(each, Tensor) and (each.ndim == 0 or len(each) != len(images)):
                raise ValueError(
                    f"expected additional_forward_args with one row for each of {len(images)} images, "
                    f"got a tensor of shape {tuple(each.shape)}"
                )
        spans = [slice(row, row + 1) for row in range(len(images))]
        return torch.cat([attack(_with_row(forward_func, extra, span), images[span], span) for span in spans])


def _with_row(forward_func: Callable[..., Tensor], extra: tuple[Any, ...], row: slice) -> Callable[[Tensor], Tensor]:
    """The function with one image's row of each additional tensor, repeated for as many images as a tile has."""

    def forward(part: Tensor) -> Tensor:
        own = [each[row].expand(len(part), *each.shape[1:]) if isinstance(each, Tensor) else each for each in extra]
        return forward_func(part, *own)

    return forward


def _images(inputs: Tensor | tuple[Tensor, ...]) -> Tensor:
    if isinstance(inputs, tuple):
        if len(inputs) != 1:
            raise ValueError(
                f"expected one tensor of images, got a tuple of {len(inputs)}: "
                "the others can be additional_forward_args"
            )
        (inputs,) = inputs
    return check.images(inputs, "inputs")


def _like(inputs: Tensor | tuple[Tensor, ...], images: Tensor) -> Tensor | tuple[Tensor, ...]:
    return (images,) if isinstance(inputs, tuple) else images
