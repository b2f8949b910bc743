"""A set that is what it says passes; whatever was changed afterwards is found and named."""

import json
from pathlib import Path

import numpy as np
import pytest
import stored_world
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from interp_plugins.sources import models
from interp_plugins.store import lines, verify
from interp_plugins.store.lines import record_digests
from interp_plugins.store.sets import AdversarialSet


@pytest.fixture(scope="module")
def pattern(tmp_path_factory: pytest.TempPathFactory) -> stored_world.World:
    """A set that nobody touches."""
    there = stored_world.world(tmp_path_factory.mktemp("pattern"))
    stored_world.write(there)
    return there


@pytest.fixture
def there(pattern: stored_world.World, tmp_path: Path) -> stored_world.World:
    return stored_world.copy(pattern, tmp_path)


@pytest.fixture
def made(there: stored_world.World) -> AdversarialSet:
    return AdversarialSet.open(there.set)


def measured(there: stored_world.World, **more) -> verify.Verification:
    arguments = {"weights": there.digests()} | more
    return verify.verify(AdversarialSet.open(there.set), there.modules(), there.clean, **arguments)


def forge(there: stored_world.World, number: int, **changed) -> None:
    """Change a line and give it a valid sha256 again, as somebody would who knows the format."""
    file = there.set / "shards" / f"{number:05d}.json"
    line = lines.from_bytes(file.read_bytes())
    file.write_bytes(lines.to_bytes(line.model_copy(update=changed)))


def line(there: stored_world.World, number: int) -> lines.Line:
    return lines.from_bytes((there.set / "shards" / f"{number:05d}.json").read_bytes())


def flipped(flags: tuple[tuple[str, ...], ...]) -> tuple[tuple[str, ...], ...]:
    """The first member's flag of the first record the other way round."""
    first = flags[0][0]
    return (("10"[int(first[0])] + first[1:], *flags[0][1:]), *flags[1:])


def test_an_untouched_set_passes_with_its_own_digest(there, made):
    found = measured(there)
    assert (found.disagreements, found.disagreeing) == ((), 0)
    assert found.digest == made.manifest.digest
    assert found.ids == made.manifest.data.ids


def test_flags_are_measured_by_the_original_networks(there, made):
    found = measured(there)
    pixels = torch.cat([made.read(number).images for number in range(3)])
    with torch.no_grad():
        says = torch.stack([net(pixels.flatten(0, 1).float() / 255).argmax(1) for net in there.modules()], 1)
    assert torch.equal(found.fooled, says.unflatten(0, (7, 2)) == found.targets[:, :, None])
    assert found.fooled.any()
    assert not found.fooled.all()


def test_changes_are_measured_against_the_clean_images(there, made):
    found = measured(there)
    clean = there.clean.tensor(range(7)).double()
    pixels = torch.cat([made.read(number).images for number in range(3)]).double()
    change = (pixels - clean[:, None]).flatten(2)
    assert torch.allclose(found.rmse.double(), change.square().mean(2).sqrt())
    assert torch.equal(found.linf.double(), change.abs().amax(2))


def test_held_out_networks_come_last_in_what_is_said(there, made):
    third = models.load(there.heldout).module
    found = measured(there, heldout=[third])
    with torch.no_grad():
        assert torch.equal(found.clean_says[:, 2], third(there.clean.tensor(range(7)).float() / 255).argmax(1))
    assert found.says.shape == (7, 2, 3)


def test_a_flipped_flag_is_named(there, made):
    forge(there, 1, fooled=flipped(line(there, 1).fooled))
    found = measured(there)
    assert any("photos/00003, target" in told and "first stands there as" in told for told in found.disagreements)


def test_a_flag_flipped_without_care_makes_its_line_invalid(there, made):
    file = there.set / "shards" / "00001.json"
    stored = json.loads(file.read_bytes())
    stored["fooled"] = flipped(stored["fooled"])
    file.write_bytes(json.dumps(stored).encode())
    assert "00001" in measured(there).disagreements[0]


def test_a_forged_flag_from_before_rounding_gives_another_digest(there, made):
    before, shard = flipped(line(there, 1).fooled_before), made.read(1)
    records = record_digests(shard.ids, shard.targets, shard.images, lines.flags(before), shard.fooled)
    forge(there, 1, fooled_before=before, records=records)
    found = measured(there)
    assert found.disagreements == (
        f"the set's digest is {made.manifest.digest} in its manifest, {found.digest} by its records",
    )


