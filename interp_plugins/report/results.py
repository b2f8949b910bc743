"""results.json: what a run found, and everything that is needed to run it again.

The file holds only what the settings, the seed and the inputs decide, so two equal runs write the same bytes. Times,
hosts and folders belong in `run.json`, beside it.

A rate is a count out of a count with its Wilson score interval (Wilson 1927): with p = k / n and z = 1.96,

    centre = (p + z^2 / 2n) / (1 + z^2 / n)
    half   = z / (1 + z^2 / n) * sqrt(p (1 - p) / n + z^2 / 4n^2)

It stays inside [0, 1] and keeps a width at k = 0 and k = n, where the textbook interval collapses to a point.
"""

import json
from math import sqrt
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

from interp_plugins.foundation.files import write_whole

SCHEMA_VERSION: Final = 1
_Z = 1.959963984540054  # the normal distribution's 97.5 % point: 95 % in the middle


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Input(_Frozen):
    """Something the run read, drew or trained, and the sha256 that tells it from another."""

    name: str
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class Row(_Frozen):
    """One number with what stands behind it.

    A rate has `numerator / denominator = value` and `low <= value <= high`; its value is None when nothing was counted.
    Any other number has a value, and `method` says what it is.
    """

    name: str
    value: float | None
    numerator: int | None = Field(default=None, ge=0)
    denominator: int | None = Field(default=None, ge=0)
    low: float | None = None
    high: float | None = None
    method: str

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> "Row":
        if (self.numerator is None) != (self.denominator is None) or (self.low is None) != (self.high is None):
            raise ValueError(f"expected both counts and both bounds or neither in row {self.name!r}")
        bounded = self.low is not None and self.high is not None and self.value is not None
        if bounded and not self.low <= self.value <= self.high:  # type: ignore[operator]
            raise ValueError(f"expected low <= value <= high in row {self.name!r}")
        if self.value is None and self.denominator != 0:
            raise ValueError(f"expected a value in row {self.name!r}; only a rate of nothing has none")
        return self


class Results(_Frozen):
    """The content of results.json."""

    schema_version: Literal[1] = SCHEMA_VERSION
    command: tuple[str, ...]
    settings: dict[str, JsonValue]
    versions: dict[str, str]
    seed: int
    inputs: tuple[Input, ...]
    rows: tuple[Row, ...]

    @model_validator(mode="after")
    def _names_are_unique(self) -> "Results":
        names = [row.name for row in self.rows]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"expected every row to have a name of its own, got {twice[0]!r} twice")
        return self

    def row(self, name: str) -> Row:
        """Return the row of that name.

        Raises:
            KeyError: There is none.
        """
        for row in self.rows:
            if row.name == name:
                return row
        raise KeyError(name)

    def to_json(self) -> str:
        """Return the text of results.json: sorted keys, two blanks an indent, a newline at the end."""
        return json.dumps(self.model_dump(mode="json"), indent=2, sort_keys=True, ensure_ascii=False) + "\n"

    def write(self, path: str | Path) -> None:
        """Write results.json, whole or not at all."""
        write_whole(Path(path), self.to_json())

    @classmethod
    def read(cls, path: str | Path) -> "Results":
        """Read a results.json back and check it.

        Raises:
            ValueError: It is no results.json of this schema version; the message names the file.
        """
        try:
            return cls.model_validate_json(Path(path).read_bytes())
        except ValueError as error:
            raise ValueError(
                f"expected a results.json of schema version {SCHEMA_VERSION} at {path}: {error}"
            ) from error


def rate(name: str, numerator: int, denominator: int, *, of: str = "") -> Row:
    """Return numerator / denominator as a row with its Wilson 95 % interval.

    Args:
        name: What the rate is of.
        numerator: How often it happened, 0 to `denominator`.
        denominator: How often it could have; 0 gives a row without a value, whose interval is [0, 1].
        of: What was counted, such as "images"; it goes into the row's method.

    Raises:
        ValueError: The counts are negative or the first is larger than the second.

    Example:
        >>> row = rate("heads", 5, 10)
        >>> row.value, round(row.low, 4), round(row.high, 4)
        (0.5, 0.2366, 0.7634)
    """
    if not 0 <= numerator <= denominator:
        raise ValueError(f"expected counts with 0 <= numerator <= denominator, got {numerator} of {denominator}")
    low, high = _wilson(numerator, denominator)
    value = numerator / denominator if denominator else None
    method = f"count of {of}, Wilson 95 % interval" if of else "count, Wilson 95 % interval"
    return Row(name=name, value=value, numerator=numerator, denominator=denominator, low=low, high=high, method=method)


def schema() -> dict[str, Any]:
    """Return the JSON Schema of results.json."""
    return Results.model_json_schema(mode="serialization")


def _wilson(k: int, n: int) -> tuple[float, float]:
    if n == 0:
        return 0.0, 1.0
    p, z2 = k / n, _Z * _Z
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z / (1 + z2 / n) * sqrt(p * (1 - p) / n + z2 / (4 * n * n))
    # At the ends the formula is exact on paper; rounding may leave it 1e-17 short of the value it must hold.
    low = 0.0 if k == 0 else min(p, centre - half)
    high = 1.0 if k == n else max(p, centre + half)
    return low, high
