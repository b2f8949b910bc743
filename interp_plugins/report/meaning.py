"""Do units keep their meaning under attack? The figures of Dong et al. (arXiv:1708.05493) and the table of their talk.

    agreement    Fig. 4: mean CS_1 and CS_2 of the units in each bin of LC. The ceiling, the agreement of two halves of
                 the real images, is ours: part of a rise with LC is no more than that. How many units a bin holds is
                 drawn below, since the last bins are usually nearly empty.
    ratios       Fig. 5: how often each r_1 and each r_2 occurs, on one axis. 1 is the distance of a real image.
    scatter      LC of each unit under attack against its LC before; below the line it stands for less.
    table        mean consis and consis_adv of each layer or network, as printed and corrected for pairs of an image
                 with itself or with a copy of its picture, and how many pictures are behind them.

What is undefined is left out of every mean and counted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from torch import Tensor

from interp_plugins.neurons.averages import Average, Curve, average, binned
from interp_plugins.neurons.consistency import Consistency
from interp_plugins.report.figures import Palette, draw, split
from interp_plugins.report.page import Figure, Table

CEILING = "ceiling"


def curves(
    lc: Float[Tensor, " u"], measures: Mapping[str, Float[Tensor, " u"]], bins: int | Float[Tensor, " e"] = 10
) -> dict[str, Curve]:
    """The mean of each measure in bins of LC, the same bins for all.

    Args:
        lc: LC of each unit, usually of all convolutional layers.
        measures: By name, such as CS_1, CS_2 and "ceiling"; one value a unit.
        bins: How many of equal width between the lowest and the highest LC, or their edges.
    """
    edges = binned(lc, lc, bins).edges
    return {name: binned(values, lc, edges) for name, values in measures.items()}


def agreement(curves: Mapping[str, Curve], *, alt: str, caption: str = "") -> Figure:
    """Draw means over bins of LC as lines, and how many units each bin holds as bars below.

    Args:
        curves: By name, on the same bins, from `curves`. The first two are drawn full, the next two with hollow
            marks, such as CS_1 and CS_2 of all attacked images and of those that fool the network; the one named
            "ceiling" is dashed.
        alt: What can be seen.
        caption: What it means.

    Raises:
        ValueError: There is no curve.
    """
    if not curves:
        raise ValueError("expected at least one curve, got none")
    edges = next(iter(curves.values())).edges.cpu().numpy()
    middles = (edges[1:] + edges[:-1]) / 2
    units = np.max([curve.counts.cpu().numpy() for curve in curves.values()], 0)

    def paint(axes: Axes, palette: Palette) -> None:
        axes, below = split(axes, palette, (4, 1))
        lines = [name for name in curves if name != CEILING]
        for name, curve in curves.items():
            means = curve.means.cpu().numpy()
            known = ~np.isnan(means)
            style = _style(lines.index(name), palette) if name in lines else {"color": palette.soft, "linestyle": "--"}
            axes.plot(middles[known], means[known], label=name, **style)
        axes.set_ylim(0, 1.04)
        axes.set_ylabel("mean over units")
        axes.grid(axis="y", color=palette.line)
        axes.tick_params(labelbottom=False)
        axes.legend(
            frameon=False, labelcolor=palette.ink, ncols=len(curves), columnspacing=1.4, loc="lower left",
            bbox_to_anchor=(0, 1),
        )  # fmt: skip
        below.bar(middles, units, width=0.86 * np.diff(edges), color=palette.soft, alpha=0.5)
        for middle, count in zip(middles, units, strict=True):
            if count:
                below.annotate(
                    f"{count:,}", (middle, count), xytext=(0, 2), textcoords="offset points", ha="center",
                    va="bottom", fontsize=8, color=palette.soft,
                )  # fmt: skip
        below.set_ylim(0, 1.5 * max(1, units.max()))
        below.set_yticks([])
        below.set_ylabel("units")
        below.set_xlabel("LC of the units")
        below.sharex(axes)

    return draw(paint, alt=alt, caption=caption, height=3.9)


def ratios(r1: Float[Tensor, " m"], r2: Float[Tensor, " m"], *, alt: str, caption: str = "") -> Figure:
    """Draw how often each r_1 and each r_2 occurs, with the means; 1 is marked.

    Args:
        r1: Distance of each attacked image to its own class, relative to real images; nan is left out.
        r2: The same to the class it aims at.
        alt: What can be seen.
        caption: What it means.

    Raises:
        ValueError: Nothing is defined.
    """
    found = {"r₁, to its own class": _known(r1), "r₂, to the class aimed at": _known(r2)}
    together = np.concatenate([*found.values()])
    if not len(together):
        raise ValueError("expected at least one ratio that is defined, got none")
    low, high = min(0.9, float(together.min())), max(1.1, float(np.quantile(together, 0.998)))
    edges = np.linspace(low, high, 61)
    beyond = int((together > high).sum())

    def paint(axes: Axes, palette: Palette) -> None:
        top = 0.0
        for (name, values), colour in zip(found.items(), (palette.accent, palette.target), strict=True):
            counts, _ = np.histogram(values, edges)
            shares = counts / max(1, len(values)) * 100
            top = max(top, shares.max())
            axes.stairs(shares, edges, fill=True, color=colour, alpha=0.28)
            axes.stairs(shares, edges, color=colour, linewidth=1.6, label=f"{name}: mean {_mean(values)}")
        for values, colour in zip(found.values(), (palette.accent, palette.target), strict=True):
            if len(values):
                axes.plot([values.mean()] * 2, [0, 1.06 * top], color=colour, linewidth=2)
        axes.axvline(1, color=palette.ink, linewidth=1.2, linestyle=":")
        axes.annotate(
            "1", (1, 1), xycoords=("data", "axes fraction"), xytext=(0, 3), textcoords="offset points",
            ha="center", color=palette.ink,
        )  # fmt: skip
        axes.set_xlim(low, high)
        axes.set_ylim(0, 1.1 * top)
        axes.set_xlabel("distance, in mean distances of real images" + (f"; {beyond} further right" if beyond else ""))
        axes.set_ylabel("% of attacked images")
        axes.grid(axis="y", color=palette.line)
        axes.legend(frameon=False, labelcolor=palette.ink, loc="upper right")

    return draw(paint, alt=alt, caption=caption, height=3.4)


def scatter(lc: Float[Tensor, " u"], lc_adv: Float[Tensor, " u"], *, alt: str, caption: str = "") -> Figure:
    """Draw the LC of each unit under attack against its LC on real images, with the mean of both.

    Args:
        lc: Of each unit on real images; units with nan on either side are left out and counted.
        lc_adv: Of the same units on attacked images.
        alt: What can be seen.
        caption: What it means.

    Raises:
        ValueError: No unit has both.
    """
    known = ~(lc.isnan() | lc_adv.isnan())
    x, y = lc[known].double().cpu().numpy(), lc_adv[known].double().cpu().numpy()
    if not len(x):
        raise ValueError("expected at least one unit with both values, got none")
    left_out = int((~known).sum())
    low, high = min(0.0, x.min(), y.min()), 1.04 * max(x.max(), y.max()) or 1.0

    def paint(axes: Axes, palette: Palette) -> None:
        mean = f"mean of {len(x):,} units:\n{x.mean():.3f} on real images,\n{y.mean():.3f} on attacked ones"
        axes.plot([low, high], [low, high], color=palette.soft, linewidth=1.2, linestyle="--", label="the same on both")
        size = float(np.clip(4000 / len(x), 9, 40))
        axes.scatter(x, y, s=size, color=palette.accent, alpha=0.45, linewidths=0, label="a unit")
        axes.plot([x.mean()], [y.mean()], "D", color=palette.target, markersize=9, label=mean)
        axes.set_aspect("equal", anchor="W")
        axes.legend(frameon=False, labelcolor=palette.ink, loc="center left", bbox_to_anchor=(1.04, 0.5))
        axes.set(xlim=(low, high), ylim=(low, high))
        axes.set_xlabel("LC on real images" + (f" ({left_out} units undefined)" if left_out else ""))
        axes.set_ylabel("LC on attacked images")
        axes.grid(color=palette.line)

    return draw(paint, alt=alt, caption=caption, height=4.2)


@dataclass(frozen=True)
class Line:
    """A line of the table: a layer or a network, with what is known of its units."""

    name: str
    lc: Consistency
    lc_adv: Consistency | None = None


def table(lines: Sequence[Line], *, caption: str = "") -> Table:
    """The mean consis and consis_adv of each layer or network, raw and corrected.

    Args:
        lines: From top to bottom.
        caption: What it means.
    """
    return Table(
        columns=(
            "layer",
            "units",
            "consis",
            "consis_adv",
            "consis, corrected",
            "consis_adv, corrected",
            "pictures a unit, attacked",
        ),
        rows=tuple(_cells(line) for line in lines),
        caption=caption,
    )


def _cells(line: Line) -> tuple[str, ...]:
    lc, adv = line.lc, line.lc_adv
    return (
        line.name,
        f"{len(lc.raw):,}",
        _cell(average(lc.raw)),
        _cell(average(adv.raw)) if adv else "–",
        _cell(average(lc.debiased)),
        _cell(average(adv.debiased)) if adv else "–",
        f"{float(adv.sources.double().mean()):.1f} of {float(adv.images.double().mean()):.0f} images" if adv else "–",
    )


def _cell(found: Average) -> str:
    """A mean, and how many units are not in it."""
    if not found.defined:
        return "undefined"
    return f"{found.mean:.4f}" + (f" ({found.undefined} undefined)" if found.undefined else "")


def _known(values: Tensor) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    return values[values.isfinite()].to(torch.float64).cpu().numpy()


def _mean(values: "np.ndarray[tuple[int], np.dtype[np.float64]]") -> str:
    return f"{values.mean():.2f}" if len(values) else "undefined"


def _style(number: int, palette: Palette) -> dict[str, Any]:
    """Two colours, full at first and then hollow."""
    first, colour = number < 2, (palette.accent, palette.target)[number % 2]
    mark = {"marker": "os"[number % 2], "markersize": 6, "markerfacecolor": colour if first else "none"}
    return {"color": colour, "linewidth": 2.2 if first else 1.3, "linestyle": "-" if first else ":", **mark}
