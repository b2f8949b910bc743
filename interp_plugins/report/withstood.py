"""How often networks are right under each attack, as rows of results.json, as a table to print, and on a page."""

from collections.abc import Iterator, Mapping, Sequence

from jaxtyping import Bool
from torch import Tensor

from interp_plugins.report.page import Section, Table, Text
from interp_plugins.report.results import Results, Row, rate

Right = Mapping[str, Mapping[str, Bool[Tensor, "n k"]]]  # of each network and attack, an image a row, a top a column


def rows(right: Right, tops: Sequence[int]) -> Iterator[Row]:
    """Every share; a network, an attack and how many answers count are in its name.

    Args:
        right: Whether each image's true class is among the first answers.
        tops: How many answers those are.
    """
    for network, attacks in right.items():
        for attack, flags in attacks.items():
            for column, top in enumerate(tops):
                yield rate(name(network, attack, top), int(flags[:, column].sum()), len(flags), of="images")


def name(network: str, attack: str, top: int) -> str:
    """What a share is called."""
    return f"{network}/{attack}/top-{top}"


def lines(results: Results, right: Right, said: Mapping[str, str], tops: Sequence[int]) -> list[str]:
    """The table, an attack a line and a network a column.

    Args:
        results: With the rows.
        right: As for `rows`.
        said: Each attack in words.
        tops: As for `rows`.
    """
    table = [["", *right]]
    table += [
        [_side(words, top, tops), *(_cell(results.row(name(network, attack, top))) for network in right)]
        for attack, words in said.items()
        for top in tops
    ]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in table]


def sections(
    results: Results, right: Right, said: Mapping[str, str], tops: Sequence[int], notes: Sequence[str]
) -> tuple[Section, ...]:
    """The table, and what is to be said of masked gradients; arguments as for `lines`.

    Args:
        results: With the rows.
        right: As for `rows`.
        said: Each attack in words.
        tops: As for `rows`.
        notes: A sentence each.
    """
    cells: tuple[tuple[str | Row, ...], ...] = tuple(
        (_side(words, top, tops), *(results.row(name(network, attack, top)) for network in right))
        for attack, words in said.items()
        for top in tops
    )
    table = Table(columns=("images", *right), rows=cells, caption="Bars are Wilson 95 % intervals.")
    lead = "The share of images whose true class is found."
    found = (Section("How often are they right?", lead, (table,)),)
    if not notes:
        return found
    return (*found, Section("Is a gradient masked?", notes[0], tuple(Text(note) for note in notes[1:])))


def _side(attack: str, top: int, tops: Sequence[int]) -> str:
    return attack if len(tops) == 1 else f"{attack}, top {top}"


def _cell(row: Row) -> str:
    value, low, high = (100 * (each or 0) for each in (row.value, row.low, row.high))
    return f"{value:.1f} % [{low:.1f}, {high:.1f}] ({row.numerator:,} of {row.denominator:,})"
