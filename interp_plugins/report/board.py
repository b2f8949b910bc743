"""A board in pixels on which pictures, words and bars are put; it becomes a PNG.

Pixels of small pictures stay sharp squares: a side of the board is a whole multiple of theirs. Large pictures are
made smaller without gaps. Words that do not fit are cut with an ellipsis. Names are text and never mathematics, so that
a class called "$" is written as it is. Like all drawings it uses matplotlib's own objects and no global state.
"""

from io import BytesIO
from typing import Literal

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from interp_plugins.report.png import Bytes

Region = NDArray[np.bool_]  # (h, w), where a unit looks

PAPER = "#fbfaf8"
DOTS = 144  # an inch: letters are this much finer than on a screen of 72
DIM = 0.6  # brightness of what lies outside a region
BLUR = 0.9  # a region's edge is smoothed over so much of a pixel of the picture, or of the board if that is larger


class Board:
    """A board of so many pixels; x goes right, y goes down.

    Args:
        width: In pixels.
        height: In pixels.
    """

    def __init__(self, width: float, height: float) -> None:
        self._canvas = Figure(figsize=(width / DOTS, height / DOTS), dpi=DOTS, facecolor=PAPER)
        self._agg = FigureCanvasAgg(self._canvas)
        self._axes = self._canvas.add_axes((0.0, 0.0, 1.0, 1.0))
        self._axes.set_axis_off()
        self._axes.set(xlim=(0, width), ylim=(height, 0))

    def picture(self, image: Bytes, x: float, y: float, side: int, region: Region | None = None) -> None:
        """Put a picture with its corner at x, y, its longer side so many pixels; what is outside a region is dimmed."""
        pixels = image.transpose(1, 2, 0)
        height, width = (round(side * length / max(pixels.shape[:2])) for length in pixels.shape[:2])
        small = max(pixels.shape[:2]) <= side
        how = Image.Resampling.NEAREST if small else Image.Resampling.LANCZOS
        shown = np.asarray(Image.fromarray(np.ascontiguousarray(pixels)).resize((width, height), how))
        if region is not None:
            inside = _smooth(region, (width, height))
            shown = np.where(inside[:, :, None] > 0.5, shown, (shown * DIM).astype(np.uint8))
        place = (x, x + width, y + height, y)
        self._axes.imshow(shown, extent=place, interpolation="nearest", aspect="auto", zorder=1)
        if region is not None:
            self._outline(inside, x, y)

    def frame(self, x: float, y: float, width: float, height: float, colour: str, line: float = 3.0) -> None:
        """Draw a frame around a place, outside of it."""
        half = line / 2
        corner = (x - half, y - half)
        points = line * 72 / DOTS
        self._axes.add_patch(
            Rectangle(corner, width + line, height + line, fill=False, edgecolor=colour, linewidth=points, zorder=4)
        )

    def block(self, x: float, y: float, width: float, height: float, colour: str) -> None:
        """Fill a place."""
        self._axes.add_patch(Rectangle((x, y), width, height, facecolor=colour, linewidth=0, zorder=2))

    def words(
        self,
        text: str,
        x: float,
        y: float,
        *,
        size: float = 20,
        colour: str,
        bold: bool = False,
        align: Literal["left", "center", "right"] = "left",
        room: float | None = None,
    ) -> float:
        """Write a line of text, its middle at height y, and return its width.

        Args:
            text: What to write.
            x: Where it begins, has its middle, or ends, by `align`.
            y: The middle of the line.
            size: Of the letters, in pixels.
            colour: Of the letters.
            bold: Whether they are.
            align: What x means.
            room: Pixels it may take; longer text is cut.
        """
        line = " ".join(text.split())
        written = self._axes.text(
            x,
            y,
            line,
            fontsize=size * 72 / DOTS,
            color=colour,
            fontweight="bold" if bold else "normal",
            ha=align,
            va="center",
            parse_math=False,
            zorder=5,
        )
        while room is not None and len(line) > 1 and self._width(written) > room:
            line = line[:-1].rstrip()
            written.set_text(line + "…")
        return self._width(written)

    def png(self) -> bytes:
        """The board as a PNG."""
        file = BytesIO()
        self._agg.print_png(file)
        return file.getvalue()

    def _width(self, written: Text) -> float:
        return float(written.get_window_extent(self._agg.get_renderer()).width)

    def _outline(self, inside: NDArray[np.float64], x: float, y: float) -> None:
        """A light line with a dark one under it, closed at the picture's border."""
        height, width = inside.shape
        closed = np.pad(inside, 1)
        columns = np.clip(np.arange(width + 2) - 0.5, 0, width) + x
        rows = np.clip(np.arange(height + 2) - 0.5, 0, height) + y
        for colour, line in (("black", 2.6), ("white", 1.2)):
            self._axes.contour(columns, rows, closed, levels=[0.5], colors=[colour], linewidths=[line], zorder=3)


def _smooth(region: Region, size: tuple[int, int]) -> NDArray[np.float64]:
    """A region at the size of the board, its edge at one half: without the corners of pixels, and without crumbs.

    A region that is nothing but crumbs keeps them.
    """
    plain = Image.fromarray(region.astype(np.uint8) * 255)
    small = max(size) < max(region.shape)
    shown = plain.resize(size, Image.Resampling.BOX if small else Image.Resampling.BICUBIC)
    radius = BLUR * max(1.0, max(size) / max(region.shape))
    smooth = np.asarray(shown.filter(ImageFilter.GaussianBlur(radius))) / 255
    if region.any() and smooth.max() <= 0.5:
        smooth = np.asarray(shown) / np.asarray(shown).max()
    return smooth


def side_of(image: Bytes, wanted: int) -> int:
    """The side on the board, near the one that is wanted, at which a picture's pixels are squares of one size.

    Example:
        >>> side_of(np.zeros((3, 32, 32), np.uint8), 130), side_of(np.zeros((3, 299, 299), np.uint8), 130)
        (128, 130)
    """
    longer = max(image.shape[1:])
    return longer * max(1, round(wanted / longer)) if longer <= wanted else wanted


def percent(share: float) -> str:
    """A rounded percentage; 100 is all, and 0 is none.

    Example:
        >>> percent(0.256), percent(0.999), percent(0.001)
        ('26 %', '> 99 %', '< 1 %')
    """
    return "> 99 %" if 0.995 <= share < 1 else "< 1 %" if 0 < share < 0.005 else f"{100 * share:.0f} %"
