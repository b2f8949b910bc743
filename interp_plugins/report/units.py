"""The units of a dissection one by one: as CSV, as a table of those that change, and as a figure of what they lose."""

import csv
import io
from collections import Counter

import torch
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from interp_plugins.dissection.dissection import Alignment, Dissected
from interp_plugins.foundation.concepts import Vocabulary
from interp_plugins.report.detectors import tints
from interp_plugins.report.figures import Palette, draw
from interp_plugins.report.page import Figure, Section, Table
from interp_plugins.report.study import GAINED, KEPT, LOST, OTHER, Study, fates, many, sides, silence

MOST = 30  # lines of the table of units that change


def as_csv(study: Study) -> str:
    """A table of all units as CSV, a line a unit; what is undefined is empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    columns = ["threshold", "silent", "label", "category", "iou"]
    columns += [f"{name}{what}" for name in study.vocabulary.categories for what in (" label", " iou")]
    if study.attack is None:
        heads = columns
    else:
        heads = [*columns, *(f"{column} attacked" for column in columns), "fate", "own iou attacked", "low", "high"]
    writer.writerow(["layer", "unit", *heads])
    for layer, found in study.layers.items():
        parts = [_lines(alignment, study.vocabulary) for alignment in sides(found).values()]
        if found.attacked is not None:
            parts.append(_fates(found, found.attacked))
        lines = zip(*parts, strict=True)
        writer.writerows([layer, unit, *(cell for part in line for cell in part)] for unit, line in enumerate(lines))
    return text.getvalue()


def changes(study: Study, layer: str, found: Dissected, attacked: Alignment) -> Section:
    """Which units of a layer change under attack: how many, what their IoU loses, and which they are."""
    became = fates(found.clean.labels, attacked.labels)
    counts, detectors = Counter(became), int(found.clean.labels.detectors.sum())
    lead = (
        f"Of {many(detectors, 'unit')} that detected a concept, {counts[KEPT]:,} kept it under attack, "
        f"{counts[OTHER]:,} took another one and {counts[LOST]:,} lost it. Of the others {counts[GAINED]:,} gained one."
    )
    title = f"Which units of {layer} change under attack?"
    table = _table(study, found, attacked, became)
    pieces = (scatter(layer, found, attacked, study.vocabulary), table) if detectors else (table,)
    return Section(title, lead, tuple(piece for piece in pieces if not isinstance(piece, Table) or piece.rows))


def scatter(layer: str, found: Dissected, attacked: Alignment, vocabulary: Vocabulary) -> Figure:
    """Draw the IoU of each detector with the label that it has on clean images, under attack and before."""
    labels, limit = found.clean.labels, found.clean.labels.detector
    shown = labels.detectors.nonzero().view(-1)
    before, after = labels.iou[shown].cpu(), _own(attacked, labels.concept)[shown].cpu()
    high = 1.06 * max(float(before.max()), float(after.max()))

    def paint(axes: Axes, palette: Palette) -> None:
        axes.plot([0, high], [0, high], color=palette.soft, linewidth=1.2, linestyle="--")
        for number, name in enumerate(vocabulary.categories):
            mine = labels.category[shown].cpu() == number
            if mine.any():
                axes.scatter(
                    before[mine], after[mine], s=26, alpha=0.6, linewidths=0,
                    label=f"{name}: {int(mine.sum()):,} units", color=tints(vocabulary.categories, palette)[name],
                )  # fmt: skip
        none = f"no detector: up to {limit:g}"
        axes.axhspan(0, limit, color=palette.soft, alpha=0.16, linewidth=0, zorder=0, label=none)
        axes.set(xlim=(0, high), ylim=(0, high))
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(5, prune="lower"))
        axes.set_aspect("equal", anchor="W")
        axes.set_xlabel("IoU on clean images")
        axes.set_ylabel("IoU on attacked images")
        axes.grid(color=palette.line)
        axes.legend(frameon=False, labelcolor=palette.ink, loc="center left", bbox_to_anchor=(1.04, 0.5))

    alt = f"IoU of each unit of {layer} with its label, on attacked and on clean images"
    caption = "With the label that the unit has on clean images. On the dashed line nothing changes."
    return draw(paint, alt=alt, caption=caption, height=4.2)


def _table(study: Study, found: Dissected, attacked: Alignment, became: list[str]) -> Table:
    """The units that change, those that lose most first."""
    before, after, drop = found.clean.labels, attacked.labels, found.drop
    loss = (_own(attacked, before.concept) - before.iou).tolist()
    changed = sorted((unit for unit, fate in enumerate(became) if fate not in ("", KEPT)), key=lambda unit: loss[unit])
    lines = []
    for unit in changed[:MOST]:
        cell = f"{loss[unit]:+.3f}" if before.concept[unit] else "–"
        if drop is not None and before.concept[unit]:
            cell += f" [{float(drop.iou.difference.low[unit]):+.3f}, {float(drop.iou.difference.high[unit]):+.3f}]"
        labels = [_label(side.concept[unit], side.iou[unit], study.vocabulary) for side in (before, after)]
        lines.append((f"{unit}", *labels, cell.replace("-", "−"), became[unit]))
    caption = "In brackets the 95 % interval, images drawn again. " if drop is not None else ""
    if len(changed) > MOST:
        caption += f"{len(changed) - MOST:,} more units change; units.csv has them all."
    columns = ("unit", "clean label, IoU", "label under attack, IoU", "IoU with the clean label: change", "")
    return Table(columns=columns, rows=tuple(lines), caption=caption.strip())


def _label(concept: Tensor, iou: Tensor, vocabulary: Vocabulary) -> str:
    return f"{vocabulary.name(int(concept))}, {float(iou):.3f}" if concept else "none"


def _own(alignment: Alignment, concept: Tensor) -> Tensor:
    """IoU of each unit with a concept of its own."""
    return alignment.overlap.iou.gather(1, concept[:, None])[:, 0]


def _lines(alignment: Alignment, vocabulary: Vocabulary) -> list[list[str]]:
    labels = alignment.labels
    best = torch.stack([labels.per_category_concept.double(), labels.per_category_iou], 2).flatten(1).tolist()
    thresholds = alignment.thresholds.value.tolist()
    lines = []
    for unit, silent in enumerate(silence(alignment.thresholds)):
        concept, iou = int(labels.concept[unit]), float(labels.iou[unit])
        named = [vocabulary.name(concept), vocabulary.categories[int(labels.category[unit])]] if concept else ["", ""]
        line = [f"{thresholds[unit]:.6g}", silent, *named, f"{iou:.6g}"]
        for number, value in zip(best[unit][::2], best[unit][1::2], strict=True):
            line += [vocabulary.name(int(number)) if number else "", f"{value:.6g}"]
        lines.append(line)
    return lines


def _fates(found: Dissected, attacked: Alignment) -> list[list[str]]:
    became = fates(found.clean.labels, attacked.labels)
    own = _own(attacked, found.clean.labels.concept)
    numbers = own.masked_fill(found.clean.labels.concept == 0, torch.nan)[:, None].repeat(1, 3)
    numbers[:, 1:] = torch.nan
    if found.drop is not None:
        numbers[:, 1:] = torch.stack([found.drop.iou.difference.low, found.drop.iou.difference.high], 1)
    cells = [["" if value != value else f"{value:.6g}" for value in line] for line in numbers.tolist()]
    return [[fate, *line] for fate, line in zip(became, cells, strict=True)]
