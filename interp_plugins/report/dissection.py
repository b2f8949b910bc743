"""A dissection as rows of results.json, and as sections of a page.

ratio     units whose label is of a category and passes the limit, of all units of the layer; each counts once
unique    different labels of those units
chance    both with the labels of other images: what 95 % of the permutations do not exceed
drop      attacked - clean, with an interval by drawing the images again
kept      units that detect the same concept under attack, of those that detect one on clean images
silent    units that are dead or saturated, of all: nothing lies above their threshold
"""

from collections import Counter
from collections.abc import Iterator

from interp_plugins.dissection.dissection import Alignment
from interp_plugins.dissection.drop import Drop
from interp_plugins.dissection.labels import ALL, quantile95
from interp_plugins.report import detectors, units
from interp_plugins.report.page import Piece, Section, Text
from interp_plugins.report.results import Row
from interp_plugins.report.study import KEPT, LOST, OTHER, Study, fates, joined, many, sides, silence

UNIONS = {
    "category": "of a unit, the pixels count that it lights in images with any label of the concept's category, as in "
    "the paper",
    "lite": "of a unit, the pixels count that it lights in images where a label of the concept's category lies under "
    "them, as in NetDissect-Lite",
    "plain": "of a unit, all pixels count that it lights",
}
POLICIES = {"recompute": "found again on attacked images", "clean": "those of clean images"}


def rows(study: Study) -> Iterator[Row]:
    """Every number of a dissection."""
    for layer, found in study.layers.items():
        for side, alignment in sides(found).items():
            place = f"{layer}/{side}"
            yield from _ratios(study, place, alignment, *_limits(study, found.drop, side))
            if alignment.chance is not None:
                yield from _chances(study, place, alignment)
        if found.attacked is not None:
            became, of = fates(found.clean.labels, found.attacked.labels), int(found.clean.labels.detectors.sum())
            for fate in (KEPT, OTHER, LOST):
                yield _share(
                    f"{fate}/{layer}", became.count(fate), of, "of units that detect a concept on clean images"
                )
        if found.drop is not None:
            yield from _drops(study, layer, found.drop)


def sections(study: Study) -> tuple[Section, ...]:
    """Table 2, and for each layer which concepts its units detect and which units change."""
    found = [overview(study)]
    caption = _caption(study) + (" Outlines and lines across: on clean images." if study.attack else "")
    for layer, each in study.layers.items():
        if (figure := detectors.bars(layer, each, study.vocabulary, caption=caption)) is not None:
            labels = each.clean.labels
            lead = f"{many(labels.unique, 'concept')} on clean images, each with the number of units that detect it."
            found.append(Section(f"Which concepts do units of {layer} detect?", lead, (figure,)))
        if each.attacked is not None:
            found.append(units.changes(study, layer, each, each.attacked))
    return tuple(found)


def overview(study: Study) -> Section:
    """Table 2, and what it says of the last layer."""
    layer, found = [*study.layers.items()][-1]
    labels = found.clean.labels
    lead = (
        f"Of {many(len(labels.iou), 'unit')} of {layer}, {int(labels.detectors.sum()):,} detected one of "
        f"{many(labels.unique, 'concept')} on clean images"
    )
    if found.attacked is not None:
        after = found.attacked.labels
        lead += f", and {int(after.detectors.sum()):,} one of {after.unique:,} under attack"
    if found.clean.chance is not None:
        chance = found.clean.chance
        lead += (
            f". With the labels of other images, in 95 % of {many(len(chance.unique), 'trial')} at most "
            f"{int(quantile95(chance.detectors)):,} did, one of {many(int(quantile95(chance.unique)), 'concept')}"
        )
    caption = _caption(study)
    if found.clean.chance is not None:
        caption += " By chance: with the labels of other images; 95 % of the trials give no more."
    if found.drop is not None:
        caption += " In brackets: 95 % intervals, images drawn again."
    table = detectors.table(study.layers, study.vocabulary, caption=caption)
    return Section("How many units point at a concept?", f"{lead}.", (table, *_notes(study)))


def _caption(study: Study) -> str:
    method = study.method
    words = [
        f"Units whose label has an IoU above {method.detector:g}, each counted once.",
        f"Union rule {method.union!r}: {UNIONS[method.union]}.",
        f"A unit is active in {100 * method.share:g} % of all places of {study.images:,} images.",
    ]
    if study.attack is not None:
        words.append(f"Attack: {study.attack}; thresholds: {POLICIES[method.threshold]}.")
    return " ".join(words)


def _notes(study: Study) -> Iterator[Piece]:
    """What is said of silent units, and of a drop."""
    for layer, found in study.layers.items():
        for side, alignment in sides(found).items():
            if told := _silent(alignment):
                yield Text(f"{layer}, {side} images: {told}")
        if found.drop is not None:
            yield Text(f"{layer}: {_dropped(found.drop)}")


