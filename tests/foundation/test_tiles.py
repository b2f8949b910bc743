import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from interp_plugins.foundation.randomness import derive, seeds
from interp_plugins.foundation.tiles import check_tile, fill, spans, tile_size


@given(st.integers(1, 100), st.sampled_from([1, 2, 8, 64]))
def test_spans_cover_every_row_once_in_tiles(n, tile):
    rows = [row for span in spans(n, tile) for row in range(n)[span]]
    assert rows == list(range(n))
    assert all(span.stop - span.start == tile for span in list(spans(n, tile))[:-1])


def test_a_short_tile_is_filled_by_its_last_row():
    assert fill(torch.tensor([[1, 2], [3, 4]]), 4).tolist() == [[1, 2], [3, 4], [3, 4], [3, 4]]


@pytest.mark.parametrize("tile", [0, 3, 512])
def test_a_tile_is_a_power_of_two(tile):
    with pytest.raises(ValueError, match=f"power of two from 1 to 256, got {tile}"):
        check_tile(tile)


def test_the_default_tile_follows_the_device():
    assert (
        tile_size(None, torch.device("cpu")),
        tile_size(None, torch.device("cuda")),
        tile_size(2, torch.device("cpu")),
    ) == (8, 64, 2)


def test_seeds_follow_names_and_not_places():
    first = seeds(7, ["a", "b", "c"], 3)
    assert seeds(7, ["c", "a"], 2) == [first[2], first[0]]
    assert seeds(8, ["a", "b", "c"], 3) != first
    assert len(set(first)) == 3
    assert derive(7, "a", 1) != derive(7, "a1")


def test_ids_must_fit_and_differ():
    with pytest.raises(ValueError, match="expected 2 ids, one an image, got 1"):
        seeds(0, ["a"], 2)
    with pytest.raises(ValueError, match="expected each id once, got 'a' twice"):
        seeds(0, ["a", "a"], 2)
