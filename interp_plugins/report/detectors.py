"""How many units detect which concept, clean and attacked: Table 2 of Xie and the bars of its Figures 5 to 7 and 9.

A unit counts once, for the concept that it has the largest IoU with, and only if that is above the limit. The bars have
one order on both sides, by the number of units on clean images; under attack their outlines stay as they were.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from interp_plugins.dissection.dissection import CLEAN, Dissected
from interp_plugins.dissection.drop import Drop
from interp_plugins.dissection.labels import ALL, Counts, UnitLabels, quantile95
from interp_plugins.foundation.concepts import Vocabulary
from interp_plugins.report.figures import DARK, Palette, draw, split
from interp_plugins.report.page import Figure, Table
from interp_plugins.report.study import joined, many, sides

MOST = 64  # concepts that have room for their names
BETWEEN = 0.8  # bars left out between two categories
LETTERS = 22  # of a name
TOGETHER = "\N{NO-BREAK SPACE}"
COLOURS = {  # on light and on dark ground
    "color": ("#be185d", "#ff8fbf"),
    "texture": ("#7c3aed", "#c4a0ff"),
    "material": ("#a16207", "#e0c060"),
    "part": ("#0f766e", "#4fd1c0"),
    "object": ("#3b5bdb", "#8ea6ff"),
    "scene": ("#c2410c", "#ff9a5c"),
}


def tints(categories: Sequence[str], palette: Palette) -> dict[str, str]:
    """The colour of each category: Broden's have their own, others take those that are left, in turn."""
    left = [each for name, each in COLOURS.items() if name not in categories] or [*COLOURS.values()]
    others = itertools.cycle(left)
    found = {name: COLOURS.get(name) or next(others) for name in categories}
    return {name: dark if palette is DARK else light for name, (light, dark) in found.items()}


@dataclass(frozen=True)
class Bar:
    """A concept with the number of units that detect it."""

    concept: int
    category: int
    clean: int
    attacked: int


def detected(clean: UnitLabels, attacked: UnitLabels | None) -> list[Bar]:
    """All concepts that units detect: category by category, those of most units on clean images first."""
    sides = [_tally(clean), _tally(attacked) if attacked is not None else {}]
    found = [Bar(*pair, *(side.get(pair, 0) for side in sides)) for pair in {*sides[0], *sides[1]}]
    return sorted(found, key=lambda bar: (bar.category, -bar.clean, -bar.attacked, bar.concept))


def _tally(labels: UnitLabels) -> dict[tuple[int, int], int]:
    pairs, counts = torch.stack([labels.concept, labels.category])[:, labels.detectors].unique(
        dim=1, return_counts=True
    )
    return {
        (concept, category): count
        for (concept, category), count in zip(pairs.t().tolist(), counts.tolist(), strict=True)
    }


def bars(layer: str, found: Dissected, vocabulary: Vocabulary, *, caption: str = "") -> Figure | None:
    """Draw how many units detect each concept, on attacked images below; None if no unit detects any.

    Args:
        layer: Its name.
        found: What its units point at.
        vocabulary: The concepts.
        caption: What it means.
    """
    attacked = found.attacked.labels if found.attacked is not None else None
    every = detected(found.clean.labels, attacked)
    if not every:
        return None
    shown = sorted(sorted(every, key=lambda bar: -bar.clean - bar.attacked)[:MOST], key=every.index)
    if left := len(every) - len(shown):
        caption = f"{caption} Not shown for want of room: {many(left, 'concept')}.".strip()
    present = [*dict.fromkeys(bar.category for bar in shown)]
    places = [number + BETWEEN * present.index(bar.category) for number, bar in enumerate(shown)]

    def paint(axes: Axes, palette: Palette) -> None:
        colours = [*tints(vocabulary.categories, palette).values()]
        panels = [axes] if attacked is None else [*split(axes, palette, (1, 1), 0.06)]
        for panel, (side, alignment) in zip(panels, sides(found).items(), strict=True):
            heights = [getattr(bar, side) for bar in shown]
            _columns(
                panel, palette, places, heights, [bar.clean for bar in shown], [colours[bar.category] for bar in shown]
            )
            panel.set_title(_headline(side, alignment.labels), loc="left", fontsize=10, color=palette.ink)
            panel.set_ylim(0, 1.12 * max(max(bar.clean, bar.attacked) for bar in shown))
        _name(panels[-1], places, shown, vocabulary, colours)
        keys = [Patch(color=colours[category], label=vocabulary.categories[category]) for category in present]
        panels[0].legend(
            handles=keys, frameon=False, labelcolor=palette.ink, ncols=len(keys), loc="lower right", fontsize=9,
            bbox_to_anchor=(1, 1), borderaxespad=0.2, handlelength=0.9, handleheight=0.9, columnspacing=1.2,
        )  # fmt: skip

    alt = f"How many units of {layer} detect each of {len(shown)} concepts" + (
        "" if attacked is None else ", on clean and on attacked images"
    )
    return draw(paint, alt=alt, caption=caption, height=3.2 if attacked is None else 4.8)


