"""Shards are attacked, rounded, mended and judged; memory that runs out changes how, never what."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from interp_plugins.attacks import EnsembleOptimization
from interp_plugins.attacks.lattice import LatticeRefinement
from interp_plugins.attacks.targets import LeastLikely
from interp_plugins.foundation.prepare import prepare
from interp_plugins.store.generate import Generator
from interp_plugins.store.judging import says
from interp_plugins.store.manifest import Data, Layout, Manifest, Member
from interp_plugins.store.sets import AdversarialSet

TILE, TARGETS, IMAGES = 4, 3, 24


class Net(nn.Module):
    """8 x 8 images to 6 logits."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.first, self.head = nn.Conv2d(3, 6, 3, padding=1), nn.Linear(6 * 64, 6)
            self.head.weight.data *= 4

    def forward(self, images: Tensor) -> Tensor:
        return self.head(torch.relu(self.first(images)).flatten(1))


@dataclass
class Pictures:
    """Images in memory."""

    images: Tensor
    labels: Tensor
    ids: tuple[str, ...]

    def tensor(self, indices: Iterable[int]) -> Tensor:
        return self.images[list(indices)]

    def sha256(self, index: int) -> str:
        return hashlib.sha256(self.images[index].numpy().tobytes()).hexdigest()


@pytest.fixture
def pictures() -> Pictures:
    generator = torch.Generator().manual_seed(3)
    images = torch.randint(0, 256, (IMAGES, 3, 8, 8), dtype=torch.uint8, generator=generator)
    return Pictures(images, torch.randint(0, 6, (IMAGES,), generator=generator), tuple(f"p/{i}" for i in range(IMAGES)))


def generator(folder: Path, pictures: Pictures, *, per_shard: int = 12, method: Any = None, **more: Any) -> Generator:
    """A generator for a new set of the pictures."""
    method = method or EnsembleOptimization(steps=4, tile=TILE)
    manifest = Manifest(
        method="EnsembleOptimization",
        settings={},
        seed=0,
        targets=TARGETS,
        shape=(3, 8, 8),
        images_per_shard=per_shard,
        members=tuple(Member(name=f"net {i}", spec="here", sha256="0" * 64) for i in range(2)),
        data=Data(
            spec="here",
            size=None,
            labels=None,
            ids=pictures.ids,
            numbers=tuple(pictures.labels.tolist()),
            sha256s=tuple(pictures.sha256(i) for i in range(IMAGES)),
            classes=None,
        ),
        layout=Layout(tile=TILE, precision="fp32", device="cpu", threads=1, processor="any", torch="any"),
        versions={},
    )
    made = AdversarialSet.create(folder, manifest)
    return Generator(made, [Net(1), Net(2)], pictures, method, LeastLikely(TARGETS), **more)


def content(made: AdversarialSet) -> list[bytes]:
    return [file.read_bytes() for file in sorted((made.folder / "shards").iterdir())]


def test_a_shard_holds_what_the_attack_finds_rounded_to_the_nearest_grey_level(tmp_path: Path, pictures: Pictures):
    making = generator(tmp_path / "set", pictures)
    making.make([1])
    span = range(12, 24)
    found = making.method.run(
        making.classifiers, pictures.tensor(span).float() / 255, making.policy, labels=pictures.labels[12:]
    )
    shard = making.target_set.read(1)
    assert torch.equal(shard.images, (found.images * 255).round().byte())
    assert torch.equal(shard.targets, found.targets)
    assert torch.equal(shard.fooled_before, found.fooled)
    assert torch.equal(shard.steps, found.steps)


def test_the_flags_are_what_the_original_networks_say_of_the_stored_bytes(tmp_path: Path, pictures: Pictures):
    making = generator(tmp_path / "set", pictures)
    making.make([0])
    shard = making.target_set.read(0)
    said = says(making.classifiers, shard.images.flatten(0, 1), TILE).unflatten(0, (12, TARGETS))
    assert torch.equal(shard.fooled, said == shard.targets[:, :, None])
    assert shard.fooled.any()


@pytest.mark.parametrize("held", [2, 100])
def test_how_many_tiles_are_held_changes_no_byte(tmp_path: Path, pictures: Pictures, held: int):
    one, many = generator(tmp_path / "one", pictures), generator(tmp_path / "many", pictures, held=held)
    one.make(range(2))
    many.make(range(2))
    assert content(one.target_set) == content(many.target_set)


def test_shards_made_in_another_order_are_the_same(tmp_path: Path, pictures: Pictures):
    forwards, backwards = generator(tmp_path / "one", pictures), generator(tmp_path / "other", pictures)
    forwards.make([0, 1])
    backwards.make([1])
    backwards.make([0])
    assert content(forwards.target_set) == content(backwards.target_set)


class Cramped(EnsembleOptimization):
    """An attack that runs out of memory on more than so many images."""

    LIMIT = 5
    ERROR: type[RuntimeError] | RuntimeError = torch.OutOfMemoryError("CUDA out of memory")

    def run(self, classifiers: Any, images: Tensor, *args: Any, **more: Any) -> Any:
        if len(images) > self.LIMIT:
            raise self.ERROR
        return super().run(classifiers, images, *args, **more)


