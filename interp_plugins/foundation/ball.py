"""The two balls of the field, Linf and L2, around a batch of images: project, step, start at random.

All functions treat each image of shape (c, h, w) by itself. Perturbations have the images' units: [0, 1] pixels, so an
epsilon of `8 / 255` is eight grey levels. Projection is exact: what is inside stays to the bit.
"""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from interp_plugins.foundation import check

Norm = Literal["linf", "l2"]
NORMS = ("linf", "l2")
TINY = 1e-12


def length(delta: Float[Tensor, "n c h w"]) -> Float[Tensor, "n 1 1 1"]:
    """Euclidean length of each image's perturbation."""
    size: Tensor = delta.flatten(1).norm(dim=1)
    return size.view(-1, 1, 1, 1)


def project(
    images: Float[Tensor, "n c h w"], origin: Float[Tensor, "n c h w"], epsilon: float | None, norm: Norm
) -> Float[Tensor, "n c h w"]:
    """The nearest point of the ball of radius `epsilon` around `origin`, then of the box [0, 1].

    Both hold at once because the origin itself lies in the box. `epsilon=None` leaves the box alone to hold.
    """
    if epsilon is None:
        return images.clamp(0, 1)
    if norm == "linf":
        return images.clamp(origin - epsilon, origin + epsilon).clamp_(0, 1)
    delta = images - origin
    size = length(delta)
    return torch.where(size > epsilon, origin + delta * (epsilon / size.clamp_min(TINY)), images).clamp_(0, 1)


def steepest(gradient: Float[Tensor, "n c h w"], norm: Norm) -> Float[Tensor, "n c h w"]:
    """The unit step of steepest ascent: the sign for Linf, the normalised gradient for L2 (zero where it vanishes)."""
    if norm == "linf":
        return gradient.sign()
    return gradient / length(gradient).clamp_min(TINY)


def random_start(
    origin: Float[Tensor, "n c h w"], epsilon: float, norm: Norm, seeds: list[int]
) -> Float[Tensor, "n c h w"]:
    """A point drawn uniformly from each image's ball, then put into the box; one seed an image.

    Drawn on the CPU, so that a start does not depend on the device. In L2 the direction is Gaussian and the radius
    epsilon u^(1/d), d values an image: uniform in volume.
    """
    rows = []
    for image, seed in zip(origin, seeds, strict=True):
        generator = torch.Generator().manual_seed(seed)
        if norm == "linf":
            delta = (torch.rand(image.shape, generator=generator, dtype=torch.float64) * 2 - 1) * epsilon
        else:
            delta = torch.randn(image.shape, generator=generator, dtype=torch.float64)
            radius = epsilon * torch.rand((), generator=generator, dtype=torch.float64) ** (1 / image.numel())
            delta *= radius / delta.norm()
        rows.append(delta.to(image))
    return project(origin + torch.stack(rows), origin, epsilon, norm)


def check_ball(epsilon: float | None, norm: str) -> None:
    """Check a radius in [0, 1] pixel units and the name of its norm."""
    check.one_of("norm", norm, NORMS)
    if epsilon is None:
        return
    check.positive(epsilon=epsilon)
    if norm == "linf" and epsilon > 1:
        raise ValueError(f"expected epsilon in units of [0, 1] pixels, got {epsilon}; write {epsilon:g} / 255")
