"""What a method takes besides a module, as protocols: whatever satisfies one is at home everywhere."""

from typing import Protocol, runtime_checkable

from torch import Tensor


@runtime_checkable
class LossGradient(Protocol):
    """A classifier that cannot be differentiated by torch, but can be asked for the gradient of its loss.

    An attack whose loss is each member's own cross-entropy accepts it as a member.
    """

    def logits(self, images: Tensor) -> Tensor:
        """Logits of shape (n, classes) of images (n, c, h, w) in [0, 1]."""

    def loss_gradient(self, images: Tensor, targets: Tensor) -> Tensor:
        """Gradient with respect to the images of the cross-entropy summed over images, targets being (n,)."""
