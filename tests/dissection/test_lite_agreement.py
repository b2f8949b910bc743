"""In NetDissect-Lite's mode the counts are those of its algorithm, written down once more in float64 NumPy."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from interp_plugins.dissection.dissection import Dissected, NetworkDissection
from interp_plugins.foundation.concepts import Concept, Labels, Vocabulary

CATEGORIES = ("color", "object", "part", "scene")
SIZE, IMAGES, UNITS = 32, 24, 6
SHARE, POINT = 0.05, 949  # more than the paper's, because there are few places


@pytest.fixture(autouse=True)
def benchmarks_are_found(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(Path(__file__).resolve().parents[2])


class World:
    """Random images with random labels: of some nothing is known but the scene, and parts have two layers."""

    def __init__(self) -> None:
        self.vocabulary = Vocabulary(
            tuple(Concept(k, f"concept {k}", CATEGORIES[k // 4]) for k in (1, 2, 3, 4, 5, 6, 8, 9, 10, 11, 12, 14)),
            CATEGORIES,
        )
        self.ids = tuple(map(str, range(IMAGES)))
        self.mask_size = (SIZE // 2, SIZE // 2)
        chance = np.random.default_rng(3)
        self.images = torch.from_numpy(chance.integers(0, 256, (IMAGES, 3, SIZE, SIZE), np.uint8))
        self.marked = [self._labels(chance, number) for number in range(IMAGES)]

    def _labels(self, chance: np.random.Generator, number: int) -> Labels:
        scene = (12,) if number % 3 == 0 else (14,) if number % 3 == 1 else ()
        if number % 4 == 3 and scene:
            return Labels(torch.zeros(0, *self.mask_size, dtype=torch.int32), scene)
        masks = [chance.choice([0, 1, 2, 3], self.mask_size)]
        if number % 2:
            masks += [chance.choice([0, 0, 4, 6], self.mask_size)]
        if number % 5:
            masks += [chance.choice([0, 0, 0, *numbers], self.mask_size) for numbers in ((8, 9), (10, 11))]
        return Labels(torch.from_numpy(np.stack(masks)).int(), scene)

    def __len__(self) -> int:
        return IMAGES

    def tensor(self, numbers: Sequence[int]) -> Tensor:
        return self.images[list(numbers)]

    def labels(self, number: int) -> Labels:
        return self.marked[number]


def network() -> nn.Module:
    """Maps whose every value is exact, so that each way of running it gives the same bits."""
    layer = nn.Conv2d(3, UNITS, 1, stride=8, bias=False)
    weights = [[1, 0, 0], [0, 1, 0], [0, 0, 1], [0.5, 0, 0], [0, -1, 0], [0, 0, 0]]  # the last unit is dead
    layer.weight.data = torch.tensor(weights)[:, :, None, None]
    return nn.Sequential(layer, nn.ReLU())


def dissected(world: World, **settings) -> Dissected:
    method = NetworkDissection(
        **{"permutations": 0, "share": SHARE, "quantile": "netdissect", "union": "lite", **settings}
    )
    return method(network(), ["1"], world)["1"]


def restated(world: World, stale: bool = False):
    from benchmarks import lite_restated

    with torch.no_grad():
        maps = network()(world.images.float() / 255).double().numpy()
    levels = lite_restated.thresholds(maps, POINT)
    marked = [(labels.pixels.numpy(), labels.whole) for labels in world.marked]
    of = world.vocabulary.category_of.numpy()
    return levels, lite_restated.count(maps, levels, marked, of, world.mask_size, stale=stale)


def test_the_thresholds_are_those_of_numpys_quantile():
    world = World()
    levels, _ = restated(world)
    assert dissected(world).clean.thresholds.value.numpy() == pytest.approx(levels, rel=1e-12)


def test_every_count_is_that_of_the_restated_algorithm_to_the_pixel():
    world = World()
    overlap, (_, counts) = dissected(world).clean.overlap, restated(world)
    assert overlap.lit.sum() > 100
    np.testing.assert_array_equal(overlap.lit.numpy(), counts.active)
    np.testing.assert_array_equal(overlap.labelled.numpy(), counts.labelled)
    np.testing.assert_array_equal(overlap.intersection.numpy(), counts.both)
    np.testing.assert_array_equal(overlap.active.numpy(), counts.active_by_category)


def test_what_is_taken_over_from_another_image_is_the_only_difference_to_the_algorithm_with_its_fault():
    world = World()
    overlap, (_, counts) = dissected(world).clean.overlap, restated(world, stale=True)
    np.testing.assert_array_equal(overlap.intersection.numpy(), counts.both)
    more = counts.active_by_category - overlap.active.numpy()
    assert (more >= 0).all()
    assert more.any()
    assert not more[:, CATEGORIES.index("scene")].any()  # the images without masks have a scene of their own


def test_the_unions_of_the_paper_are_at_least_as_large():
    world = World()
    ours, paper = dissected(world).clean.overlap, dissected(world, union="category").clean.overlap
    assert (paper.active >= ours.active).all()
    assert (paper.active > ours.active).any()


def test_the_four_readings_lie_within_half_a_rank_of_each_other():
    from benchmarks.lite_restated import readings

    ranks = np.random.default_rng(0).permutation(2000).reshape(-1, 1, 5, 4).astype(float)
    for found in readings(ranks).T:
        assert 0 < np.ptp(found) <= 0.5
