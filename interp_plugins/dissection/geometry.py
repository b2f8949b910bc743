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
        down, right = self.rows.weight[row], self.columns.weight[column]
        a, b, c, d = corners.unbind(1)
        # written so that equal corners give their value exactly, which a sum of four products does not
        left, slope = a[:, None] + down * (c - a)[:, None], (b - a)[:, None] + down * (d - c - b + a)[:, None]
        return torch.addcmul(left[:, :, None], slope[:, :, None], right[:, None, :])

    def pixels(self, row: Int64[Tensor, " m"], column: Int64[Tensor, " m"]) -> tuple[Tensor, Tensor]:
        """Where pixels lie in labels that are laid out in a line.

        Returns:
            Of each cell's first pixel (m,), and of the others from there on (y * x,).
        """
        down, right = torch.arange(self.rows.weight.shape[1]), torch.arange(self.columns.weight.shape[1])
        first = self.rows.start[row] * self.width + self.columns.start[column]
        return first, (down[:, None] * self.width + right).flatten()

    def to(self, device: torch.device) -> "Upsampling":
        """The same on a device."""
        rows, columns = (Axis(axis.start.to(device), axis.weight.to(device)) for axis in (self.rows, self.columns))
        return Upsampling(rows, columns, self.width)
