"""The ensemble-optimization attack: one image that several networks take for the same wrong class.

    minimise over x*   λ d(x*, x) + Σ_k w_k ℓ(y*, f_k(x*)),   x* in [0, 1],   by Adam on the pixels

Dong, Su, Zhu, Bao 2017, "Towards interpretable deep neural networks by leveraging adversarial examples"
(arXiv:1708.05493): ℓ is the cross-entropy to a target class y*, the members are averaged, Adam takes 10 to 20 steps
of length 5 on [0, 255] pixels and the pixels are clipped after each step. An image is attacked towards the ten
classes that the members together find least likely.

Ours, because unpublished: λ and the form of d (L2, small); the fusions "prob" and "logit"; `balance`, which brings
the members' gradients to one length per image so that a robust member is not drowned by standard ones; the ball; the
choice of the best iterate (most members fooled, then the lowest loss, the last one scored too); the untargeted form.

Only one member's graph is alive at a time. All targets of an image share its first forward pass. Networks are called in
tiles and losses are summed over images, so a result depends on neither order, nor neighbours, nor the size of a batch.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from interp_plugins.attacks.distances import DISTANCES, Distance
from interp_plugins.attacks.fusion import FUSIONS, Fusion
from interp_plugins.attacks.iterates import BestIterate
from interp_plugins.attacks.members import Ensemble, Point, held, judged
from interp_plugins.attacks.targets import TargetPolicy, choose
from interp_plugins.foundation import check
from interp_plugins.foundation.ball import Norm, check_ball, project
from interp_plugins.foundation.precision import PRECISIONS, Precision
from interp_plugins.foundation.prepare import device_of
from interp_plugins.foundation.randomness import seeds
from interp_plugins.foundation.tiles import check_tile, fill, spans, tile_size

DECAY, SQUARE_DECAY = 0.9, 0.999  # Adam's own
ADAM_EPSILON = 1e-8 * 255  # Adam's own on [0, 255] pixels, where gradients are 255 times smaller


class Step(NamedTuple):
    """What a `watch` callback sees after each step of each tile; rows beyond the last image repeat it."""

    step: int  # steps taken, from 1
    images: Tensor  # (tile, c, h, w), after the step
    gradient: Tensor  # (tile, c, h, w), before it
    targets: Tensor  # (tile,)
    loss: Tensor  # (tile,), before the step


@dataclass(frozen=True)
class EnsembleResult:
    """Adversarial images for t targets of each of n images, judged by the k original networks."""

    images: Float[Tensor, "n t c h w"]  # in [0, 1]
    targets: Int[Tensor, "n t"]
    fooled: Bool[Tensor, "n t k"]  # the member says the target (untargeted: does not say the label)
    rmse: Float[Tensor, "n t"]  # root of the mean squared change of a pixel, on [0, 255]
    linf: Float[Tensor, "n t"]  # largest change of a pixel, on [0, 1]
    steps: Int[Tensor, "n t"]  # the step whose iterate was kept; 0 is the clean image
    gradient_norms: Float[Tensor, "n t k"]  # L2 norm of each member's weighted gradient, mean over the steps


@dataclass(frozen=True, kw_only=True)
class EnsembleOptimization:
    """Adam on the pixels of an image against several networks at once (arXiv:1708.05493)."""

    steps: int = 20  # Adam steps; the paper takes 10 to 20
    step_size: float = 5 / 255  # Adam's step, in [0, 1] pixels
    fusion: Fusion = "loss"  # what is averaged over members: losses, probabilities or logits
    weights: tuple[float, ...] | None = None  # of the members, brought to sum 1; None: equal
    balance: bool = False  # bring the members' gradients to one length per image
    distance: Distance = "l2"  # d: length of the change, its square, or its root mean square
    distance_weight: float = 1e-3  # λ, for changes in [0, 1] pixels; 0 leaves d out
    epsilon: float | None = None  # radius of a ball in [0, 1] pixels; None: no ball
    norm: Norm = "linf"  # of the ball
    targeted: bool = True  # False: `targets` are the labels to get away from
    tile: int | None = None  # rows a network call; None: 8 on a CPU, 64 on a GPU
    precision: Precision = "fp32"  # of the search; the judgement is always the original's

    def __post_init__(self) -> None:
        check.one_of("fusion", self.fusion, tuple(FUSIONS))
        check.one_of("distance", self.distance, tuple(DISTANCES))
        check.one_of("precision", self.precision, PRECISIONS)
        check.positive(steps=self.steps, step_size=self.step_size)
        for weight in self.weights or ():
            check.positive(weight=weight)
        if not self.distance_weight >= 0:
            raise ValueError(f"expected distance_weight of at least 0, got {self.distance_weight}")
        check_ball(self.epsilon, self.norm)
        check_tile(self.tile)

    def __call__(
        self,
        classifiers: Sequence[object],
        images: Float[Tensor, "n c h w"],
        targets: Tensor | TargetPolicy,
        *,
        labels: Int[Tensor, " n"] | None = None,
        mask: Tensor | None = None,
        seed: int = 0,
        ids: Sequence[str | int] | None = None,
        watch: Callable[[Step], None] | None = None,
    ) -> Tensor:
        """Attack images; arguments and errors as `run`'s.

        Returns:
            Adversarial images (n, c, h, w) if `targets` has shape (n,), else (n, t, c, h, w), on the images' device.
        """
        images = check.images(images)
        with held(classifiers):
            found = self._search(classifiers, images, targets, labels, mask, seeds(seed, ids, len(images)), watch)
        return found.images[:, 0] if isinstance(targets, Tensor) and targets.ndim == 1 else found.images

    def run(
        self,
        classifiers: Sequence[object],
        images: Float[Tensor, "n c h w"],
        targets: Tensor | TargetPolicy,
        *,
        labels: Int[Tensor, " n"] | None = None,
        mask: Tensor | None = None,
        seed: int = 0,
        ids: Sequence[str | int] | None = None,
        watch: Callable[[Step], None] | None = None,
    ) -> EnsembleResult:
        """Attack images and judge the result by the original networks.

        Args:
            classifiers: The members: modules or callables from images in [0, 1] to logits, what `prepare` made of them
                (once for many calls), or `LossGradient` objects with fusion "loss". Given back as found.
            images: Float images in [0, 1].
            targets: Classes to reach, (n,) or (n, t), or a policy that chooses them; labels to leave if not `targeted`.
            labels: The true classes, which no target may be; for policies None means what the ensemble itself says.
            mask: Broadcastable to the images; scales each step, 0 where a pixel must not change.
            seed: The run's seed, for random targets.
            ids: The images' names, for random targets; without them their places in the batch.
            watch: Called after each step of each tile.

        Raises:
            TypeError: A wrong type or dtype.
            ValueError: A wrong shape, range or value, members that disagree on the classes, or gradients that are not
                finite.
        """
        images = check.images(images)
        with held(classifiers):
            found = self._search(classifiers, images, targets, labels, mask, seeds(seed, ids, len(images)), watch)
            said = found.images.flatten(0, 1), found.targets.flatten()
            fooled = judged(classifiers, *said, tile=self.tile, targeted=self.targeted)
        change = (found.images - images[:, None]).flatten(2)
        return EnsembleResult(
            images=found.images,
            targets=found.targets,
            fooled=fooled.unflatten(0, found.targets.shape),
            rmse=change.square().mean(2).sqrt() * 255,
            linf=change.abs().amax(2),
            steps=found.steps,
            gradient_norms=found.norms,
        )

    def _search(
        self,
        classifiers: Sequence[object],
        images: Tensor,
        targets: Tensor | TargetPolicy,
        labels: Tensor | None,
        mask: Tensor | None,
        own_seeds: list[int],
        watch: Callable[[Step], None] | None,
    ) -> "_Found":
        home, device = images.device, device_of(classifiers, images.device)
        rows = tile_size(self.tile, device)
        images = images.to(device, copy=True)
        scale = torch.ones_like(images) if mask is None else check.broadcasts(mask, images, "mask")
        ensemble = Ensemble(
            classifiers,
            images,
            weights=self.weights,
            fusion=self.fusion,
            balance=self.balance,
            targeted=self.targeted,
            precision=self.precision,
        )
        chosen, labels = choose(
            targets, classifiers, images, classes=ensemble.classes, labels=labels, seeds=own_seeds, rows=rows
        )
        if self.targeted and labels is not None:
            check.differ(chosen, labels)
        found = [
            self._attack(ensemble, images[span], chosen[span], scale[span], rows, watch)
            for span in spans(len(images), rows)
        ]
        return _Found(*(torch.cat(parts).to(home) for parts in zip(*found, strict=True)))

    def _attack(
        self,
        ensemble: Ensemble,
        images: Tensor,
        targets: Tensor,
        scale: Tensor,
        rows: int,
        watch: Callable[[Step], None] | None,
    ) -> "_Found":
        """Attack the images of one tile towards all their targets."""
        m, t = targets.shape
        origin, scale, wanted = images.repeat_interleave(t, 0), scale.repeat_interleave(t, 0), targets.flatten()
        tiles = list(spans(m * t, rows))
        first = None
        if 2 * len(tiles) > t:  # one forward and t backward passes cost no more than a forward and a backward a tile
            points = ensemble.evaluate(fill(images, rows), fill(targets, rows).T)
            first = [torch.stack([point[:m] for point in part], 1).flatten(0, 1) for part in zip(*points, strict=True)]
        found = []
        for span in tiles:
            start = None if first is None else Point(*(fill(part[span], rows) for part in first))
            tile = fill(origin[span], rows), fill(wanted[span], rows), fill(scale[span], rows)
            found.append([part[: span.stop - span.start] for part in self._optimise(ensemble, *tile, start, watch)])
        adversarial, steps, norms = (torch.cat(parts).unflatten(0, (m, t)) for parts in zip(*found, strict=True))
        return _Found(adversarial, targets, steps, norms)

    def _optimise(
        self,
        ensemble: Ensemble,
        origin: Tensor,
        targets: Tensor,
        scale: Tensor,
        start: Point | None,
        watch: Callable[[Step], None] | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Adam on one tile, by operations that round once, so that a pixel's place in memory cannot matter."""
        x, best = origin, BestIterate(origin)
        first, second, norms = torch.zeros_like(x), torch.zeros_like(x), x.new_zeros(len(x), len(ensemble.members))
        measure = DISTANCES[self.distance]
        for step in range(self.steps):
            point = start if start is not None and step == 0 else ensemble.evaluate(x, targets[None])[0]
            distance, away = measure(x - origin)
            loss = point.loss + self.distance_weight * distance
            best.offer(step, x, point.fooled, loss)
            gradient = point.gradient + self.distance_weight * away
            norms = norms + point.norms / self.steps
            first = first * DECAY + gradient * (1 - DECAY)
            second = second * SQUARE_DECAY + gradient * gradient * (1 - SQUARE_DECAY)
            mean, square = first / (1 - DECAY ** (step + 1)), second / (1 - SQUARE_DECAY ** (step + 1))
            x = project(
                x - self.step_size * mean / (square.sqrt() + ADAM_EPSILON) * scale, origin, self.epsilon, self.norm
            )
            if watch is not None:
                watch(Step(step + 1, x, gradient, targets, loss))
        fooled, loss = ensemble.score(x, targets)
        best.offer(self.steps, x, fooled, loss + self.distance_weight * measure(x - origin)[0])
        return best.images, best.steps, norms


class _Found(NamedTuple):
    """What the search brought: images (n, t, c, h, w), targets and steps (n, t), gradient norms (n, t, k)."""

    images: Tensor
    targets: Tensor
    steps: Tensor
    norms: Tensor
