"""The line that says a shard is complete: `shards/00003.json`, written after the shard's file.

It names the file by size and sha256, and holds what is known of each record. Its first field is the sha256 of all the
others, so a line that was cut or altered is no line.
"""

import hashlib
import json
from itertools import chain
from typing import Annotated

import torch
from jaxtyping import Bool, Int, UInt8
from pydantic import Field, ValidationError, model_validator
from torch import Tensor

from interp_plugins.store.manifest import Frozen, Natural, Positive, Sha256, canonical

SEAL = b'{"line_sha256":"%s",'  # how a line begins

Flags = Annotated[str, Field(pattern=r"^[01]+$")]  # one digit a member, 1 if it was fooled
Grey = Annotated[int, Field(ge=0, le=255)]
Length = Annotated[float, Field(ge=0)]


class Line(Frozen):
    """What the manifest knows of a complete shard; lists run over images, then targets, then members."""

    number: Natural
    file: str  # a bare name, in the folder of the line
    bytes: Positive
    sha256: Sha256
    ids: tuple[str, ...] = Field(min_length=1)
    records: tuple[Sha256, ...]  # of each image with its targets and flags
    targets: tuple[tuple[Natural, ...], ...]
    fooled_before: tuple[tuple[Flags, ...], ...]
    fooled: tuple[tuple[Flags, ...], ...]
    steps: tuple[tuple[Natural, ...], ...]
    rmse: tuple[tuple[Length, ...], ...]
    linf: tuple[tuple[Grey, ...], ...]
    gradient_norms: tuple[tuple[tuple[Length, ...], ...], ...]

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> "Line":
        n, t, k = self.shape
        tables = (self.targets, self.fooled_before, self.fooled, self.steps, self.rmse, self.linf, self.gradient_norms)
        rows = list(chain.from_iterable(tables))
        cells = chain.from_iterable(chain(*table) for table in (self.fooled_before, self.fooled, self.gradient_norms))
        if (
            any(len(table) != n for table in (self.records, *tables))
            or any(len(row) != t for row in rows)
            or any(len(cell) != k for cell in cells)
        ):
            raise ValueError(f"expected tables of {n} images, {t} targets and {k} members throughout")
        return self

    @property
    def shape(self) -> tuple[int, int, int]:
        """Images n, targets t, members k."""
        row = self.fooled[0] if self.fooled else ()
        return len(self.ids), len(row), len(row[0]) if row else 0


def file_name(number: int) -> str:
    """The name of a shard's file."""
    return f"{number:05d}.safetensors"


def line_name(number: int) -> str:
    """The name of a shard's line."""
    return f"{number:05d}.json"


def to_bytes(line: Line) -> bytes:
    """The text of a line's file: JSON without a break."""
    body = json.dumps(line.model_dump(), separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode() + b"\n"
    return SEAL % hashlib.sha256(body).hexdigest().encode() + body[1:]


def from_bytes(text: bytes) -> Line:
    """Read a line back.

    Raises:
        ValueError: It is none, or was altered.
    """
    start = len(SEAL % (b"0" * 64))
    body = b"{" + text[start:]
    if text[:start] != SEAL % hashlib.sha256(body).hexdigest().encode():
        raise ValueError("it is not as it was written")
    try:
        return Line.model_validate_json(body, strict=True)
    except ValidationError as error:
        raise ValueError(f"it holds something else than expected: {error}") from error


def record_digests(
    ids: tuple[str, ...],
    targets: Int[Tensor, "n t"],
    images: UInt8[Tensor, "n t c h w"],
    fooled_before: Bool[Tensor, "n t k"],
    fooled: Bool[Tensor, "n t k"],
) -> tuple[str, ...]:
    """The sha256 of each image's id, targets, flags and bytes; the digest of a set is made of them."""
    flags = zip(digits(fooled_before), digits(fooled), strict=True)
    return tuple(
        hashlib.sha256(
            canonical({"id": ids[i], "targets": targets[i].tolist(), "before": before, "fooled": after})
            + b"\n"
            + images[i].contiguous().numpy().tobytes()
        ).hexdigest()
        for i, (before, after) in enumerate(flags)
    )


def digits(flags: Bool[Tensor, "n t k"]) -> tuple[tuple[str, ...], ...]:
    """Flags as text, such as "101" for the first and the third of three members."""
    return tuple(tuple("".join("01"[flag] for flag in cell) for cell in row) for row in flags.tolist())


def flags(texts: tuple[tuple[str, ...], ...]) -> Bool[Tensor, "n t k"]:
    """Text as flags; the inverse of `digits`."""
    return torch.tensor([[[digit == "1" for digit in cell] for cell in row] for row in texts])
