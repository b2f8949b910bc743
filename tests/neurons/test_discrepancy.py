import math
import re
import runpy
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from interp_plugins.errors import LayerNotReached
from interp_plugins.neurons.discrepancy import Discrepancy, DiscrepancyMap, outline
from interp_plugins.testing import toy_classifier, toy_images
from tests import oracles

ROOT = Path(__file__).parents[2]
UNITS = torch.tensor([2, 5])


def of(maps, peaks=(0.0, 0.0), size=(5, 5), patch=3, stride=1):
    maps = torch.tensor(maps, dtype=torch.float32)[None, None]
    return Discrepancy(maps, torch.ones(1, 1), torch.tensor([[peaks]]), size, patch, stride)


def test_by_hand():
    image = torch.zeros(1, 1, 4, 4)
    image[0, 0, 1, 2] = 1  # a bright pixel, under the second patch of the first row
    found = DiscrepancyMap(patch=2, stride=2)(nn.Sequential(nn.Identity()), "0", image, torch.tensor([0]), ids=["a"])
    assert found.clean.tolist() == [[1.0]]
    assert found.peaks.tolist() == [[[1.0, 2.0]]]
    assert (found.maps != 0).tolist() == [[[[False, True], [False, False]]]]
    assert 0 < found.maps[0, 0, 0, 1] < 1  # what covers it is darker, and no black


@pytest.mark.parametrize("at", ["peak", "max"])
@pytest.mark.parametrize("difference", ["signed", "absolute"])
def test_it_is_the_slow_definition(at, difference):
    model, (images, _) = toy_classifier().double(), toy_images(2, size=9)
    method = DiscrepancyMap(patch=3, stride=2, at=at, difference=difference)
    found = method(model, "2", images.double(), UNITS, seed=4)
    for row, image in enumerate(images.double()):
        patch = method._patches(image, 16, seeds_of(4, row))[0]
        slow = oracles.discrepancy(model, "2", image, UNITS.tolist(), patch, 2, at, difference)
        torch.testing.assert_close(found.maps[row], torch.tensor(slow), rtol=1e-5, atol=1e-6)


def seeds_of(seed, row):
    from interp_plugins.foundation.randomness import seeds

    return seeds(seed, None, row + 1)[row]


def test_there_are_as_many_copies_as_in_the_paper():
    method = DiscrepancyMap()
    assert len(method._corners(torch.zeros(3, 224, 224))) == 5184
    assert len(method._corners(torch.zeros(3, 227, 227))) == 5329


@given(seed=st.integers(0, 1000), row=st.integers(0, 6), column=st.integers(0, 6))
def test_a_patch_beyond_the_receptive_field_changes_nothing(seed, row, column):
    model = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1))
    image = torch.zeros(1, 1, 7, 7)
    image[0, 0, row, column] = 1
    with torch.no_grad():
        model[0].weight.fill_(0.01).select(2, 1).select(2, 1).fill_(1.0)
        model[0].bias.zero_()
    found = DiscrepancyMap(patch=1, stride=1)(model, "0", image, torch.tensor([0]), seed=seed)
    for i, j in (found.maps[0, 0] != 0).nonzero().tolist():
        assert max(abs(i - row), abs(j - column)) <= 1


def test_a_far_second_response_hides_the_effect_from_the_maximum_and_not_from_the_peak():
    image = torch.zeros(1, 1, 6, 6)
    image[0, 0, 0, 0] = image[0, 0, 5, 5] = 1
    found = {at: DiscrepancyMap(patch=2, at=at)(nn.Identity(), "", image, torch.tensor([0])) for at in ("peak", "max")}
    assert found["peak"].maps[0, 0, 0, 0] > 0
    assert not found["max"].maps.any()


def test_an_image_alone_has_the_same_maps_under_its_id_and_another_seed_others():
    model, (images, _) = toy_classifier(), toy_images(3, size=9)
    method = DiscrepancyMap(patch=3)
    together = method(model, "2", images, UNITS, ids=["a", "b", "c"])
    assert torch.equal(method(model, "2", images[1:2], UNITS, ids=["b"]).maps[0], together.maps[1])
    assert not torch.equal(method(model, "2", images[1:2], UNITS, ids=["b"], seed=1).maps[0], together.maps[1])


def test_each_image_may_have_units_of_its_own_and_each_place_its_own_noise():
    model, (images, _) = toy_classifier(), toy_images(2, size=9)
    every = DiscrepancyMap(patch=3)(model, "2", images, torch.arange(8))
    own = DiscrepancyMap(patch=3)(model, "2", images, torch.tensor([[1], [6]]))
    assert torch.equal(own.maps[:, 0], every.maps[[0, 1], [1, 6]])
    other = DiscrepancyMap(patch=3, noise="each")(model, "2", images, torch.arange(8))
    assert torch.equal(
        other.maps[0, :, 0, 0],
        DiscrepancyMap(patch=3, noise="each")(model, "2", images, torch.arange(8)).maps[0, :, 0, 0],
    )
    assert not torch.equal(other.maps, every.maps)


