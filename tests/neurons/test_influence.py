import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from interp_plugins.errors import LayerNotReached
from interp_plugins.neurons.heads import Cut, Whole, split
from interp_plugins.neurons.influence import NeuronInfluence
from interp_plugins.testing import Affine, toy_classifier, toy_images
from tests import oracles

SCORES = ["prob", "logit", "log_odds"]


class Turns(nn.Module):
    """Its way depends on values, so that no tracer can follow it."""

    def __init__(self):
        super().__init__()
        self.body = toy_classifier()

    def forward(self, x):
        return self.body(x) if x.sum() > 0 else -self.body(x)


class Around(nn.Module):
    """A shortcut goes round the layer and is worked on in place; the number of images is read before the layer."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.stem, self.layer = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3, padding=1)
        self.end = Affine(torch.zeros(5, 4 * 36))
        with torch.no_grad():
            for value in self.parameters():
                value.copy_(0.1 * torch.randn(value.shape, generator=generator))

    def forward(self, x):
        n = x.shape[0]
        short = self.stem(x)
        short += self.layer(short).relu_()
        return self.end(short.view(n, 4, 36, 1))


class Late(nn.Module):
    """Changes a shortcut in place after it was used: cut in two, the order would be another."""

    def __init__(self):
        super().__init__()
        self.layer, self.end = nn.Conv2d(3, 3, 3, padding=1), toy_classifier()

    def forward(self, x):
        short = x * 1
        out = self.layer(x) + short
        short.zero_()
        return self.end(out + short)


def test_by_hand():
    model = nn.Sequential(nn.Identity(), Affine(torch.tensor([[2.0, 1.0, 4.0], [0.0, 0.0, 0.0]])))
    image = torch.tensor([1.0, 0.5, 0.0]).view(1, 3, 1, 1)  # logits 2.5 and 0
    sigmoid = [1 / (1 + math.exp(-z)) for z in (2.5, 0.5, 2.0)]
    expected = {
        "logit": [2.0, 0.5, 0.0],
        "prob": [sigmoid[0] - sigmoid[1], sigmoid[0] - sigmoid[2], 0.0],
        "log_odds": [2 / math.log(2), 0.5 / math.log(2), 0.0],
    }
    for score, differences in expected.items():
        found = NeuronInfluence(score=score)(model, "0", image)
        assert found.targets.tolist() == [0]
        assert found.differences[0].tolist() == pytest.approx(differences, rel=1e-6)


@pytest.mark.parametrize("make", [toy_classifier, Turns, Around])
@pytest.mark.parametrize("score", SCORES)
def test_it_is_the_slow_definition(make, score):
    model, (images, _) = make().double().eval(), toy_images(3)
    layer = {Turns: "body.3.body.0", Around: "layer"}.get(make, "2")
    found = NeuronInfluence(score=score, tile=2)(model, layer, images.double())
    for row, image in enumerate(images.double()):
        slow = oracles.prediction_differences(model, layer, image, int(found.targets[row]), score)
        assert found.differences[row].tolist() == pytest.approx(slow, rel=1e-8, abs=1e-10)


def test_the_mean_is_taken_over_reference_images_and_places():
    model, (images, _) = toy_classifier().double(), toy_images(5)
    images, reference = images[:2].double(), images[2:].double()
    with torch.no_grad():
        mean = [float(value) for value in model[:2](reference).mean((0, 2, 3))]
    found = NeuronInfluence(score="logit", ablation="mean")(model, "1", images, reference=reference)
    slow = oracles.prediction_differences(model, "1", images[1], int(found.targets[1]), "logit", off=mean)
    assert found.differences[1].tolist() == pytest.approx(slow, rel=1e-8)


def test_laplace_pulls_probabilities_towards_chance():
    model, (images, _) = toy_classifier().double(), toy_images(1)
    found = NeuronInfluence(score="log_odds", laplace=50)(model, "2", images.double())
    slow = oracles.prediction_differences(model, "2", images[0].double(), int(found.targets), "log_odds", laplace=50)
    assert found.differences[0].tolist() == pytest.approx(slow, rel=1e-8)


def test_log_odds_stay_finite_where_the_network_is_sure():
    model = nn.Sequential(nn.Identity(), Affine(torch.tensor([[300.0, 100.0, 0.0], [0.0, 0.0, 0.0]])))
    found = NeuronInfluence(score="log_odds")(model, "0", torch.ones(1, 3, 1, 1))
    assert found.differences[0].tolist() == pytest.approx([300 / math.log(2), 100 / math.log(2), 0.0])


@given(seed=st.integers(0, 10**6))
def test_of_a_linear_head_the_estimate_is_exact_and_the_differences_add_up(seed):
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(4, 3 * 4, generator=generator, dtype=torch.float64)
    model = nn.Sequential(nn.Identity(), Affine(weight))
    image = torch.rand(1, 3, 2, 2, generator=generator, dtype=torch.float64)
    method = NeuronInfluence(score="logit")
    found, target = method(model, "0", image), torch.tensor([2])
    torch.testing.assert_close(method.estimate(model, "0", image), found.differences)
    torch.testing.assert_close(found.differences.sum(1), found.scores)
    assert method(model, "0", image, target).targets.tolist() == [2]


@given(silent=st.sets(st.integers(0, 7), min_size=1), seed=st.integers(0, 1000))
def test_a_silent_unit_has_no_influence_at_all(silent, seed):
    model, (images, _) = toy_classifier(seed), toy_images(1, seed=seed)
    with torch.no_grad():
        for unit in silent:
            model[1].weight[unit], model[1].bias[unit] = 0, -1  # nothing passes the ReLU
    found = NeuronInfluence(score="logit")(model, "2", images)
    assert not found.differences[0, sorted(silent)].any()


def test_the_estimate_chooses_the_units_that_are_computed_exactly():
    model, (images, _) = toy_classifier(), toy_images(2)
    every = NeuronInfluence(score="logit")(model, "2", images)
    method = NeuronInfluence(score="logit", preselect=3)
    found, estimates = method(model, "2", images), method.estimate(model, "2", images)
    for row in range(2):
        chosen = estimates[row].topk(3).indices.sort().values
        assert (~found.differences[row].isnan()).nonzero().flatten().tolist() == chosen.tolist()
        torch.testing.assert_close(found.differences[row, chosen], every.differences[row, chosen])


def test_the_top_units_come_in_order_and_no_more_than_are_known(unchecked):
    model, (images, _) = toy_classifier(), toy_images(2)
    found = NeuronInfluence(preselect=3)(model, "2", images)
    ordered = found.differences.gather(1, found.top(3))
    assert (ordered[:, :-1] >= ordered[:, 1:]).all()
    with pytest.raises(ValueError, match="expected m from 1 to 3, the units whose difference is known, got 4"):
        found.top(4)


def test_an_image_alone_has_the_same_numbers_as_among_others():
    model, (images, _) = toy_classifier(), toy_images(3)
    together = NeuronInfluence()(model, "3", images)
    for row in range(3):
        alone = NeuronInfluence()(model, "3", images[row : row + 1])
        assert torch.equal(alone.differences[0], together.differences[row])


def test_only_what_follows_the_layer_runs_again():
    model, (images, _) = toy_classifier(), toy_images(1)
    runs = []
    model[0].register_forward_hook(lambda *_: runs.append("before"))
    model[7].register_forward_hook(lambda *_: runs.append("after"))
    NeuronInfluence(tile=1)(model, "3", images)
    assert runs.count("after") > 8  # a unit each
    assert runs.count("before") == 4  # the check's three, and one


@pytest.mark.parametrize(("make", "layer"), [(toy_classifier, "3.body"), (Around, "layer")])
@pytest.mark.parametrize("tile", [1, 4])
def test_a_model_that_can_be_traced_is_cut(make, layer, tile, unchecked):  # a checked forward refuses proxies
    images = toy_images(tile)[0]
    assert isinstance(split(make().eval(), layer, images), Cut)


def test_a_model_that_cannot_be_traced_runs_as_a_whole():
    assert isinstance(split(Turns().eval(), "body.2", toy_images(2)[0]), Whole)


def test_a_cut_that_says_something_else_is_not_used():
    assert isinstance(split(Late().eval(), "layer", toy_images(2)[0]), Whole)


@pytest.mark.parametrize("broken", [False, True])
def test_the_model_is_given_back_as_found(broken):
    model, (images, _) = toy_classifier().train(), toy_images(2)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    random = torch.get_rng_state()
    if broken:
        with pytest.raises(ValueError, match="targets from 0 to 9"):
            NeuronInfluence()(model, "2", images, torch.tensor([0, 10]))
    else:
        NeuronInfluence(preselect=2)(model, "2", images)
    assert all(module.training for module in model.modules())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)


def test_the_callers_no_grad_does_not_stop_the_estimate():
    model, (images, _) = toy_classifier(), toy_images(1)
    with torch.no_grad():
        inside = NeuronInfluence().estimate(model, "2", images)
    assert torch.equal(inside, NeuronInfluence().estimate(model, "2", images))


def test_it_is_captums_layer_feature_ablation_with_a_mask_a_channel():
    captum = pytest.importorskip("captum.attr")
    model, (images, labels) = toy_classifier(), toy_images(2)
    found = NeuronInfluence(score="logit")(model, "3", images, labels)
    with torch.no_grad():
        shape = model[:4](images).shape
    mask = torch.arange(shape[1]).view(1, -1, 1, 1).expand(1, *shape[1:])
    theirs = captum.LayerFeatureAblation(model, model[3]).attribute(images, target=labels, layer_mask=mask)
    torch.testing.assert_close(found.differences.float(), theirs[:, :, 0, 0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"score": "loss"}, "score to be one of 'prob', 'logit', 'log_odds', got 'loss'"),
        ({"ablation": "noise"}, "ablation to be one of 'zero', 'mean', got 'noise'"),
        ({"preselect": 0}, "preselect above 0, got 0"),
        ({"laplace": 9}, "laplace with score 'log_odds' alone, got it with 'prob'"),
        ({"tile": 3}, "tile to be a power of two"),
    ],
)
def test_what_it_refuses_of_settings(settings, words, unchecked):
    with pytest.raises(ValueError, match=words):
        NeuronInfluence(**settings)


def test_a_mean_needs_reference_images_and_zero_needs_none():
    model, (images, _) = toy_classifier(), toy_images(2)
    with pytest.raises(ValueError, match="reference images with ablation 'mean' alone, got ablation 'mean'"):
        NeuronInfluence(ablation="mean")(model, "2", images)
    with pytest.raises(ValueError, match="got ablation 'zero'"):
        NeuronInfluence()(model, "2", images, reference=images)


class Idle(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner, self.idle = inner, nn.Identity()

    def forward(self, x):
        return self.inner(x)


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.end = nn.Identity(), toy_classifier()

    def forward(self, x):
        return self.end(self.layer(self.layer(x)))


class Drops(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.end = nn.Identity(), toy_classifier()

    def forward(self, x):
        return nn.functional.dropout(self.end(self.layer(x)), training=True)


@pytest.mark.parametrize(
    ("model", "layer", "error", "words"),
    [
        (toy_classifier(), "3.boby", ValueError, "got '3.boby'; the nearest is '3.body'"),
        (Idle(toy_classifier()), "idle", LayerNotReached, "layer 'idle' did not run"),
        (Twice(), "layer", ValueError, "a layer that runs once, got 'layer', which ran 2 times"),
        (Drops(), "layer", ValueError, "answers an image in one way, got two answers; switch off its dropout"),
        (nn.Sequential(nn.Flatten(2), nn.LSTM(64, 2)), "1", TypeError, "expected a tensor from layer '1', got tuple"),
    ],
)
def test_what_it_refuses_of_a_model(model, layer, error, words):
    with torch.random.fork_rng(), pytest.raises(error, match=words):
        NeuronInfluence()(model, layer, toy_images(2)[0])
