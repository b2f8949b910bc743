"""PGD on what a network sees instead of on what it says: the farthest representation inside a ball, without labels.

    x* = argmax over the ball of d(phi(x), phi(x*))       phi a layer, or the logits f

The ideal objective of training with the consistent loss (Dong, Bao, Su and Zhu, arXiv:1901.09035) asks for this x*;
its authors make do with one step of FGSM, which raises the cross-entropy and not d. With the divergence of softmax
f(x) and softmax f(x*) it is the inner attack of TRADES (Zhang et al., arXiv:1901.08573). No label can leak.

On the image itself d is 0 and so is its gradient, so the search starts at a random point of the ball. The iterate with
the largest d is kept. There is no root of the squared distance to choose: it has the same steps and the same maximum.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from interp_plugins.attacks.iterates import BestIterate
from interp_plugins.foundation import check
from interp_plugins.foundation.ball import TINY, Norm, check_ball, project, random_start, steepest
from interp_plugins.foundation.borrow import borrow
from interp_plugins.foundation.precision import PRECISIONS, Precision
from interp_plugins.foundation.prepare import Prepared, prepare
from interp_plugins.foundation.randomness import seeds
from interp_plugins.foundation.record import record
from interp_plugins.foundation.tiles import check_tile, fill, spans, tile_size


@dataclass(frozen=True, kw_only=True)
class FeaturePGD:
    """Projected gradient ascent on the distance of a representation from the clean image's."""

    layer: str | None = None  # dotted, as in `named_modules()`; None: the logits
    distance: Literal["squared", "cosine", "divergence"] = "squared"  # the last: of the logits' softmax
    epsilon: float = 8 / 255  # radius of the ball, in [0, 1] pixels
    step_size: float = 2 / 255  # length of a step in the same norm and units
    steps: int = 10  # gradient steps
    norm: Norm = "linf"
    tile: int | None = None  # rows a network call; None: 8 on a CPU, 64 on a GPU
    precision: Precision = "fp32"  # of the search

    def __post_init__(self) -> None:
        check.one_of("distance", self.distance, tuple(DISTANCES))
        if self.distance == "divergence" and self.layer is not None:
            raise ValueError(
                f"expected layer=None for the divergence, which is of logits, got {self.layer!r}; choose another "
                "distance for a layer"
            )
        check_ball(self.epsilon, self.norm)
        check.positive(step_size=self.step_size, steps=self.steps)
        check_tile(self.tile)
        check.one_of("precision", self.precision, PRECISIONS)

    def __call__(
        self,
        classifier: object,
        images: Float[Tensor, "n c h w"],
        labels: Int[Tensor, " n"] | None = None,
        *,
        seed: int = 0,
        ids: Sequence[str | int] | None = None,
    ) -> Float[Tensor, "n c h w"]:
        """Attack images.

        Args:
            classifier: A module from images in [0, 1] to logits, or for the logits another callable; given back as
                found.
            images: Float images in [0, 1].
            labels: Not looked at; there so that this attack can stand where one with labels does.
            seed: The run's seed, for the random starts.
            ids: The images' names, for the random starts; without them their places in the batch.

        Returns:
            Attacked images, in the box and the ball.

        Raises:
            TypeError: A wrong type or dtype.
            ValueError: A wrong shape, range or value, a layer that does not exist, or a gradient that is not finite.
        """
        images = check.images(images)
        starts, rows = seeds(seed, ids, len(images)), tile_size(self.tile, images.device)
        network = classifier if self.layer is None else _Seen(classifier, self.layer)
        found = []
        with borrow(network), torch.inference_mode(False):
            member = prepare(network, images, self.precision)
            for span in spans(len(images), rows):
                drawn = random_start(images[span], self.epsilon, self.norm, starts[span])
                origin, start = fill(images[span].clone(), rows), fill(drawn, rows)
                found.append(self._search(member, origin, start)[: len(drawn)])
        return torch.cat(found)

    def _search(self, member: Prepared, origin: Tensor, start: Tensor) -> Tensor:
        distance, clean = DISTANCES[self.distance], member.logits(origin)
        best, x = BestIterate(start), start
        nobody = torch.zeros(len(start), dtype=torch.long, device=start.device)  # is fooled; the distance decides
        for step in range(self.steps):
            seen, gradients = member.gradients(x, lambda now: [_slope(distance, clean, now)])
            best.offer(step, x, nobody, -distance(clean, seen))
            x = project(x + self.step_size * steepest(gradients[0], self.norm), origin, self.epsilon, self.norm)
        best.offer(self.steps, x, nobody, -distance(clean, member.logits(x)))
        return best.images


class _Seen(nn.Module):
    """What a layer puts out, (n, d), as if it were the network's logits."""

    def __init__(self, classifier: object, layer: str) -> None:
        super().__init__()
        network = classifier.original if isinstance(classifier, Prepared) else classifier
        if not isinstance(network, nn.Module):
            raise TypeError(f"expected an nn.Module to look for layer {layer!r} in, got {type(network).__name__}")
        self.network, self.layer = network, layer

    def forward(self, images: Tensor) -> Tensor:
        with record(self.network, [self.layer]) as outputs:
            self.network(images)
        return outputs[self.layer].flatten(1)


def _squared(clean: Tensor, seen: Tensor) -> Tensor:
    return (seen - clean).square().sum(1)


def _cosine(clean: Tensor, seen: Tensor) -> Tensor:
    apart = F.normalize(seen, eps=TINY) - F.normalize(clean, eps=TINY)
    return apart.square().sum(1) / 2  # 1 - cos, without its loss of digits near 0


def _divergence(clean: Tensor, seen: Tensor) -> Tensor:
    return F.kl_div(seen.log_softmax(1), clean.log_softmax(1), reduction="none", log_target=True).sum(1)


Distance = Callable[[Tensor, Tensor], Tensor]
DISTANCES: dict[str, Distance] = {"squared": _squared, "cosine": _cosine, "divergence": _divergence}


def _slope(distance: Distance, clean: Tensor, seen: Tensor) -> Tensor:
    """The gradient of the distance with respect to what is seen, row by row."""
    with torch.enable_grad():
        leaf = seen.detach().requires_grad_()
        return torch.autograd.grad(distance(clean, leaf).sum(), leaf)[0]
