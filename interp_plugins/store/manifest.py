"""manifest.json: what an adversarial set is made from, written before its first image.

It holds all that decides the result: the method and its settings, the seed, the members by the sha256 of their weights,
the images by id and sha256, and the arithmetic layout. Two manifests without `differences` make the same bytes.
Times, hosts, ranks and batch sizes decide nothing and stand elsewhere.
"""

import json
from collections.abc import Iterator
from math import gcd
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Natural = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]


class Frozen(BaseModel):
    """A record that never changes and knows no field but its own."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Member(Frozen):
    """A network of the attacked ensemble."""

    name: str
    spec: str  # as typed
    sha256: Sha256  # of the weights in memory


class Data(Frozen):
    """The clean images."""

    spec: str
    size: Positive | None  # images are cut to squares of this side; None: as they are
    labels: str | None  # a table of labels elsewhere
    ids: tuple[str, ...] = Field(min_length=1)
    numbers: tuple[Natural, ...]  # the true classes
    sha256s: tuple[Sha256, ...]  # of the images' bytes
    classes: tuple[str, ...] | None

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> "Data":
        if not len(self.ids) == len(self.numbers) == len(self.sha256s):
            raise ValueError(
                f"expected a label and a sha256 for each of {len(self.ids)} images, got {len(self.numbers)} labels "
                f"and {len(self.sha256s)} sha256s"
            )
        if len(set(self.ids)) < len(self.ids):
            raise ValueError("expected ids that differ, got one twice")
        if strange := [name for name in self.ids if not _is_text(name)]:
            raise ValueError(f"expected ids that are Unicode text, got {strange[0]!r}; rename that file")
        return self


class Layout(Frozen):
    """How the arithmetic was laid out; other layouts give other last bits, and in the end other images."""

    tile: Positive  # rows of a network call
    precision: str  # of the search
    device: Literal["cpu", "cuda"]
    threads: Positive  # of one process
    processor: str
    torch: str


class Manifest(Frozen):
    """The content of manifest.json; c h w are the images' channels and sides, t the targets of an image."""

    schema_version: Literal[1] = 1
    kind: Literal["adversarial set"] = "adversarial set"
    method: str
    settings: dict[str, JsonValue]
    seed: int
    targets: Positive
    shape: tuple[Positive, Positive, Positive]
    images_per_shard: Positive
    members: tuple[Member, ...] = Field(min_length=1)
    data: Data
    layout: Layout
    versions: dict[str, str]
    digest: Sha256 | None = None  # of the whole set, once it is complete

    @property
    def shards(self) -> int:
        """How many shards the set has; the last one may be shorter than the others."""
        return -(-len(self.data.ids) // self.images_per_shard)

    def span(self, number: int) -> range:
        """The images of a shard, as places in `data`.

        Raises:
            ValueError: There is no shard of that number.
        """
        if not 0 <= number < self.shards:
            raise ValueError(f"expected a shard from 0 to {self.shards - 1}, got {number}")
        first = number * self.images_per_shard
        return range(first, min(first + self.images_per_shard, len(self.data.ids)))

    def result_settings(self) -> dict[str, JsonValue]:
        """What enters the set's digest, beside the records: images in the order of their ids, members as given."""
        data = self.data
        return {
            "method": self.method,
            "settings": self.settings,
            "seed": self.seed,
            "shape": list(self.shape),
            "members": [member.sha256 for member in self.members],
            "images": [list(image) for image in sorted(zip(data.ids, data.sha256s, data.numbers, strict=True))],
            "tile": self.layout.tile,
            "precision": self.layout.precision,
        }

    def differences(self, other: "Manifest") -> list[str]:
        """Whatever would make `other` another set than this one, a sentence each; empty if nothing.

        Example:
            A set of 20 steps, asked to go on with 10, answers ["steps: 20 in the set, 10 asked for"].
        """
        return list(self._differences(other))

    def _differences(self, other: "Manifest") -> Iterator[str]:
        yield from _unlike({"method": self.method}, {"method": other.method})
        yield from _unlike(self.settings, other.settings)
        for name, field in {
            "seed": "seed",
            "targets of an image": "targets",
            "shape": "shape",
            "images of a shard": "images_per_shard",
        }.items():
            yield from _unlike({name: getattr(self, field)}, {name: getattr(other, field)})
        if len(self.members) != len(other.members):
            yield f"members: {len(self.members)} in the set, {len(other.members)} asked for"
        for number, (mine, theirs) in enumerate(zip(self.members, other.members, strict=False), 1):
            if mine.sha256 != theirs.sha256:
                yield (
                    f"member {number}: weights {mine.sha256[:12]} ({mine.name}) in the set, "
                    f"{theirs.sha256[:12]} ({theirs.name}) asked for"
                )
        yield from self._data_differences(other.data)
        yield from _unlike(self.layout.model_dump(), other.layout.model_dump())

    def _data_differences(self, other: Data) -> Iterator[str]:
        """What differs between the set's images and others, a sentence for each kind of difference."""
        mine = self.data
        yield from _unlike({"size": mine.size}, {"size": other.size})
        if mine.ids != other.ids:
            if len(mine.ids) != len(other.ids):
                yield f"images: {len(mine.ids)} in the set, {len(other.ids)} asked for"
            pairs = zip(mine.ids, other.ids, strict=False)
            if first := next((pair for pair in pairs if pair[0] != pair[1]), None):
                yield f"images: the first other one is {first[0]!r} in the set, {first[1]!r} asked for"
            return
        for what, ours, theirs in (
            ("bytes", mine.sha256s, other.sha256s),
            ("labels", mine.numbers, other.numbers),
        ):
            changed = [name for name, a, b in zip(mine.ids, ours, theirs, strict=True) if a != b]
            if changed:
                named = ", ".join(map(repr, changed[:3])) + ", ..." * (len(changed) > 3)
                yield f"images: {len(changed)} of {len(mine.ids)} have other {what} ({named})"

    def to_json(self) -> str:
        """The text of manifest.json."""
        return self.model_dump_json(indent=2) + "\n"

    @classmethod
    def read(cls, path: Path) -> "Manifest":
        """Read a manifest.json and check it.

        Raises:
            ValueError: It is no manifest of this schema version; the message names the file.
        """
        try:
            return cls.model_validate_json(path.read_bytes(), strict=True)
        except ValueError as error:
            raise ValueError(f"expected the manifest of an adversarial set, version 1, at {path}: {error}") from error


def images_per_shard(n: int, t: int, tile: int) -> int:
    """How many images a shard holds: about 1,000 records, and fewer in small sets so that every process has work.

    A whole number of tiles, so that no network call is padded but the set's last.

    Args:
        n: Images in the set.
        t: Targets of an image.
        tile: Rows of a network call.

    Example:
        >>> images_per_shard(500_000, 10, 8), images_per_shard(200, 10, 8), images_per_shard(3, 10, 8)
        (100, 12, 4)
    """
    unit = tile // gcd(tile, t)
    return unit * min(max(n // (16 * unit), 1), max(1, 1000 // (unit * t)))


def canonical(value: Any) -> bytes:
    """The one way to write a JSON value that is hashed: sorted keys, no blanks, UTF-8.

    Raises:
        ValueError: It holds a number that is NaN or infinite.
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode()


def _is_text(name: str) -> bool:
    """Not so for a file whose name is no UTF-8."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _unlike(mine: dict[str, Any], theirs: dict[str, Any]) -> Iterator[str]:
    for name in [*mine, *(name for name in theirs if name not in mine)]:
        if name not in theirs:
            yield f"{name}: {_say(mine[name])} in the set, not asked for"
        elif name not in mine:
            yield f"{name}: not in the set, {_say(theirs[name])} asked for"
        elif canonical(mine[name]) != canonical(theirs[name]):
            yield f"{name}: {_say(mine[name])} in the set, {_say(theirs[name])} asked for"


def _say(value: object) -> str:
    return "none" if value is None else str(value)
