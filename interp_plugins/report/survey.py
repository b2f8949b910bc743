"""A survey of neurons as rows of results.json, as a table of units, and as sections of a page.

LC, consis_adv    means over the units of a layer, raw as printed and corrected, with the units that have none
CS_1, CS_2        means over units, of all attacked images and of those that are taken for their target
r_1, r_2          means over attacked images, with an interval by drawing the pictures again; the same of those
                  that are taken for their target
"""

import csv
import io
from collections.abc import Iterator

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from interp_plugins.foundation.randomness import derive
from interp_plugins.neurons.averages import Average, average
from interp_plugins.neurons.consistency import Consistency
from interp_plugins.neurons.distance import Ratios
from interp_plugins.neurons.survey import LayerSurvey, Records, Survey
from interp_plugins.report import meaning
from interp_plugins.report.page import Piece, Section, Text
from interp_plugins.report.results import Row, rate

DRAWS = 500
FEW = "No unit has top images of two pictures, both real and attacked: take more images, or a larger --share."
EVERYWHERE = "all layers"
CS = ("cs1", "cs2", "cs1_fooled", "cs2_fooled")


def rows(found: Survey, asked: int) -> Iterator[Row]:
    """Every number of a survey.

    Args:
        found: What was measured.
        asked: How many of its layers, from the first on, go into "all layers".
    """
    right = found.says == found.labels
    yield rate("accuracy/real images", int(right.sum()), len(right), of="images")
    if (records := found.records) is not None:
        for name, flag in (
            ("says the target", records.fooled),
            ("does not say the truth", records.says != records.labels),
        ):
            yield rate(f"attacked images/{name}", int(flag.sum()), len(flag), of="(image, target)")
    for name, layer in {EVERYWHERE: _together(found, asked), **found.layers}.items():
        yield from _layer_rows(name, layer)
    if found.ratios is not None and records is not None:
        yield from _ratio_rows(found.ratios, records)


def units(found: Survey) -> str:
    """A table of all units as CSV, a line a unit; what is undefined is empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    columns = [*_columns(next(iter(found.layers.values())))]
    writer.writerow(["layer", "unit", "dead", *columns])
    for name, layer in found.layers.items():
        values = [_cells(column) for column in _columns(layer).values()]
        dead = layer.real.dead.long().tolist()
        writer.writerows([name, unit, dead[unit], *cells] for unit, cells in enumerate(zip(*values, strict=True)))
    return text.getvalue()


def mean_row(name: str, found: Average, *, of: str) -> Row:
    """A mean over units or images, with how many have none.

    Args:
        name: Of the row.
        found: The mean.
        of: What was averaged over, such as "units".
    """
    if found.defined:
        method = f"mean over {found.defined} {of}, {found.undefined} have none"
        return Row(name=name, value=found.mean, method=method)
    method = f"undefined for all {found.undefined} {of}"
    return Row(name=name, value=None, numerator=0, denominator=0, method=method)


def sections(found: Survey, asked: int, sigma: float) -> tuple[Section, ...]:
    """The figures and the table, each with what it says.

    Args:
        found: What was measured.
        asked: How many of the layers the figures are of.
        sigma: Of the similarity of classes.
    """
    everywhere = _together(found, asked)
    lines = [meaning.Line(name, layer.lc, layer.lc_adv) for name, layer in found.layers.items()]
    table = meaning.table(
        [meaning.Line(EVERYWHERE, everywhere.lc, everywhere.lc_adv), *lines],
        caption=f"Means over units. sigma = {sigma:g} is not published; it is ours, as is the correction.",
    )
    lc = average(everywhere.lc.debiased)
    if everywhere.lc_adv is None:
        lead = f"Two pictures that excite a unit most are alike by {lc.mean:.3f} on average (1: one class)."
        return (Section("How specific are the units?", lead if lc.defined else FEW, (table,)),)
    adv = average(everywhere.lc_adv.debiased)
    lead, pieces = FEW, list[Piece]([table])
    if (everywhere.lc.debiased.isfinite() & everywhere.lc_adv.debiased.isfinite()).any():
        lead = (
            f"Two pictures that excite a unit most are alike by {lc.mean:.3f} on average; two attacked pictures that "
            f"do, by what they truly show, by {adv.mean:.3f}."
        )
        caption = "Corrected for pairs of an image with itself and with other copies of its picture."
        alt = "LC of each unit, on attacked and on real images"
        figure = meaning.scatter(everywhere.lc.debiased, everywhere.lc_adv.debiased, alt=alt, caption=caption)
        pieces = [figure, table]
    return (Section("Do the units stay as specific?", lead, tuple(pieces)), agreement(found, asked), *_distances(found))


def agreement(found: Survey, asked: int) -> Section:
    """CS1 and CS2 by LC, of a survey with attacked images; arguments as for `sections`."""
    layer = _together(found, asked)
    measures = {"CS₁": layer.cs1, "CS₂": layer.cs2}
    if found.records is not None and not found.records.fooled.all():  # else they are the same
        measures |= {"CS₁, fooled": layer.cs1_fooled, "CS₂, fooled": layer.cs2_fooled}
    measures[meaning.CEILING] = layer.ceiling
    known = {name: value for name, value in measures.items() if value is not None and bool(value.isfinite().any())}
    title = "Do the units follow the picture or the mistake?"
    if layer.cs1 is None or layer.cs2 is None or not {"CS₁", "CS₂"} <= set(known):
        return Section(title, "No unit tells both attacked images and real ones apart: nothing can be compared.")
    one, two = average(layer.cs1).mean, average(layer.cs2).mean
    follows = "what they are mistaken for" if two > one else "what they truly show"
    lead = (
        f"Attacked pictures that excite a unit agree with its real ones by {one:.2f} in what they truly show (CS1) and "
        f"by {two:.2f} in what they are to be taken for (CS2): on average the units follow {follows}."
    )
    if len(layer.lc.raw[layer.lc.raw.isfinite()].unique()) < 2:
        return Section(title, f"{lead} All units have one LC, so there is nothing to draw by it.")
    curves = meaning.curves(layer.lc.raw, known)
    figure = meaning.agreement(
        curves, alt="CS1, CS2 and their ceiling by LC",
        caption="The ceiling is the agreement of two halves of the real images: a rise along it is no effect.",
    )  # fmt: skip
    return Section(title, lead, (figure,))


def _distances(found: Survey) -> Iterator[Section]:
    if found.ratios is None or not found.ratios.r1.isfinite().any():
        return
    r1, r2 = average(found.ratios.r1), average(found.ratios.r2)
    lead = (
        f"Attacked images lie {r1.mean:.2f} times as far from their own class as real ones do (r1), and {r2.mean:.2f} "
        "times as far from the class they are to be taken for (r2)."
    )
    figure = meaning.ratios(
        found.ratios.r1, found.ratios.r2, alt="How often each r1 and each r2 occurs",
        caption="The formula is our reconstruction: only the averages and the histograms were published.",
    )  # fmt: skip
    fewest = int(found.ratios.counts[found.ratios.counts > 0].min())
    note = Text(f"Real images of a class: {fewest} at least. {r1.undefined} of {len(found.ratios.r1)} have no r1.")
    yield Section("Do the representations move?", lead, (figure, note))


def _together(found: Survey, asked: int) -> LayerSurvey:
    """The units of the layers asked for as if they were one layer's."""
    layers = [*found.layers.values()][:asked]

    def joined(parts: list[Tensor | None]) -> Tensor | None:
        return None if parts[0] is None else torch.cat([part for part in parts if part is not None])

    def consistencies(parts: list[Consistency | None]) -> Consistency | None:
        known = [part for part in parts if part is not None]
        names = ("raw", "debiased", "images", "sources")
        return Consistency(*(torch.cat([getattr(part, name) for part in known]) for name in names)) if known else None

    lc, ceiling = consistencies([layer.lc for layer in layers]), joined([layer.ceiling for layer in layers])
    assert lc is not None
    assert ceiling is not None
    return LayerSurvey(
        layers[0].real, lc, ceiling, layers[0].attacked, consistencies([layer.lc_adv for layer in layers]),
        **{name: joined([getattr(layer, name) for layer in layers]) for name in CS},
    )  # fmt: skip


