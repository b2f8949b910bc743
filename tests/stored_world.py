"""A small finished set with its images and networks, as files and in memory."""

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from interp_plugins.attacks import EnsembleOptimization
from interp_plugins.attacks.targets import mean_probabilities, parse
from interp_plugins.foundation.randomness import seeds
from interp_plugins.sources import images, models
from interp_plugins.sources.images import ImageSet
from interp_plugins.sources.weights import digest
from interp_plugins.store.drafts import ShardDraft
from interp_plugins.store.judging import says
from interp_plugins.store.manifest import Data, Layout, Manifest, Member
from interp_plugins.store.sets import AdversarialSet

NETS = """
import torch
from torch import nn

def net(seed):
    generator = torch.Generator().manual_seed(seed)
    net = nn.Sequential(nn.AvgPool2d(4), nn.Flatten(), nn.Linear(12, 5))
    net[2].weight.data = torch.randn(5, 12, generator=generator)
    net[2].bias.data = torch.randn(5, generator=generator) / 4
    return net

def first(): return net(1)
def second(): return net(2)
def third(): return net(3)
"""
POLICY = "least-likely:2"


@dataclass(frozen=True)
class World:
    """What there is in a folder: nets.py, photos.npz and, once it is written, set."""

    folder: Path
    clean: ImageSet

    @property
    def set(self) -> Path:
        return self.folder / "set"

    @property
    def specs(self) -> list[str]:
        return [f"{self.folder / 'nets.py'}:{name}" for name in ("first", "second")]

    @property
    def heldout(self) -> str:
        return f"{self.folder / 'nets.py'}:third"

    def modules(self) -> list[nn.Module]:
        return [models.load(spec).module for spec in self.specs]

    def digests(self) -> list[str]:
        return [digest(module) for module in self.modules()]


def world(folder: Path, n: int = 7, side: int = 8) -> World:
    """Images and networks in a folder."""
    (folder / "nets.py").write_text(NETS)
    pixels = np.random.default_rng(n).integers(0, 256, (n, 3, side, side), dtype=np.uint8)
    names = ("ant", "bee", "cat", "dog", "eel")
    np.savez(folder / "photos.npz", images=pixels, labels=np.arange(n) % 5, classes=names)
    return World(folder, images.load(folder / "photos.npz"))


def manifest(there: World, per_shard: int = 3) -> Manifest:
    clean, n = there.clean, len(there.clean)
    return Manifest(
        method="EnsembleOptimization",
        settings={"steps": 3, "step_size": 5 / 255, "targets": POLICY, "refine": 0},
        seed=4,
        targets=2,
        shape=tuple(clean.tensor([0]).shape[1:]),
        images_per_shard=per_shard,
        members=tuple(
            Member(name=name, spec=spec, sha256=sha256)
            for name, spec, sha256 in zip(("first", "second"), there.specs, there.digests(), strict=True)
        ),
        data=Data(
            spec=str(there.folder / "photos.npz"),
            size=None,
            labels=None,
            ids=clean.ids,
            numbers=tuple(clean.labels.tolist()),
            sha256s=tuple(clean.sha256(i) for i in range(n)),
            classes=clean.classes,
        ),
        layout=Layout(tile=8, precision="fp32", device="cpu", threads=1, processor="any", torch=torch.__version__),
        versions={},
    )


def draft(there: World, of: Manifest, number: int, attacked: bool = True) -> ShardDraft:
    """A shard of attacked images, every second record changed at random only, so that flags are mixed."""
    span = of.span(number)
    origin, ids = there.clean.tensor(span), tuple(of.data.ids[i] for i in span)
    labels = torch.tensor([of.data.numbers[i] for i in span])
    chosen = parse(POLICY)(
        mean_probabilities(there.modules(), origin.float() / 255, 8), labels, seeds(4, ids, len(ids))
    )
    generator = torch.Generator().manual_seed(number)
    change = torch.randint(-90, 91, (len(ids), 2, *of.shape), generator=generator)
    noisy = (origin[:, None].int() + change).clamp(0, 255).to(torch.uint8)
    images = noisy
    if attacked:
        attack = EnsembleOptimization(steps=10, step_size=40 / 255, tile=8)
        found = attack(there.modules(), origin.float() / 255, chosen[:, 0])
        images = torch.stack([(found * 255).round().to(torch.uint8), noisy[:, 1]], 1)
    return ShardDraft(
        ids=ids,
        labels=labels,
        targets=chosen,
        images=images,
        fooled_before=torch.rand(len(ids), 2, 2, generator=generator) < 0.5,
        steps=torch.randint(0, 4, (len(ids), 2), generator=generator),
        gradient_norms=torch.rand(len(ids), 2, 2, generator=generator),
        origin=origin,
    )


def judge(there: World):
    modules = there.modules()

    def fooled(pixels: Tensor, targets: Tensor) -> Tensor:
        said = says(modules, pixels.flatten(0, 1), 8)
        return (said == targets.flatten()[:, None]).unflatten(0, targets.shape)

    return fooled


def write(there: World, per_shard: int = 3, without: tuple[int, ...] = (), attacked: bool = True) -> AdversarialSet:
    """The set, sealed unless shards are left out."""
    made = AdversarialSet.create(there.set, manifest(there, per_shard))
    for number in range(made.manifest.shards):
        if number not in without:
            made.write(number, draft(there, made.manifest, number, attacked), judge(there))
    if not without:
        made.seal()
    return AdversarialSet.open(there.set)


def copy(there: World, folder: Path) -> World:
    """The same files elsewhere; the manifest still names images and networks where they were."""
    shutil.copytree(there.folder, folder, dirs_exist_ok=True)
    return World(folder, there.clean)


def rewrite(there: World, number: int, **changed: Tensor) -> None:
    """Write a shard again with other content, as somebody would who knows the format."""
    made = AdversarialSet.open(there.set)
    made.write(number, replace(draft(there, made.manifest, number), **changed), judge(there))
