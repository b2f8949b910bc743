"""The tables of a Broden directory: which concepts there are, and what each image is labelled with."""

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from interp_plugins.foundation.concepts import Concept, Vocabulary
from interp_plugins.sources.decoding import is_inside

SIZES = "ih", "iw", "sh", "sw"
LAST = 65_535  # red + 256 * green


@dataclass(frozen=True)
class Entry:
    """What index.csv says of one image.

    Args:
        image: Its file, relative to images/.
        shape: Height and width.
        mask_shape: Height and width of its masks.
        masks: Files of its masks, relative to images/, in the order of the categories.
        whole: Numbers of the concepts of the whole image, no two alike.
    """

    image: str
    shape: tuple[int, int]
    mask_shape: tuple[int, int]
    masks: tuple[str, ...]
    whole: tuple[int, ...]


def vocabulary(folder: Path, categories: Sequence[str] | None = None) -> tuple[Vocabulary, dict[int, str]]:
    """Read category.csv, label.csv and each c_*.csv.

    A concept of several categories belongs to the one, among those chosen, in which it covers most; of equals to the
    later one.

    Args:
        folder: The Broden directory.
        categories: Those that are asked about; None for all. Their order is that of category.csv.

    Returns:
        The concepts of these categories, and the names of all, by number.

    Raises:
        FileNotFoundError: A table is not there.
        ValueError: A table lacks a column or a value in it is wrong, or there is no such category.
    """
    known = [row["name"] for _, row in rows(folder / "category.csv", ("name",))]
    chosen = [name for name in known if categories is None or name in categories]
    if not chosen or (strange := set(categories or ()) - set(known)):
        wanted = ", ".join(sorted(strange)) if chosen else "none"
        raise ValueError(f"expected categories among {', '.join(known) or 'none'} of {folder}, got {wanted}")
    names = {}
    for where, row in rows(folder / "label.csv", ("number", "name")):
        number = integer(row["number"], "number", where)
        if number > LAST or number in names:
            raise ValueError(f"expected each number once and up to {LAST} in {where}, got {number}")
        names[number] = row["name"]
    covered: dict[int, tuple[float, str]] = {}
    for category in chosen:
        for where, row in rows(folder / f"c_{category}.csv", ("number", "coverage")):
            number = integer(row["number"], "number", where)
            if number not in names:
                raise ValueError(f"expected numbers of {folder / 'label.csv'} in {where}, got {number}")
            coverage = _coverage(row["coverage"], where)
            if number not in covered or coverage >= covered[number][0]:
                covered[number] = coverage, category
    if not covered:
        raise ValueError(f"expected concepts in c_{chosen[0]}.csv of {folder}, got none")
    concepts = (Concept(number, names[number], category) for number, (_, category) in sorted(covered.items()))
    return Vocabulary(tuple(concepts), tuple(chosen)), names


def entries(folder: Path, categories: Sequence[str], numbers: frozenset[int]) -> Iterator[Entry]:
    """Read index.csv.

    Args:
        folder: The Broden directory.
        categories: Whose masks and numbers are wanted.
        numbers: Those of label.csv.

    Raises:
        FileNotFoundError: There is no index.csv.
        ValueError: It lacks a column or a value in it is wrong: a number outside label.csv, a file outside the
            folder.
    """
    for where, row in rows(folder / "index.csv", ("image", *SIZES, *categories)):
        yield entry(row, where, categories, numbers)


def entry(row: dict[str, str], where: str, categories: Sequence[str], numbers: frozenset[int]) -> Entry:
    """What one row of index.csv says.

    Raises:
        ValueError: A value is wrong; `where` names the row.
    """
    height, width, mask_height, mask_width = (integer(row[name], name, where) for name in SIZES)
    cells = [item for category in categories for item in row[category].split(";") if item]
    whole = [int(item) for item in cells if re.fullmatch(r"[0-9]{1,9}", item)]
    masks = [item for item in cells if not re.fullmatch(r"[0-9]{1,9}", item)]
    for file in (row["image"], *masks):
        if not is_inside(file):
            raise ValueError(f"expected files inside {Path(where).parent / 'images'} in {where}, got {file!r}")
    for number in whole:
        if number not in numbers:
            raise ValueError(f"expected numbers of label.csv in {where}, got {number}")
    alone = tuple(dict.fromkeys(masks)), tuple(dict.fromkeys(whole))
    return Entry(row["image"], (height, width), (mask_height, mask_width), *alone)


def rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """The rows of a table, each with the words "FILE, line N" for messages.

    Raises:
        FileNotFoundError: There is no such table.
        ValueError: It is no table of UTF-8 text, or lacks one of the columns, as a whole or in a row.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no table {path}")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            table = csv.DictReader(file)
            if missing := [name for name in columns if name not in (table.fieldnames or ())]:
                raise ValueError(f"expected the columns {', '.join(columns)} in {path}, missing {', '.join(missing)}")
            for row in table:
                where = f"{path}, line {table.line_num}"
                if None in row or None in row.values():
                    raise ValueError(f"expected {len(table.fieldnames or ())} values in {where}, got another number")
                yield where, row
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"cannot read the table {path} ({error})") from error


def integer(text: str, name: str, where: str) -> int:
    """A whole number from 1.

    Raises:
        ValueError: It is none.
    """
    if not re.fullmatch(r"[0-9]{1,9}", text) or not int(text):
        raise ValueError(f"expected a {name} from 1 in {where}, got {text!r}")
    return int(text)


def _coverage(text: str, where: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"expected a coverage in {where}, got {text!r}") from None
