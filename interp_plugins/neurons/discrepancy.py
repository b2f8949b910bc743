"""Where in an image does a unit look? Discrepancy maps, after Zhou et al. (arXiv:1412.6856, section 3.2).

    D(i, j) = a(x) - a(x with a random patch at cell (i, j) of a dense grid)

A patch of random pixels covers one place after another; a is the unit's activation. Where covering lowers it most is
what the unit answers to. Dong et al. (arXiv:1708.05493, Fig. 2) outline such regions in the units' top images. The
patch of 11 pixels and the stride of 3 are Zhou's: 5,184 copies of an image of 224 pixels. Open there, ours here:

- The activation is read where the clean image's map is largest ("peak"). The largest anywhere ("max") is at hand, but a
  second response far away then hides the effect.
- Signed by default, so that a patch that excites the unit is below zero; "absolute" for a plain discrepancy.
- One patch for all places of an image ("one"), or a new one at each ("each"), which adds noise.
- Pixels of the patch are uniform in [0, 1]: drawn in pixel space, before any normalisation in the model.
- Regions are where the upsampled map is above half its largest value.

If the stride does not divide what the patch leaves, the last columns and rows are never covered.
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Float32, Int
from torch import Tensor, nn

from interp_plugins.foundation import check
from interp_plugins.foundation.borrow import borrow
from interp_plugins.foundation.randomness import seeds
from interp_plugins.foundation.record import record
from interp_plugins.foundation.tiles import check_tile, fill, spans, tile_size


@dataclass(frozen=True)
class Discrepancy:
    """Maps of m units of each of n images, on a grid of a x b places of the patch."""

    maps: Float32[Tensor, "n m a b"]
    clean: Float32[Tensor, "n m"]  # activations when nothing is covered
    peaks: Float32[Tensor, "n m 2"]  # row and column, in pixels, of the largest value of the clean map
    size: tuple[int, int]  # height and width of the images
    patch: int
    stride: int

    def upsampled(self) -> Float32[Tensor, "n m h w"]:
        """The maps at the images' size: bilinear between the centres of the patches, the border's values outside."""
        lines = [self._along(length, count) for length, count in zip(self.size, self.maps.shape[2:], strict=True)]
        rows, columns = (line.to(self.maps.device) for line in lines)
        grid = torch.stack([columns.expand(len(rows), -1), rows[:, None].expand(-1, len(columns))], -1)
        grid = grid.expand(len(self.maps), *grid.shape)
        return F.grid_sample(self.maps, grid, mode="bilinear", padding_mode="border", align_corners=True)

    def regions(self, share: float = 0.5) -> Bool[Tensor, "n m h w"]:
        """Pixels where the upsampled map is above a share of its largest value; none where nothing is above zero.

        Raises:
            ValueError: The share is not in [0, 1).
        """
        if not 0 <= share < 1:
            raise ValueError(f"expected a share in [0, 1), got {share}")
        maps = self.upsampled()
        return maps > share * maps.amax((2, 3), keepdim=True).clamp_min(0)

    def receptive_field(self) -> Float32[Tensor, "m y x"]:
        """How far a unit looks: the mean of its maps over the images, each moved so that its peak is in the middle.

        Row m is for the m-th unit of every image, so give the images that are its top ones. The picture has 2 h - 1
        rows and 2 w - 1 columns; nan where no image reaches.
        """
        height, width = self.size
        shape = (self.maps.shape[1], 2 * height - 1, 2 * width - 1)
        sums, counts = self.maps.new_zeros(shape), self.maps.new_zeros(shape)
        for maps, peaks in zip(self.upsampled(), self.peaks.round().long().tolist(), strict=True):
            for unit, (row, column) in enumerate(peaks):
                top, left = height - 1 - row, width - 1 - column
                place = (unit, slice(top, top + height), slice(left, left + width))
                sums[place] += maps[unit]
                counts[place] += 1
        return sums / counts

    def _along(self, length: int, count: int) -> Tensor:
        """Where each pixel lies between the first patch's centre, -1, and the last one's, 1."""
        cell = (torch.arange(length) - (self.patch - 1) / 2) / self.stride
        return 2 * cell / max(count - 1, 1) - 1


@dataclass(frozen=True, kw_only=True)
class DiscrepancyMap:
    """Covers one place of an image after another with random pixels and tells what units lose.

    Example:
        >>> images = torch.zeros(1, 1, 3, 3)
        >>> images[0, 0, 1, 1] = 1
        >>> found = DiscrepancyMap(patch=1, stride=1)(nn.Identity(), "", images, torch.tensor([0]))
        >>> (found.maps != 0).int()
        tensor([[[[0, 0, 0],
                  [0, 1, 0],
                  [0, 0, 0]]]], dtype=torch.int32)
    """

    patch: int = 11  # pixels a side
    stride: int = 3  # pixels between places
    at: Literal["peak", "max"] = "peak"  # activation where the clean map is largest, or the largest anywhere
    difference: Literal["signed", "absolute"] = "signed"  # clean minus covered, or its size
    noise: Literal["one", "each"] = "one"  # patches an image
    tile: int | None = None  # rows a network call, a power of two; None: 8 on a CPU, 64 on a GPU

    def __post_init__(self) -> None:
        check.positive(patch=self.patch, stride=self.stride)
        check.one_of("at", self.at, ("peak", "max"))
        check.one_of("difference", self.difference, ("signed", "absolute"))
        check.one_of("noise", self.noise, ("one", "each"))
        check_tile(self.tile)

    def __call__(
        self,
        model: nn.Module,
        layer: str,
        images: Float[Tensor, "n c h w"],
        units: Int[Tensor, " m"] | Int[Tensor, "n m"],
        *,
        seed: int = 0,
        ids: list[str] | list[int] | None = None,
    ) -> Discrepancy:
        """The discrepancy maps of some units of a layer.

        Args:
            model: The network; given back as found.
            layer: Its dotted name, as in `named_modules()`; it puts out (n, units, height, width) or (n, units).
            images: In [0, 1]; normalisation belongs inside the model.
            units: Which units, for all images or for each; more units of one image cost next to nothing.
            seed: Decides the patches, together with the image's id.
            ids: Names of the images, so that patches do not depend on their order; None: their places in the batch.

        Raises:
            LayerNotReached: The layer did not run.
            TypeError: The layer put out something other than a tensor.
            ValueError: An image smaller than the patch, a unit that is none, a wrong name or shape, or a NaN.
        """
        images = check.images(images)
        height, width = images.shape[2:]
        if self.patch > min(height, width):
            raise ValueError(f"expected images of at least the patch's {self.patch} pixels, got {height} x {width}")
        if units.ndim == 1:
            units = units.expand(len(images), -1)
        if len(units) != len(images):
            raise ValueError(f"expected units for each of {len(images)} images, got those of {len(units)}")
        rows = tile_size(self.tile, images.device)
        with borrow(model), torch.no_grad():
            found = [
                self._one(model, layer, image, some.long().to(images.device), number, rows)
                for image, some, number in zip(images, units, seeds(seed, ids, len(images)), strict=True)
            ]
        maps, clean, peaks = (torch.stack(column) for column in zip(*found, strict=True))
        return Discrepancy(maps, clean, peaks, (height, width), self.patch, self.stride)

    def _one(
        self, model: nn.Module, layer: str, image: Tensor, units: Tensor, seed: int, rows: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Maps, clean activations and peaks of one image's units."""
        output = _outputs(model, layer, fill(image[None], rows), units)[0]
        flat = output.flatten(1)
        clean, peaks = flat.max(1)
        if clean.isnan().any():
            raise ValueError(f"expected no NaN, got one in layer {layer!r}, unit {int(units[clean.isnan()][0])}")
        corners = self._corners(image)
        patches = self._patches(image, len(corners), seed)
        every, covered = torch.arange(len(units), device=image.device), []
        for span in spans(len(corners), rows):
            some = range(span.start, span.stop)
            copies = torch.stack([_covered(image, corners[place], patches[place % len(patches)]) for place in some])
            values = _outputs(model, layer, fill(copies, rows), units).flatten(2)[: len(some)]
            read = values.amax(2) if self.at == "max" else values[:, every, peaks]
            covered.append(clean - read)
        maps = torch.cat(covered).T.reshape(len(units), *self._grid(image))
        maps = maps.abs() if self.difference == "absolute" else maps
        return maps.float(), clean.float(), _in_pixels(peaks, output.shape[1:], image.shape[1:])

    def _grid(self, image: Tensor) -> tuple[int, int]:
        height, width = ((length - self.patch) // self.stride + 1 for length in image.shape[1:])
        return height, width

    def _corners(self, image: Tensor) -> list[tuple[int, int]]:
        a, b = self._grid(image)
        return [(row * self.stride, column * self.stride) for row in range(a) for column in range(b)]

    def _patches(self, image: Tensor, places: int, seed: int) -> Tensor:
        """Drawn on the CPU, so that a device changes nothing."""
        shape = (places if self.noise == "each" else 1, len(image), self.patch, self.patch)
        return torch.rand(shape, generator=torch.Generator().manual_seed(seed)).to(image)


def outline(regions: Bool[Tensor, "*b h w"], width: int = 1) -> Bool[Tensor, "*b h w"]:
    """The outermost pixels of regions, so many wide; the picture's border ends a region too.

    Example:
        >>> outline(torch.ones(3, 3, dtype=torch.bool)).int()
        tensor([[1, 1, 1],
                [1, 0, 1],
                [1, 1, 1]], dtype=torch.int32)
    """
    check.positive(width=width)
    outside = F.pad((~regions).float().reshape(-1, 1, *regions.shape[-2:]), [width] * 4, value=1.0)
    near = F.max_pool2d(outside, 2 * width + 1, stride=1) > 0
    return regions & near.reshape(regions.shape)


def _outputs(model: nn.Module, layer: str, images: Tensor, units: Tensor) -> Tensor:
    """What some units put out, (rows, m, height, width), and no other's."""

    def chosen(output: Tensor) -> Tensor:
        if output.ndim not in (2, 4) or len(output) != len(images):
            raise ValueError(
                f"expected a layer that puts out ({len(images)}, units, height, width), got {tuple(output.shape)}"
            )
        check.class_range(units, output.shape[1], "units")
        return output[:, units] if output.ndim == 4 else output[:, units, None, None]

    with record(model, [layer], chosen) as outputs:
        model(images)
    return outputs[layer]


def _covered(image: Tensor, corner: tuple[int, int], patch: Tensor) -> Tensor:
    copy, (row, column), side = image.clone(), corner, patch.shape[-1]
    copy[:, row : row + side, column : column + side] = patch
    return copy


def _in_pixels(peaks: Tensor, cells: torch.Size, size: torch.Size) -> Tensor:
    """The middles of cells in pixels, as if a map's cells tiled the image: a network's own geometry is not known."""
    where = torch.stack([peaks // cells[1], peaks % cells[1]], 1).float()
    each = torch.tensor([length / count for length, count in zip(size, cells, strict=True)], device=peaks.device)
    return (where + 0.5) * each - 0.5
