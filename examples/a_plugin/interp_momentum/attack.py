"""Momentum iterative FGSM (Dong et al. 2018, arXiv:1710.06081, algorithm 1).

    g <- decay g + gradient / |gradient|_1          x <- x + (epsilon / steps) sign(g)

The images are summed over in the loss, so that each one's result does not depend on its neighbours.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from interp_plugins.foundation import check
from interp_plugins.foundation.ball import project
from interp_plugins.foundation.borrow import borrow


@dataclass(frozen=True, kw_only=True)
class MomentumFGSM:
    """Steps of equal length along the sign of an accumulated gradient, inside an Linf ball."""

    epsilon: float = 8 / 255  # radius of the ball, in units of the [0, 1] image
    steps: int = 10  # each is epsilon / steps long
    decay: float = 1.0  # of the accumulated gradient; 0 forgets it, 1 is the paper's

    def __call__(
        self, classifier: nn.Module, images: Float[Tensor, "n c h w"], labels: Int[Tensor, " n"]
    ) -> Float[Tensor, "n c h w"]:
        """Return images that are led away from their labels.

        Args:
            classifier: Images in [0, 1] to logits; it is given back as found.
            images: Float images in [0, 1].
            labels: The true classes.

        Raises:
            TypeError: Images or labels have another type.
            ValueError: Images or labels have another shape or range.
        """
        images = check.images(images)
        labels = check.labels(labels, len(images))
        attacked, accumulated = images, torch.zeros_like(images)
        with borrow(classifier):
            for _ in range(self.steps):
                gradient = self._gradient(classifier, attacked, labels)
                size = gradient.abs().sum(dim=(1, 2, 3), keepdim=True).clamp_min(1e-12)
                accumulated = self.decay * accumulated + gradient / size
                attacked = attacked + self.epsilon / self.steps * accumulated.sign()
                attacked = project(attacked, images, self.epsilon, "linf")
        return attacked

    def _gradient(self, classifier: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        with torch.enable_grad():
            images = images.clone().requires_grad_(True)
            loss = cross_entropy(classifier(images), labels, reduction="sum")
            return torch.autograd.grad(loss, images)[0]
