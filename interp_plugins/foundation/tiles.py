"""Tiles: networks are always called with one fixed number of rows.

The same image alone and in a larger batch differs by about 1e-5 in a network's logits, because the libraries below
choose other kernels for other shapes, and twenty steps of an optimiser make grey levels of that. With a fixed number
of rows a call, and one thread, a row's result is the same to the bit whatever its neighbours. So work is cut into
tiles of a power of two rows, the last one padded by repeating a row. A tile never shrinks.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

CPU_TILE, GPU_TILE = 8, 64


def tile_size(tile: int | None, device: torch.device) -> int:
    """The rows of a tile: as asked for, or the default of the device."""
    if tile is None:
        return CPU_TILE if device.type == "cpu" else GPU_TILE
    return tile


def check_tile(tile: int | None) -> None:
    """Check that a tile is a power of two up to 256."""
    if tile is not None and tile not in {2**power for power in range(9)}:
        raise ValueError(f"expected tile to be a power of two from 1 to 256, got {tile}")


def spans(n: int, tile: int) -> Iterator[slice]:
    """The slices that cut n rows into tiles; the last may be short of rows."""
    for start in range(0, n, tile):
        yield slice(start, min(start + tile, n))


def fill(rows: Tensor, tile: int) -> Tensor:
    """Rows of any shape (m, ...), m <= tile, padded to (tile, ...) by repeating the last row."""
    missing = tile - rows.shape[0]
    if missing == 0:
        return rows
    return torch.cat([rows, rows[-1:].expand(missing, *rows.shape[1:])])
