"""The few places of all maps that can matter, kept while images stream by, and the pixels a unit lights in the end.

Whether a pixel is lit is known only when the threshold is, after the last image. But the threshold only rises, and the
upsampled map is nowhere larger than at a cell's corners: so cells without a corner above the threshold so far are
dropped for good. Of a layer of 7 x 7 about 500 cells an image are left, 24 bytes each, and no map is kept.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Float32, Float64, Int, Int64
from torch import Tensor
from torchmetrics import Metric

from interp_plugins.dissection.geometry import Upsampling
from interp_plugins.foundation.running import divided, where_true

GROWTH = 1.1  # of what is kept, before cells below the risen threshold are looked for
TOGETHER = 2**16  # cells that are kept in one piece: pieces are few, and copying one takes little memory
CHUNK = 2048  # cells enlarged at once, so that they stay in a processor's cache


class Cells:  # no dataclass: torchmetrics refuses frozen ones from compute, and squeezes the tensors of others
    """Cells of a layer's maps, in the order of images, rows, columns and units.

    Args:
        keys: ((image * (h + 1) + row) * (w + 1) + column) * units + unit.
        corners: Values at upper left, upper right, lower left and lower right.
        units: Of the layer.
        shape: Of its maps, (h, w).
    """

    def __init__(
        self, keys: Int64[Tensor, " m"], corners: Float32[Tensor, "m 4"], units: int, shape: tuple[int, int]
    ) -> None:
        self.keys, self.corners, self.units, self.shape = keys, corners, units, shape

    @property
    def each(self) -> int:
        """Keys of one image."""
        return (self.shape[0] + 1) * (self.shape[1] + 1) * self.units

    @property
    def unit(self) -> Int64[Tensor, " m"]:
        """Whose map each cell is of."""
        return divided(self.keys, self.units)[1]

    def above(self, thresholds: Float[Tensor, " u"]) -> "Cells":
        """Those with a corner above their unit's threshold."""
        a, b, c, d = self.corners.unbind(1)  # quicker than to seek the largest of each four
        highest = torch.maximum(torch.maximum(a, b), torch.maximum(c, d))
        kept = where_true(highest > thresholds.index_select(0, self.unit))
        keys, corners = (each.index_select(0, kept) for each in (self.keys, self.corners))
        return Cells(keys, corners, self.units, self.shape)

    def of(self, first: int, last: int) -> "Cells":
        """Those of the images from one number up to and without another."""
        bounds = torch.tensor([first, last], device=self.keys.device) * self.each
        start, stop = torch.searchsorted(self.keys, bounds).tolist()
        return Cells(self.keys[start:stop], self.corners[start:stop], self.units, self.shape)


@dataclass(frozen=True)
class Lit:
    """The pixels that are lit: where an upsampled map is above its unit's threshold. In the order of the images."""

    image: Int64[Tensor, " p"]  # its number
    unit: Int64[Tensor, " p"]
    pixel: Int64[Tensor, " p"]  # y * width + x


class CandidateCells(Metric):
    """The cells of a layer that may have lit pixels.

    Args:
        units: Of the layer.
        shape: Of its maps, (h, w).
        settings: Of torchmetrics.
    """

    full_state_update = False
    keys: list[Tensor]
    corners: list[Tensor]

    def __init__(self, units: int, shape: tuple[int, int], **settings: Any) -> None:
        super().__init__(**settings)
        self.units, self.shape = units, shape
        self.add_state("keys", [], dist_reduce_fx="cat")
        self.add_state("corners", [], dist_reduce_fx="cat")
        self._know_nothing()

    def update(
        self, maps: Float[Tensor, "n u h w"], images: Int[Tensor, " n"], bar: Float[Tensor, " u"] | None = None
    ) -> None:
        """Add the maps of images.

        Args:
            maps: Of each image.
            images: Their numbers.
            bar: Of each unit what its threshold will at least be; None if nothing is known.
        """
        found = cells_of(maps, images, bar)
        self.keys.append(found.keys)
        self.corners.append(found.corners)
        self._held += len(found.keys)
        if bar is not None and self._held > GROWTH * self._kept:
            self._drop(bar)

    def compute(self) -> Cells:
        """All that are left, in the order of the images."""
        if isinstance(self.keys, list):  # not so where the states of all processes have come together
            self.keys, self.corners = [_joined(self.keys)], [_joined(self.corners)]
        keys, corners = (each[0] if isinstance(each, list) else each for each in (self.keys, self.corners))
        if (keys[1:] < keys[:-1]).any():
            order = keys.argsort()
            keys, corners = keys[order], corners[order]
        return Cells(keys, corners, self.units, self.shape)

    def reset(self) -> None:
        """Forget everything."""
        super().reset()
        self._know_nothing()

    def _know_nothing(self) -> None:
        # a process without images has something to send as well
        self.keys = [torch.empty(0, dtype=torch.int64, device=self.device)]
        self.corners = [torch.empty(0, 4, device=self.device)]
        self._held = self._kept = 0

    def _drop(self, bar: Tensor) -> None:
        """Drop what the risen bar leaves below it, batch by batch, so that nothing large is copied."""
        keys, corners = self.keys[:1], self.corners[:1]
        for batch in range(1, len(self.keys)):
            left = Cells(self.keys[batch], self.corners[batch], self.units, self.shape).above(bar)
            self.keys[batch], self.corners[batch] = keys[0], corners[0]  # so that its memory is free again
            if len(keys[-1]) + len(left.keys) < TOGETHER and len(keys) > 1:
                keys[-1] = torch.cat([keys[-1], left.keys])
                corners[-1] = torch.cat([corners[-1], left.corners])
            else:
                keys.append(left.keys)
                corners.append(left.corners)
        self.keys, self.corners = keys, corners
        self._held = self._kept = sum(map(len, keys))


