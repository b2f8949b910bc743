"""The attacks under which a network can be dissected: `fgsm:8/255`, `pgd:8/255:20`, `set:DIR`.

No image has a class here, so attacks lead away from what the network says of the clean image (Xie, Eq. 10).
"""

from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from interp_plugins.attacks import PGD, PredictedLabelFGSM
from interp_plugins.cli.attack import stored
from interp_plugins.cli.attack.request import fraction
from interp_plugins.dissection.dissection import Attack
from interp_plugins.foundation.prepare import Prepared, prepare
from interp_plugins.foundation.tiles import fill, spans
from interp_plugins.sources.marked import MarkedImages
from interp_plugins.store.dataset import AdversarialImages
from interp_plugins.store.sets import AdversarialSet

STEPS = 10
STEP = 1 / 4  # of the radius, a step of PGD
EXPECTED = "expected --attack fgsm:8/255, pgd:8/255, pgd:8/255:20 or set:FOLDER"


class Spec(NamedTuple):
    """An attack as it was typed."""

    kind: str
    epsilon: float = 0.0  # radius in [0, 1] pixels
    steps: int = 1
    folder: Path = Path()  # of a set

    @classmethod
    def read(cls, text: str) -> "Spec":
        """Read one.

        Raises:
            ValueError: It is none.
        """
        kind, _, rest = text.partition(":")
        if kind == "set" and rest:
            return cls(kind, folder=Path(rest).absolute())
        radius, colon, steps = rest.partition(":")
        known = {"fgsm": not colon, "pgd": not colon or (steps.isdecimal() and int(steps) > 0)}
        if not known.get(kind, False):
            raise ValueError(f"{EXPECTED}, got {text!r}")
        epsilon = fraction("attack", radius)
        if not 0 < epsilon <= 1:
            raise ValueError(f"{EXPECTED} with a radius above 0 and up to 1, got {text!r}")
        return cls(kind, epsilon, int(steps or STEPS) if kind == "pgd" else 1)

    def __str__(self) -> str:
        """What the attack is, in words."""
        if self.kind == "set":
            return "a stored set"
        radius = f"epsilon = {255 * self.epsilon:g}/255, away from the predicted class"
        return f"FGSM, {radius}" if self.kind == "fgsm" else f"PGD of {self.steps} steps, {radius}"


def attack_of(spec: Spec, network: nn.Module, images: MarkedImages, tile: int) -> Attack:
    """What makes attacked images of clean ones and their numbers; it does not matter which are attacked together.

    Args:
        spec: Which attack.
        network: Whom it is aimed at.
        images: All that will be attacked.
        tile: Rows a network call.

    Raises:
        ValueError: The network cannot be attacked, or the set is not finished or not of these images.
        FileNotFoundError: There is no such set.
    """
    if spec.kind == "set":
        return _Stored(stored.finished(spec.folder), images)
    device = next(network.parameters()).device
    member = prepare(network, images.tensor([0]).to(device).float() / 255)
    if spec.kind == "fgsm":
        step = PredictedLabelFGSM(epsilon=spec.epsilon, tile=tile)
        return lambda clean, _numbers: step(member, clean)
    search = PGD(epsilon=spec.epsilon, step_size=STEP * spec.epsilon, steps=spec.steps, tile=tile)
    return lambda clean, _numbers: search(member, clean, _predicted(member, clean, tile))


def _predicted(member: Prepared, images: Float[Tensor, "n c h w"], tile: int) -> Int[Tensor, " n"]:
    found = [
        member.logits(fill(images[span], tile))[: span.stop - span.start].argmax(1) for span in spans(len(images), tile)
    ]
    return torch.cat(found)


class _Stored:
    """The first attacked image that a set holds of each."""

    def __init__(self, found: AdversarialSet, images: MarkedImages) -> None:
        self._records = AdversarialImages(found)
        data, each = found.manifest.data, found.manifest.targets
        known = {sha256: place * each for place, sha256 in reversed(list(enumerate(data.sha256s)))}
        self._record = [known.get(images.sha256(number)) for number in range(len(images))]
        if missing := [images.ids[number] for number, record in enumerate(self._record) if record is None]:
            raise ValueError(
                f"expected each of the {len(images)} dissected images in the set {found.folder}, {len(missing)} are "
                f"not, or are other files there, the first {missing[0]!r}; make a set of all of them, or take a "
                "--limit"
            )
        shape = tuple(images.tensor([0]).shape[1:])
        if shape != found.manifest.shape:
            raise ValueError(
                f"expected attacked images of {shape} as the clean ones, got {found.manifest.shape} in {found.folder}; "
                "give the same --size"
            )

    def __call__(self, clean: Float[Tensor, "n c h w"], numbers: Int[Tensor, " n"]) -> Float[Tensor, "n c h w"]:
        records = [self._record[number] for number in numbers.tolist()]
        pixels = torch.stack([self._records[record].adversarial for record in records if record is not None])
        return pixels.to(clean.device).float() / 255
