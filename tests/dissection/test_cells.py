import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from interp_plugins.dissection.cells import CandidateCells, cells_of, light
from interp_plugins.dissection.geometry import Upsampling

SHAPES = [((7, 7), (112, 112)), ((13, 13), (113, 113)), ((14, 9), (56, 40)), ((20, 20), (16, 16)), ((1, 1), (8, 8)),
          ((2, 3), (2, 3)), ((1, 4), (5, 3))]  # fmt: skip


def dense(maps, thresholds, size):
    """Where enlarged maps are above, as (image, unit, pixel) rows."""
    large = F.interpolate(maps.double(), size=size, mode="bilinear", align_corners=False)
    return (large > thresholds[:, None, None]).flatten(2).nonzero()


def rows(lit):
    return sorted(zip(lit.image.tolist(), lit.unit.tolist(), lit.pixel.tolist(), strict=True))


def maps_of(n, u, shape, seed=0):
    return torch.randn(n, u, *shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("shape", "size"), SHAPES)
def test_what_is_lit_is_what_dense_upsampling_lights(shape, size):
    maps, thresholds = maps_of(3, 5, shape), torch.tensor([-9.0, 0.0, 0.3, 1.0, 9.0]).double()
    lit = light(cells_of(maps, torch.arange(3)), thresholds, size)
    assert rows(lit) == sorted(map(tuple, dense(maps, thresholds, size).tolist()))


def test_enlarging_by_hand():
    """Two places on four pixels: the rim is flat, between the centres it rises by a quarter, then three."""
    maps = torch.tensor([[[[0.0, 4.0]]]])
    cells = cells_of(maps, torch.tensor([0]))
    assert cells.shape == (1, 2)
    assert len(cells.keys) == 2 * 3
    upsampling = Upsampling.of((1, 2), (1, 4))
    place = torch.tensor([1, 1, 1]), torch.tensor([0, 1, 2])  # the one pixel's centre is the one place's
    corners = torch.tensor([[0.0, 0, 0, 0], [0, 4, 0, 4], [4, 4, 4, 4]]).double()
    values = upsampling.values(*place, corners)[:, 0]
    assert values[values.isfinite()].tolist() == [0.0, 1.0, 3.0, 4.0]
    assert rows(light(cells, torch.tensor([1.0]).double(), (1, 4))) == [(0, 0, 2), (0, 0, 3)]  # strictly above


def test_equal_corners_are_not_above_their_own_value_whatever_the_scale():
    maps = torch.full((1, 1, 3, 3), 0.1)
    maps[0, 0, 0, 0] = 5.0
    lit = light(cells_of(maps, torch.tensor([0])), torch.tensor([0.1], dtype=torch.float32).double(), (17, 11))
    expected = dense(maps, torch.tensor([0.1], dtype=torch.float32).double(), (17, 11))
    assert set(rows(lit)) <= set(map(tuple, expected.tolist()))
    assert all(pixel // 11 < 9 and pixel % 11 < 6 for _, _, pixel in rows(lit))  # only next to the one that is higher


def test_cells_without_a_corner_above_the_bar_are_dropped_and_change_nothing():
    maps, thresholds = maps_of(4, 6, (7, 7)), torch.full((6,), 1.5).double()
    bar = torch.full((6,), 1.0)
    few, all_ = cells_of(maps, torch.arange(4), bar), cells_of(maps, torch.arange(4))
    assert 0 < len(few.keys) < len(all_.keys)
    assert (few.corners.amax(1) > 1).all()
    assert rows(light(few, thresholds, (56, 56))) == rows(light(all_, thresholds, (56, 56)))


def test_channels_last_maps_give_the_same_cells():
    maps = maps_of(2, 3, (4, 5))
    ours, other = (cells_of(each, torch.tensor([5, 9])) for each in (maps, maps.to(memory_format=torch.channels_last)))
    assert torch.equal(ours.keys, other.keys)
    assert torch.equal(ours.corners, other.corners)


@settings(deadline=None, max_examples=30)
@given(st.permutations(range(12)), st.integers(1, 6), st.integers(0, 3))
def test_neither_order_nor_batches_nor_sharing_changes_the_cells(order, batch, seed):
    maps, final = maps_of(12, 3, (4, 4), seed), torch.tensor([0.5, 1.0, 1.5])
    expected = cells_of(maps, torch.arange(12), final)
    parts = [CandidateCells(3, (4, 4)), CandidateCells(3, (4, 4))]
    for start in range(0, 12, batch):
        some = torch.tensor(order[start : start + batch])
        bar = final * min(1, start / 6)  # it rises
        parts[start // batch % 2].update(maps[some], some, bar)
    parts[0].merge_state(parts[1])
    found = parts[0].compute().above(final)
    assert torch.equal(found.keys, expected.keys)
    assert torch.equal(found.corners, expected.corners)


def test_memory_follows_what_is_left_and_not_what_came():
    kept = CandidateCells(8, (7, 7))
    most = 0
    for number in range(40):
        kept.update(maps_of(16, 8, (7, 7), number), torch.arange(16) + 16 * number, torch.full((8,), 3.0))
        most = max(most, sum(map(len, kept.keys)))
    left = len(kept.compute().keys)
    assert left > 0
    assert most <= 1.6 * left + 200


def test_the_cells_of_some_images_are_cut_out():
    maps = maps_of(5, 2, (3, 3))
    found = cells_of(maps, torch.arange(5)).of(1, 3)
    assert torch.equal(found.keys, cells_of(maps[1:3], torch.tensor([1, 2])).keys)
