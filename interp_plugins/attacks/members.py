"""The members of an ensemble as one differentiable objective: its loss, its gradient, how many members are fooled.

One member's graph is alive at a time, so memory is that of the largest member. With fusion "loss" the members
separate and one pass each is enough; with "prob" and "logit" a pass without a graph comes first, because each
member's share of the gradient depends on what the others say.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from interp_plugins.attacks.fusion import FUSIONS, Fusion
from interp_plugins.foundation import check
from interp_plugins.foundation.ball import TINY
from interp_plugins.foundation.borrow import borrow
from interp_plugins.foundation.precision import Precision
from interp_plugins.foundation.prepare import Prepared, device_of, judge, prepare
from interp_plugins.foundation.tiles import fill, spans, tile_size
from interp_plugins.kinds import LossGradient

Member = Prepared | LossGradient


class Point(NamedTuple):
    """The objective at the n rows of a tile, for one target a row."""

    loss: Float[Tensor, " n"]
    fooled: Int[Tensor, " n"]  # how many members
    gradient: Float[Tensor, "n c h w"]
    norms: Float[Tensor, "n k"]  # L2 norm of each member's weighted gradient


@contextmanager
def held(classifiers: Sequence[object]) -> Iterator[None]:
    """Hold classifiers for a search: borrowed, without graphs but those it asks for, whatever mode the caller is in.

    Raises:
        TypeError: They are no sequence.
        ValueError: There is none.
    """
    if isinstance(classifiers, nn.Module) or not isinstance(classifiers, Sequence):
        raise TypeError(f"expected a sequence of classifiers, got {type(classifiers).__name__}; write [model]")
    if not classifiers:
        raise ValueError("expected at least one classifier, got none")
    with torch.inference_mode(False), torch.no_grad(), borrow(*classifiers):
        yield


def judged(
    classifiers: Sequence[object],
    images: Float[Tensor, "n c h w"],
    targets: Int[Tensor, " n"],
    *,
    tile: int | None,
    targeted: bool,
) -> Bool[Tensor, "n k"]:
    """Which of the k classifiers, as they were given, each image fools; they are held by the caller."""
    device = device_of(classifiers, images.device)
    rows = tile_size(tile, device)
    verdicts = []
    for span in spans(len(images), rows):
        filled, wanted = fill(images[span].to(device), rows), fill(targets[span].to(device), rows)
        hits = torch.stack([judge(classifier, filled).argmax(1) == wanted for classifier in classifiers], 1)
        verdicts.append((hits == targeted)[: span.stop - span.start].to(images.device))
    return torch.cat(verdicts)


class Ensemble:
    """Prepared members, their weights and their fusion.

    Args:
        classifiers: Modules, callables, prepared copies or, with fusion "loss", `LossGradient` objects.
        images: The images to come; their shape, dtype and device are what counts.
        weights: One a member, brought to sum 1; None: equal.
        fusion: What is averaged.
        balance: Whether members' gradients are brought to one length per image before they are added.
        targeted: Whether the loss falls towards the targets or away from them.
        precision: Of the prepared copies.

    Raises:
        TypeError: A classifier cannot be called.
        ValueError: There are not as many weights, or the members differ in their classes.
    """

    def __init__(
        self,
        classifiers: Sequence[object],
        images: Float[Tensor, "n c h w"],
        *,
        weights: tuple[float, ...] | None,
        fusion: Fusion,
        balance: bool,
        targeted: bool,
        precision: Precision,
    ) -> None:
        if weights is not None and len(weights) != len(classifiers):
            raise ValueError(f"expected {len(classifiers)} weights, one a classifier, got {len(weights)}")
        if fusion != "loss" and any(isinstance(c, LossGradient) for c in classifiers):
            raise ValueError(
                f"expected fusion 'loss' for a classifier that gives only its loss's gradient, got {fusion!r}"
            )
        self.members: list[Member] = [
            c if isinstance(c, LossGradient) else prepare(c, images, precision) for c in classifiers
        ]
        self.classes = check.same_classes(
            [
                member.classes if isinstance(member, Prepared) else member.logits(images[:1]).shape[1]
                for member in self.members
            ]
        )
        shares = images.new_tensor(weights or [1.0] * len(classifiers))
        self.weights = shares / shares.sum()
        self._fuse, self._separable = FUSIONS[fusion], fusion == "loss"
        self._balance, self._targeted = balance, targeted

    def score(self, images: Float[Tensor, "n c h w"], targets: Int[Tensor, " n"]) -> tuple[Tensor, Tensor]:
        """How many members are fooled (n,), and the loss (n,)."""
        logits = torch.stack([member.logits(images) for member in self.members])
        return self._fooled(logits, targets).sum(0), self._pull(logits, self.weights, targets)[0]

    def evaluate(self, images: Float[Tensor, "n c h w"], targets: Int[Tensor, "t n"]) -> list[Point]:
        """The objective at `images` for each of t targets a row, from one forward pass of each member (see above).

        Raises:
            ValueError: A gradient is not finite.
        """
        fooled = torch.zeros_like(targets)
        loss = images.new_zeros(targets.shape)
        gradient = images.new_zeros((*targets.shape, *images.shape[1:]))
        norms = images.new_zeros((*targets.shape, len(self.members)))
        joint = None
        if not self._separable:
            joint = [
                self._pull(torch.stack([m.logits(images) for m in self.members]), self.weights, y) for y in targets
            ]
            loss = torch.stack([value for value, _ in joint])
        for k, member in enumerate(self.members):
            pulls = None if joint is None else [cotangents[k] for _, cotangents in joint]
            logits, own_loss, own = self._member(k, member, images, targets, pulls)
            fooled += torch.stack([self._fooled(logits, y) for y in targets])
            if joint is None:
                loss += own_loss
            size = own.flatten(2).norm(dim=2)
            norms[..., k] = size
            if self._balance:
                own = own * (self.weights[k] / size.clamp_min(TINY))[..., None, None, None]
            gradient += own
        if self._balance:
            gradient *= norms.sum(2)[..., None, None, None]
        check.finite_rows(gradient.transpose(0, 1), "gradients")  # a `LossGradient` may give anything
        return [Point(*parts) for parts in zip(loss, fooled, gradient, norms, strict=True)]

    def _member(
        self, k: int, member: Member, images: Tensor, targets: Tensor, pulls: list[Tensor] | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Logits (n, classes), weighted losses (t, n) and weighted gradients (t, n, c, h, w) of one member."""
        weight = self.weights[k : k + 1]
        losses: list[Tensor] = []

        def cotangents(logits: Tensor) -> list[Tensor]:
            alone = [self._pull(logits[None], weight, y) for y in targets]
            losses.extend(value for value, _ in alone)
            return pulls if pulls is not None else [pull[0] for _, pull in alone]

        if isinstance(member, Prepared):
            logits, gradients = member.gradients(images, cotangents)
        else:
            logits = member.logits(images)
            cotangents(logits)
            sign = 1 if self._targeted else -1
            gradients = torch.stack([sign * weight * member.loss_gradient(images, y) for y in targets])
        return logits, torch.stack(losses), gradients

    def _pull(self, logits: Tensor, weights: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """The fused loss of logits (k, n, classes), and its gradient with respect to them."""
        with torch.enable_grad():
            leaf = logits.detach().requires_grad_()
            loss = self._fuse(leaf, weights.to(leaf.dtype), targets)
            loss = loss if self._targeted else -loss
            (cotangents,) = torch.autograd.grad(loss.sum(), leaf)
        return loss.detach(), cotangents

    def _fooled(self, logits: Tensor, targets: Tensor) -> Tensor:
        return ((logits.argmax(-1) == targets) == self._targeted).long()
