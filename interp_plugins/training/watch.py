"""Watch for catastrophic overfitting: a network that withstands the attack it trains with and nothing else.

Training with a single step can tip over within an epoch: accuracy under that step rises, accuracy under several steps
falls to nothing (Wong, Rice and Kolter, arXiv:2001.03994). A probe of several steps on one held-out batch sees it.

The limit is ours: the shares withstood differ by more than `gap`.
"""

import warnings
from dataclasses import dataclass

from torch import nn

from interp_plugins.training.evaluation import Attack, Batches, accuracies
from interp_plugins.training.reports import Accuracy


class CatastrophicOverfitting(UserWarning):
    """The network withstands the attack it trains with, and a stronger one of the same size far less."""


@dataclass(frozen=True, kw_only=True)
class Watch:
    """What a trainer looks at after each epoch."""

    probe: Attack  # of several steps and the same size, such as `PGD`
    gap: float = 0.25  # between the shares of images on which attack and probe are withstood; above it a warning comes

    def __post_init__(self) -> None:
        if not 0 < self.gap < 1:
            raise ValueError(f"expected a gap between 0 and 1, got {self.gap}")

    def __call__(self, model: nn.Module, held_out: Batches, attack: Attack) -> tuple[Accuracy, Accuracy]:
        """The accuracy under the attack and under the probe on the first held-out batch, of all processes.

        Warns:
            CatastrophicOverfitting: They differ by more than `gap`.
        """
        first = [batch for _, batch in zip(range(1), held_out, strict=False)]
        trained, probed = accuracies(model, first, [attack, self.probe])
        if trained.value - probed.value > self.gap:
            warnings.warn(
                f"the attack of training is withstood on {trained} held-out images, the probe on {probed}: "
                "catastrophic overfitting; go back to the best checkpoint, and train with more steps, a random start "
                "or a smaller epsilon",
                CatastrophicOverfitting,
                stacklevel=2,
            )
        return trained, probed