def test_an_altered_byte_is_found_and_its_shard_measured_all_the_same(there, made):
    file = there.set / "shards" / "00002.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    found = measured(there)
    assert "00002.safetensors" in found.disagreements[0]
    assert found.ids == made.manifest.data.ids


@settings(max_examples=15)
@given(data=st.data())
def test_any_altered_byte_of_any_file_is_found(pattern, tmp_path_factory, data):
    there = stored_world.copy(pattern, tmp_path_factory.mktemp("altered"))
    file = data.draw(st.sampled_from(sorted((there.set / "shards").iterdir())))
    content = bytearray(file.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    file.write_bytes(content)
    assert measured(there).disagreeing > 0


def test_a_removed_shard_of_a_finished_set_is_a_difference(there, made):
    (there.set / "shards" / "00000.json").unlink()
    assert measured(there).disagreeing > 0


def test_a_set_of_which_nothing_can_be_read_is_told_and_measured_as_empty(there, made):
    for number in range(3):
        (there.set / "shards" / f"0000{number}.safetensors").unlink()
    found = measured(there)
    assert found.targets.shape == (0, 2)
    assert found.disagreeing >= 3


def test_a_changed_clean_image_is_named(there, made):
    pixels = there.clean.tensor(range(7)).numpy()
    pixels[5, 0, 0, 0] ^= 255
    np.savez(there.folder / "photos.npz", images=pixels, labels=there.clean.labels)
    found = measured(stored_world.World(there.folder, stored_world.images.load(there.folder / "photos.npz")))
    assert found.disagreements[0].startswith("photos/00005: the clean image is another")


def test_a_changed_label_is_named(there, made):
    labels = there.clean.labels.clone()
    labels[2] = 4
    np.savez(there.folder / "photos.npz", images=there.clean.tensor(range(7)), labels=labels)
    found = measured(stored_world.World(there.folder, stored_world.images.load(there.folder / "photos.npz")))
    assert found.disagreements == ("photos/00002: label 2 in the set, 4 beside the clean image",)


def test_a_changed_network_is_named(there, made):
    found = measured(there, weights=["0" * 64, there.digests()[1]])
    assert "the weights of first are others" in found.disagreements[0]


def test_changed_sizes_are_named(there, made):
    stored = line(there, 0)
    forge(there, 0, linf=((0, *stored.linf[0][1:]), *stored.linf[1:]))
    assert "photos/00000, target number 0: linf 0 stored" in measured(there).disagreements[0]


def test_targets_that_the_policy_did_not_choose_are_named(there, made):
    shard = stored_world.draft(there, made.manifest, 0)
    (there.set / "shards" / "00000.json").unlink()
    stored_world.rewrite(there, 0, targets=shard.targets.flip(1))
    assert any("target number 0: target" in sentence for sentence in measured(there).disagreements)


def test_ten_differences_are_told_and_all_are_counted(there, made):
    clean = stored_world.world(there.folder, 7, side=8).clean
    clean.labels = (clean.labels + 1) % 5
    forge(there, 0, linf=tuple((0, 0) for _ in range(3)))
    forge(there, 1, linf=tuple((0, 0) for _ in range(3)))
    found = measured(stored_world.World(there.folder, clean))
    assert len(found.disagreements) == verify.SHOWN == 10
    assert found.disagreeing == 7 + 12


def test_an_unfinished_set_is_refused(tmp_path):
    there = stored_world.world(tmp_path)
    stored_world.write(there, without=(0, 2), attacked=False)
    with pytest.raises(ValueError, match="2 of its 3 shards are missing; run the same command again with --resume"):
        measured(there)


def test_another_number_of_networks_is_refused(there, made):
    with pytest.raises(ValueError, match="expected the 2 members of the set, got 1 networks"):
        verify.verify(made, there.modules()[:1], there.clean)


def test_images_are_counted_as_they_pass(there, made):
    seen = []
    measured(there, watch=seen.append)
    assert seen == [3, 3, 1]


@settings(max_examples=6)
@given(n=st.integers(1, 9), per_shard=st.integers(1, 5))
def test_any_small_set_passes_whatever_its_shards(tmp_path_factory, n, per_shard):
    there = stored_world.world(tmp_path_factory.mktemp("world"), n)
    stored_world.write(there, per_shard, attacked=False)
    assert measured(there).disagreements == ()