def _silent(alignment: Alignment) -> str:
    """Which units are dead or saturated, and at which values."""
    values = alignment.thresholds.value.tolist()
    kinds = Counter(
        (kind, f"{value:.4g}") for kind, value in zip(silence(alignment.thresholds), values, strict=True) if kind
    )
    if not kinds:
        return ""
    told = [f"{count:,} {kind} at {value}" for (kind, value), count in kinds.most_common(4)]
    if rest := sum(kinds.values()) - sum(count for _, count in kinds.most_common(4)):
        told.append(f"{rest:,} at other values")
    return (
        f"{sum(kinds.values()):,} of {len(values):,} units have no label, since nothing lies above their threshold: "
        f"{', '.join(told)}."
    )


def _dropped(drop: Drop) -> str:
    told = []
    for name, change in (("units that detect a concept", drop.detectors), ("different concepts", drop.unique)):
        value, low, high = (
            float(each) for each in (change.difference.value, change.difference.low, change.difference.high)
        )
        told.append(
            f"{value:+.0f} {name} ({low:+.0f} to {high:+.0f}, no drop in {100 * float(change.reversed):.2g} % of draws)"
        )
    return (
        f"under attack {' and '.join(told)}; 95 % intervals by drawing {drop.blocks:,} blocks of images "
        f"{drop.draws:,} times, clean and attacked as pairs."
    ).replace("-", "−")


def _limits(study: Study, drop: Drop | None, side: str) -> tuple[list[float | None], list[float | None], str]:
    """Limits of the intervals of all categories, all units and unique labels, and how they were found."""
    if drop is None:
        none: list[float | None] = [None] * (len(study.names) + 1)
        return none, none, ""
    found = [getattr(change, side) for change in (drop.by_category, drop.detectors, drop.unique)]
    how = f"; interval by drawing {drop.blocks} blocks of images {drop.draws} times"
    return joined(*(each.low for each in found)), joined(*(each.high for each in found)), how


def _ratios(
    study: Study, place: str, alignment: Alignment, low: list[float | None], high: list[float | None], interval: str
) -> Iterator[Row]:
    labels, of = alignment.labels, len(alignment.labels.iou)
    how = f"units with a label of the category, each once; {study.terms}{interval}"
    for number, name in enumerate(study.names):
        count = joined(labels.by_category, labels.detectors.sum())[number]
        yield _share(f"ratio/{place}/{name}", count, of, how, low[number], high[number])
    how = f"different labels of units; {study.terms}{interval}"
    yield Row(name=f"unique/{place}", value=labels.unique, low=low[-1], high=high[-1], method=how)
    yield _share(f"silent/{place}", int(labels.silent.sum()), of, "units without a place above their threshold")


def _chances(study: Study, place: str, alignment: Alignment) -> Iterator[Row]:
    chance, of = alignment.chance, len(alignment.labels.iou)
    assert chance is not None
    how = f"with the labels of other images; 95 % of {len(chance.unique)} permutations have no more"
    for name, count in zip(
        study.names, joined(quantile95(chance.by_category), quantile95(chance.detectors)), strict=True
    ):
        yield _share(f"chance/{place}/{name}", count, of, how)
    yield Row(name=f"chance unique/{place}", value=int(quantile95(chance.unique)), method=how)


def _drops(study: Study, layer: str, drop: Drop) -> Iterator[Row]:
    of = len(drop.changed)
    how = (
        f"attacked - clean, thresholds {POLICIES[study.method.threshold]}; interval by drawing {drop.blocks} blocks of "
        f"images {drop.draws} times, clean and attacked as pairs"
    )
    found = [drop.by_category.difference, drop.detectors.difference]
    numbers = zip(*(joined(*(getattr(each, part) for each in found)) for part in ("value", "low", "high")), strict=True)
    for name, (value, low, high) in zip(study.names, numbers, strict=True):
        yield Row(name=f"drop/{layer}/{name}", value=value / of, low=low / of, high=high / of, method=how)
    value, low, high = joined(*(getattr(drop.unique.difference, part) for part in ("value", "low", "high")))
    yield Row(name=f"drop unique/{layer}", value=value, low=low, high=high, method=how)
    for name, change in ((ALL, drop.detectors), ("unique", drop.unique)):
        share = float(change.reversed)
        yield Row(name=f"reversed/{layer}/{name}", value=share, method="share of draws in which nothing drops")


def _share(name: str, count: int, of: int, how: str, low: float | None = None, high: float | None = None) -> Row:
    """A count out of a count, with an interval of the count if one is known: units are no sample, images are."""
    limits = {} if low is None or high is None else {"low": low / of, "high": high / of}
    return Row(name=name, value=count / of if of else None, numerator=count, denominator=of, method=how, **limits)
