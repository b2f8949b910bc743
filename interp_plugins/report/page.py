"""One HTML page that needs nothing but itself.

A page is a list of sections, and a section a title, a lead and pieces: paragraphs, tables, figures, strips of pictures,
code. All text is escaped, pictures travel inside the page, nothing is fetched and no script runs: the page's own
security policy forbids both, and allows just the one style sheet by its hash. It follows the reader's light or dark
setting and fits a phone.

A study that wants to say more writes one more function that takes the study's outcome and returns a `Section`.
"""

import base64
import hashlib
from dataclasses import dataclass
from importlib.resources import files
from typing import ClassVar, Literal

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from interp_plugins.report.results import Results, Row


@dataclass(frozen=True)
class Text:
    """A paragraph of plain text."""

    text: str
    kind: ClassVar[str] = "text"


@dataclass(frozen=True)
class Code:
    """Something to type, or the text of a file."""

    text: str
    kind: ClassVar[str] = "code"


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table. A cell that is a `Row` shows its percentage, a bar with the interval, and the counts."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str | Row, ...], ...]
    caption: str = ""
    kind: ClassVar[str] = "table"

    def __post_init__(self) -> None:
        """Check that every row fills every column.

        Raises:
            ValueError: One does not.
        """
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"expected {len(self.columns)} cells in every row of the table, got {len(row)}")


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A drawing as PNG bytes, for a light and for a dark page. `alt` says what can be seen in it."""

    light: bytes
    dark: bytes
    alt: str
    caption: str = ""
    kind: ClassVar[str] = "figure"


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What one network says: a label, how sure it is (0 to 1), and whether that is the truth, the target or neither."""

    who: str
    says: str
    confidence: float
    tone: Literal["truth", "target", "other"]


@dataclass(frozen=True, kw_only=True)
class Panel:
    """A small picture (PNG bytes) under a heading, and below it what the networks say to it."""

    title: str
    picture: bytes
    alt: str
    note: str = ""
    verdicts: tuple[Verdict, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Strip:
    """Panels side by side, to be read from left to right."""

    panels: tuple[Panel, ...]
    caption: str = ""
    kind: ClassVar[str] = "strip"


Piece = Text | Code | Table | Figure | Strip


@dataclass(frozen=True)
class Section:
    """A part of the page: a title, the answer in a sentence or two, and what shows it."""

    title: str
    lead: str
    pieces: tuple[Piece, ...] = ()


def render(title: str, lead: str, sections: tuple[Section, ...], results: Results) -> str:
    """Return the HTML of a page; its last part says how the run is done again, from `results`.

    Args:
        title: The heading, a question or a claim.
        lead: What was done, in a sentence or two.
        sections: In the order of reading.
        results: What results.json holds.
    """
    folder = files("interp_plugins.report")
    style = folder.joinpath("page.css").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"data_uri": _data_uri, "percent": _percent, "slug": slug}
    environment.tests["a_rate"] = lambda cell: isinstance(cell, Row)
    template = environment.from_string(folder.joinpath("page.html").read_text(encoding="utf-8"))
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return template.render(
        title=title, lead=lead, sections=sections, results=results, style=Markup(style), style_hash=digest
    )


def _data_uri(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode()


def _percent(share: float) -> str:
    """One digit after the point, and never a rounded-up 100 % or a rounded-down 0 %."""
    if 0.9995 <= share < 1:
        return "> 99.9 %"
    if 0 < share < 0.0005:
        return "< 0.1 %"
    return f"{100 * share:.1f} %"


def slug(title: str) -> str:
    """A section's title as a name for a link or a file."""
    words = "".join(letter if letter.isascii() and letter.isalnum() else " " for letter in title.lower()).split()
    return "-".join(words) or "section"
