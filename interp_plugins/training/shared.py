"""FGSM whose forward pass is the loss's own: two forward passes a step instead of three.

    x* = clip(x + epsilon sign of the gradient of CE(f(x), label) with respect to x)

The clean logits serve the attack and the loss alike, so the attack sees the network in the mode in which it trains.
Where BatchNorm and dropout are in eval mode that is the same as `FGSM`; elsewhere it is another attack, and has to be
asked for by `attack_mode="train"`. Clean and attacked images are then two batches to BatchNorm, not one.

Two forward passes before one backward pass are more than DistributedDataParallel's buffers bear, so it is refused.
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd
from torch.nn.parallel import DistributedDataParallel

from interp_plugins.foundation import check
from interp_plugins.foundation.ball import check_ball, project, steepest

MOVING = (_BatchNorm, _DropoutNd)


@dataclass(frozen=True, kw_only=True)
class SharedFGSM:
    """One step of the gradient's sign, from logits that a trainer has at hand; alone it is an attack as others."""

    epsilon: float = 8 / 255  # radius in [0, 1] pixels
    label: Literal["predicted", "true"] = "predicted"  # whose loss is raised; the true one leaks to the network

    def __post_init__(self) -> None:
        check_ball(self.epsilon, "linf")
        check.one_of("label", self.label, ("predicted", "true"))

    def __call__(
        self, model: nn.Module, images: Float[Tensor, "n c h w"], labels: Int[Tensor, " n"]
    ) -> Float[Tensor, "n c h w"]:
        """Attack images by a forward pass of their own, as for held-out ones; the network is as it comes."""
        with torch.enable_grad():
            watched = images.detach().clone().requires_grad_()
            return self.step(watched, model(watched), labels)

    def step(
        self,
        images: Float[Tensor, "n c h w"],
        logits: Float[Tensor, "n k"],
        labels: Int[Tensor, " n"],
        scale: float = 1,
    ) -> Float[Tensor, "n c h w"]:
        """Attack images that logits with a graph were computed of; the graph stays.

        Args:
            images: They require a gradient.
            logits: Of those images.
            labels: Their true classes.
            scale: What the loss is multiplied by, so that gradients do not vanish in half precision.
        """
        chosen = logits.argmax(1) if self.label == "predicted" else labels
        loss = F.cross_entropy(logits.float(), chosen, reduction="sum") * scale
        (gradient,) = torch.autograd.grad(loss, images, retain_graph=True)
        origin = images.detach()
        return project(origin + self.epsilon * steepest(gradient, "linf"), origin, self.epsilon, "linf")


def check_shared(model: nn.Module, mode: str) -> None:
    """Refuse to share a forward pass in which the attack would see other than eval mode, unless that was asked for.

    Raises:
        ValueError: A BatchNorm or a dropout is in training mode, or the network is in DistributedDataParallel.
    """
    if isinstance(model, DistributedDataParallel):
        raise ValueError(
            "expected a network of one process to share a forward pass, got DistributedDataParallel; use FGSM"
        )
    moving = [name for name, module in model.named_modules() if isinstance(module, MOVING) and module.training]
    if moving and mode == "eval":
        raise ValueError(
            "expected BatchNorm and dropout in eval mode to share a forward pass with the attack, got "
            f"{moving[0]!r} in training mode; use FGSM, or attack_mode='train' if the attack may see it so"
        )
