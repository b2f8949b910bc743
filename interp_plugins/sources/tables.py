"""Tables of text. What is wrong with one is said with its file and line, and whoever reads says what then happens."""

import csv
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

Complain = Callable[[Exception], object]  # what is done about a fault: stop at it, or write it down and go on


def refuse(fault: Exception) -> None:
    """Stop at the first fault."""
    raise fault


@contextmanager
def heard(complain: Complain) -> Iterator[None]:
    """Hand the fault that ends the body to `complain`."""
    try:
        yield
    except (FileNotFoundError, ValueError) as fault:
        complain(fault)


def rows(path: Path, columns: Sequence[str], complain: Complain = refuse) -> Iterator[tuple[str, dict[str, str]]]:
    """The rows of a comma-separated table, each with the words "FILE, line N" for messages.

    Args:
        path: A file of UTF-8 text whose first line names the columns.
        columns: Those it must have.
        complain: Is told of a row that has too few or too many values, which is then left out.

    Raises:
        FileNotFoundError: There is no such table.
        ValueError: It is no table of text, or lacks a column.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no table {path}")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            table = csv.DictReader(file)
            names = table.fieldnames or ()
            if missing := [name for name in columns if name not in names]:
                raise ValueError(f"expected the columns {', '.join(columns)} in {path}, missing {', '.join(missing)}")
            for row in table:
                where = f"{path}, line {table.line_num}"
                if None in row or None in row.values():
                    complain(ValueError(f"expected {len(names)} values in {where}, got another number of them"))
                else:
                    yield where, row
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"cannot read the table {path} ({error})") from error


def integer(text: str, name: str, where: str, least: int = 1, most: int = 65_535) -> int:
    """A whole number.

    Raises:
        ValueError: It is none, or out of range.
    """
    if not re.fullmatch(r"[0-9]{1,9}", text) or not least <= int(text) <= most:
        raise ValueError(f"expected a {name} from {least} to {most} in {where}, got {text!r}")
    return int(text)
