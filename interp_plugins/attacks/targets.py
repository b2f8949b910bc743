"""Which wrong classes an image is to be taken for.

A policy is a callable from the ensemble's mean probabilities (n, classes), the labels (n,) and one seed an image to
targets (n, t); any function of that signature serves. The paper's own policy is `LeastLikely(10)`: the ten classes to
which the networks together give the least probability on the clean image. Probabilities are averaged, not logits,
because the scale of logits differs from network to network; the true class is never a target.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp_plugins.foundation import check
from interp_plugins.foundation.borrow import borrow
from interp_plugins.foundation.prepare import judge
from interp_plugins.foundation.randomness import derive
from interp_plugins.foundation.tiles import fill, spans, tile_size

TargetPolicy = Callable[[Tensor, Tensor, Sequence[int]], Tensor]


@dataclass(frozen=True)
class LeastLikely:
    """The k least likely classes of the ensemble, least likely first; ties go to the lower class index."""

    k: int = 10

    def __post_init__(self) -> None:
        check.positive(k=self.k)

    def __call__(
        self, probabilities: Float[Tensor, "n classes"], labels: Int[Tensor, " n"], seeds: Sequence[int]
    ) -> Int[Tensor, "n t"]:
        """Targets of shape (n, k)."""
        _check_number(self.k, probabilities.shape[1], "least-likely")
        without_label = probabilities.scatter(1, labels[:, None], float("inf"))
        return without_label.sort(dim=1, stable=True).indices[:, : self.k]


@dataclass(frozen=True)
class RandomTargets:
    """k different classes drawn at random from all but the label, by each image's own seed."""

    k: int = 1

    def __post_init__(self) -> None:
        check.positive(k=self.k)

    def __call__(
        self, probabilities: Float[Tensor, "n classes"], labels: Int[Tensor, " n"], seeds: Sequence[int]
    ) -> Int[Tensor, "n t"]:
        """Targets of shape (n, k)."""
        classes = probabilities.shape[1]
        _check_number(self.k, classes, "random")
        rows = []
        for label, seed in zip(labels.tolist(), seeds, strict=True):
            generator = torch.Generator().manual_seed(derive(seed, "targets"))
            drawn = torch.randperm(classes - 1, generator=generator)[: self.k]
            rows.append(drawn + (drawn >= label))  # skip the label
        return torch.stack(rows).to(labels.device)


@dataclass(frozen=True)
class FixedTargets:
    """The same targets for every image; an image whose label is among them is refused."""

    classes: tuple[int, ...]

    def __call__(
        self, probabilities: Float[Tensor, "n classes"], labels: Int[Tensor, " n"], seeds: Sequence[int]
    ) -> Int[Tensor, "n t"]:
        """Targets of shape (n, len(classes))."""
        targets = torch.tensor(self.classes, device=labels.device)
        check.class_range(targets, probabilities.shape[1], "targets")
        return targets.expand(len(labels), -1)


def parse(text: str) -> TargetPolicy:
    """The policy that `least-likely:10`, `random:3` or `fixed:207,281` names.

    Raises:
        ValueError: The text names no policy.
    """
    name, _, argument = text.partition(":")
    try:
        match name:
            case "least-likely":
                return LeastLikely(int(argument or 10))
            case "random":
                return RandomTargets(int(argument or 1))
            case "fixed":
                return FixedTargets(tuple(int(number) for number in argument.split(",")))
    except ValueError as error:
        if "expected k" in str(error):
            raise
    raise ValueError(f"expected targets as least-likely:K, random:K or fixed:CLASS,CLASS, got {text!r}")


def mean_probabilities(
    classifiers: Sequence[object], images: Float[Tensor, "n c h w"], tile: int | None = None
) -> Float[Tensor, "n classes"]:
    """The softmax of each classifier on the images, averaged: what the ensemble believes.

    Asked of the original networks, in tiles, so that the ranking does not depend on how a network was prepared.
    """
    images = check.images(images)
    with borrow(*classifiers):
        return _mean_probabilities(classifiers, images, tile_size(tile, images.device))


def choose(
    targets: Tensor | TargetPolicy,
    classifiers: Sequence[object],
    images: Float[Tensor, "n c h w"],
    *,
    classes: int,
    labels: Int[Tensor, " n"] | None,
    seeds: Sequence[int],
    rows: int,
) -> tuple[Int[Tensor, "n t"], Int[Tensor, " n"] | None]:
    """The targets of images as a table, checked, on the images' device.

    Args:
        targets: Classes, (n,) or (n, t), or a policy that chooses them.
        classifiers: Whom a policy asks, borrowed by the caller.
        images: Float images in [0, 1].
        classes: How many classes there are.
        labels: The true classes; for a policy None means what the ensemble itself says.
        seeds: One an image.
        rows: Of a tile.

    Returns:
        The targets, and the labels if they are known by now.
    """
    n = len(images)
    if labels is not None:
        labels = check.labels(labels, n, classes).to(images.device)
    if not isinstance(targets, Tensor):
        if not callable(targets):
            raise TypeError(f"expected targets as a tensor or a policy, got {type(targets).__name__}")
        probabilities = _mean_probabilities(classifiers, images, rows)
        labels = probabilities.argmax(1) if labels is None else labels
        targets = targets(probabilities, labels, seeds)
    table = targets if targets.ndim == 2 else targets.reshape(-1, 1)
    for column in table.unbind(1):
        check.labels(column, n, classes, "targets")
    return table.to(images.device).long(), labels


def _mean_probabilities(classifiers: Sequence[object], images: Tensor, rows: int) -> Tensor:
    parts = []
    for span in spans(len(images), rows):
        filled = fill(images[span], rows)
        probabilities = [judge(classifier, filled).softmax(1) for classifier in classifiers]
        check.same_classes([p.shape[1] for p in probabilities])
        parts.append(torch.stack(probabilities).mean(0)[: span.stop - span.start])
    return torch.cat(parts)


def _check_number(k: int, classes: int, name: str) -> None:
    if k > classes - 1:
        raise ValueError(
            f"expected at most {classes - 1} targets an image from {classes} classes, got {k}; "
            f"write {name}:{classes - 1}"
        )
