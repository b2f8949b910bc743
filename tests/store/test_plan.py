"""The manifest of a set that is yet to be made."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from stored_world import World, world

from interp_plugins.attacks import EnsembleOptimization
from interp_plugins.foundation import processor
from interp_plugins.store.manifest import Manifest, Member
from interp_plugins.store.plan import plan, targets_per_image

METHOD = EnsembleOptimization(steps=3, tile=8)


@pytest.fixture
def there(tmp_path: Path) -> World:
    return world(tmp_path)


def planned(there: World, method: EnsembleOptimization = METHOD, targets: str = "least-likely:2", **more) -> Manifest:
    members = [Member(name="first", spec=there.specs[0], sha256=there.digests()[0])]
    return plan(method, targets, members, there.clean, "photos.npz", **more)


def test_the_images_are_named_with_what_their_bytes_are(there: World):
    data = planned(there).data
    assert data.ids == there.clean.ids
    assert data.sha256s == tuple(there.clean.sha256(i) for i in range(7))
    assert data.numbers == (0, 1, 2, 3, 4, 0, 1)


def test_the_first_so_many_images_are_taken(there: World):
    assert planned(there, count=3).data.ids == there.clean.ids[:3]


def test_sha256s_that_are_known_are_believed(there: World):
    assert planned(there, count=2, sha256s=["a" * 64, "b" * 64]).data.sha256s == ("a" * 64, "b" * 64)


def test_every_setting_of_the_attack_is_kept_and_the_layout_stands_apart(there: World):
    found = planned(there, replace(METHOD, balance=True, epsilon=8 / 255), refine=4)
    assert (found.settings["balance"], found.settings["epsilon"], found.settings["steps"]) == (True, 8 / 255, 3)
    assert (found.settings["targets"], found.settings["refine"]) == ("least-likely:2", 4)
    assert not {"tile", "precision"} & set(found.settings)
    assert (found.layout.tile, found.layout.threads) == (8, torch.get_num_threads())
    assert found.layout.processor == processor.processor(torch.device("cpu"))


def test_shapes_are_those_of_images_and_targets(there: World):
    found = planned(there, targets="fixed:1,2,3")
    assert (found.shape, found.targets, found.images_per_shard) == ((3, 8, 8), 3, 8)


@pytest.mark.parametrize(("text", "count"), [("least-likely:4", 4), ("random:2", 2), ("fixed:0,3,1", 3)])
def test_a_policy_tells_how_many_targets_it_chooses(text: str, count: int):
    assert targets_per_image(text) == count


def test_an_attack_without_a_tile_is_refused(there: World):
    with pytest.raises(ValueError, match="expected an attack with a tile, such as tile=8"):
        planned(there, EnsembleOptimization())


@pytest.mark.parametrize("count", [0, 8])
def test_another_number_of_images_than_there_are_is_refused(there: World, count: int):
    with pytest.raises(ValueError, match=f"expected from 1 to 7 images, which is all there are, got {count}"):
        planned(there, count=count)


def test_a_processor_has_a_name_and_cores():
    assert processor.cores() >= 1
    assert torch.backends.cpu.get_cpu_capability() in processor.processor(torch.device("cpu"))