def test_a_map_is_upsampled_between_the_centres_of_its_patches():
    maps = of([[0.0, 2.0], [0.0, 2.0]], size=(5, 6), patch=3, stride=2).upsampled()
    assert maps[0, 0, 0].tolist() == pytest.approx([0, 0, 1, 2, 2, 2])  # centres are pixels 1 and 3
    assert of([[3.0]], size=(3, 3)).upsampled().unique().tolist() == [3.0]


def test_a_region_is_above_a_share_of_the_largest_value_and_empty_where_nothing_is_lost(unchecked):
    found = of([[0.0, 2.0], [0.0, 2.0]], size=(5, 6), patch=3, stride=2)
    assert found.regions()[0, 0, 0].tolist() == [False, False, False, True, True, True]
    assert found.regions(0.4)[0, 0, 0].tolist() == [False, False, True, True, True, True]
    assert not of([[-1.0, 0.0], [0.0, -2.0]], size=(4, 4)).regions().any()
    with pytest.raises(ValueError, match=r"a share in \[0, 1\), got 1"):
        found.regions(1)


def test_maps_are_moved_so_that_their_peaks_meet():
    one, two = torch.zeros(2, 1, 1, 3, 3).unbind()
    one[0, 0, 0, 0], two[0, 0, 2, 1] = 2, 4
    peaks = torch.tensor([[[0.0, 0.0]], [[2.0, 1.0]]])
    field = Discrepancy(torch.cat([one, two]), torch.ones(2, 1), peaks, (3, 3), 1, 1).receptive_field()
    assert field.shape == (1, 5, 5)
    assert field[0, 2, 2] == 3
    assert field[0, 3, 3] == 0
    assert math.isnan(field[0, 0, 0])


@given(st.lists(st.lists(st.booleans(), min_size=5, max_size=5), min_size=4, max_size=4))
def test_an_outline_lies_inside_its_region_and_what_it_encloses_has_only_neighbours_inside(rows):
    region = torch.tensor(rows)
    line = outline(region)
    assert not (line & ~region).any()
    for i, j in (region & ~line).nonzero().tolist():
        assert 0 < i < 3
        assert 0 < j < 4
        assert region[i - 1 : i + 2, j - 1 : j + 2].all()


def test_the_model_is_given_back_as_found():
    model, (images, _) = toy_classifier().train(), toy_images(1)
    random, before = torch.get_rng_state(), images.clone()
    DiscrepancyMap(patch=3)(model, "2", images, UNITS)
    assert all(module.training for module in model.modules())
    assert not any(module._forward_hooks for module in model.modules())
    assert torch.equal(torch.get_rng_state(), random)
    assert torch.equal(images, before)


@pytest.mark.parametrize(
    ("layer", "units", "error", "words"),
    [
        ("2", torch.tensor([8]), ValueError, "units from 0 to 7, got 8"),
        ("3.boby", UNITS, ValueError, "the nearest is '3.body'"),
        ("2", torch.tensor([[1], [2], [3]]), ValueError, "units for each of 2 images, got those of 3"),
    ],
)
def test_what_it_refuses(layer, units, error, words, unchecked):
    with pytest.raises(error, match=words):
        DiscrepancyMap(patch=3)(toy_classifier(), layer, toy_images(2)[0], units)


def test_it_refuses_small_images_nan_layers_of_another_shape_and_wrong_settings(unchecked):
    images = toy_images(1)[0]
    with pytest.raises(ValueError, match="at least the patch's 11 pixels, got 8 x 8"):
        DiscrepancyMap()(toy_classifier(), "2", images, UNITS)
    model = toy_classifier()
    with torch.no_grad():
        model[0].weight[5] = torch.nan
    with pytest.raises(ValueError, match="no NaN, got one in layer '0', unit 5"):
        DiscrepancyMap(patch=3)(model, "0", images, UNITS)
    with pytest.raises(ValueError, match=r"puts out \(8, units, height, width\), got \(8, 3, 64\)"):
        DiscrepancyMap(patch=3)(nn.Sequential(nn.Flatten(2)), "0", images, UNITS)
    for settings in ({"at": "mean"}, {"difference": "squared"}, {"noise": "none"}, {"patch": 0}, {"tile": 3}):
        with pytest.raises(ValueError, match=f"expected {next(iter(settings))}"):
            DiscrepancyMap(**settings)


def test_a_layer_that_does_not_run_is_said():
    class Idle(nn.Module):
        def __init__(self):
            super().__init__()
            self.idle = nn.Identity()

        def forward(self, x):
            return x

    with pytest.raises(LayerNotReached, match="layer 'idle' did not run"):
        DiscrepancyMap(patch=3)(Idle(), "idle", toy_images(1)[0], UNITS)


def test_the_python_of_the_page_on_discrepancy_runs(tmp_path, capsys):
    page = (ROOT / "docs" / "discrepancy.md").read_text(encoding="utf-8")
    (tmp_path / "page.py").write_text("".join(re.findall(r"```python\n(.*?)```", page, re.DOTALL)))
    runpy.run_path(str(tmp_path / "page.py"))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "maps (4, 1, 8, 8)"
    assert lines[-1] == "field (1, 63, 63)"
