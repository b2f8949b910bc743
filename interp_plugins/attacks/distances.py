"""How far an image has been led: three distances d(x*, x) of a change, each with its gradient.

Each maps changes (n, c, h, w) in [0, 1] pixels to distances (n,) and gradients (n, c, h, w). Where nothing has changed
the gradient is zero.
"""

from collections.abc import Callable
from typing import Literal

from jaxtyping import Float
from torch import Tensor

from interp_plugins.foundation.ball import TINY, length

Distance = Literal["l2", "squared", "rmse"]
Change = Float[Tensor, "n c h w"]
Measured = tuple[Float[Tensor, " n"], Float[Tensor, "n c h w"]]


def l2(change: Change) -> Measured:
    """The Euclidean length."""
    size = length(change)
    return size.flatten(), change / size.clamp_min(TINY)


def squared(change: Change) -> Measured:
    """The square of that length."""
    return length(change).square().flatten(), 2 * change


def rmse(change: Change) -> Measured:
    """The root of the mean squared change of a value."""
    size, root = length(change), change[0].numel() ** 0.5
    return size.flatten() / root, change / (size.clamp_min(TINY) * root)


DISTANCES: dict[str, Callable[[Tensor], tuple[Tensor, Tensor]]] = {"l2": l2, "squared": squared, "rmse": rmse}
