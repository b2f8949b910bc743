"""Exemplar sheets: what excites each unit among real images, and what among attacked ones.

A row is a unit. Left of it stands what it is for: the classes that most of its top real images show, and its level and
consistency (LC). Then come its top real images and its top attacked ones, the strongest first, with the region where it
looks outlined. An attacked image that is to be taken for the very class that leads the unit's meaning is framed in red:
the unit answers to what the network mistakes for its class. An attacked image that truly shows that class is not, since
there the unit is right (Dong et al., arXiv:1708.05493, Fig. 2).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan

import numpy as np
from numpy.typing import NDArray

from interp_plugins.neurons.trace import Share
from interp_plugins.report.board import Board, Region, percent, side_of
from interp_plugins.report.figures import LIGHT

RED = "#d92d20"
SIDE = 132  # of an image, in pixels, as nearly as its own pixels allow
GAP, BETWEEN, MARGIN = 14, 36, 32
CAPTION = 300  # room for the words about a unit
HEAD, LINE, FOOT = 104, 176, 56  # heights: above the rows, of a row, below them


@dataclass(frozen=True)
class Shown:
    """Top images of one unit, the strongest first.

    Attributes:
        images: uint8 (k, 3, h, w).
        targets: Of attacked images, the class that each is to be taken for; none of real ones.
        regions: Where the unit looks in each, bool (k, h, w); None: not outlined.
    """

    images: NDArray[np.uint8]
    targets: tuple[int, ...] = ()
    regions: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        """Check that targets and regions are those of the images.

        Raises:
            ValueError: They are not.
        """
        k, _, *size = self.images.shape
        if self.targets and len(self.targets) != k:
            raise ValueError(f"expected a target for each of {k} images, got {len(self.targets)}")
        if self.regions is not None and self.regions.shape != (k, *size):
            raise ValueError(f"expected regions of shape {(k, *size)}, as the images', got {self.regions.shape}")

    def region(self, number: int) -> Region | None:
        """Where the unit looks in one image, or None."""
        return None if self.regions is None else self.regions[number]


@dataclass(frozen=True, kw_only=True)
class Row:
    """A unit on the sheet."""

    unit: int  # its number in the layer
    meaning: tuple[Share, ...]  # leading classes of its top real images; none for a dead unit
    lc: float  # of real images; nan where undefined
    lc_adv: float | None = None  # of attacked ones; None where there are none
    real: Shown
    attacked: Shown | None = None

    def framed(self, number: int) -> bool:
        """Whether an attacked image is to be taken for the very class that the unit stands for."""
        targets = self.attacked.targets if self.attacked else ()
        return bool(self.meaning and targets) and targets[number] == self.meaning[0].label


def draw(rows: Sequence[Row], *, names: Sequence[str], title: str = "") -> bytes:
    """Return the sheet as a PNG.

    Args:
        rows: The units, from top to bottom; all images of one size.
        names: Of the classes, by number.
        title: Such as the layer's and the network's name.

    Raises:
        ValueError: There is no row, or a unit has no images.
    """
    if not rows or not all(len(row.real.images) for row in rows):
        raise ValueError(f"expected at least one unit with images, got {len(rows)} units")
    side = side_of(rows[0].real.images[0], SIDE)
    real, attacked = (max(len(shown.images) if shown else 0 for shown in column) for column in _columns(rows))
    second = MARGIN + CAPTION + real * (side + GAP) + BETWEEN  # where the attacked images begin
    width = second + attacked * (side + GAP) + MARGIN if attacked else second - BETWEEN + MARGIN
    line = max(LINE, side + 44)
    board = Board(width, HEAD + len(rows) * line + FOOT)
    board.words(title, MARGIN, 36, size=26, colour=LIGHT.ink, bold=True, room=width - 2 * MARGIN)
    board.words("real images", MARGIN + CAPTION, 80, size=19, colour=LIGHT.soft)
    if attacked:
        board.words("attacked images, and the class they aim at", second, 80, size=19, colour=LIGHT.soft)
    for number, row in enumerate(rows):
        top = HEAD + number * line
        board.block(MARGIN, top - 1, width - 2 * MARGIN, 2, LIGHT.line)
        _caption(board, row, names, top)
        _images(board, row.real, MARGIN + CAPTION, top + 12, side)
        if row.attacked:
            _images(board, row.attacked, second, top + 12, side)
            _aims(board, row, names, second, top + 12, side)
    _legend(board, rows, HEAD + len(rows) * line + FOOT / 2)
    return board.png()


def _columns(rows: Sequence[Row]) -> tuple[list[Shown | None], list[Shown | None]]:
    return [row.real for row in rows], [row.attacked for row in rows]


def _caption(board: Board, row: Row, names: Sequence[str], top: float) -> None:
    """What the unit stands for, and how well."""
    room = CAPTION - 28
    board.words(f"unit {row.unit}", MARGIN, top + 28, size=20, colour=LIGHT.soft)
    y = top + 58
    for place, (label, share) in enumerate(row.meaning):
        first = place == 0
        board.words(percent(share), MARGIN + 66, y, size=18, colour=LIGHT.soft, align="right")
        colour = LIGHT.ink if first else LIGHT.soft
        board.words(names[label], MARGIN + 78, y, size=20 if first else 18, colour=colour, bold=first, room=room - 78)
        y += 26
    if not row.meaning:
        board.words("answers all alike", MARGIN, y, size=18, colour=LIGHT.soft)
    words = f"LC {_number(row.lc)}"
    if row.lc_adv is not None:
        words += f", attacked {_number(row.lc_adv)}"
    board.words(words, MARGIN, top + 146, size=18, colour=LIGHT.soft)


def _images(board: Board, shown: Shown, x: float, y: float, side: int) -> None:
    for number, image in enumerate(shown.images):
        board.picture(image, x + number * (side + GAP), y, side, shown.region(number))


def _aims(board: Board, row: Row, names: Sequence[str], x: float, y: float, side: int) -> None:
    """The class that each attacked image aims at, with a red frame where it is the unit's."""
    for number, target in enumerate(row.attacked.targets if row.attacked else ()):
        left, framed = x + number * (side + GAP), row.framed(number)
        if framed:
            board.frame(left, y, side, side, RED, line=4)
        board.words(
            f"→ {names[target]}",
            left + side / 2,
            y + side + 15,
            size=16,
            colour=RED if framed else LIGHT.soft,
            bold=framed,
            align="center",
            room=side,
        )


def _legend(board: Board, rows: Sequence[Row], y: float) -> None:
    x: float = MARGIN + CAPTION
    if any(shown is not None and shown.regions is not None for column in _columns(rows) for shown in column):
        x += 32 + board.words("Bright: where the unit looks.", x, y, size=17, colour=LIGHT.soft)
    if any(row.attacked and row.attacked.targets for row in rows):
        board.frame(x + 2, y - 9, 18, 18, RED)
        board.words("aimed at the class that the unit stands for", x + 32, y, size=17, colour=LIGHT.soft)


def _number(value: float) -> str:
    return "undefined" if isnan(value) else f"{value:.2f}"
