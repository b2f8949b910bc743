"""Bilinear upsampling of a unit's map to the size of the labels, one cell at a time.

Pixels have their centres at half numbers and values beyond the outermost centres are those of the edge: what
`torch.nn.functional.interpolate(mode="bilinear", align_corners=False)` does, and PIL's resize when it enlarges
(methods differ: the reference code of Bau et al. 2017 places centres at receptive fields).

Between neighbouring centres lies a *cell*. Inside it the upsampled map is a function of the values at its four corners,
and nowhere larger than the largest of them. So most cells can be dropped unseen. A map of h x w has (h + 1) x (w + 1)
cells; those at the rim have one corner twice.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float64, Int64
from torch import Tensor


@dataclass(frozen=True)
class Axis:
    """Along one axis: which pixels lie in each of the m + 1 cells, and how far from its first corner."""

    start: Int64[Tensor, " cells"]  # the first pixel
    weight: Float64[Tensor, "cells most"]  # of the second corner for each pixel; nan where a cell has no more pixels

    @classmethod
    def of(cls, places: int, pixels: int) -> "Axis":
        """The axis of a map with so many places, enlarged (or reduced) to so many pixels."""
        source = (torch.arange(pixels, dtype=torch.float64) + 0.5) * (places / pixels) - 0.5
        cell = source.floor().long().clamp(-1, places - 1) + 1
        fraction = (source - source.floor()).masked_fill((cell == 0) | (cell == places), 0.0)
        counts = torch.bincount(cell, minlength=places + 1)
        start = counts.cumsum(0) - counts
        weight = torch.full((places + 1, int(counts.max())), torch.nan, dtype=torch.float64)
        weight[cell, torch.arange(pixels) - start[cell]] = fraction
        return cls(start, weight)


@dataclass(frozen=True)
class Upsampling:
    """From maps of (h, w) to labels of (height, width)."""

    rows: Axis
    columns: Axis
    width: int

    @classmethod
    def of(cls, shape: tuple[int, int], size: tuple[int, int]) -> "Upsampling":
        """The way from maps of one shape to labels of a size."""
        return cls(Axis.of(shape[0], size[0]), Axis.of(shape[1], size[1]), size[1])

    def values(
        self, row: Int64[Tensor, " m"], column: Int64[Tensor, " m"], corners: Float64[Tensor, "m 4"]
    ) -> Float64[Tensor, "m y x"]:
        """The upsampled map inside cells; nan where a cell has fewer pixels than the largest.

        Args:
            row: Of each cell.
            column: Of each cell.
            corners: Values at upper left, upper right, lower left and lower right.
        """
        left, slope = self.lines(row, corners)
        return torch.addcmul(left[:, :, None], slope[:, :, None], self.columns.weight[column][:, None, :])

    def lines(
        self, row: Int64[Tensor, " m"], corners: Float64[Tensor, "m 4"]
    ) -> tuple[Float64[Tensor, "m y"], Float64[Tensor, "m y"]]:
        """The upsampled map along each line of pixels in cells: its value at the left side, and what the right adds.

        Args:
            row: Of each cell.
            corners: As for `values`.
        """
        down = self.rows.weight.index_select(0, row)
        a, b, c, d = (each[:, None] for each in corners.unbind(1))
        # written so that equal corners give their value exactly, which a sum of four products does not
        return a + down * (c - a), (b - a) + down * (d - c - b + a)

    def pixels(self, row: Int64[Tensor, " m"], column: Int64[Tensor, " m"]) -> Int64[Tensor, " m"]:
        """Where each cell's first pixel lies in labels that are laid out in a line.

        Args:
            row: Of each cell.
            column: Of each cell.
        """
        return self.rows.start.index_select(0, row) * self.width + self.columns.start.index_select(0, column)

    def to(self, device: torch.device) -> "Upsampling":
        """The same on a device."""
        rows, columns = (Axis(axis.start.to(device), axis.weight.to(device)) for axis in (self.rows, self.columns))
        return Upsampling(rows, columns, self.width)
