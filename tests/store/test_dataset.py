"""A set as a torch dataset: the right records in the right order, lazily, in workers of both kinds."""

import pickle
from pathlib import Path

import pytest
import stored_world
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from interp_plugins.store import dataset
from interp_plugins.store.dataset import AdversarialImages
from interp_plugins.store.sets import AdversarialSet


@pytest.fixture
def there(tmp_path: Path) -> stored_world.World:
    return stored_world.world(tmp_path)


@pytest.fixture
def made(there: stored_world.World) -> AdversarialSet:
    return stored_world.write(there, attacked=False)


def test_a_record_pairs_a_stored_image_with_its_clean_one(there, made):
    record = AdversarialImages(made, there.clean)[2 * 4 + 1]
    shard = made.read(1)
    assert torch.equal(record.adversarial, shard.images[1, 1])
    assert torch.equal(record.clean, there.clean[4][0])
    assert (record.label, record.target, record.index) == (4, int(shard.targets[1, 1]), 4)


def test_the_id_of_a_record_is_found_by_its_index(there, made):
    pairs = AdversarialImages(made, there.clean)
    assert [pairs.ids[record.index] for record in (pairs[0], pairs[1], pairs[13])] == [
        "photos/00000", "photos/00000", "photos/00006",
    ]  # fmt: skip


def test_clean_images_are_found_by_id_among_others_in_another_order(there, made, tmp_path):
    class Shuffled:
        ids = tuple(reversed(there.clean.ids))
        labels = there.clean.labels.flip(0)

        def tensor(self, indices):
            return there.clean.tensor([len(there.clean) - 1 - i for i in indices])

        def sha256(self, index):
            return there.clean.sha256(len(there.clean) - 1 - index)

    assert torch.equal(AdversarialImages(made, Shuffled())[3].clean, there.clean[1][0])


@settings(max_examples=6)
@given(n=st.integers(1, 9), per_shard=st.integers(1, 5))
def test_every_record_of_any_small_set_is_the_shards_own(tmp_path_factory, n, per_shard):
    there = stored_world.world(tmp_path_factory.mktemp("world"), n)
    made = stored_world.write(there, per_shard, attacked=False)
    pairs = AdversarialImages(made, there.clean)
    whole = torch.cat([made.read(number).images.flatten(0, 1) for number in range(made.manifest.shards)])
    assert torch.equal(torch.stack([record.adversarial for record in (pairs[i] for i in range(len(pairs)))]), whole)
    assert [pairs[i].index for i in range(len(pairs))] == [i // 2 for i in range(2 * n)]


@pytest.mark.slow
@pytest.mark.parametrize("start", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_workers_of_both_kinds_read_the_same_as_this_process(there, made, start):
    pairs = AdversarialImages(made, there.clean)
    pairs[0]  # a file is open when the workers are made
    loader = DataLoader(pairs, batch_size=4, num_workers=2, multiprocessing_context=start)
    assert torch.equal(
        torch.cat([batch.adversarial for batch in loader]), torch.stack([pairs[i].adversarial for i in range(14)])
    )


def test_a_set_without_clean_images_can_be_batched(made):
    (batch,) = DataLoader(AdversarialImages(made), batch_size=14)
    assert batch.adversarial.shape == (14, 3, 8, 8)
    assert batch.clean.shape == (14, 0)


def test_nothing_is_opened_before_a_record_is_asked_for_and_few_shards_stay_open(there, made, monkeypatch):
    monkeypatch.setattr(dataset, "OPEN", 2)
    pairs = AdversarialImages(made, there.clean)
    assert len(pairs._open) == 0
    for i in range(len(pairs)):
        pairs[i]
    assert list(pairs._open) == [1, 2]


def test_open_files_do_not_travel_to_workers(there, made):
    pairs = AdversarialImages(made, there.clean)
    pairs[0]
    assert pickle.loads(pickle.dumps(pairs))._open == {}  # noqa: S301


def test_changing_a_record_changes_no_other_reading_of_it(there, made):
    pairs = AdversarialImages(made, there.clean)
    pairs[0].adversarial.fill_(7)
    assert torch.equal(pairs[0].adversarial, made.read(0).images[0, 0])


@pytest.mark.parametrize("number", [-1, 14])
def test_a_record_that_is_not_there_is_an_index_error(made, number):
    with pytest.raises(IndexError, match=f"expected a record from 0 to 13, got {number}"):
        AdversarialImages(made)[number]


def test_an_unfinished_set_is_refused(there):
    with pytest.raises(ValueError, match="1 of its 3 shards are missing; run the same command again with --resume"):
        AdversarialImages(stored_world.write(there, without=(1,), attacked=False))


def test_clean_images_that_lack_one_are_refused(there, made):
    other = stored_world.world(there.folder, 3)
    with pytest.raises(ValueError, match="expected the 7 images of the set, 4 of them are not there, the first"):
        AdversarialImages(made, other.clean)


def test_clean_images_of_another_shape_are_refused(there, made):
    other = stored_world.world(there.folder, 7, side=16)
    with pytest.raises(ValueError, match=r"'photos/00000' to have the set's shape \(3, 8, 8\), got \(3, 16, 16\)"):
        AdversarialImages(made, other.clean)[0]


def test_a_shard_with_another_header_is_named(there, made):
    first, second = (there.set / "shards" / f"0000{number}.safetensors" for number in (0, 1))
    second.write_bytes(first.read_bytes())
    with pytest.raises(ValueError, match=r"00001\.safetensors"):
        AdversarialImages(made)[6]
