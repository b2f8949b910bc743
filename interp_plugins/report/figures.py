"""Drawings for a page, each made twice: for a light and for a dark background.

They use matplotlib's own objects, never pyplot: nothing global is touched, and no window can open.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import cast

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.gridspec import SubplotSpec

from interp_plugins.report.page import Figure
from interp_plugins.report.results import Row


@dataclass(frozen=True)
class Palette:
    """The colours of one theme, the same as the page's."""

    ink: str
    soft: str
    line: str
    accent: str
    target: str


LIGHT = Palette(ink="#1d1f23", soft="#5c6370", line="#e4e1da", accent="#3b5bdb", target="#c2410c")
DARK = Palette(ink="#e8e6e1", soft="#a0a6b0", line="#2d3139", accent="#8ea6ff", target="#ff9a5c")


def draw(paint: Callable[[Axes, Palette], None], *, alt: str, caption: str = "", height: float = 3.0) -> Figure:
    """Return what `paint` draws, once in each theme.

    Args:
        paint: Draws on the axes it is given, in the colours it is given.
        alt: What can be seen, for those who cannot see it.
        caption: What it means.
        height: In inches; the width is 7.5, at 144 dots an inch.
    """
    return Figure(light=_png(paint, LIGHT, height), dark=_png(paint, DARK, height), alt=alt, caption=caption)


def rates(rows: Sequence[tuple[str, Row]], *, alt: str, caption: str = "") -> Figure:
    """Draw rates as points with their intervals, one line each, the first on top."""

    def paint(axes: Axes, palette: Palette) -> None:
        for place, (_, row) in enumerate(rows):
            if row.value is None or row.low is None or row.high is None:
                continue
            axes.plot([row.low * 100, row.high * 100], [place, place], color=palette.accent, linewidth=6, alpha=0.35)
            axes.plot([row.value * 100], [place], "o", color=palette.accent, markersize=9)
            right = row.value < 0.85
            axes.annotate(
                f"{100 * row.value:.1f} %",
                (row.high * 100 if right else row.low * 100, place),
                xytext=(10 if right else -10, 0),
                textcoords="offset points",
                ha="left" if right else "right",
                va="center",
                color=palette.ink,
            )
        axes.set_yticks(range(len(rows)), [name for name, _ in rows])
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.set_xlim(-2, 102)
        axes.set_xlabel("per cent, with the 95 % interval")
        axes.grid(axis="x", color=palette.line)

    return draw(paint, alt=alt, caption=caption, height=0.9 + 0.42 * len(rows))


def histogram(values: Sequence[float], *, label: str, alt: str, caption: str = "", mark: float | None = None) -> Figure:
    """Draw how often each size occurs; `mark` is a value to point at, such as the median."""

    def paint(axes: Axes, palette: Palette) -> None:
        axes.hist(values, bins=min(40, max(5, len(values) // 8)), color=palette.accent, rwidth=0.92)
        if mark is not None:
            axes.axvline(mark, color=palette.target, linewidth=2)
            axes.annotate(
                f"median {mark:.2f}",
                (mark, 1),
                xycoords=("data", "axes fraction"),
                xytext=(6, -4),
                textcoords="offset points",
                va="top",
                color=palette.target,
            )
        axes.set_xlim(left=0)
        axes.set_ylim(top=axes.get_ylim()[1] * 1.15)  # room for the mark's words above the bars
        axes.set_xlabel(label)
        axes.set_ylabel("adversarial images")
        axes.grid(axis="y", color=palette.line)

    return draw(paint, alt=alt, caption=caption)


def dress(axes: Axes, palette: Palette) -> None:
    """Give axes their theme: for `draw`, and for what makes further axes beside those it is given."""
    axes.set_facecolor("none")
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(palette.line)
    axes.tick_params(length=0, colors=palette.soft)
    axes.xaxis.label.set_color(palette.soft)
    axes.yaxis.label.set_color(palette.soft)


def split(axes: Axes, palette: Palette, heights: tuple[float, float], apart: float = 0.05) -> tuple[Axes, Axes]:
    """The axes made less high, and others below them.

    Args:
        axes: From `draw`.
        palette: Of the theme.
        heights: Of both, up to a factor.
        apart: The gap, in mean heights.
    """
    spec = cast("SubplotSpec", axes.get_subplotspec())
    parts = spec.subgridspec(2, 1, height_ratios=heights, hspace=apart)
    axes.set_subplotspec(parts[0])
    below = axes.figure.add_subplot(parts[1])
    dress(below, palette)
    return axes, below


def _png(paint: Callable[[Axes, Palette], None], palette: Palette, height: float) -> bytes:
    canvas = Canvas(figsize=(7.5, height), dpi=144, layout="constrained", facecolor="none")
    axes = canvas.add_subplot()
    dress(axes, palette)
    paint(axes, palette)
    file = BytesIO()
    canvas.savefig(file, format="png", transparent=True)
    return file.getvalue()
