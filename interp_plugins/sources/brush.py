"""Shapes, paints and a canvas: how the drawn world gets onto pixels together with its truth.

A shape is its signed distance in pixels (negative inside), one number for each pixel of each image: union is the
minimum, intersection the maximum. The canvas paints a shape's colours with a smooth edge and notes, for each pixel
whose centre is inside, which colour, object, part and texture was put there.

Pixels meet only + - * / sqrt floor min max, which IEEE 754 defines to the bit, so a picture does not depend on the
processor.
"""

from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from interp_plugins.sources.chance import Floats, Ints

Number: TypeAlias = float | Floats
Labels: TypeAlias = NDArray[np.int16]


@dataclass(frozen=True)
class Frame:
    """Where each pixel lies in coordinates in which a thing is easily described: x right, y up, both (n, h, w)."""

    x: Floats
    y: Floats
    pixel: Floats  # the width of a pixel in this frame's units, (n, 1, 1)

    def __getitem__(self, images: NDArray[np.intp]) -> "Frame":
        return Frame(self.x[images], self.y[images], self.pixel[images])

    @classmethod
    def of_images(cls, count: int, size: int) -> "Frame":
        """The frame in which every image is [-1, 1] x [-1, 1]."""
        ticks = ((2 * np.arange(size) + 1) / size - 1).astype(np.float32)
        shape = (count, size, size)
        return cls(
            np.broadcast_to(ticks, shape),
            np.broadcast_to(-ticks[:, None], shape),
            np.full((count, 1, 1), 2 / size, np.float32),
        )

    def placed(self, x: Number, y: Number, scale: Number = 1.0, turn: Number = 0.0, mirror: Number = 1.0) -> "Frame":
        """A frame with its origin at (x, y), `scale` times larger, turned by 2 arctan(`turn`).

        The half tangent gives sine and cosine by arithmetic alone. `mirror` -1 swaps left and right.
        """
        cosine, sine = (1 - turn * turn) / (1 + turn * turn), 2 * turn / (1 + turn * turn)
        dx, dy = (self.x - x) / scale, (self.y - y) / scale
        return Frame((cosine * dx + sine * dy) * mirror, cosine * dy - sine * dx, self.pixel / scale)

    def circle(self, x: Number, y: Number, radius: Number) -> Floats:
        """A disc."""
        dx, dy = self.x - x, self.y - y
        return self._in_pixels(np.sqrt(dx * dx + dy * dy) - radius)

    def ellipse(self, x: Number, y: Number, across: float, up: float, turn: float = 0.0) -> Floats:
        """An ellipse with these half axes, turned as in `placed`; its distance is good near the rim, else rough."""
        f = self.placed(x, y, turn=turn)
        u, v = f.x / np.float32(across), f.y / np.float32(up)
        return self._in_pixels((np.sqrt(u * u + v * v) - 1) * np.float32(min(across, up)))

    def box(self, x: Number, y: Number, across: Number, up: Number, corner: float = 0.0) -> Floats:
        """A rectangle with these half sides and rounded corners."""
        dx, dy = np.abs(self.x - x) - across, np.abs(self.y - y) - up
        if not corner:
            return self._in_pixels(np.maximum(dx, dy))
        ox, oy = np.maximum(dx + corner, 0), np.maximum(dy + corner, 0)
        return self._in_pixels(np.sqrt(ox * ox + oy * oy) + np.minimum(np.maximum(dx, dy) + corner, 0) - corner)

    def stroke(self, ax: Number, ay: Number, bx: Number, by: Number, radius: float) -> Floats:
        """A line from a to b with round ends."""
        px, py, dx, dy = self.x - ax, self.y - ay, bx - ax, by - ay
        along = np.clip((px * dx + py * dy) / (dx * dx + dy * dy), 0, 1)
        px, py = px - along * dx, py - along * dy
        return self._in_pixels(np.sqrt(px * px + py * py) - radius)

    def polygon(self, *corners: tuple[float, float]) -> Floats:
        """A convex polygon, its corners given anticlockwise."""
        edges = zip(corners, (*corners[1:], corners[0]), strict=True)
        return self._in_pixels(np.maximum.reduce([self._right_of(a, b) for a, b in edges]))

    def _in_pixels(self, distance: Floats) -> Floats:
        return distance / self.pixel

    def _right_of(self, a: tuple[float, float], b: tuple[float, float]) -> Floats:
        dx, dy = b[0] - a[0], b[1] - a[1]
        length = (dx * dx + dy * dy) ** 0.5
        normal_x, normal_y = np.float32(dy / length), np.float32(-dx / length)
        return (self.x - a[0]) * normal_x + (self.y - a[1]) * normal_y