def cells_of(
    maps: Float[Tensor, "n u h w"], images: Int[Tensor, " n"], bar: Float[Tensor, " u"] | None = None
) -> Cells:
    """The cells of some maps, those with a corner above a bar if there is one."""
    _, units, height, width = maps.shape
    values = maps.permute(0, 2, 3, 1).float().contiguous()  # no copy where the network is channels-last
    rows, columns = _neighbours(height, maps.device), _neighbours(width, maps.device)
    if bar is None:
        bar = torch.full((units,), -torch.inf, device=maps.device)
    highest = _pairs(_pairs(values, 1), 2)
    place, unit = divided(where_true(highest > bar), units)
    image, within = divided(place, (height + 1) * (width + 1))
    row, column = divided(within, width + 1)
    lines = [(image * height + y.index_select(0, row)) * width for y in rows]
    places = [line + x.index_select(0, column) for line in lines for x in columns]
    corners = [values.view(-1).index_select(0, each * units + unit) for each in places]
    keys = (images.to(place).index_select(0, image) * ((height + 1) * (width + 1)) + within) * units + unit
    return Cells(keys, torch.stack(corners, 1), units, (height, width))


def light(cells: Cells, thresholds: Float64[Tensor, " u"], size: tuple[int, int]) -> Lit:
    """The pixels in cells that are above their unit's threshold.

    Args:
        cells: Those that can matter, or more.
        thresholds: T_k of each unit.
        size: Height and width of the labels.
    """
    cells = cells.above(thresholds)
    upsampling = Upsampling.of(cells.shape, size).to(cells.keys.device)
    place, unit = divided(cells.keys, cells.units)
    line, column = divided(place, cells.shape[1] + 1)
    image, row = divided(line, cells.shape[0] + 1)
    first = upsampling.pixels(row, column)
    found: list[Sequence[Tensor]] = []
    for start in range(0, len(image), CHUNK):
        some = slice(start, start + CHUNK)
        bar = thresholds.index_select(0, unit[some])
        left, slope = upsampling.lines(row[some], cells.corners[some].double())
        # no pixel of a line is above both of its ends, in rounded numbers neither; of most cells few lines are left
        lines = where_true(torch.maximum(left, left + slope) > bar[:, None])
        of, y = divided(lines, left.shape[1])
        right = upsampling.columns.weight.index_select(0, column[some].index_select(0, of))
        left, slope, bar = left.view(-1)[lines], slope.view(-1)[lines], bar.index_select(0, of)
        values = torch.addcmul(left[:, None], slope[:, None], right)
        lit, x = divided(where_true(values > bar[:, None]), right.shape[1])
        pixel = (first[some].index_select(0, of) + y * size[1]).index_select(0, lit) + x
        cell = of.index_select(0, lit) + start
        found.append((image.index_select(0, cell), unit.index_select(0, cell), pixel))
    empty = [torch.empty(0, dtype=torch.int64, device=image.device)] * 3
    return Lit(*(torch.cat(parts) for parts in zip(empty, *found, strict=True)))


def _neighbours(places: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """The places before and behind each of the places + 1 cells of an axis."""
    cells = torch.arange(places + 1, device=device)
    return (cells - 1).clamp_min(0), cells.clamp_max(places - 1)


def _joined(pieces: list[Tensor]) -> Tensor:
    """Pieces one after the other; each is forgotten when it is copied, so that memory never holds all twice."""
    found = pieces[0].new_empty(sum(map(len, pieces)), *pieces[0].shape[1:])
    start, none = 0, pieces[0][:0]
    for number, piece in enumerate(pieces):
        found[start : start + len(piece)] = piece
        start += len(piece)
        pieces[number] = none
    return found


def _pairs(values: Tensor, dim: int) -> Tensor:
    """The larger value of each two neighbours; at both ends the value itself."""
    count = values.shape[dim]
    found = torch.empty([size + (axis == dim) for axis, size in enumerate(values.shape)], device=values.device)
    torch.maximum(
        values.narrow(dim, 0, count - 1), values.narrow(dim, 1, count - 1), out=found.narrow(dim, 1, count - 1)
    )
    found.narrow(dim, 0, 1).copy_(values.narrow(dim, 0, 1))
    found.narrow(dim, count, 1).copy_(values.narrow(dim, count - 1, 1))
    return found
