"""FGSM and PGD, the gradient attacks of the field, on logits of [0, 1] images.

FGSM   x' = clip(x + ε sign ∇ℓ(x, y))                              Goodfellow et al. 2015 (arXiv:1412.6572)
PGD    x' = project(x + α s(∇ℓ(x, y))), s the sign or g / ‖g‖₂     Madry et al. 2018 (arXiv:1706.06083)

A targeted attack descends towards its label instead. With the predicted label in place of the true one FGSM needs no
labels, which is the only way on images that have none, and does not leak the label to a network trained on it
(Kurakin et al. 2017, arXiv:1611.01236).

PGD keeps the best iterate of each image (fooled, then loss) and scores the last one too. The classifier is in eval
mode during the attack, whatever mode it comes in. Losses are summed over images, networks are called in tiles, so an
image's result does not depend on its batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from interp_plugins.attacks.iterates import BestIterate
from interp_plugins.foundation import check
from interp_plugins.foundation.ball import Norm, check_ball, project, random_start, steepest
from interp_plugins.foundation.borrow import borrow
from interp_plugins.foundation.precision import Precision
from interp_plugins.foundation.prepare import Prepared, prepare
from interp_plugins.foundation.randomness import seeds
from interp_plugins.foundation.tiles import check_tile, fill, spans, tile_size


@dataclass(frozen=True, kw_only=True)
class PGD:
    """Projected gradient descent in an Linf or L2 ball."""

    epsilon: float = 8 / 255  # radius of the ball, in [0, 1] pixels
    step_size: float = 2 / 255  # length of a step in the same norm and units
    steps: int = 10  # gradient steps
    norm: Norm = "linf"
    random_start: bool = False  # start at a random point of the ball, drawn by seed and id
    targeted: bool = False  # descend towards the label instead of ascending away from it
    tile: int | None = None  # rows a network call; None: 8 on a CPU, 64 on a GPU
    precision: Precision = "fp32"  # of the search

    def __post_init__(self) -> None:
        check_ball(self.epsilon, self.norm)
        check.positive(step_size=self.step_size, steps=self.steps)
        check_tile(self.tile)

    def __call__(
        self,
        classifier: object,
        images: Float[Tensor, "n c h w"],
        labels: Int[Tensor, " n"],
        *,
        seed: int = 0,
        ids: Sequence[str | int] | None = None,
    ) -> Float[Tensor, "n c h w"]:
        """Attack images.

        Args:
            classifier: A module or callable from images in [0, 1] to logits; given back as found.
            images: Float images in [0, 1].
            labels: True classes, or the classes to reach if `targeted`.
            seed: The run's seed, for random starts.
            ids: The images' names, for random starts; without them their places in the batch.

        Returns:
            Adversarial images, in the box and the ball.

        Raises:
            TypeError: A wrong type or dtype.
            ValueError: A wrong shape, range or value, or a gradient that is not finite.
        """
        images = check.images(images)
        starts = seeds(seed, ids, len(images)) if self.random_start else None
        found = []
        with borrow(classifier), torch.inference_mode(False):
            member = prepare(classifier, images, self.precision)
            labels = check.labels(labels, len(images), member.classes)
            rows = tile_size(self.tile, images.device)
            for span in spans(len(images), rows):
                origin, label = fill(images[span].clone(), rows), fill(labels[span], rows)
                start = origin
                if starts is not None:
                    drawn = random_start(images[span], self.epsilon, self.norm, starts[span])
                    start = fill(drawn, rows)
                found.append(self._search(member, origin, start, label)[: span.stop - span.start])
        return torch.cat(found)

    def _search(self, member: Prepared, origin: Tensor, start: Tensor, labels: Tensor) -> Tensor:
        sign = 1 if self.targeted else -1  # the loss to minimise is sign · cross-entropy
        best, x = BestIterate(start), start
        for step in range(self.steps):
            logits, gradients = member.gradients(x, partial(_cross_entropy_gradients, labels=labels))
            best.offer(step, x, *self._score(logits, labels))
            x = project(x - sign * self.step_size * steepest(gradients[0], self.norm), origin, self.epsilon, self.norm)
        best.offer(self.steps, x, *self._score(member.logits(x), labels))
        return best.images

    def _score(self, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        hit = logits.argmax(1) == labels
        loss = F.cross_entropy(logits, labels, reduction="none")
        return (hit.long(), loss) if self.targeted else ((~hit).long(), -loss)


@dataclass(frozen=True, kw_only=True)
class FGSM:
    """One step of the gradient's sign; `targeted` steps towards the label."""

    epsilon: float = 8 / 255  # radius in [0, 1] pixels
    targeted: bool = False
    tile: int | None = None  # rows a network call; None: 8 on a CPU, 64 on a GPU
    precision: Precision = "fp32"

    def __post_init__(self) -> None:
        check_ball(self.epsilon, "linf")
        check_tile(self.tile)

    def __call__(
        self, classifier: object, images: Float[Tensor, "n c h w"], labels: Int[Tensor, " n"]
    ) -> Float[Tensor, "n c h w"]:
        """Attack images with their true labels, or towards `labels` if `targeted`; arguments and errors as `PGD`'s."""
        images = check.images(images)
        labels = check.labels(labels, len(images))
        return _one_step(self, classifier, images, labels, targeted=self.targeted)


@dataclass(frozen=True, kw_only=True)
class PredictedLabelFGSM:
    """FGSM away from what the classifier itself says: no labels needed, none leaked."""

    epsilon: float = 8 / 255  # radius in [0, 1] pixels
    tile: int | None = None  # rows a network call; None: 8 on a CPU, 64 on a GPU
    precision: Precision = "fp32"

    def __post_init__(self) -> None:
        check_ball(self.epsilon, "linf")
        check_tile(self.tile)

    def __call__(self, classifier: object, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """Attack images with the labels that the classifier, in eval mode, gives them; errors as `PGD`'s."""
        return _one_step(self, classifier, check.images(images), None, targeted=False)


def _one_step(
    settings: FGSM | PredictedLabelFGSM, classifier: object, images: Tensor, labels: Tensor | None, *, targeted: bool
) -> Tensor:
    found = []
    with borrow(classifier), torch.inference_mode(False):
        member = prepare(classifier, images, settings.precision)
        if labels is not None:
            check.class_range(labels, member.classes, "labels")
        rows = tile_size(settings.tile, images.device)
        for span in spans(len(images), rows):
            x = fill(images[span].clone(), rows)
            given = fill(labels[span], rows) if labels is not None else None
            _, gradients = member.gradients(x, partial(_cross_entropy_gradients, labels=given))
            step = settings.epsilon * steepest(gradients[0], "linf")
            found.append(
                project(x - step if targeted else x + step, x, settings.epsilon, "linf")[: span.stop - span.start]
            )
    return torch.cat(found)


def _cross_entropy_gradients(logits: Tensor, labels: Tensor | None) -> list[Tensor]:
    """∇_z of the cross-entropy summed over images, softmax(z) - 1_y; y is the prediction where none is given."""
    chosen = logits.argmax(1) if labels is None else labels
    return [logits.softmax(1) - F.one_hot(chosen, logits.shape[1])]