class CrampedOnCpu(Cramped):
    ERROR = RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory\nat 0x1")


@pytest.mark.parametrize("kind", [Cramped, CrampedOnCpu])
def test_memory_that_runs_out_halves_the_tiles_held_and_changes_no_byte(
    tmp_path: Path, pictures: Pictures, kind: type[Cramped]
):
    easy = generator(tmp_path / "easy", pictures)
    cramped = generator(tmp_path / "cramped", pictures, method=kind(steps=4, tile=TILE), held=100)
    easy.make(range(2))
    cramped.make(range(2))
    assert content(easy.target_set) == content(cramped.target_set)
    assert (cramped.held, cramped.method.tile) == (1, TILE)


def test_one_tile_that_does_not_fit_is_a_sentence(tmp_path: Path, pictures: Pictures, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Cramped, "LIMIT", 0)
    cramped = generator(tmp_path / "set", pictures, method=Cramped(steps=4, tile=TILE), held=2)
    with pytest.raises(MemoryError, match=r"one tile of 4 rows does not fit into memory \(CUDA out of memory\); free"):
        cramped.make([0])
    assert cramped.target_set.finished() == []


def test_another_failure_is_not_taken_for_memory(tmp_path: Path, pictures: Pictures, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Cramped, "ERROR", RuntimeError("a kernel failed"))
    with pytest.raises(RuntimeError, match="a kernel failed"):
        generator(tmp_path / "set", pictures, method=Cramped(steps=4, tile=TILE), held=3).make([0])


def test_refinement_mends_records_that_rounding_broke_and_leaves_the_others(tmp_path: Path, pictures: Pictures):
    method = EnsembleOptimization(steps=8, tile=TILE, epsilon=12.4 / 255)  # rounding brings pixels nearer
    plain = generator(tmp_path / "plain", pictures, method=method)
    refinement = LatticeRefinement(rounds=10, epsilon=method.epsilon, tile=TILE)
    mended = generator(tmp_path / "mended", pictures, method=method, refinement=refinement)
    plain.make(range(2))
    mended.make(range(2))
    before, after = ([making.target_set.read(number) for number in range(2)] for making in (plain, mended))
    broken = torch.cat([(shard.fooled_before & ~shard.fooled).any(2) for shard in before])
    assert broken.any()
    same = torch.cat([(a.images == b.images).flatten(2).all(2) for a, b in zip(before, after, strict=True)])
    assert same[~broken].all()
    assert sum(int(shard.fooled.sum()) for shard in after) > sum(int(shard.fooled.sum()) for shard in before)


def test_the_watcher_hears_of_each_tile_and_of_no_row_that_only_fills_one_up(tmp_path: Path, pictures: Pictures):
    heard: list[tuple[int, int]] = []
    making = generator(tmp_path / "set", pictures, per_shard=6, held=100)
    making.make([2], watch=lambda number, done: heard.append((number, done)))
    assert [number for number, _ in heard] == [2] * len(heard)
    assert [done for _, done in heard] == [4, 8, 12, 16, 18]


def test_an_image_that_has_changed_is_refused_by_name(tmp_path: Path, pictures: Pictures):
    making = generator(tmp_path / "set", pictures)
    pictures.images[13, 0, 0, 0] += 1
    making.make([0])
    with pytest.raises(ValueError, match=r"the image 'p/13' has changed since the set was begun: expected sha256 "):
        making.make([1])
    assert making.target_set.finished() == [0]


def test_images_are_found_by_their_ids_among_others(tmp_path: Path, pictures: Pictures):
    making = generator(tmp_path / "set", pictures)
    turned = Pictures(pictures.images.flip(0), pictures.labels.flip(0), pictures.ids[::-1])
    other = generator(tmp_path / "other", pictures)
    other = Generator(other.target_set, other.classifiers, turned, other.method, other.policy)
    making.make([0])
    other.make([0])
    assert content(making.target_set) == content(other.target_set)


def test_networks_that_were_prepared_before_make_the_same_bytes(tmp_path: Path, pictures: Pictures):
    given, ready = generator(tmp_path / "given", pictures), generator(tmp_path / "ready", pictures)
    ready.classifiers = [prepare(network, torch.rand(1, 3, 8, 8)) for network in ready.classifiers]
    given.make([0])
    ready.make([0])
    assert content(given.target_set) == content(ready.target_set)


def test_an_attack_in_other_tiles_than_the_manifests_is_refused(tmp_path: Path, pictures: Pictures):
    with pytest.raises(ValueError, match="expected an attack in tiles of 4 rows, got 8"):
        generator(tmp_path / "set", pictures, method=EnsembleOptimization(tile=8))


def test_no_tile_held_is_refused(tmp_path: Path, pictures: Pictures):
    with pytest.raises(ValueError, match="expected at least 1 tile to be held, got 0"):
        generator(tmp_path / "set", pictures, held=0)


def test_the_networks_are_given_back_as_they_were(tmp_path: Path, pictures: Pictures):
    making = generator(tmp_path / "set", pictures)
    making.classifiers[0].train()
    making.make([0])
    assert making.classifiers[0].training
    assert all(parameter.requires_grad for parameter in making.classifiers[0].parameters())
