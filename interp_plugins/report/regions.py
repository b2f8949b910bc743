"""Where units look (Xie's Figure 8): the images that excite a unit most, with what it lights, and attacked ones below.

Beside each line stands the label that the unit has on these images, with its IoU. What it does not light is dimmed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from interp_plugins.dissection.labels import UnitLabels
from interp_plugins.foundation.concepts import Vocabulary
from interp_plugins.report.board import Board, side_of
from interp_plugins.report.detectors import tints
from interp_plugins.report.figures import LIGHT

SIDE = 176  # of an image, in pixels, as nearly as its own pixels allow
GAP, MARGIN = 12, 32
CAPTION = 300  # room for the words about a unit
HEAD, APART = 92, 30  # heights: above the units, between two of them


@dataclass(frozen=True)
class Looks:
    """Images of one unit, the strongest first, clean ones or attacked ones.

    Attributes:
        images: uint8 (k, 3, h, w).
        regions: What the unit lights in each, bool (k, h', w'), at the size of the labels or any other.
        label: What it points at on images of this kind; "" for nothing.
        category: Of the label.
        iou: With the label, over all images of this kind.
        detects: Whether that is above the limit.
    """

    images: NDArray[np.uint8]
    regions: NDArray[np.bool_]
    label: str
    category: str
    iou: float
    detects: bool

    def __post_init__(self) -> None:
        """Check that there is a region for each image.

        Raises:
            ValueError: There is not.
        """
        if len(self.regions) != len(self.images):
            raise ValueError(f"expected a region for each of {len(self.images)} images, got {len(self.regions)}")

    @classmethod
    def of(
        cls,
        unit: int,
        labels: UnitLabels,
        vocabulary: Vocabulary,
        images: NDArray[np.uint8],
        regions: NDArray[np.bool_],
    ) -> "Looks":
        """Those of one unit, with its label."""
        concept = int(labels.concept[unit])
        named = (vocabulary.name(concept), vocabulary.categories[int(labels.category[unit])]) if concept else ("", "")
        return cls(images, regions, *named, float(labels.iou[unit]), bool(labels.detectors[unit]))


@dataclass(frozen=True)
class Unit:
    """A unit on the sheet."""

    number: int
    clean: Looks
    attacked: Looks | None = None


def telling(labels: UnitLabels, most: int) -> list[int]:
    """Units worth a look: the best detector of each concept, then further detectors, by IoU; at last any others.

    Args:
        labels: Of a layer on clean images.
        most: How many.
    """
    order = labels.iou.argsort(descending=True, stable=True).tolist()
    seen: set[int] = set()
    first: list[int] = []
    then: list[int] = []
    last: list[int] = []
    for unit in order:
        concept = int(labels.concept[unit])
        kind = last if not labels.detectors[unit] else then if concept in seen else first
        kind.append(unit)
        seen.add(concept)
    return [*first, *then, *last][:most]


def draw(units: Sequence[Unit], categories: Sequence[str], *, title: str = "") -> bytes:
    """Return the sheet as a PNG.

    Args:
        units: From top to bottom; all images of one size.
        categories: Of the vocabulary, for their colours.
        title: Such as the layer's and the network's name.

    Raises:
        ValueError: There is no unit, or one has no images.
    """
    lines = [[unit.clean, *([unit.attacked] if unit.attacked else [])] for unit in units]
    if not units or not all(len(looks.images) for line in lines for looks in line):
        raise ValueError(f"expected at least one unit with images, got {len(units)} units")
    side = side_of(units[0].clean.images[0], SIDE)
    most = max(len(looks.images) for line in lines for looks in line)
    width = 2 * MARGIN + CAPTION + most * (side + GAP) - GAP
    heights = [len(line) * (side + GAP) - GAP + 2 * APART for line in lines]
    board = Board(width, HEAD + sum(heights))
    board.words(title, MARGIN, 34, size=26, colour=LIGHT.ink, bold=True, room=width - 2 * MARGIN)
    board.words("Bright: what the unit lights.", MARGIN, 68, size=18, colour=LIGHT.soft)
    top, tones = HEAD, tints(categories, LIGHT)
    for unit, line, height in zip(units, lines, heights, strict=True):
        board.block(MARGIN, top - 1, width - 2 * MARGIN, 2, LIGHT.line)
        y = top + APART
        for place, looks in enumerate(line):
            kind = ("clean images", "attacked images")[place]
            _words(
                board,
                looks,
                tones.get(looks.category, LIGHT.soft),
                f"unit {unit.number}" if place == 0 else "",
                kind if len(line) > 1 else "",
                y,
            )
            for number, (image, region) in enumerate(zip(looks.images, looks.regions, strict=True)):
                board.picture(image, MARGIN + CAPTION + number * (side + GAP), y, side, region)
            y += side + GAP
        top += height
    return board.png()


def _words(board: Board, looks: Looks, tone: str, unit: str, kind: str, y: float) -> None:
    """The unit, the kind of images, its label on them and the IoU, line by line."""
    y += 14
    if unit:
        board.words(unit, MARGIN, y, size=22, colour=LIGHT.ink, bold=True)
        y += 32
    if kind:
        board.words(kind, MARGIN, y, size=18, colour=LIGHT.soft)
        y += 30
    room = CAPTION - 28
    board.words(looks.label or "points at nothing", MARGIN, y, size=24, colour=tone, bold=True, room=room)
    if looks.label:
        words = f"{looks.category}, IoU {looks.iou:.3f}"
        board.words(words, MARGIN, y + 29, size=18, colour=LIGHT.soft, room=room)
        if not looks.detects:
            board.words("no detector", MARGIN, y + 55, size=18, colour=LIGHT.soft, room=room)
