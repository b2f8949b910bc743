"""Who this process is among others, from the variables that torchrun sets."""

import pytest

from interp_plugins.foundation.distributed import Place


def test_a_process_without_the_variables_is_alone():
    assert Place.here({}) == Place(rank=0, world=1, local=0)


def test_the_variables_say_who_this_is():
    assert Place.here({"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1"}) == Place(rank=5, world=8, local=1)


def test_this_process_is_looked_up_in_its_own_environment(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    assert Place.here() == Place(rank=1, world=2, local=0)


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"RANK": "1"}, "RANK and WORLD_SIZE to be set together, got RANK alone; set WORLD_SIZE, or unset both"),
        ({"WORLD_SIZE": "2"}, "got WORLD_SIZE alone; set RANK, or unset both"),
        ({"RANK": "2", "WORLD_SIZE": "2"}, "expected RANK from 0 to WORLD_SIZE - 1 .* got RANK=2, WORLD_SIZE=2"),
        ({"RANK": "0", "WORLD_SIZE": "0"}, "got RANK=0, WORLD_SIZE=0"),
        ({"RANK": "one", "WORLD_SIZE": "2"}, "expected RANK to be a number of at least 0, got 'one'"),
        ({"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "-1"}, "expected LOCAL_RANK to be a number .* got '-1'"),
    ],
)
def test_variables_that_make_no_sense_are_refused(variables: dict[str, str], message: str):
    with pytest.raises(ValueError, match=message):
        Place.here(variables)


@pytest.mark.parametrize("world", [1, 2, 3, 7])
@pytest.mark.parametrize("count", [0, 1, 5, 12])
def test_the_shares_of_all_processes_are_the_whole_and_each_piece_is_in_one(world: int, count: int):
    shares = [number for rank in range(world) for number in Place(rank, world).share(count)]
    assert sorted(shares) == list(range(count))