def _columns(
    axes: Axes, palette: Palette, places: list[float], heights: list[int], clean: list[int], colours: list[str]
) -> None:
    """Bars, with an outline up to the clean height where they are lower, and a line across where they are higher."""
    style: dict[str, Any] = {"width": 0.8, "edgecolor": colours, "linewidth": 0.7}
    axes.bar(places, clean, fill=False, **style)
    axes.bar(places, heights, color=colours, **style)
    for place, height, before in zip(places, heights, clean, strict=True):
        if 0 < before < height:
            axes.plot(
                [place - 0.4, place + 0.4], [before, before], color=palette.line, linewidth=1.2, solid_capstyle="butt"
            )
    axes.set(xlim=(-0.7, max(places[-1], 9) + 0.7), xticks=[], ylabel="units")
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.grid(axis="y", color=palette.line)


def _name(axes: Axes, places: list[float], shown: list[Bar], vocabulary: Vocabulary, colours: list[str]) -> None:
    """The concepts below their bars."""
    names = [vocabulary.name(bar.concept) for bar in shown]
    names = [name if len(name) <= LETTERS else name[: LETTERS - 1] + "…" for name in names]
    axes.set_xticks(places, names, rotation=90, fontsize=min(9.0, 440 / max(1.0, places[-1])))
    for text, bar in zip(axes.get_xticklabels(), shown, strict=True):
        text.set_color(colours[bar.category])


def _headline(side: str, labels: UnitLabels) -> str:
    return (
        f"{side}: {int(labels.detectors.sum()):,} of {many(len(labels.iou), 'unit')}, {many(labels.unique, 'concept')}"
    )


def table(found: Mapping[str, Dissected], vocabulary: Vocabulary, *, caption: str = "") -> Table:
    """Table 2: the share and the number of units with a label of each category, and what chance gives beneath.

    Args:
        found: What the units of each layer point at.
        vocabulary: The concepts.
        caption: What was counted, the union rule above all.
    """
    lines: list[tuple[str, ...]] = []
    for layer, each in found.items():
        named = {side: (alignment, len(alignment.labels.iou)) for side, alignment in sides(each).items()}
        lines += [
            (layer if side == CLEAN else "", side, *_shares(told.labels, of)) for side, (told, of) in named.items()
        ]
        if each.drop is not None:
            lines.append(("", "attacked − clean", *_differences(each.drop)))
        lines += [
            ("", f"{side}, by chance", *_most(told.chance, of))
            for side, (told, of) in named.items()
            if told.chance is not None
        ]
    columns = ("layer", "images", *vocabulary.categories, ALL, "different labels")
    return Table(columns=columns, rows=tuple(lines), caption=caption)


def _shares(labels: UnitLabels, units: int) -> list[str]:
    counts = joined(labels.by_category, labels.detectors.sum())
    return [*(_cell(count, units) for count in counts), f"{labels.unique:,}"]


def _most(chance: Counts, units: int) -> list[str]:
    *counts, unique = joined(*map(quantile95, (chance.by_category, chance.detectors, chance.unique)))
    return [*(f"≤{TOGETHER}{_cell(count, units)}" for count in counts), f"≤{TOGETHER}{unique:,}"]


def _cell(count: int, units: int) -> str:
    return f"{100 * count / units:.1f}{TOGETHER}% ({count:,})"


def _differences(drop: Drop) -> list[str]:
    changes = [drop.by_category.difference, drop.detectors.difference, drop.unique.difference]
    parts = zip(
        *(joined(*(getattr(change, name) for change in changes)) for name in ("value", "low", "high")), strict=True
    )
    told = [f"{value:+.0f} [{low:+.0f},{TOGETHER}{high:+.0f}]" for value, low, high in parts]
    return [cell.replace("-", "−") for cell in told]
