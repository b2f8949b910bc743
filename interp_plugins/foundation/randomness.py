"""Randomness that depends on the run's seed and on the sample's name, never on order, neighbours or devices."""

import hashlib
from collections.abc import Sequence


def seeds(seed: int, ids: Sequence[str | int] | None, n: int) -> list[int]:
    """One 63-bit seed a sample, from the run's seed and the sample's id; without ids, from its place in the batch.

    Raises:
        ValueError: There are not n ids, or two are the same.
    """
    names = [str(name) for name in (ids if ids is not None else range(n))]
    if len(names) != n:
        raise ValueError(f"expected {n} ids, one an image, got {len(names)}")
    if len(set(names)) < n:
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"expected each id once, got {twice!r} twice")
    return [derive(seed, name) for name in names]


def derive(seed: int, *parts: str | int) -> int:
    """A 63-bit seed from another seed and a path of names or numbers below it."""
    text = "\x1f".join(map(str, (seed, *parts)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
