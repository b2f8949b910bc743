"""What a set is made from: images, networks and an attack, loaded; and the manifest that says so."""

import io
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext, redirect_stderr
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from interp_plugins.attacks import EnsembleOptimization
from interp_plugins.cli.attack.request import Request
from interp_plugins.foundation.tiles import tile_size
from interp_plugins.sources import images, models, weights
from interp_plugins.store.manifest import Manifest, Member
from interp_plugins.store.plan import plan


@dataclass(frozen=True)
class Inputs:
    """What was loaded for a request; the networks are on the CPU."""

    given: Request
    device: torch.device  # where the set is to be made
    method: EnsembleOptimization
    images: images.ImageSet
    count: int  # how many of them, from the first on
    members: tuple[Member, ...]
    modules: tuple[nn.Module, ...]

    def manifest(self, sha256s: Sequence[str] | None = None) -> Manifest:
        """The manifest of the set that is asked for.

        Args:
            sha256s: Of the images, where they are known; without them every image is read.

        Raises:
            ValueError: An image cannot be read.
        """
        given = self.given
        return plan(
            self.method,
            given.targets,
            self.members,
            self.images,
            str(Path(given.data).absolute()),
            count=self.count,
            labels=None if given.labels is None else str(Path(given.labels).absolute()),
            sha256s=sha256s,
            seed=given.seed,
            refine=given.refine,
            device=self.device,
            threads=1,
        )


def load(given: Request, device: torch.device, quiet: bool) -> Inputs:
    """Load what was asked for.

    Args:
        given: The request.
        device: Where the set is to be made.
        quiet: Leave out what loading says on stderr, because another process has said it.

    Raises:
        ValueError: A setting, a model or the images are not as expected.
        FileNotFoundError: A file is not there.
    """
    method = given.method(tile_size(given.tile, device))
    given.policy()  # what is mistyped is told before anything is loaded
    clean = images.load(given.data, given.size, given.labels)
    count = len(clean) if given.limit is None else given.limit
    if count > len(clean):
        raise ValueError(f"expected --limit of at most {len(clean)}, the images in {given.data}, got {count}")
    with redirect_stderr(io.StringIO()) if quiet else nullcontext():
        loaded = [models.load(spec) for spec in given.model]
    members = tuple(
        Member(name=name, spec=each.spec, sha256=weights.digest(each.module))
        for name, each in zip(unlike([each.name for each in loaded]), loaded, strict=True)
    )
    return Inputs(given, device, method, clean, count, members, tuple(each.module for each in loaded))


def unlike(names: list[str]) -> list[str]:
    """Names, numbered where two are the same."""
    often = Counter(names)
    return [f"{name} ({i})" if often[name] > 1 else name for i, name in enumerate(names, 1)]
