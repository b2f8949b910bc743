"""Signs of masked gradients: attacks that should be ordered by strength, and are not.

An attack that follows the gradient fails where the gradient leads nowhere, and then a network seems robust (Athalye,
Carlini and Wagner, arXiv:1802.00420). It shows when attacks of one ball are compared on the same images:

- One step breaks more than many, or few steps more than many.
- More steps, or AutoAttack, which does not depend on the gradient alone, break far more.

The limits are ours: 2 and 5 percentage points, where the images on which two attacks differ are not split evenly by
chance (b and c such images, further apart than 1.96 sqrt(b + c): McNemar's test).
"""

from collections.abc import Iterator, Mapping
from itertools import combinations
from math import sqrt

from jaxtyping import Bool
from torch import Tensor

from interp_plugins.cli.train.attacks import FOREIGN, STEPPED, Spec

WEAKER, STRONGER = 0.02, 0.05  # shares of all images
CHANCE = 1.96


def pairs(specs: Mapping[str, Spec]) -> list[tuple[str, str]]:
    """The attacks of one ball in pairs, the weaker one first."""
    found = []
    for one, other in combinations([name for name, spec in specs.items() if spec.epsilon], 2):
        a, b = specs[one], specs[other]
        if (a.norm, a.epsilon) == (b.norm, b.epsilon) and _strength(a) != _strength(b):
            found.append((one, other) if _strength(a) < _strength(b) else (other, one))
    return found


def signs(specs: Mapping[str, Spec], right: Mapping[str, Bool[Tensor, " n"]]) -> Iterator[str]:
    """What points at masked gradients, a sentence each.

    Args:
        specs: The attacks.
        right: Whether each image is read rightly under each of them.
    """
    for weaker, stronger in pairs(specs):
        only_weaker = int((~right[weaker] & right[stronger]).sum())
        only_stronger = int((right[weaker] & ~right[stronger]).sum())
        more, images = only_stronger - only_weaker, len(right[weaker])
        if abs(more) <= CHANCE * sqrt(only_weaker + only_stronger):
            continue
        a, b = specs[weaker], specs[stronger]
        if -more > WEAKER * images:
            yield f"{a} breaks {-more} images more than {b}, though it should be weaker: the gradient is masked."
        elif more > STRONGER * images and b.kind in FOREIGN and a.kind in STEPPED:
            yield f"{b} breaks {more} images more than {a}: the gradient misleads, so trust AutoAttack's number."
        elif more > STRONGER * images and b.kind in STEPPED and a.kind in STEPPED:
            yield f"{b} breaks {more} images more than {a}: add steps until nothing changes."


def _strength(spec: Spec) -> tuple[bool, int]:
    return spec.kind in FOREIGN, spec.steps
