"""A shard's file: the adversarial images of a fixed list of clean images, as safetensors.

    shards/00003.safetensors   images uint8 (n, t, c, h, w), targets int64 (n, t), labels int64 (n,); metadata: the ids

The same content is the same file to the byte, whenever and by whichever library: the header is written here, in one
fixed order. It is read through the safetensors library, which checks it, and then held against what is expected.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float, Int, UInt8
from safetensors import SafetensorError, safe_open
from torch import Tensor

from interp_plugins.store.drafts import ShardDraft

# name, dtype and its codes in safetensors and numpy, in the order in which they lie in the file
TENSORS = (
    ("labels", torch.int64, "I64", "<i8"),
    ("targets", torch.int64, "I64", "<i8"),
    ("images", torch.uint8, "U8", "|u1"),
)


@dataclass(frozen=True, kw_only=True)
class Shard:
    """A shard as it was read back and checked: n images, t targets each, k members."""

    number: int
    ids: tuple[str, ...]
    labels: Int[Tensor, " n"]
    targets: Int[Tensor, "n t"]
    images: UInt8[Tensor, "n t c h w"]
    fooled_before: Bool[Tensor, "n t k"]  # before the images were rounded to bytes
    fooled: Bool[Tensor, "n t k"]  # of the bytes in the file
    steps: Int[Tensor, "n t"]  # the step whose iterate was kept; 0 is the clean image
    rmse: Float[Tensor, "n t"]  # root of the mean squared change of a pixel, in grey levels
    linf: Int[Tensor, "n t"]  # largest change of a pixel, in grey levels
    gradient_norms: Float[Tensor, "n t k"]


def write_tensors(write: Callable[[bytes | memoryview], object], draft: ShardDraft) -> str:
    """Write a draft's images, targets and labels, piece by piece.

    Args:
        write: Takes the pieces in order, such as a file's `write`.
        draft: Of which other fields are left out.

    Returns:
        The sha256 of what was written.
    """
    header: dict[str, Any] = {"__metadata__": {"ids": _listed(draft.ids)}}
    pieces: list[memoryview | bytes] = []
    end = 0
    for name, dtype, code, layout in TENSORS:
        array = getattr(draft, name).to(dtype).cpu().contiguous().numpy().astype(layout, copy=False)
        start, end = end, end + array.nbytes
        header[name] = {"dtype": code, "shape": list(array.shape), "data_offsets": [start, end]}
        pieces.append(array.data.cast("B"))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    digest = hashlib.sha256()
    for piece in (len(text).to_bytes(8, "little"), text, *pieces):
        digest.update(piece)
        write(piece)
    return digest.hexdigest()


@contextmanager
def opened(path: Path, ids: tuple[str, ...], targets: int, shape: tuple[int, int, int]) -> Iterator[Any]:
    """Open a shard's file for reading, whole or in slices, once its header is as expected.

    Args:
        path: The file.
        ids: The images that have to be in it.
        targets: How many targets each of them has.
        shape: Channels, height and width.

    Yields:
        The library's handle: `get_tensor(name)` and `get_slice(name)[...]` of "images", "targets" and "labels".

    Raises:
        ValueError: The header is another one; the message says how.
    """
    n = len(ids)
    expected = {"labels": [n], "targets": [n, targets], "images": [n, targets, *shape]}
    try:
        with safe_open(path, framework="pt") as file:
            if sorted(file.keys()) != sorted(expected):
                raise ValueError(f"expected the tensors {sorted(expected)}, got {sorted(file.keys())}")
            for name, _, code, _ in TENSORS:
                piece = file.get_slice(name)
                if (found := (piece.get_dtype(), piece.get_shape())) != (code, expected[name]):
                    raise ValueError(f"expected {name} of {(code, expected[name])}, got {found}")
            if (file.metadata() or {}).get("ids") != _listed(ids):
                raise ValueError("expected the ids of the manifest, got others")
            yield file
    except SafetensorError as error:
        raise ValueError(f"it is no whole safetensors file ({error})") from error


def _listed(ids: tuple[str, ...]) -> str:
    return json.dumps(ids, ensure_ascii=False)
