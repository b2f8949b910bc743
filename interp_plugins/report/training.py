"""A training run as rows of results.json, as curves, and as sections of a page."""

from collections.abc import Iterator, Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from interp_plugins.report.figures import Palette, draw, split
from interp_plugins.report.page import Code, Figure, Section, Table
from interp_plugins.report.results import Results, Row, rate
from interp_plugins.training.reports import EpochReport

SIDES = {"clean": "clean", "adversarial": "attacked", "watched": "watched", "probed": "probed"}
OF = "held-out images"


def rows(reports: Sequence[EpochReport], kept: int) -> Iterator[Row]:
    """Every number of a run, epoch by epoch, and those of the network that is kept.

    Args:
        reports: Of all epochs.
        kept: The epoch whose network it is.
    """
    yield Row(name="kept/epoch", value=kept, method="the epoch after which the network was kept")
    yield from _accuracies("kept", reports[kept - 1])
    for report in reports:
        place = f"epoch {report.epoch}"
        yield from _accuracies(place, report)
        for name, value in report.losses.items():
            yield Row(name=f"{place}/loss {name}", value=value, method="mean over the epoch's images, without weight"
                      if name != "total" else "mean over the epochs' images of what was minimised")  # fmt: skip
        yield Row(name=f"{place}/learning rate", value=report.rate, method="of the epoch's last step")


def lines(results: Results) -> list[str]:
    """The network that is kept, in a few lines."""
    known = {row.name: row for row in results.rows}
    found = [f"Kept: the network after epoch {known['kept/epoch'].value:.0f} of {results.settings['epochs']}."]
    for name in SIDES.values():
        if (row := known.get(f"kept/{name}")) is not None and row.value is not None:
            found.append(f"  {name}: {_share(row)}")
    return found


def curves(reports: Sequence[EpochReport], kept: int) -> Figure:
    """Accuracy on held-out images, clean and attacked, with the intervals, and below it the loss; by epoch.

    Args:
        reports: Of all epochs.
        kept: The epoch that is marked.
    """
    epochs = [report.epoch for report in reports]
    known = {side: _rates(reports, side) for side in ("clean", "adversarial", "probed")}
    known = {side: rates for side, rates in known.items() if rates}

    def paint(axes: Axes, palette: Palette) -> None:
        colours = dict(
            zip(("clean", "adversarial", "probed"), (palette.accent, palette.target, palette.soft), strict=True)
        )
        below = axes
        if known:
            axes, below = split(axes, palette, (2, 1), apart=0.12)
            for side, rates in known.items():
                low, value, high = zip(*((row.low, row.value, row.high) for row in rates), strict=True)
                percent = [[100 * (each or 0) for each in part] for part in (low, value, high)]
                axes.fill_between(epochs, percent[0], percent[2], color=colours[side], alpha=0.2, linewidth=0)
                axes.plot(epochs, percent[1], "o-", color=colours[side], markersize=4, label=SIDES[side])
            axes.axvline(kept, color=palette.soft, linewidth=1, linestyle=":")
            axes.set(ylabel="% right", ylim=(0, 100))
            axes.grid(axis="y", color=palette.line)
            axes.tick_params(labelbottom=False)
            axes.legend(frameon=False, labelcolor=palette.ink, ncols=3, loc="lower left", bbox_to_anchor=(0, 1))
        below.plot(epochs, [report.losses["total"] for report in reports], "o-", color=palette.ink, markersize=3)
        below.set(xlabel="epoch", ylabel="loss", xlim=(0.7, len(reports) + 0.3))
        below.set_ylim(bottom=0)
        below.xaxis.set_major_locator(MaxNLocator(integer=True))
        below.grid(axis="y", color=palette.line)
        if known:
            axes.set_xlim(below.get_xlim())
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))

    alt = "Share of held-out images that are read correctly, clean and attacked, and the loss, by epoch"
    caption = f"Bands are 95 % intervals; the dotted line is epoch {kept}, whose network is kept." if known else ""
    return draw(paint, alt=alt, caption=caption, height=4.2 if known else 2.4)


def sections(reports: Sequence[EpochReport], kept: int, figure: Figure, spec: str) -> tuple[Section, ...]:
    """The curves, the epochs, and how the network is used.

    Args:
        reports: Of all epochs.
        kept: The epoch whose network is kept.
        figure: From `curves`.
        spec: Of that network, for `--model`.
    """
    said = [f"{SIDES[side]} {row.value:.1%}" for side in ("clean", "adversarial")
            if (row := _rate("", reports[kept - 1], side)) is not None]  # fmt: skip
    lead = f"The network after epoch {kept} of {len(reports)} is kept" + (f": {', '.join(said)}." if said else ".")
    return (
        Section("How did it go?", lead, (figure,)),
        Section("Epoch by epoch", "Losses are means over the images of an epoch.", (_table(reports, kept),)),
        Section("How is it used?", "Wherever a command asks for a model:", (Code(f"--model {spec}"),)),
    )


def _table(reports: Sequence[EpochReport], kept: int) -> Table:
    names = list(reports[0].losses)
    sides = [side for side in SIDES if getattr(reports[0], side) is not None]
    cells: list[tuple[str | Row, ...]] = []
    for report in reports:
        rates = (_rate(f"epoch {report.epoch}", report, side) for side in sides)
        cells.append((
            f"{report.epoch}{' (kept)' * (report.epoch == kept)}",
            *(f"{report.losses[name]:.4f}" for name in names),
            *(row if row is not None else "–" for row in rates),
        ))  # fmt: skip
    return Table(columns=("epoch", *names, *(SIDES[side] for side in sides)), rows=tuple(cells))


def _accuracies(place: str, report: EpochReport) -> Iterator[Row]:
    for side in SIDES:
        if (row := _rate(place, report, side)) is not None:
            yield row


def _rates(reports: Sequence[EpochReport], side: str) -> list[Row]:
    found = (_rate(f"epoch {report.epoch}", report, side) for report in reports)
    return [row for row in found if row is not None]


def _rate(place: str, report: EpochReport, side: str) -> Row | None:
    counted = getattr(report, side)
    return None if counted is None else rate(f"{place}/{SIDES[side]}", counted.correct, counted.images, of=OF)


def _share(row: Row) -> str:
    value, low, high = (f"{each or 0:.1%}" for each in (row.value, row.low, row.high))
    return f"{value} ({row.numerator:,} of {row.denominator:,}), 95 % interval [{low}, {high}]"
