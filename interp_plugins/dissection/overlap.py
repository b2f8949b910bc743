"""How much of what a unit lights is a concept: intersections and unions over all images, as exact integers.

    IoU(k, c) = sum over images of |M_k & L_c| / sum over images of |M_k | L_c|          (Bau et al. 2017; Xie Eq. 4)

The union is |M_k| + |L_c| - |M_k & L_c|, and there are three ways to count |M_k|, on which the label of a unit depends
more than on anything else:

category    pixels lit in images that have any label of c's category: the paper's, and the default
lite        pixels lit in images where a label of c's category lies under the lit ones: NetDissect-Lite's
plain       all lit pixels
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float64, Int, Int32, Int64
from torch import Tensor
from torchmetrics import Metric

from interp_plugins.dissection.cells import Lit
from interp_plugins.foundation import check
from interp_plugins.foundation.concepts import Labels, Vocabulary

Union = Literal["category", "lite", "plain"]
UNIONS: tuple[Union, ...] = ("category", "lite", "plain")
MOST_BLOCKS = 1000


@dataclass(frozen=True)
class Blocks:
    """The counts by blocks of consecutive images, which a bootstrap draws."""

    count: int  # how many blocks there are
    block: Int64[Tensor, " m"]  # intersections that are not 0: of which block,
    unit: Int64[Tensor, " m"]  # of which unit,
    concept: Int64[Tensor, " m"]  # with which concept,
    pixels: Int64[Tensor, " m"]  # and how large
    labelled: Int64[Tensor, "b c"]  # pixels of each concept
    lit: Int64[Tensor, "b u k"]  # as `Overlap.active`, for the union that was asked for


class Overlap:  # no dataclass: torchmetrics refuses frozen ones from compute, and squeezes the tensors of others
    """What a layer's u units light and what is labelled there, in pixels, for c concept numbers in k categories.

    Args:
        intersection: Pixels that are lit and labelled.
        labelled: Pixels of each concept in all images; of a concept of a whole image, all of them.
        active: Lit pixels that count for concepts of each category, by the union's rule.
        lit: All lit pixels.
        union: The rule.
        category_of: The category of each concept, -1 for those that are not asked about.
        blocks: The same by blocks of images, if they were asked for.
    """

    def __init__(
        self,
        intersection: Int64[Tensor, "u c"],
        labelled: Int64[Tensor, " c"],
        active: Int64[Tensor, "u k"],
        lit: Int64[Tensor, " u"],
        union: Union,
        category_of: Int64[Tensor, " c"],
        blocks: Blocks | None = None,
    ) -> None:
        self.intersection, self.labelled, self.active, self.lit = intersection, labelled, active, lit
        self.union, self.category_of, self.blocks = union, category_of, blocks

    @property
    def iou(self) -> Float64[Tensor, "u c"]:
        """IoU of each unit with each concept; 0 for concepts that are not asked about."""
        return iou(self.intersection, self.labelled, self.active, self.category_of)


def iou(
    intersection: Tensor, labelled: Tensor, active: Tensor, category_of: Int64[Tensor, " c"]
) -> Float64[Tensor, "*draws u c"]:
    """IoU from counts.

    Args:
        intersection: (..., u, c).
        labelled: (..., c).
        active: (..., u, k).
        category_of: The category of each concept, -1 for those that are not asked about.
    """
    unions = active[..., category_of.clamp_min(0)] + labelled[..., None, :] - intersection
    found = intersection.double() / unions.clamp_min(1)
    return found.masked_fill(category_of < 0, 0.0)


@dataclass(frozen=True)
class Packed:
    """The labels of n images in tables."""

    pixels: Int32[Tensor, "n l p"]  # concept numbers
    counts: Int64[Tensor, "n c"]  # pixels of each concept, those of the whole image included
    whole: Bool[Tensor, "n c"]

    @classmethod
    def of(cls, labels: Sequence[Labels], size: int, pixels: int) -> "Packed":
        """Pack.

        Args:
            labels: Of each image.
            size: One more than the largest concept number.
            pixels: Of an image's labels.
        """
        layers = max([len(each.pixels) for each in labels], default=0)
        packed = torch.zeros(len(labels), layers, pixels, dtype=torch.int32)
        whole = torch.zeros(len(labels), size, dtype=torch.bool)
        for image, each in enumerate(labels):
            packed[image, : len(each.pixels)] = each.pixels.flatten(1)
            whole[image, list(each.whole)] = True
        counts = _histogram(torch.arange(len(labels)).view(-1, 1, 1) * size + packed, len(labels), size)
        counts[:, 0] = 0
        return cls(packed, counts + pixels * whole, whole)

    def to(self, device: torch.device) -> "Packed":
        """The same on a device."""
        return Packed(self.pixels.to(device), self.counts.to(device), self.whole.to(device))


class ConceptOverlap(Metric):
    """Counts lit and labelled pixels of a layer's units, image by image.

    Args:
        units: Of the layer.
        vocabulary: The concepts.
        union: How lit pixels count.
        blocks: Of consecutive images, for a bootstrap; 0 for none.
        images: How many there are in all; only blocks need it.
        settings: Of torchmetrics.
    """

    full_state_update = False
    intersection: Tensor
    labelled: Tensor
    active: Tensor
    lit: Tensor
    block_labelled: Tensor
    block_active: Tensor
    block_keys: list[Tensor]
    block_pixels: list[Tensor]

    def __init__(
        self,
        units: int,
        vocabulary: Vocabulary,
        union: Union = "category",
        *,
        blocks: int = 0,
        images: int = 0,
        **settings: Any,
    ) -> None:
        check.one_of("union", union, UNIONS)
        super().__init__(**settings)
        self.units, self.vocabulary, self.union = units, vocabulary, union
        self.blocks, self.images = blocks, images
        concepts, categories = vocabulary.size, len(vocabulary.categories)
        self._of_category = vocabulary.category_of[:, None] == torch.arange(categories)  # (c, k)
        shapes = {
            "intersection": (units, concepts),
            "labelled": (concepts,),
            "active": (units, categories),
            "lit": (units,),
            "block_labelled": (blocks, concepts),
            "block_active": (blocks, units, categories),
        }
        for name, shape in shapes.items():
            self.add_state(name, torch.zeros(shape, dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("block_keys", [], dist_reduce_fx="cat")
        self.add_state("block_pixels", [], dist_reduce_fx="cat")
        self._know_no_blocks()

    def update(self, lit: Lit, images: Int[Tensor, " n"], labels: Packed) -> None:
        """Add images.

        Args:
            lit: What is lit in them.
            images: Their numbers, ascending.
            labels: Of each; those of other images tell what chance gives.
        """
        labels = labels.to(self.lit.device)
        slot = torch.searchsorted(images.to(lit.image), lit.image)
        for block, some, lights in self._parts(images, lit.image):
            found, active = self._overlap(slot[lights], lit.unit[lights], lit.pixel[lights], labels, some)
            self.intersection += found
            self.active += active
            self.labelled += labels.counts[some].sum(0)
            if self.blocks:
                self.block_labelled[block] += labels.counts[some].sum(0)
                self.block_active[block] += active
                keys = found.flatten().nonzero().view(-1)
                self.block_keys.append(keys + block * found.numel())
                self.block_pixels.append(found.view(-1)[keys])
        self.lit += torch.bincount(lit.unit, minlength=self.units)

    def compute(self) -> Overlap:
        """The counts."""
        blocks = self._by_block() if self.blocks else None
        of = self.vocabulary.category_of.to(self.lit.device)
        return Overlap(self.intersection, self.labelled, self.active, self.lit, self.union, of, blocks)

    def reset(self) -> None:
        """Forget everything."""
        super().reset()
        self._know_no_blocks()

    def _know_no_blocks(self) -> None:
        # a process without images has something to send as well
        self.block_keys, self.block_pixels = ([torch.empty(0, dtype=torch.int64, device=self.device)] for _ in range(2))

    def _parts(self, images: Tensor, lit: Tensor) -> Iterator[tuple[int, slice, slice]]:
        """The images cut at the borders of blocks: the block, which of the images, and which of what is lit."""
        if not self.blocks:
            yield 0, slice(0, len(images)), slice(0, len(lit))
            return
        block = images * self.blocks // self.images
        for number in block.unique().tolist():
            some = (block == number).nonzero().view(-1)
            first, last = int(some[0]), int(some[-1]) + 1
            bounds = torch.stack([images[first], images[last - 1] + 1]).to(lit)
            start, stop = torch.searchsorted(lit, bounds).tolist()
            yield number, slice(first, last), slice(start, stop)

    def _overlap(
        self, slot: Tensor, unit: Tensor, pixel: Tensor, labels: Packed, some: slice
    ) -> tuple[Int64[Tensor, "u c"], Int64[Tensor, "u k"]]:
        """Intersections, and lit pixels by category, of some images."""
        u, c = self.units, self.vocabulary.size
        _, layers, pixels = labels.pixels.shape
        line, start = labels.pixels.view(-1), slot * (layers * pixels) + pixel
        lights = _histogram(slot * u + unit, len(labels.pixels), u)[some]  # (n, u)
        found = (lights.t().double() @ labels.whole[some].double()).long()  # exact: sums stay far below 2^53
        under = None
        if self.union == "lite":
            under = labels.whole[some, None].expand(-1, u, -1).clone()  # (n, u, c)
        for layer in range(layers):
            number = line[start + layer * pixels]
            found += _histogram(unit * c + number, u, c)
            if under is not None:
                under[slot - some.start, unit, number.long()] = True
        found[:, 0] = 0
        of = self._of_category.to(unit.device)
        if self.union == "plain":
            return found, lights.sum(0)[:, None].expand(-1, of.shape[1])
        if under is not None:
            counts = (under.view(-1, c).float() @ of.float() > 0).view(*lights.shape, -1)  # (n, u, k)
            return found, (lights[..., None] * counts).sum(0)
        has = ((labels.counts[some] > 0).float() @ of.float() > 0).double()  # (n, k)
        return found, (lights.t().double() @ has).long()

    def _by_block(self) -> Blocks:
        u, c = self.units, self.vocabulary.size
        keys, pixels = (
            state if isinstance(state, Tensor) else torch.cat(state) for state in (self.block_keys, self.block_pixels)
        )
        keys, place = keys.unique(return_inverse=True)  # a block may have been shared by several processes
        sums = torch.zeros_like(keys).index_add_(0, place, pixels)
        parts = keys // (u * c), keys // c % u, keys % c
        return Blocks(self.blocks, *parts, sums, self.block_labelled, self.block_active)


def blocks_for(images: int) -> int:
    """How many blocks a bootstrap draws: each image is one, up to a thousand of them."""
    return min(images, MOST_BLOCKS)


def _histogram(keys: Int[Tensor, "*shape"], rows: int, columns: int) -> Int64[Tensor, "rows columns"]:
    return torch.bincount(keys.flatten(), minlength=rows * columns).view(rows, columns)
