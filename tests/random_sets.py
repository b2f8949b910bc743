"""Sets of random images, whose every shard is decided by its number, and a judge that needs no network."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from interp_plugins.store.drafts import ShardDraft
from interp_plugins.store.manifest import Data, Layout, Manifest, Member
from interp_plugins.store.sets import AdversarialSet


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def manifest(
    n: int = 5,
    t: int = 2,
    k: int = 3,
    shape: tuple[int, int, int] = (3, 4, 4),
    per_shard: int = 2,
    ids: tuple[str, ...] | None = None,
    **fields: Any,
) -> Manifest:
    ids = ids or tuple(f"photos/{number}.jpg" for number in range(n))
    known = {
        "method": "EnsembleOptimization",
        "settings": {"steps": 20, "step_size": 5 / 255, "targets": "least-likely:2", "refine": 0},
        "seed": 0,
        "targets": t,
        "shape": shape,
        "images_per_shard": per_shard,
        "members": tuple(Member(name=f"net{i}", spec=f"nets.py:net{i}", sha256=sha256(f"net{i}")) for i in range(k)),
        "data": Data(
            spec="photos",
            size=None,
            labels=None,
            ids=ids,
            numbers=tuple(number % 7 for number in range(len(ids))),
            sha256s=tuple(map(sha256, ids)),
            classes=None,
        ),
        "layout": Layout(tile=8, precision="fp32", device="cpu", threads=1, processor="any", torch="2.11"),
        "versions": {"python": "3.11"},
    }
    return Manifest(**{**known, **fields})


def draft(of: Manifest, number: int, seed: int = 0) -> ShardDraft:
    span, t, k = of.span(number), of.targets, len(of.members)
    n, chance = len(span), torch.Generator().manual_seed(1000 * seed + number)
    return ShardDraft(
        ids=of.data.ids[span.start : span.stop],
        labels=torch.tensor(of.data.numbers[span.start : span.stop]),
        targets=torch.randint(0, 1000, (n, t), generator=chance),
        images=torch.randint(0, 256, (n, t, *of.shape), generator=chance, dtype=torch.uint8),
        fooled_before=torch.rand(n, t, k, generator=chance) < 0.5,
        steps=torch.randint(0, 20, (n, t), generator=chance),
        gradient_norms=torch.rand(n, t, k, generator=chance),
        origin=torch.randint(0, 256, (n, *of.shape), generator=chance, dtype=torch.uint8),
    )


def judge(k: int = 3):
    """Member i is fooled by an image if bit i of the sum of its bytes is set."""

    def fooled(images: Tensor, targets: Tensor) -> Tensor:
        sums = images.flatten(2).sum(2, dtype=torch.int64)
        return torch.stack([(sums >> i) % 2 == 1 for i in range(k)], 2)

    return fooled


def write(made: AdversarialSet, numbers: Iterable[int] | None = None) -> AdversarialSet:
    for number in range(made.manifest.shards) if numbers is None else numbers:
        made.write(number, draft(made.manifest, number), judge(len(made.manifest.members)))
    return made


def finished(folder: Path, **fields: Any) -> AdversarialSet:
    return write(AdversarialSet.create(folder / "set", manifest(**fields)))


def content(made: AdversarialSet) -> dict[str, bytes]:
    """All files of the set's shards."""
    return {file.name: file.read_bytes() for file in sorted((made.folder / "shards").iterdir())}


def forged_line(fields: dict[str, object]) -> bytes:
    """A line with any content, sealed as by somebody who knows the format."""
    body = json.dumps(fields).encode() + b"\n"
    return b'{"line_sha256":"%s",' % hashlib.sha256(body).hexdigest().encode() + body[1:]
