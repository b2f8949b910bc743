import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from interp_plugins.dissection.cells import cells_of, light
from interp_plugins.dissection.overlap import ConceptOverlap, Packed, blocks_for
from interp_plugins.foundation.concepts import Concept, Labels, Vocabulary

NAMES = {1: "red-c", 2: "blue-c", 4: "dog", 5: "cat", 6: "street-s"}  # 3 is not asked about
KINDS = {1: "color", 2: "color", 4: "object", 5: "object", 6: "scene"}
WORDS = Vocabulary(
    tuple(Concept(number, name, KINDS[number]) for number, name in NAMES.items()), ("color", "object", "scene")
)
SIZE = (8, 8)


def world(n=9, u=4, seed=0):
    """Maps, thresholds and labels; some images lack a category, some carry none at all."""
    random = torch.Generator().manual_seed(seed)
    maps = torch.randn(n, u, 3, 3, generator=random)
    thresholds = torch.tensor([0.2, 0.8, 1.4, 9.0])[:u].double()
    labels = []
    for image in range(n):
        color = torch.randint(0, 3, SIZE, generator=random)
        thing = torch.tensor([0, 3, 4, 5])[torch.randint(0, 4, SIZE, generator=random)]
        layers = [color] * (image % 3 != 0) + [thing] * (image % 4 != 1)
        stacked = torch.stack(layers).int() if layers else torch.zeros(0, *SIZE, dtype=torch.int32)
        labels.append(Labels(stacked, (6,) if image % 3 == 1 else ()))
    return maps, thresholds, labels


def slow(maps, thresholds, labels, union):
    """IoU as the definition says, one image, unit and concept at a time, in float64."""
    category = WORDS.category_of.tolist()
    u, c, k = maps.shape[1], WORDS.size, len(WORDS.categories)
    both, truth, active = np.zeros((u, c)), np.zeros(c), np.zeros((u, k))
    large = F.interpolate(maps.double(), size=SIZE, mode="bilinear", align_corners=False).numpy()
    for image, each in enumerate(labels):
        present = {number: np.zeros(SIZE, bool) for number in range(1, c)}
        for layer in each.pixels.numpy():
            for number in present:
                present[number] |= layer == number
        for number in each.whole:
            present[number][:] = True
        for number, where in present.items():
            truth[number] += where.sum()
        for unit in range(u):
            lit = large[image, unit] > thresholds[unit].item()
            for number, where in present.items():
                both[unit, number] += (where & lit).sum()
            for cat in range(k):
                here = [where for number, where in present.items() if category[number] == cat]
                if union == "plain":
                    counts = True
                elif union == "category":
                    counts = any(where.any() for where in here)
                else:
                    counts = any((where & lit).any() for where in here)
                active[unit, cat] += lit.sum() * counts
    iou = np.zeros((u, c))
    for unit in range(u):
        for number in range(c):
            if category[number] >= 0:
                over = active[unit, category[number]] + truth[number] - both[unit, number]
                iou[unit, number] = both[unit, number] / over if over else 0.0
    return both, truth, active, iou


def counted(maps, thresholds, labels, union="category", batch=4, blocks=0, order=None):
    overlap = ConceptOverlap(maps.shape[1], WORDS, union, blocks=blocks, images=len(maps))
    add(overlap, maps, thresholds, labels, batch, order or range(0, len(maps), batch))
    return overlap.compute()


def add(overlap, maps, thresholds, labels, batch, starts):
    for start in starts:
        numbers = torch.arange(start, min(start + batch, len(maps)))
        lit = light(cells_of(maps[numbers], numbers), thresholds, SIZE)
        packed = Packed.of([labels[number] for number in numbers.tolist()], WORDS.size, SIZE[0] * SIZE[1])
        overlap.update(lit, numbers, packed)


@pytest.mark.parametrize("union", ["category", "lite", "plain"])
@pytest.mark.parametrize("seed", range(3))
def test_the_counts_are_those_of_the_definition(union, seed):
    maps, thresholds, labels = world(seed=seed)
    both, truth, active, iou = slow(maps, thresholds, labels, union)
    found = counted(maps, thresholds, labels, union)
    asked = WORDS.category_of >= 0
    assert np.array_equal(found.intersection[:, asked], both[:, asked])
    assert np.array_equal(found.labelled[asked], truth[asked])
    assert np.array_equal(found.active, active)
    np.testing.assert_allclose(found.iou, iou, rtol=0, atol=1e-15)


