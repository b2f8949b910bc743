"""The same attack through the core, through torchattacks and through ART, and whether the bits are the same.

The hosts are asked for by name and need not be there: one that is missing or broken is a line that says what to type.
Nothing else in the core knows a host.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import interp_plugins
from interp_plugins.attacks import EnsembleOptimization
from interp_plugins.demo.folder import Folder, Recipe
from interp_plugins.demo.work import Numbers, Pictures
from interp_plugins.errors import InterpError

# torchattacks asks for a release of requests with known holes and never imports it: it goes in alone.
INSTALL = {
    "torchattacks": "pip install --no-deps 'torchattacks>=3.5.1'",
    "art": "pip install 'interp-plugins[art]'",
}


@dataclass(frozen=True)
class HostRun:
    """What came out of the attack through one door: the digest of the images, or why there is none."""

    host: str  # "core", "torchattacks" or "art"
    sha256: str | None  # of the float32 images' bytes
    problem: str = ""  # why there is no digest, in a sentence
    cure: str = ""  # what to type


def compare(
    method: EnsembleOptimization, members: Sequence[nn.Module], images: Pictures, targets: Numbers, classes: int
) -> tuple[HostRun, ...]:
    """Attack the same images towards the same targets through every door there is, the core's first.

    Args:
        method: The attack; `steps`, `step_size`, `distance_weight` and `tile` are handed on, the rest is the default.
        members: Networks in eval mode.
        images: Byte images (n, 3, h, w).
        targets: One class an image, (n,).
        classes: How many there are.
    """
    x, y = torch.from_numpy(images).float() / 255, torch.from_numpy(targets)
    doors: dict[str, Callable[[], Tensor]] = {
        "core": lambda: method(members, x, y),
        "torchattacks": lambda: _torchattacks(method, members, x, y),
        "art": lambda: _art(method, members, x, y, classes),
    }
    return tuple(_through(host, door) for host, door in doors.items())


def through_hosts(
    folder: Folder, members: Sequence[Recipe], method: EnsembleOptimization, images: Pictures, targets: Numbers
) -> tuple[HostRun, ...]:
    """As `compare`, with networks from their files, so that any process can do it."""
    networks = [folder.network(member) for member in members]
    return compare(method, networks, images, targets, members[0].classes)


def _through(host: str, door: Callable[[], Tensor]) -> HostRun:
    try:
        return HostRun(host, hashlib.sha256(door().contiguous().numpy().tobytes()).hexdigest())
    except (ImportError, InterpError) as error:
        return HostRun(host, None, " ".join(str(error).split()), INSTALL[host])


def _settings(method: EnsembleOptimization) -> dict[str, Any]:
    return {name: getattr(method, name) for name in ("steps", "step_size", "distance_weight", "tile")}


def _torchattacks(
    method: EnsembleOptimization, members: Sequence[nn.Module], images: Tensor, targets: Tensor
) -> Tensor:
    attack = interp_plugins.get("EnsembleOptimization", host="torchattacks")(
        members[0], surrogates=members[1:], **_settings(method)
    )
    attack.set_mode_targeted_by_label(quiet=True)
    adversarial: Tensor = attack(images, targets)
    return adversarial


def _art(
    method: EnsembleOptimization, members: Sequence[nn.Module], images: Tensor, targets: Tensor, classes: int
) -> Tensor:
    adapter = interp_plugins.get("EnsembleOptimization", host="art")
    # By name, since the core imports no host; it is there, or the line above had said so.
    classifier = import_module("art.estimators.classification").PyTorchClassifier
    first, *others = [
        classifier(
            model=member,
            loss=nn.CrossEntropyLoss(),
            input_shape=tuple(images.shape[1:]),
            nb_classes=classes,
            clip_values=(0.0, 1.0),
            device_type="cpu",
        )
        for member in members
    ]
    attack = adapter(first, surrogates=others, targeted=True, verbose=False, **_settings(method))
    return torch.from_numpy(np.asarray(attack.generate(x=images.numpy(), y=targets.numpy())))
