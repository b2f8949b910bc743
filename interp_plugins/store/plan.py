"""From an attack, networks and images to the manifest of the set that they would make."""

import platform
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from typing import Any, Protocol

import torch

from interp_plugins.attacks import EnsembleOptimization
from interp_plugins.attacks.targets import FixedTargets, parse
from interp_plugins.foundation.processor import processor
from interp_plugins.store.images import Images
from interp_plugins.store.manifest import Data, Layout, Manifest, Member, images_per_shard


class NamedImages(Images, Protocol):
    """Clean images that know their size and their classes, such as a `sources.images.ImageSet`."""

    @property
    def size(self) -> int | None:
        """The side of the square that they are cut to; None: as they are."""

    @property
    def classes(self) -> tuple[str, ...] | None:
        """The classes' names, if known."""


def plan(
    method: EnsembleOptimization,
    targets: str,
    members: Sequence[Member],
    images: NamedImages,
    spec: str,
    *,
    count: int | None = None,
    labels: str | None = None,
    sha256s: Sequence[str] | None = None,
    seed: int = 0,
    refine: int = 0,
    device: torch.device | str = "cpu",
    threads: int | None = None,
) -> Manifest:
    """Return the manifest that `AdversarialSet.create` writes and a `Generator` fulfils.

    Args:
        method: The attack, with a tile of its own.
        targets: Which classes each image is to be taken for, as `attacks.targets.parse` reads it: "least-likely:10".
        members: The networks, by name, spec and the sha256 of their weights.
        images: The clean images.
        spec: Where they come from, so that others find them.
        count: The first so many of them; None: all.
        labels: The table of labels, where it does not lie beside the images.
        sha256s: Of the images, where they are known; without them every image is read.
        seed: Of random targets.
        refine: Rounds of `LatticeRefinement`; 0: none.
        device: Where the networks run.
        threads: Of one process; None: as many as torch uses in this one.

    Raises:
        ValueError: The attack has no tile, the targets cannot be read, there are fewer images than `count`, or one of
            them cannot be read.
    """
    if method.tile is None:
        raise ValueError("expected an attack with a tile, such as tile=8: a set has one tile, whoever goes on with it")
    number = targets_per_image(targets)
    n = len(images.ids) if count is None else count
    if not 1 <= n <= len(images.ids):
        raise ValueError(f"expected from 1 to {len(images.ids)} images, which is all there are, got {n}")
    attack = {name: value for name, value in asdict(method).items() if name not in ("tile", "precision")}
    channels, height, width = images.tensor([0]).shape[1:]
    return Manifest(
        method=type(method).__name__,
        settings={**attack, "targets": targets, "refine": refine},
        seed=seed,
        targets=number,
        shape=(channels, height, width),
        images_per_shard=images_per_shard(n, number, method.tile),
        members=tuple(members),
        data=Data(
            spec=spec,
            size=images.size,
            labels=labels,
            ids=tuple(images.ids[:n]),
            numbers=tuple(images.labels[:n].tolist()),
            sha256s=tuple(sha256s) if sha256s is not None else tuple(images.sha256(i) for i in range(n)),
            classes=images.classes,
        ),
        layout=_layout(method.tile, method.precision, torch.device(device), threads or torch.get_num_threads()),
        versions={
            "python": platform.python_version(),
            **{name: version(name) for name in ("interp-plugins", "torch", "numpy")},
        },
    )


def targets_per_image(targets: str) -> int:
    """How many targets an image has under a policy such as "least-likely:10".

    Raises:
        ValueError: The text names no policy.
    """
    policy: Any = parse(targets)
    return len(policy.classes) if isinstance(policy, FixedTargets) else policy.k


def _layout(tile: int, precision: str, device: torch.device, threads: int) -> Layout:
    return Layout(
        tile=tile,
        precision=precision,
        device="cuda" if device.type == "cuda" else "cpu",
        threads=threads,
        processor=processor(device),
        torch=torch.__version__,
    )