def test_by_hand():
    """One unit lights the left half of one image; a dog is in its upper half, the other image has no object."""
    maps = torch.tensor([[[[1.0, -1.0]]], [[[1.0, -1.0]]]])
    dog = torch.zeros(1, 4, 4, dtype=torch.int32)
    dog[0, :2] = 4
    red = torch.ones(1, 4, 4, dtype=torch.int32)
    labels = [Labels(dog), Labels(red)]
    thresholds = torch.zeros(1).double()
    found = {}
    for union in ("category", "lite", "plain"):
        overlap = ConceptOverlap(1, WORDS, union)
        lit = light(cells_of(maps, torch.arange(2)), thresholds, (4, 4))
        overlap.update(lit, torch.arange(2), Packed.of(labels, WORDS.size, 16))
        found[union] = overlap.compute()
    assert found["category"].lit.tolist() == [16]
    assert found["category"].intersection[0].tolist() == [0, 8, 0, 0, 4, 0, 0]
    assert found["category"].iou[0, 4] == 4 / (8 + 8 - 4)  # only the first image has an object
    assert found["plain"].iou[0, 4] == 4 / (16 + 8 - 4)
    assert found["lite"].iou[0, 4] == 4 / (8 + 8 - 4)


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 9), st.integers(0, 5), st.randoms())
def test_neither_batches_nor_order_nor_sharing_changes_a_count(batch, seed, random):
    maps, thresholds, labels = world(seed=seed)
    starts = list(range(0, len(maps), batch))
    random.shuffle(starts)
    parts = [ConceptOverlap(4, WORDS, "lite", blocks=5, images=9) for _ in range(2)]
    add(parts[0], maps, thresholds, labels, batch, starts[::2])
    add(parts[1], maps, thresholds, labels, batch, starts[1::2])
    parts[0].merge_state(parts[1])
    found, expected = parts[0].compute(), counted(maps, thresholds, labels, "lite", 9, blocks=5)
    for name in ("intersection", "labelled", "active", "lit"):
        assert torch.equal(getattr(found, name), getattr(expected, name))
    for name in ("block", "unit", "concept", "pixels", "labelled", "lit"):
        assert torch.equal(getattr(found.blocks, name), getattr(expected.blocks, name))


@pytest.mark.parametrize("blocks", [1, 4, 9])
def test_blocks_sum_to_the_whole(blocks):
    maps, thresholds, labels = world()
    found = counted(maps, thresholds, labels, blocks=blocks, batch=2)
    parts = found.blocks
    sums = torch.zeros_like(found.intersection).index_put_((parts.unit, parts.concept), parts.pixels, accumulate=True)
    assert parts.count == blocks
    assert torch.equal(sums, found.intersection)
    assert torch.equal(parts.labelled.sum(0), found.labelled)
    assert torch.equal(parts.lit.sum(0), found.active)


def test_a_block_is_what_its_images_give_alone():
    maps, thresholds, labels = world(n=8)
    parts = counted(maps, thresholds, labels, blocks=4, batch=3).blocks
    alone = ConceptOverlap(4, WORDS)
    add(alone, maps, thresholds, labels, 2, [2])  # images 2 and 3 are the second block
    here = parts.block == 1
    dense = torch.zeros(4, WORDS.size, dtype=torch.int64)
    dense[parts.unit[here], parts.concept[here]] = parts.pixels[here]
    assert torch.equal(dense, alone.compute().intersection)
    assert torch.equal(parts.lit[1], alone.compute().active)


def test_the_unions_are_ordered():
    maps, thresholds, labels = world(seed=3)
    lite, category, plain = (counted(maps, thresholds, labels, union).iou for union in ("lite", "category", "plain"))
    assert (lite >= category).all()
    assert (category >= plain).all()
    assert (lite > plain).any()


def test_a_silent_unit_has_no_iou_and_numbers_not_asked_about_neither():
    maps, thresholds, labels = world()
    found = counted(maps, thresholds, labels)
    assert found.lit[3] == 0
    assert (found.iou[3] == 0).all()
    assert found.intersection[0, 3] > 0
    assert (found.iou[:, 3] == 0).all()


def test_an_unknown_union_is_named(unchecked):
    with pytest.raises(ValueError, match="expected union to be one of 'category', 'lite', 'plain', got 'all'"):
        ConceptOverlap(1, WORDS, "all")


def test_a_bootstrap_draws_images_up_to_a_thousand():
    assert [blocks_for(images) for images in (1, 300, 1000, 63305)] == [1, 300, 1000, 1000]
