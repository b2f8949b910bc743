"""How much of what a unit lights is a concept: intersections and unions over all images, as exact integers.

    IoU(k, c) = sum over images of #(M_k and L_c) / sum over images of #(M_k or L_c)     (Bau et al. 2017; Xie Eq. 4)

M_k are the pixels that unit k lights and L_c those of concept c. The union is #M_k + #L_c - #(M_k and L_c), and there
are three ways to count #M_k, on which the label of a unit depends more than on anything else:

category    pixels lit in images that have any label of c's category: the paper's, and the default
lite        pixels lit in images where a label of c's category lies under the lit ones: NetDissect-Lite's
plain       all lit pixels
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float64, Int, Int32, Int64
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torchmetrics import Metric

from interp_plugins.dissection.cells import Lit
from interp_plugins.foundation import check
from interp_plugins.foundation.concepts import Labels, Vocabulary
from interp_plugins.foundation.running import divided, where_true

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
    found = ratio(intersection, labelled[..., None, :], active[..., category_of.clamp_min(0)])
    return found.masked_fill(category_of < 0, 0.0)


def ratio(intersection: Tensor, labelled: Tensor, active: Tensor) -> Tensor:
    """Intersection over union, of counts of one shape; 0 where there is nothing at all."""
    return intersection.double() / (active + labelled - intersection).clamp_min(1)


@dataclass(frozen=True)
class Packed:
    """The labels of n images in tables, each in terms of the few concepts that are in it."""

    numbers: Int64[Tensor, "n m"]  # those concepts, ascending from 0, none; 0 as well in places to spare
    places: Int32[Tensor, "n l p"]  # for each pixel of each layer the place of its concept among them
    counts: Int64[Tensor, "n c"]  # pixels of each concept, those of the whole image included
    whole: Int64[Tensor, "2 w"]  # of all concepts of a whole image the image and the place

    @classmethod
    def of(cls, labels: Sequence[Labels], size: int, pixels: int) -> "Packed":
        """Pack.

        Args:
            labels: Of each image.
            size: One more than the largest concept number.
            pixels: Of an image's labels.
        """
        layers = max([len(each.pixels) for each in labels], default=0)
        counts = torch.empty(len(labels), size, dtype=torch.int64)
        places = torch.zeros(len(labels), layers, pixels, dtype=torch.int32)
        place, numbers, whole = torch.empty(size, dtype=torch.int32), [], []
        for image, each in enumerate(labels):
            line, count = each.pixels.flatten(), counts[image]
            count[:] = torch.bincount(line, minlength=size)
            count[0] = 1
            count[list(each.whole)] = pixels
            numbers.append(where_true(count > 0))
            count[0] = 0
            place[numbers[-1]] = torch.arange(len(numbers[-1]), dtype=torch.int32)
            torch.index_select(place, 0, line, out=places[image].view(-1)[: len(line)])
            whole += [(image, int(place[number])) for number in each.whole]
        pairs = torch.tensor(whole, dtype=torch.int64).view(-1, 2).t()
        return cls(pad_sequence(numbers, batch_first=True), places, counts, pairs)

    def to(self, device: torch.device) -> "Packed":
        """The same on a device."""
        return Packed(*(each.to(device) for each in (self.numbers, self.places, self.counts, self.whole)))


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
        labels, images = labels.to(self.lit.device), images.to(lit.image)
        n, u, c = len(images), self.units, self.vocabulary.size
        row = torch.searchsorted(images, lit.image) * u + lit.unit
        lights = torch.bincount(row, minlength=n * u).view(n, u)
        row, number, pixels = self._intersections(row, lit, lights, labels)
        image, unit = divided(row, u)
        active = lights[:, :, None] * self._counts(row, number, labels)
        key = unit * c + number
        self.intersection.view(-1).index_add_(0, key, pixels)
        self.labelled += labels.counts.sum(0)
        self.active += active.sum(0)
        self.lit += lights.sum(0)
        if self.blocks:
            block = images * self.blocks // self.images
            self.block_labelled.index_add_(0, block, labels.counts)
            self.block_active.index_add_(0, block, active)
            keys, pixels = _summed(block[image] * (u * c) + key, pixels)
            self.block_keys.append(keys)
            self.block_pixels.append(pixels)

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

    def _intersections(
        self, row: Tensor, lit: Lit, lights: Int64[Tensor, "n u"], labels: Packed
    ) -> tuple[Int64[Tensor, " f"], Int64[Tensor, " f"], Int64[Tensor, " f"]]:
        """Each image's intersections that are not 0.

        Args:
            row: Of each lit pixel: image * units + unit, both counted from 0.
            lit: The pixels.
            lights: How many there are.
            labels: Of the images.

        Returns:
            Their rows, concept numbers and pixels.
        """
        (n, u), m = lights.shape, labels.numbers.shape[1]
        layers, pixels = labels.places.shape[1:]
        line, start = labels.places.view(-1), divided(row, u)[0] * (layers * pixels) + lit.pixel
        keys = [row * m + line.index_select(0, start + layer * pixels) for layer in range(layers)]
        table = torch.bincount(torch.cat([row[:0], *keys]), minlength=n * u * m).view(n, u, m)
        image, place = labels.whole
        table[image, :, place] += lights[image]
        table[:, :, 0] = 0
        found = where_true(table > 0)
        row, place = divided(found, m)
        number = labels.numbers.view(-1).index_select(0, divided(row, u)[0] * m + place)
        return row, number, table.view(-1).index_select(0, found)

    def _counts(self, row: Tensor, number: Tensor, labels: Packed) -> Bool[Tensor, "n #u k"]:
        """Whether the lit pixels of an image's unit count for concepts of each category."""
        of = self.vocabulary.category_of.to(number.device)
        n, k = len(labels.counts), len(self.vocabulary.categories)
        if self.union == "plain":
            return torch.ones(n, 1, k, dtype=torch.bool, device=number.device)
        if self.union == "category":
            image, number = (labels.counts > 0).nonzero(as_tuple=True)
            row, units = image, 1
        else:
            units = self.units
        asked = of[number] >= 0
        counts = torch.zeros(n * units, k, dtype=torch.bool, device=number.device)
        counts[row[asked], of[number][asked]] = True
        return counts.view(n, units, k)

    def _by_block(self) -> Blocks:
        u, c = self.units, self.vocabulary.size
        keys, pixels = (
            state if isinstance(state, Tensor) else torch.cat(state) for state in (self.block_keys, self.block_pixels)
        )
        keys, sums = _summed(keys, pixels)  # a block may have been shared by several processes
        parts = keys // (u * c), keys // c % u, keys % c
        return Blocks(self.blocks, *parts, sums, self.block_labelled, self.block_active)


def blocks_for(images: int) -> int:
    """How many blocks a bootstrap draws: each image is one, up to a thousand of them."""
    return min(images, MOST_BLOCKS)


def _summed(keys: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """Each key once, with the sum of its counts."""
    keys, place = keys.unique(return_inverse=True)
    return keys, torch.zeros_like(keys).index_add_(0, place, counts)