def union(*shapes: Floats) -> Floats:
    """Inside any of the shapes."""
    inside: Floats = np.minimum.reduce(shapes)
    return inside


def intersection(*shapes: Floats) -> Floats:
    """Inside all of the shapes."""
    inside: Floats = np.maximum.reduce(shapes)
    return inside


def only(shape: Floats, where: NDArray[np.bool_]) -> Floats:
    """The shape in those images, nothing in the others."""
    return np.where(where, shape, np.float32(1e6))


@dataclass(frozen=True)
class Paint:
    """A colour for each image, plain or woven with a second one.

    Args:
        name: The colour's number, int16 (n,).
        rgb: What it looks like, float32 (n, 3) in [0, 1].
        texture: The texture's number, int16 (n,), 0 = plain.
        over: The second paint of a texture.
        weave: How much of it each pixel shows, float32 (n, h, w) in [0, 1].
    """

    name: Labels
    rgb: Floats
    texture: Labels
    over: "Paint | None" = None
    weave: Floats | None = None


@dataclass
class Canvas:
    """Pictures in the making, and what has been put where: rgb (n, h, w, 3); labels (n, h, w), 0 = nothing."""

    count: int
    size: int
    rgb: Floats = field(init=False)
    color: Labels = field(init=False)
    object: Labels = field(init=False)
    part: Labels = field(init=False)
    detail: Labels = field(init=False)  # a part of a part: the second layer of parts
    texture: Labels = field(init=False)

    def __post_init__(self) -> None:
        shape = (self.count, self.size, self.size)
        self.rgb = np.zeros((self.count, self.size, self.size, 3), np.float32)
        for name in ("color", "object", "part", "detail", "texture"):
            setattr(self, name, np.zeros(shape, np.int16))

    def prime(self, below: Floats, lower: Paint, lower_object: Labels, upper: Paint, upper_object: Labels) -> None:
        """Fill the whole canvas: `lower` inside the shape `below`, `upper` elsewhere; objects are numbers, (n,)."""
        inside = below < 0
        cover = np.clip(np.float32(0.5) - below, 0, 1)[..., None]
        self.rgb = upper.rgb[:, None, None] + cover * (lower.rgb - upper.rgb)[:, None, None]
        self.color = np.where(inside, lower.name[:, None, None], upper.name[:, None, None])
        self.object = np.where(inside, lower_object[:, None, None], upper_object[:, None, None])

    def paint(
        self,
        shape: Floats,
        paint: Paint,
        *,
        images: Ints,
        object: int,
        part: int = 0,
        detail: int = 0,
        rim: float = 0.3,
    ) -> None:
        """Paint a shape over what is there.

        Args:
            shape: Signed distance in pixels, (m, h, w).
            paint: Its colours in these m images.
            images: Which images of the canvas these are, (m,).
            object: The object's number.
            part: The part's number, 0 = no part of its own.
            detail: Number of a part of the part beneath, which keeps its own label.
            rim: How much darker the outermost two pixels are, 0 to 1: the outline that keeps small pictures legible.
        """
        at = np.nonzero(
            shape < 0.5
        )  # image, row and column of each pixel that is touched: a shape is small, a picture large
        image, depth = at[0], shape[at]
        rgb, name = paint.rgb[image], paint.name[image]
        if paint.over is not None and paint.weave is not None:
            share = paint.weave[at]
            rgb = rgb + share[:, None] * (paint.over.rgb[image] - rgb)
            name = np.where(share > 0.5, paint.over.name[image], name)
        rgb = rgb * (1 - rim * np.clip(1 + depth / 2, 0, 1))[:, None]
        cover = np.minimum(0.5 - depth, 1)[:, None]
        on = images[image], at[1], at[2]
        self.rgb[on] += cover * (rgb - self.rgb[on])

        inside = depth < 0
        image, on = image[inside], (on[0][inside], on[1][inside], on[2][inside])
        self.color[on], self.texture[on] = name[inside], paint.texture[image]
        self.object[on], self.detail[on] = object, detail
        if not detail:
            self.part[on] = part
