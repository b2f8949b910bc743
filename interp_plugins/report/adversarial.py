"""The numbers of an adversarial set as rows of results.json, and as lines for a terminal.

Each rate is given twice: over all images, and over those that every attacked network names rightly when they are
clean, because an image that is misread anyway proves nothing. Success, transfer and sizes are those of the stored
bytes. What begins with "before rounding" is recorded and not measured: only the attack saw the images in floats.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from interp_plugins.report.results import Row, rate

if TYPE_CHECKING:
    from torch import Tensor

Flags = NDArray[np.bool_]
UNITS = ("images", "(image, target)", "(image, target, member)")


@runtime_checkable
class Measured(Protocol):
    """n images with t targets each, k attacked networks, K networks with those that are only asked, which come last."""

    @property
    def labels(self) -> "Tensor":
        """The true classes (n,)."""

    @property
    def targets(self) -> "Tensor":
        """Target classes (n, t)."""

    @property
    def clean_says(self) -> "Tensor":
        """Classes named for the clean images (n, K)."""

    @property
    def says(self) -> "Tensor":
        """Classes named for the stored images (n, t, K)."""

    @property
    def fooled_before(self) -> "Tensor":
        """Who named the target before rounding, as recorded (n, t, k)."""

    @property
    def steps(self) -> "Tensor":
        """The step whose image was kept, as recorded (n, t)."""

    @property
    def rmse(self) -> "Tensor":
        """In grey levels (n, t)."""

    @property
    def linf(self) -> "Tensor":
        """In grey levels (n, t)."""


def rows(names: Sequence[str], found: Measured) -> tuple[Row, ...]:
    """Return every number of a set, such as "success/all members at once/right when clean".

    Args:
        names: Of the attacked networks, then of those that were only asked; no two alike.
        found: What was measured, and what was recorded.
    """
    return tuple([*_rates(names, found), *_sizes(found)])


def lines(rows: Sequence[Row]) -> list[str]:
    """Return the rows as aligned text: name, value, counts and interval."""
    cells = [_cells(row) for row in rows]
    widths = [max(len(row[column]) for row in cells) for column in range(3)]
    return [
        f"{name:<{widths[0]}}  {value:>{widths[1]}}  {counts:>{widths[2]}}  {interval}".rstrip()
        for name, value, counts, interval in cells
    ]


def _rates(names: Sequence[str], found: Measured) -> Iterator[Row]:
    labels, targets, before = found.labels.numpy(), found.targets.numpy(), found.fooled_before.numpy()
    said, clean, k = found.says.numpy(), found.clean_says.numpy(), before.shape[2]
    fooled = said[:, :, :k] == targets[:, :, None]
    for column, name in enumerate(names):
        yield rate(f"accuracy/{name}", int((clean[:, column] == labels).sum()), len(labels), of="images")
    flags: dict[str, tuple[Flags, str]] = {
        f"success/{name}": (fooled[:, :, column], "") for column, name in enumerate(names[:k])
    }
    flags |= {"success/each member": (fooled, ""), "success/all members at once": (_all(fooled), "")}
    for column, name in enumerate(names[k:], k):
        flags |= {
            f"transfer/{name}/says the target": (said[:, :, column] == targets, ""),
            f"transfer/{name}/does not say the truth": (said[:, :, column] != labels[:, None], ""),
            f"clean/{name}/does not say the truth": (clean[:, column] != labels, ""),
        }
    recorded = "; before rounding as the attack recorded it, nobody else saw those images"
    flags |= {
        "before rounding/each member": (before, recorded),
        "before rounding/all members at once": (_all(before), recorded),
        "lost by rounding/all members at once": (_all(before) & ~_all(fooled), recorded),
        "won by rounding/all members at once": (~_all(before) & _all(fooled), recorded),
    }
    right = (clean[:, :k] == labels[:, None]).all(1)
    for name, (flag, note) in flags.items():
        for population, some in (("all images", np.ones(len(labels), bool)), ("right when clean", right)):
            picked = flag[some]
            yield rate(f"{name}/{population}", int(picked.sum()), picked.size, of=UNITS[flag.ndim - 1] + note)


def _all(flags: Flags) -> Flags:
    """Which records fool every member."""
    return np.asarray(flags.all(2))


def _sizes(found: Measured) -> Iterator[Row]:
    for measure, values, note in (
        ("rmse", found.rmse.numpy(), "of the change, in grey levels of 255"),
        ("linf", found.linf.numpy(), "of the change, in grey levels of 255"),
        ("step kept", found.steps.numpy(), "as the attack recorded it"),
    ):
        for quantile, word in ((0.5, "median"), (0.9, "90th percentile"), (1.0, "largest")):
            if values.size:
                method = f"{word} over (image, target), {note}"
                yield Row(name=f"{measure}/{word}", value=float(np.quantile(values, quantile)), method=method)


def _cells(row: Row) -> tuple[str, str, str, str]:
    if row.denominator is None or row.low is None or row.high is None:
        return row.name, f"{row.value:g}", "", "" if row.low is None else f"[{row.low:g}, {row.high:g}]"
    share = "-" if row.value is None else f"{100 * row.value:.2f} %"
    return row.name, share, f"{row.numerator} of {row.denominator}", f"[{100 * row.low:.2f}, {100 * row.high:.2f}]"
