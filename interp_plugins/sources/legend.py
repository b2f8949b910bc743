"""labels.csv: what the numbers or the colours of a folder's masks mean."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from interp_plugins.foundation.concepts import Concept, Vocabulary
from interp_plugins.sources import decoding
from interp_plugins.sources.broden_tables import chosen_of
from interp_plugins.sources.marked import Layers
from interp_plugins.sources.meanings import Meanings
from interp_plugins.sources.tables import Complain, heard, integer, refuse, rows

CATEGORY = "object"  # of concepts for which the table names none


@dataclass(frozen=True)
class Legend:
    """What a labels.csv says.

    Args:
        path: Where it is.
        vocabulary: The concepts that are asked about.
        meanings: What stored numbers stand for.
        colours: Those by which masks are read, ascending; None where masks store numbers.
        numbers: What each colour stands for.
    """

    path: Path
    vocabulary: Vocabulary
    meanings: Meanings
    colours: NDArray[np.uint32] | None
    numbers: NDArray[np.uint16]

    def concepts(self, mask: Path, shape: tuple[int, int]) -> Layers:
        """The concepts in a mask of this height and width.

        Raises:
            FileNotFoundError: It is not there.
            ValueError: It cannot be read, is of another shape, or holds what the table does not list.
        """
        if self.colours is None:
            return self.meanings.concepts(decoding.numbers(mask, shape), mask)
        found = decoding.colours(mask, shape)
        place = np.searchsorted(self.colours, found).clip(max=len(self.colours) - 1)
        if (strange := self.colours[place] != found).any():
            colour = int(found[strange][0]).to_bytes(3, "little").hex()
            raise ValueError(f"expected colours of {self.path.name} in the mask {mask}, got #{colour}")
        return self.meanings.concepts(self.numbers[place], mask)


def read_legend(path: Path, categories: Sequence[str] | None, complain: Complain = refuse) -> Legend:
    """Read a labels.csv.

    Args:
        path: The table, with the columns number and name, and perhaps category and color.
        categories: Those that are asked about; None for all.
        complain: Is told of a row that is wrong, which is then left out.

    Raises:
        FileNotFoundError: There is no such table.
        ValueError: It lacks a column, no number has a name, there is no such category, or colours are wrong.
    """
    names, kinds, colours = dict[int, str](), dict[int, str](), dict[int, int]()
    for where, row in rows(path, ("number", "name"), complain):
        with heard(complain):
            number = integer(row["number"], "number", where, least=0)
            if number in names:
                raise ValueError(f"expected each number once in {path}, got {number} again in {where}")
            if row.get("color"):
                colour = _colour(row["color"], where)
                if colour in colours:
                    raise ValueError(f"expected each color once in {path}, got {row['color']} again in {where}")
                colours[colour] = number
            names[number], kinds[number] = row["name"].strip(), (row.get("category") or CATEGORY).strip()
    if colours and (bare := names.keys() - colours.values()):
        raise ValueError(f"expected a color for each number of {path} or for none, got none for {min(bare)}")
    named = sorted(number for number, name in names.items() if name)
    if not named:
        raise ValueError(f"expected numbers with names in {path}, got none")
    chosen = chosen_of(
        tuple(dict.fromkeys(kinds[number] for number in names if names[number])), categories, path.parent
    )
    up = int(0 in named)  # concepts count from 1
    if named[-1] + up >= decoding.BLUE:
        raise ValueError(f"expected numbers up to 65534 in {path} where 0 is named, got {named[-1]}")
    asked = [number for number in named if kinds[number] in chosen]
    vocabulary = Vocabulary(tuple(Concept(number + up, names[number], kinds[number]) for number in asked), chosen)
    meanings = Meanings({0, *names}, {number: number + up for number in asked}, path.name)
    order = sorted(colours)
    return Legend(
        path,
        vocabulary,
        meanings,
        np.array(order, np.uint32) if order else None,
        np.array([colours[colour] for colour in order], np.uint16),
    )


def _colour(text: str, where: str) -> int:
    if not re.fullmatch("#[0-9a-fA-F]{6}", text.strip()):
        raise ValueError(f"expected a color such as #4080c0 in {where}, got {text!r}")
    return int.from_bytes(bytes.fromhex(text.strip()[1:]), "little")