def _columns(layer: LayerSurvey) -> dict[str, Tensor]:
    found = {"lc": layer.lc.raw, "lc corrected": layer.lc.debiased, "ceiling": layer.ceiling}
    if layer.lc_adv is not None:
        found |= {"consis_adv": layer.lc_adv.raw, "consis_adv corrected": layer.lc_adv.debiased,
                  "pictures": layer.lc_adv.sources}  # fmt: skip
    return found | {name: getattr(layer, name) for name in CS if getattr(layer, name) is not None}


def _cells(values: Tensor) -> list[str]:
    return ["" if value != value else f"{value:.6g}" for value in values.tolist()]


def _layer_rows(name: str, layer: LayerSurvey) -> Iterator[Row]:
    for column, values in _columns(layer).items():
        yield mean_row(f"{column}/{name}", average(values.double()), of="units")


def _ratio_rows(ratios: Ratios, records: Records) -> Iterator[Row]:
    for name, values in (("r1", ratios.r1), ("r2", ratios.r2)):
        for population, some in (("all", torch.ones_like(records.fooled)), ("says the target", records.fooled)):
            yield _ratio(f"{name}/{population}", values, records.sources, some)


def _ratio(name: str, values: Float[Tensor, " m"], sources: Int[Tensor, " m"], some: Bool[Tensor, " m"]) -> Row:
    known = values.isfinite() & some
    if not known.any():
        return Row(name=name, value=None, numerator=0, denominator=0, method="undefined for all attacked images")
    pictures, place = sources[known].unique(return_inverse=True)
    sums = torch.zeros(len(pictures), 2, dtype=torch.float64)
    sums.index_add_(
        0, place, torch.stack([values[known].double(), torch.ones(int(known.sum()), dtype=torch.float64)], 1)
    )
    generator = torch.Generator().manual_seed(derive(0, "draws of pictures"))
    drawn = torch.randint(len(pictures), (DRAWS, len(pictures)), generator=generator)
    total = torch.stack([sums[row].sum(0) for row in drawn])
    means, mean = total[:, 0] / total[:, 1], float(sums[:, 0].sum() / sums[:, 1].sum())
    low, high = torch.quantile(means, torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    method = f"mean over {int(known.sum())} attacked images of {len(pictures)} pictures; interval by drawing pictures"
    return Row(name=name, value=mean, low=min(low, mean), high=max(high, mean), method=method)
