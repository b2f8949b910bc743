"""From float images to bytes, and how to make good what rounding broke.

A picture is stored in grey levels 0 to 255. Rounding moves every pixel by up to half a level, against no gradient in
particular, and now and then across the border the attack had just crossed. `to_bytes` takes the nearest grey levels
that keep the box and the ball exactly, both counted in whole levels. `LatticeRefinement` then walks on the lattice:

    x ← x - sign ∇L(x) on the 1/16 of the pixels with the largest gradient,   L = Σ_k w_k ℓ(y*, f_k(x))

one level a round, among the pixels that may still move that way, and keeps the best point of each image (most members
fooled, then the lowest loss), the one that came in included. Neither is in a paper; the share and the rounds are ours.

A ball of radius ε holds the images whose levels differ from the origin's by at most ⌊255 ε⌋ in each pixel (Linf), or by
squares that sum to at most (255 ε)² (L2). In L2 the rounded image may lie outside although the float image does not.
Then pixels that rounding took away from the origin go one level back, the closest calls first, until it is inside.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from interp_plugins.attacks.iterates import BestIterate
from interp_plugins.attacks.members import Ensemble, held
from interp_plugins.foundation import check
from interp_plugins.foundation.ball import TINY, Norm, check_ball, length
from interp_plugins.foundation.precision import PRECISIONS, Precision
from interp_plugins.foundation.prepare import device_of
from interp_plugins.foundation.tiles import check_tile, fill, spans, tile_size

SHARE = 16  # one pixel of so many moves a round
ROUNDING = 1e-9  # grey levels by which 255 ε may miss the number it was meant to be
HELD = 64  # images rounded at once, in float64


def to_bytes(
    images: Float[Tensor, "n c h w"],
    origin: UInt8[Tensor, "n c h w"],
    epsilon: float | None = None,
    norm: Norm = "linf",
) -> UInt8[Tensor, "n c h w"]:
    """The grey levels nearest to the images, inside the box and the ball.

    Args:
        images: Float images in [0, 1]. One outside the ball is brought into it first.
        origin: The centres of the balls.
        epsilon: Radius of the ball in [0, 1] pixels; None: no ball.
        norm: Of the ball.

    Returns:
        Grey levels, on the images' device: less than one level from the float values of an image inside the ball, and
        at most half a level without a ball.

    Raises:
        TypeError: A wrong type or dtype.
        ValueError: A wrong shape, range or value.

    Example:
        >>> to_bytes(torch.full((1, 1, 1, 1), 0.5), torch.zeros(1, 1, 1, 1, dtype=torch.uint8), 8 / 255).item()
        8
    """
    images = check.images(images)
    check_ball(epsilon, norm)
    origin = check.levels(origin, tuple(images.shape), "origin").to(images.device)
    parts = zip(images.split(HELD), origin.split(HELD), strict=True)
    return torch.cat([_nearest(part.double() * 255, centre.double(), epsilon, norm).byte() for part, centre in parts])


@dataclass(frozen=True, kw_only=True)
class LatticeRefinement:
    """A few steps of one grey level along the ensemble's gradient, for images that rounding broke."""

    rounds: int = 10  # each moves one pixel of sixteen by a level
    epsilon: float | None = None  # radius of a ball in [0, 1] pixels; None: no ball
    norm: Norm = "linf"  # of the ball
    weights: tuple[float, ...] | None = None  # of the members, brought to sum 1; None: equal
    tile: int | None = None  # rows a network call; None: 8 on a CPU, 64 on a GPU
    precision: Precision = "fp32"  # of the search

    def __post_init__(self) -> None:
        check.positive(rounds=self.rounds)
        check.one_of("precision", self.precision, PRECISIONS)
        for weight in self.weights or ():
            check.positive(weight=weight)
        check_ball(self.epsilon, self.norm)
        check_tile(self.tile)

    def __call__(
        self,
        classifiers: Sequence[object],
        images: UInt8[Tensor, "n c h w"],
        origin: UInt8[Tensor, "n c h w"],
        targets: Int[Tensor, " n"],
    ) -> UInt8[Tensor, "n c h w"]:
        """Move images on the lattice until more members say their targets.

        Args:
            classifiers: The members, as in `EnsembleOptimization`; given back as found.
            images: Adversarial images inside the ball, as `to_bytes` makes them.
            origin: The clean images.
            targets: The class that each is to be taken for.

        Returns:
            Images in the box and the ball. None fools fewer of the members, as they were prepared for the search, than
            it did, nor as many with a higher loss.

        Raises:
            TypeError: A wrong type or dtype.
            ValueError: A wrong shape, range or value, an image outside the ball, members that disagree on the classes,
                or gradients that are not finite.
        """
        images = check.levels(images, None, "images")
        origin = check.levels(origin, tuple(images.shape), "origin").to(images.device)
        self._check_inside(images, origin)
        found = []
        with held(classifiers):
            device = device_of(classifiers, images.device)
            rows = tile_size(self.tile, device)
            ensemble = Ensemble(
                classifiers,
                images[:1].to(device).float() / 255,
                weights=self.weights,
                fusion="loss",
                balance=False,
                targeted=True,
                precision=self.precision,
            )
            targets = check.labels(targets, len(images), ensemble.classes, "targets")
            for span in spans(len(images), rows):
                start, centre, wanted = (fill(part[span].to(device), rows) for part in (images, origin, targets))
                best = self._walk(ensemble, start.float(), centre.double(), wanted)
                found.append(best[: span.stop - span.start].byte().to(images.device))
        return torch.cat(found)

    def _walk(self, ensemble: Ensemble, levels: Tensor, origin: Tensor, targets: Tensor) -> Tensor:
        """The best point that each row of a tile comes by; levels are whole numbers in float32, origin's in float64."""
        best = BestIterate(levels)
        for step in range(self.rounds):
            point = ensemble.evaluate(levels / 255, targets[None])[0]
            best.offer(step, levels, point.fooled, point.loss)
            moved = levels - self._move(point.gradient, levels, origin)
            levels = _nearest(moved.double(), origin, self.epsilon, self.norm).float()
        best.offer(self.rounds, levels, *ensemble.score(levels / 255, targets))
        return best.images

    def _move(self, gradient: Tensor, levels: Tensor, origin: Tensor) -> Tensor:
        """The gradient's sign where it is largest among the pixels that may go down by it; zero elsewhere."""
        sign = gradient.sign()
        lowest, highest = _interval(origin, self.epsilon, self.norm)
        after = levels - sign
        size = gradient.abs() * ((after >= lowest) & (after <= highest))
        number = size[0].numel()
        least = size.flatten(1).kthvalue(number - -(-number // SHARE) + 1).values.view(-1, 1, 1, 1)
        return sign * ((size >= least) & (size > 0))

    def _check_inside(self, images: Tensor, origin: Tensor) -> None:
        """Refuse images that are not in the ball already."""
        for start in range(0, len(images), HELD):
            part = slice(start, start + HELD)
            levels = images[part].double()
            outside = (_nearest(levels, origin[part].double(), self.epsilon, self.norm) != levels).flatten(1).any(1)
            if outside.any():
                raise ValueError(
                    f"expected images inside the {self.norm} ball of radius {self.epsilon:.4g}, got image "
                    f"{start + int(outside.nonzero()[0])} outside it; make them with to_bytes"
                )


def _interval(origin: Tensor, epsilon: float | None, norm: Norm) -> tuple[Tensor, Tensor]:
    """The lowest and the highest level of each pixel in the box and, in Linf, in the ball."""
    if epsilon is None or norm != "linf":
        return torch.zeros_like(origin), torch.full_like(origin, 255)
    levels = floor(255 * epsilon + ROUNDING)
    return (origin - levels).clamp_min_(0), (origin + levels).clamp_max_(255)


def _nearest(levels: Tensor, origin: Tensor, epsilon: float | None, norm: Norm) -> Tensor:
    """The point of the lattice nearest to `levels`, inside the box and the ball; all in float64."""
    if epsilon is not None and norm == "l2":
        return _nearest_in_l2(levels.clamp(0, 255) - origin, 255 * epsilon) + origin
    return levels.round().clamp_(*_interval(origin, epsilon, norm))


def _nearest_in_l2(change: Tensor, radius: float) -> Tensor:
    """The change (n, c, h, w), in whole levels whose squares sum to at most the radius's.

    A change cut to the radius is inside the ball, so only rounding away from the origin can have taken it out: going
    back on that is enough, and going back on the closest calls costs least.
    """
    size = length(change)
    change = torch.where(size > radius, change * (radius / size.clamp_min(TINY)), change)
    rounded = change.round()
    outward = (rounded.abs() - change.abs()).flatten(1)  # up to half a level
    order = outward.argsort(dim=1, descending=True, stable=True)
    levels = rounded.abs().flatten(1).long()
    excess = levels.square().sum(1, keepdim=True) - floor((radius + ROUNDING) ** 2)
    gain = ((2 * levels - 1) * (outward > 0)).gather(1, order)  # what a level less takes off the sum of squares
    back = (gain > 0) & (gain.cumsum(1) - gain < excess)  # as long as those before do not suffice
    flipped = torch.zeros_like(back).scatter_(1, order, back).view_as(rounded)
    return rounded - rounded.sign() * flipped
