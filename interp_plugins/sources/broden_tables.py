"""The tables of a Broden directory: which concepts there are, and what each image is labelled with."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from interp_plugins.foundation.concepts import Concept, Vocabulary
from interp_plugins.sources.decoding import is_inside
from interp_plugins.sources.tables import Complain, heard, integer, refuse, rows

SIZES = "ih", "iw", "sh", "sw"


@dataclass(frozen=True)
class Entry:
    """What index.csv says of one image.

    Args:
        image: Its file, relative to images/.
        shape: Height and width.
        mask_shape: Height and width of its masks.
        masks: Files of its masks, relative to images/, in the order of the categories; no two alike.
        whole: Numbers of the concepts of the whole image, no two alike.
    """

    image: str
    shape: tuple[int, int]
    mask_shape: tuple[int, int]
    masks: tuple[str, ...]
    whole: tuple[int, ...]


def vocabulary(
    folder: Path, categories: Sequence[str] | None = None, complain: Complain = refuse
) -> tuple[Vocabulary, frozenset[int]]:
    """Read category.csv, label.csv and the c_*.csv.

    A concept of several categories belongs to the one, among those chosen, in which it covers most; of equals to the
    later one.

    Args:
        folder: The Broden directory.
        categories: Those that are asked about; None for all. Their order is that of category.csv.
        complain: Is told of a row that is wrong, which is then left out.

    Returns:
        The concepts of these categories, and the numbers of all concepts.

    Raises:
        FileNotFoundError: A table is not there.
        ValueError: A table lacks a column, there is no such category, or there are no concepts.
    """
    known = [row["name"] for _, row in rows(folder / "category.csv", ("name",), complain)]
    chosen = chosen_of(known, categories, folder)
    names: dict[int, str] = {}
    for where, row in rows(folder / "label.csv", ("number", "name"), complain):
        with heard(complain):
            number = integer(row["number"], "number", where)
            if number in names:
                raise ValueError(f"expected each number once in {folder / 'label.csv'}, got {number} again in {where}")
            names[number] = row["name"]
    covered: dict[int, tuple[float, str]] = {}
    for category in chosen:
        with heard(complain):
            for where, row in rows(folder / f"c_{category}.csv", ("number", "coverage"), complain):
                with heard(complain):
                    number, coverage = _covered(row, where, names)
                    if number not in covered or coverage >= covered[number][0]:
                        covered[number] = coverage, category
    if not covered:
        raise ValueError(f"expected concepts of {', '.join(chosen)} in {folder / f'c_{chosen[0]}.csv'}, got none")
    concepts = (Concept(number, names[number], category) for number, (_, category) in sorted(covered.items()))
    return Vocabulary(tuple(concepts), chosen), frozenset(names)


def chosen_of(known: Sequence[str], categories: Sequence[str] | None, folder: Path) -> tuple[str, ...]:
    """The categories that are asked about, in the order of those there are.

    Raises:
        ValueError: None is chosen, or one that is not there, or one of them cannot be a file's name.
    """
    for name in known:  # they become names of files
        if not re.fullmatch(r"[\w -]+", name):
            raise ValueError(f"expected categories of letters, digits, spaces, - and _ in {folder}, got {name!r}")
    if categories is None and known:
        return tuple(known)
    strange = [name for name in categories or () if name not in known]
    if strange or not categories:
        raise ValueError(
            f"expected categories among {', '.join(known) or 'none'} of {folder}, got {', '.join(strange) or 'none'}"
        )
    return tuple(name for name in known if name in categories)


def entries(
    folder: Path, categories: Sequence[str], numbers: frozenset[int], complain: Complain = refuse
) -> list[Entry]:
    """Read index.csv.

    Args:
        folder: The Broden directory.
        categories: Whose masks and numbers are wanted.
        numbers: Those of label.csv.
        complain: Is told of a row that is wrong (a number outside label.csv, a file outside the folder, an image
            that was there before, other sizes than those before), which is then left out.

    Raises:
        FileNotFoundError: There is no index.csv.
        ValueError: It lacks a column.
    """
    found: dict[str, Entry] = {}
    shapes: tuple[tuple[int, int], tuple[int, int]] | None = None
    for where, row in rows(folder / "index.csv", ("image", *SIZES, *categories), complain):
        with heard(complain):
            entry = _entry(row, where, categories, numbers)
            if entry.image in found:
                raise ValueError(f"expected each image once in {folder / 'index.csv'}, got {entry.image} in {where}")
            shapes = shapes or (entry.shape, entry.mask_shape)
            for what, first, shape in zip(("images", "masks"), shapes, (entry.shape, entry.mask_shape), strict=True):
                if shape != first:
                    raise ValueError(
                        f"expected {what} of one size, {first[0]} x {first[1]} (height x width) as the first, in "
                        f"{where}, got {shape[0]} x {shape[1]}"
                    )
            found[entry.image] = entry
    return list(found.values())


def _entry(row: dict[str, str], where: str, categories: Sequence[str], numbers: frozenset[int]) -> Entry:
    height, width, mask_height, mask_width = (integer(row[name], name, where) for name in SIZES)
    items = [item for category in categories for item in row[category].split(";") if item]
    masks = tuple(dict.fromkeys(item for item in items if not re.fullmatch("[0-9]+", item)))
    whole = tuple(dict.fromkeys(int(item) for item in items if re.fullmatch("[0-9]+", item)))
    for file in (row["image"], *masks):
        if not is_inside(file):
            raise ValueError(f"expected files inside {Path(where).parent / 'images'} in {where}, got {file!r}")
    for number in whole:
        if number not in numbers:
            raise ValueError(f"expected numbers of label.csv in {where}, got {number}")
    return Entry(row["image"], (height, width), (mask_height, mask_width), masks, whole)


def _covered(row: dict[str, str], where: str, names: dict[int, str]) -> tuple[int, float]:
    number = integer(row["number"], "number", where)
    if number not in names:
        raise ValueError(f"expected numbers of label.csv in {where}, got {number}")
    try:
        return number, float(row["coverage"])
    except ValueError:
        raise ValueError(f"expected a coverage in {where}, got {row['coverage']!r}") from None
