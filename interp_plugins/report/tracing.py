"""Why was this image misread? A picture of the trace of one decision.

Side by side: the clean image, and what an attack made of it. Below each stands what the network says, and then its
influential units, the most influential first: how much the logit loses without the unit, which classes most of its
top real images show, and these images themselves. A coloured edge marks units that carried this decision alone, a grey
one those that carried both.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan

from interp_plugins.neurons.trace import Decision, Share, Trace, Unit
from interp_plugins.report.board import Board, percent, side_of
from interp_plugins.report.example import TONES
from interp_plugins.report.figures import LIGHT
from interp_plugins.report.png import Bytes

IMAGE, EXEMPLAR = 256, 84  # sides in pixels, as nearly as the images' own pixels allow
GAP, BETWEEN, MARGIN = 6, 56, 36
CAPTION = 300  # room for the words about a unit
LEAST = 3  # exemplars for which there is room in any case, as the classes stand above them
HEAD, FOOT, APART = 76, 64, 22
VERDICT = 66  # height of one class that the network says
SHARED = "#9aa0aa"


@dataclass(frozen=True)
class _Style:
    """What all parts of one picture share."""

    names: Sequence[str]
    exemplars: Mapping[int, Sequence[Bytes]]
    tones: Mapping[int, str]  # colour of a class
    side: int  # of an exemplar
    strongest: float  # influence that fills a bar

    def tone(self, label: int) -> str:
        return self.tones.get(label, TONES["other"])


def draw(
    trace: Trace,
    images: Sequence[Bytes],
    exemplars: Mapping[int, Sequence[Bytes]],
    *,
    names: Sequence[str],
    truth: int | None = None,
    target: int | None = None,
) -> bytes:
    """Return the picture as a PNG.

    Args:
        trace: From `neurons.trace`.
        images: The clean image, and the attacked one where the trace has one.
        exemplars: Top real images of each unit in `trace.units`, the strongest first; about six, and none for a unit
            of which nothing is known.
        names: Of the classes, by number.
        truth: The true class, if it is known.
        target: The class that the attack aimed at, if it is known.

    Raises:
        ValueError: Images are not those of the trace, or a unit is missing among the exemplars.
    """
    if len(images) != len(trace.decisions):
        raise ValueError(f"expected {len(trace.decisions)} images, as many as the trace has, got {len(images)}")
    if missing := [unit for unit in trace.units if unit not in exemplars]:
        raise ValueError(f"expected exemplars of every unit of the trace, got none of unit {missing[0]}")
    shown = [exemplars[unit] for unit in trace.units]
    side = side_of(next((strip[0] for strip in shown if strip), images[0]), EXEMPLAR)
    tones = {number: TONES[name] for name, number in (("target", target), ("truth", truth)) if number is not None}
    strongest = max(unit.influence for decision in trace.decisions for unit in decision.units)
    style = _Style(names, exemplars, tones, side, strongest)
    picture, column = side_of(images[0], IMAGE), CAPTION + max(LEAST, *map(len, shown)) * (side + GAP)
    top = HEAD + picture + APART
    line, most = side + APART, max(len(decision.units) for decision in trace.decisions)
    both = len(images) > 1
    board = Board(2 * MARGIN + len(images) * column + both * BETWEEN, top + most * line + (FOOT if both else MARGIN))
    for place, (decision, image) in enumerate(zip(trace.decisions, images, strict=True)):
        x = MARGIN + place * (column + BETWEEN)
        title = ("Clean image", "After the attack")[place] if both else "Image"
        board.words(title, x, 44, size=25, colour=LIGHT.ink, bold=True)
        board.picture(image, x, HEAD, picture)
        _says(board, decision, style, x + picture + 32, HEAD, column - picture - 32)
        alone = TONES["truth"] if place == 0 else TONES["target"]
        for number, unit in enumerate(decision.units):
            y = top + number * line
            board.block(x, y, column, 2, LIGHT.line)
            colour = SHARED if unit.shared or not both else alone
            _unit(board, unit, style, colour, x, y + APART / 2 + 1)
    if both:
        _legend(board, MARGIN, top + most * line + FOOT / 2)
    return board.png()


def _says(board: Board, decision: Decision, style: _Style, x: float, y: float, room: float) -> None:
    """The classes that the network says, and how far its units are from that."""
    for place, (label, share) in enumerate(decision.says):
        first, middle = place == 0, y + 14 + place * VERDICT
        colour = style.tone(label)
        board.words(style.names[label], x, middle, size=24, colour=colour, bold=first, room=room - 110)
        board.words(percent(share), x + room, middle, size=22, colour=LIGHT.soft, align="right")
        _bar(board, share, colour, x, middle + 22, room)
    words = "Nothing is known of its units."
    if not isnan(decision.conflict):
        words = f"Its units contradict that by {decision.conflict:.2f} of 1."
    board.words(words, x, y + 14 + len(decision.says) * VERDICT, size=19, colour=LIGHT.soft, room=room)


def _unit(board: Board, unit: Unit, style: _Style, colour: str, x: float, y: float) -> None:
    """One row: what the unit adds, what it stands for, and its exemplars."""
    board.block(x, y, 6, style.side, colour)
    left, room = x + 22, CAPTION - 22 - 24
    board.words(f"unit {unit.number}", left, y + 12, size=18, colour=LIGHT.soft)
    board.words(f"{unit.influence:+.2f}", left + room, y + 12, size=18, colour=LIGHT.soft, align="right")
    _bar(board, max(0.0, unit.influence) / style.strongest if style.strongest > 0 else 0, colour, left, y + 28, room)
    board.words(_first(unit.meaning, style.names), left, y + 51, size=20, colour=LIGHT.ink, bold=True, room=room)
    rest = ", ".join(f"{style.names[label]} {percent(share)}" for label, share in unit.meaning[1:])
    if rest:
        board.words(rest, left, y + 75, size=16, colour=LIGHT.soft, room=room)
    for number, image in enumerate(style.exemplars[unit.number]):
        board.picture(image, x + CAPTION + number * (style.side + GAP), y, style.side)


def _legend(board: Board, x: float, y: float) -> None:
    tones = {
        "only for the clean image": TONES["truth"],
        "only after the attack": TONES["target"],
        "in both": SHARED,
    }
    for words, colour in tones.items():
        board.block(x, y - 10, 6, 20, colour)
        x += 18 + 40 + board.words(words, x + 18, y, size=18, colour=LIGHT.soft)
    board.words("Bars: what the predicted class loses without the unit.", x, y, size=18, colour=LIGHT.soft)


def _bar(board: Board, share: float, colour: str, x: float, y: float, width: float) -> None:
    board.block(x, y, width, 6, LIGHT.line)
    board.block(x, y, width * share, 6, colour)


def _first(meaning: tuple[Share, ...], names: Sequence[str]) -> str:
    """The leading class, if anything is known."""
    return f"{names[meaning[0].label]} {percent(meaning[0].share)}" if meaning else "nothing known"
