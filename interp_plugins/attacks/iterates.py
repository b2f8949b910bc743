"""Keep the best iterate of each row: most members fooled, then the lowest loss."""

import torch
from jaxtyping import Float, Int
from torch import Tensor


class BestIterate:
    """The best point each row has visited, and the step at which it was there; ties keep the earlier one."""

    def __init__(self, images: Float[Tensor, "n c h w"]) -> None:
        n = len(images)
        self.images = images.clone()
        self.steps = torch.zeros(n, dtype=torch.long, device=images.device)
        self._fooled = torch.full((n,), -1, device=images.device)
        self._loss = torch.full((n,), float("inf"), dtype=images.dtype, device=images.device)

    def offer(
        self, step: int, images: Float[Tensor, "n c h w"], fooled: Int[Tensor, " n"], loss: Float[Tensor, " n"]
    ) -> None:
        """Take each row of `images` that is better than what that row has.

        Args:
            step: How many steps were taken to get here.
            images: The iterate.
            fooled: How many members it fools.
            loss: What the attack minimises.
        """
        better = (fooled > self._fooled) | ((fooled == self._fooled) & (loss < self._loss))
        self._fooled = torch.where(better, fooled, self._fooled)
        self._loss = torch.where(better, loss, self._loss)
        self.steps[better] = step
        self.images[better] = images[better]
