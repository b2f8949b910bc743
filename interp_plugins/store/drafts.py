"""A shard before it is written, and the line that is written after it."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from interp_plugins.store.lines import Line, digits, file_name, record_digests
from interp_plugins.store.manifest import Manifest


@dataclass(frozen=True, kw_only=True)
class ShardDraft:
    """What was made for the n images of a shard, t targets each, by k members."""

    ids: tuple[str, ...]
    labels: Int[Tensor, " n"]
    targets: Int[Tensor, "n t"]
    images: UInt8[Tensor, "n t c h w"]
    fooled_before: Bool[Tensor, "n t k"]  # of the images before they were rounded to bytes
    steps: Int[Tensor, "n t"]  # the step whose iterate was kept; 0 is the clean image
    gradient_norms: Float[Tensor, "n t k"]
    origin: UInt8[Tensor, "n c h w"]  # the clean images, against which the change is measured


def check(draft: ShardDraft, manifest: Manifest, number: int) -> None:
    """Refuse a draft that is not the manifest's shard of that number.

    Raises:
        ValueError: Other images, labels, shapes or dtypes, or a class below 0.
    """
    span = manifest.span(number)
    n, t, k = len(span), manifest.targets, len(manifest.members)
    if draft.ids != manifest.data.ids[span.start : span.stop]:
        raise ValueError(
            f"expected the {n} images of shard {number} from {manifest.data.ids[span.start]!r} on, got others"
        )
    shapes = {
        "labels": (n,),
        "targets": (n, t),
        "images": (n, t, *manifest.shape),
        "fooled_before": (n, t, k),
        "steps": (n, t),
        "gradient_norms": (n, t, k),
        "origin": (n, *manifest.shape),
    }
    for name, shape in shapes.items():
        if (found := tuple(getattr(draft, name).shape)) != shape:
            raise ValueError(f"expected {name} of shape {shape}, got {found}")
    for name, dtype in {"images": torch.uint8, "origin": torch.uint8, "fooled_before": torch.bool}.items():
        if (given := getattr(draft, name).dtype) != dtype:
            raise ValueError(f"expected {name} of {dtype}, got {given}")
    if draft.labels.tolist() != list(manifest.data.numbers[span.start : span.stop]):
        raise ValueError(f"expected the labels of the manifest for shard {number}, got others")
    if (draft.targets < 0).any():
        raise ValueError(f"expected targets of at least 0, got {int(draft.targets.min())}")


def describe(number: int, draft: ShardDraft, fooled: Bool[Tensor, "n t k"], size: int, sha256: str) -> Line:
    """The line of a draft whose file has this size and sha256 and whose bytes, read back, fool these members."""
    before, targets, images = draft.fooled_before.cpu(), draft.targets.cpu(), draft.images.cpu()
    rmse, linf = changes(images, draft.origin.cpu())
    return Line.model_validate(
        {
            "number": number,
            "file": file_name(number),
            "bytes": size,
            "sha256": sha256,
            "ids": draft.ids,
            "records": record_digests(draft.ids, targets, images, before, fooled),
            "targets": targets.tolist(),
            "fooled_before": digits(before),
            "fooled": digits(fooled),
            "steps": draft.steps.tolist(),
            "rmse": rmse,
            "linf": linf,
            "gradient_norms": draft.gradient_norms.tolist(),
        }
    )


def changes(
    images: UInt8[Tensor, "n t c h w"], origin: UInt8[Tensor, "n c h w"]
) -> tuple[list[list[float]], list[list[int]]]:
    """Root mean square and largest change of a pixel, in grey levels, for each image and target.

    What is summed are integers, so the answer is the same on every machine.

    Example:
        >>> white = torch.full((1, 1, 1, 1, 2), 255, dtype=torch.uint8)
        >>> changes(white, torch.tensor([[[[255, 253]]]], dtype=torch.uint8))
        ([[1.4142135623730951]], [[2]])
    """
    rmse, linf = [], []
    for row, clean in zip(images, origin, strict=True):
        change = (row.to(torch.int32) - clean.to(torch.int32)).flatten(1)
        sums = change.square().sum(1, dtype=torch.int64).tolist()
        rmse.append([math.sqrt(total / clean.numel()) for total in sums])
        linf.append(change.abs().amax(1).tolist())
    return rmse, linf
