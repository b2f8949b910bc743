"""A finished dissection in a few lines: Table 2 of Xie with what chance gives, dead units, and the drop."""

import typer

from interp_plugins.cli.dissect.request import Request
from interp_plugins.dissection.dissection import ATTACKED, CLEAN
from interp_plugins.dissection.labels import ALL
from interp_plugins.report.results import Results, Row

PAGE = "index.html"
RESULTS = "results.json"


def tell(given: Request) -> None:
    """Print the results of a finished dissection, or the few lines."""
    results = Results.read(given.out / RESULTS)
    if given.json:
        typer.echo(results.to_json(), nl=False)
        return
    for line in lines(results):
        typer.echo(line)
    typer.echo(f"Look at it: {given.out / PAGE}")


def lines(results: Results) -> list[str]:
    """The few lines."""
    settings, known = results.settings, {row.name: row for row in results.rows}
    names = [*map(str, _list(settings["categories"])), ALL]
    table = [["layer", "images", *names, "different labels"]]
    notes = []
    for layer in map(str, _list(settings["layers"])):
        for side in (CLEAN, ATTACKED):
            place = f"{layer}/{side}"
            if f"unique/{place}" not in known:
                continue
            table.append([layer, side, *_cells(known, "ratio", "unique", place, names)])
            if f"chance unique/{place}" in known:
                table.append(["", "  95 % of chance", *_cells(known, "chance", "chance unique", place, names)])
            if silent := known[f"silent/{place}"].numerator:
                notes.append(f"{layer}, {side} images: {silent} units are dead or saturated and have no label.")
        if (drop := known.get(f"drop/{layer}/{ALL}")) is not None:
            change, low, high = (f"{100 * (value or 0):+.1f}" for value in (drop.value, drop.low, drop.high))
            notes.append(f"{layer}: {change} percentage points under attack, 95 % interval [{low}, {high}].")
    rule = f"Units with a label above IoU {settings['detector']}, each counted once; union rule {settings['union']!r}."
    return [rule, *_aligned(table), *notes]


def _cells(known: dict[str, Row], ratio: str, unique: str, place: str, names: list[str]) -> list[str]:
    shares = [known[f"{ratio}/{place}/{name}"] for name in names]
    cells = [f"{100 * row.value:.1f} % ({row.numerator})" for row in shares if row.value is not None]
    return [*cells, f"{known[f'{unique}/{place}'].value:.0f}"]


def _aligned(table: list[list[str]]) -> list[str]:
    """Two columns of words to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if number < 2 else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in table
    ]


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []
