"""Random numbers that depend on nothing but (seed, image number, name).

Each number is a hash (SplitMix64's finaliser), so image 7 of seed 0 draws the same numbers whatever is drawn before,
beside or after it, and a new question asked of the dice changes none of the old answers.
"""

import zlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Words: TypeAlias = NDArray[np.uint64]
Floats: TypeAlias = NDArray[np.floating[Any]]
Ints: TypeAlias = NDArray[np.int64]

GOLDEN = np.array([0x9E3779B97F4A7C15], np.uint64)  # arrays of one: numpy lets arrays of integers wrap, scalars warn


def mix(words: Words) -> Words:
    """SplitMix64's finaliser: each bit of the answer depends on each bit of the word."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


@lru_cache(maxsize=1024)
def _key(seed: int, name: str) -> Words:
    return mix(np.array([seed % 2**64], np.uint64) * GOLDEN + np.uint64(zlib.crc32(name.encode())))


@dataclass(frozen=True)
class Dice:
    """The dice of some images of one seed.

    Args:
        seed: Any integer; taken modulo 2**64.
        index: Image numbers, int64 (n,).
    """

    seed: int
    index: Ints

    def __getitem__(self, images: Ints) -> "Dice":
        return Dice(self.seed, self.index[images])

    def words(self, name: str) -> Words:
        """64 random bits for each image, (n,)."""
        return mix(mix(self.index.astype(np.uint64) * GOLDEN + _key(self.seed, name)))

    def between(self, name: str, low: float, high: float) -> Floats:
        """A number in [low, high) for each image, float32 (n, 1, 1): ready to meet pixels."""
        unit = (self.words(name) >> np.uint64(11)).astype(np.float64) / 2.0**53
        return (low + (high - low) * unit).astype(np.float32)[:, None, None]

    def four(self, name: str) -> Floats:
        """Four numbers in [0, 1) for each image, float32 (n, 4), in steps of 2**-16."""
        shifts = np.arange(0, 64, 16, dtype=np.uint64)
        return (self.words(name)[:, None] >> shifts & np.uint64(0xFFFF)).astype(np.float32) / np.float32(65536)

    def below(self, name: str, count: int) -> Ints:
        """An integer in [0, count) for each image, int64 (n,)."""
        return (self.words(name) % np.uint64(count)).astype(np.int64)

    def happens(self, name: str, chance: float) -> NDArray[np.bool_]:
        """True for this share of the images, bool (n, 1, 1)."""
        return self.between(name, 0.0, 1.0) < chance

    def noise(self, name: str, size: int) -> Floats:
        """A number in [-1, 1) for each pixel of each image, float32 (n, size, size), most often near 0."""
        pixel = np.arange(1, size * size + 1, dtype=np.uint64) * GOLDEN
        words = mix(self.words(name)[:, None] + pixel[None])
        halves = (words >> np.uint64(40)).astype(np.float32) + (words & np.uint64(0xFFFFFF)).astype(np.float32)
        return (halves / np.float32(2**24) - np.float32(1)).reshape(-1, size, size)
