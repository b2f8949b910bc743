"""How many units detect which concept, clean and attacked: Table 2 of Xie and the bars of its Figures 5 to 7 and 9.

A unit counts once, for the concept that it has the largest IoU with, and only if that is above the limit. The bars have
one order on both sides, by the number of units on clean images; under attack their outlines stay as they were.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from matplotlib.axes import Axes
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from interp_plugins.dissection.dissection import ATTACKED, CLEAN, Dissected
from interp_plugins.dissection.drop import Drop
from interp_plugins.dissection.labels import ALL, Counts, UnitLabels, quantile95
from interp_plugins.foundation.concepts import Vocabulary
from interp_plugins.report.figures import DARK, Palette, draw, split
from interp_plugins.report.page import Figure, Table
from interp_plugins.report.study import many, sides

MOST = 64  # concepts that have room for their names
BETWEEN = 0.8  # bars left out between two categories
LETTERS = 22  # of a name
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
    if len(every) > len(shown):
        left = many(len(every) - len(shown), "concept")
        caption = f"{caption} There is no room for {left} with fewer units.".strip()
    names = [vocabulary.name(bar.concept) for bar in shown]
    names = [name if len(name) <= LETTERS else name[: LETTERS - 1] + "…" for name in names]
    top = 1.12 * max(max(bar.clean, bar.attacked) for bar in shown)
    present = [*dict.fromkeys(bar.category for bar in shown)]
    places = [number + BETWEEN * present.index(bar.category) for number, bar in enumerate(shown)]
    size = min(9.0, 440 / places[-1]) if len(places) > 1 else 9.0

    def paint(axes: Axes, palette: Palette) -> None:
        colours = [*tints(vocabulary.categories, palette).values()]
        panels = [axes] if attacked is None else [*split(axes, palette, (1, 1), 0.06)]
        for side, panel in zip((CLEAN, ATTACKED), panels, strict=False):
            heights = [getattr(bar, side) for bar in shown]
            panel.bar(places, heights, width=0.8, color=[colours[bar.category] for bar in shown])
            if side == ATTACKED:
                panel.bar(
                    places, [bar.clean for bar in shown], width=0.8, fill=False, linewidth=0.7,
                    edgecolor=[colours[bar.category] for bar in shown],
                )  # fmt: skip
            labels = found.clean.labels if side == CLEAN or attacked is None else attacked
            panel.set_title(_headline(side, labels), loc="left", fontsize=10, color=palette.ink)
            panel.set(xlim=(-0.7, max(places[-1], 9) + 0.7), ylim=(0, top), ylabel="units")
            panel.yaxis.set_major_locator(MaxNLocator(4, integer=True))
            panel.grid(axis="y", color=palette.line)
            panel.set_xticks([])
        panels[-1].set_xticks(places, names, rotation=90, fontsize=size)
        for text, bar in zip(panels[-1].get_xticklabels(), shown, strict=True):
            text.set_color(colours[bar.category])
        keys = [Patch(color=colours[category], label=vocabulary.categories[category]) for category in present]
        panels[0].legend(
            handles=keys, frameon=False, labelcolor=palette.ink, ncols=len(keys), loc="lower right", fontsize=9,
            bbox_to_anchor=(1, 1), borderaxespad=0.2, handlelength=0.9, handleheight=0.9, columnspacing=1.2,
        )  # fmt: skip

    alt = f"How many units of {layer} detect each of {len(shown)} concepts" + (
        "" if attacked is None else ", on clean and on attacked images"
    )
    return draw(paint, alt=alt, caption=caption, height=3.2 if attacked is None else 4.8)


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
        for side, alignment in sides(each).items():
            counts, units = alignment.labels.by_category.tolist(), len(alignment.labels.iou)
            lines.append(
                (
                    layer,
                    side,
                    *_shares(counts, int(alignment.labels.detectors.sum()), units),
                    f"{alignment.labels.unique:,}",
                )
            )
        if each.drop is not None:
            lines.append((layer, "attacked − clean", *_differences(each.drop)))
        for side, alignment in sides(each).items():
            if alignment.chance is not None:
                lines.append((layer, f"{side}, by chance", *_by_chance(alignment.chance, len(alignment.labels.iou))))
    columns = ("layer", "images", *vocabulary.categories, ALL, "different labels")
    return Table(columns=columns, rows=tuple(lines), caption=caption)


def _shares(counts: Sequence[int], together: int, units: int) -> list[str]:
    return [f"{100 * count / units:.1f} % ({count:,})" for count in (*counts, together)]


def _differences(drop: Drop) -> list[str]:
    changes = [drop.by_category.difference, drop.detectors.difference, drop.unique.difference]
    parts = zip(
        *(
            torch.cat([getattr(change, name).view(-1) for change in changes]).tolist()
            for name in ("value", "low", "high")
        ),
        strict=True,
    )
    return [f"{value:+.0f} [{low:+.0f}, {high:+.0f}]".replace("-", "−") for value, low, high in parts]


def _by_chance(chance: Counts, units: int) -> list[str]:
    counts, together = quantile95(chance.by_category).tolist(), int(quantile95(chance.detectors))
    return [*(f"≤ {cell}" for cell in _shares(counts, together, units)), f"≤ {int(quantile95(chance.unique)):,}"]
