import pytest
import torch
from torch import nn

from interp_plugins.errors import LayerNotReached
from interp_plugins.foundation.measuring import conv_layers
from interp_plugins.neurons.activations import observe, record_scores
from interp_plugins.testing import toy_classifier, toy_images


def maps(model, layer, images):
    kept = {}
    handle = model.get_submodule(layer).register_forward_hook(lambda m, i, output: kept.update(found=output.clone()))
    with torch.no_grad():
        model.eval()(images)
    handle.remove()
    return kept["found"]


@pytest.mark.parametrize("reduction", ["max", "mean"])
def test_the_score_is_the_largest_or_the_mean_of_the_map(reduction):
    model, (images, _) = toy_classifier(), toy_images()
    layers = conv_layers(model)
    scores = record_scores(model, layers, images, reduction)
    for layer in layers:
        found = maps(model, layer, images).double().flatten(2)
        expected = found.amax(2) if reduction == "max" else found.mean(2)
        torch.testing.assert_close(scores[layer].double(), expected, rtol=1e-5, atol=1e-6)


def test_by_hand():
    model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.Flatten(), nn.Linear(8, 2))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([1.0, -1.0]).view(2, 1, 1, 1))
        model[0].bias.zero_()
    images = torch.tensor([[[[0.0, 0.25], [0.5, 1.0]]]])
    assert record_scores(model, ["0"], images)["0"].tolist() == [[1.0, 0.0]]
    assert record_scores(model, ["0"], images, "mean")["0"].tolist() == [[0.4375, -0.4375]]


def test_an_activation_in_place_does_not_change_the_score():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.LazyLinear(2))
    images = torch.rand(2, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        model(images)
        model[0].bias.fill_(-9.0)  # every map is negative, and zero after the activation
    assert record_scores(model, ["0"], images)["0"].max() < -1


def test_a_score_depends_on_no_neighbour_and_no_batch():
    model, (images, _) = toy_classifier(), toy_images()
    layers = conv_layers(model)
    together = record_scores(model, layers, images)
    for row in range(len(images)):
        alone = record_scores(model, layers, images[row : row + 1])
        assert all(torch.equal(alone[layer][0], together[layer][row]) for layer in layers)


def test_a_layer_without_places_is_taken_as_it_is():
    model, (images, _) = toy_classifier(), toy_images()
    name = next(name for name, module in model.named_modules() if isinstance(module, nn.Linear))
    torch.testing.assert_close(record_scores(model, [name], images)[name], maps(model, name, images))


def test_the_model_is_given_back_as_found():
    model, (images, _) = toy_classifier().train(), toy_images()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    record_scores(model, conv_layers(model), images)
    assert model.training
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_layer_that_did_not_run_names_those_that_did():
    model = nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten())
    model.idle = nn.Identity()
    model.forward = lambda images: model[1](model[0](images))
    with pytest.raises(LayerNotReached, match="layer 'idle' did not run; layers that did: 0"):
        record_scores(model, ["0", "idle"], torch.zeros(1, 3, 4, 4))


def test_an_unknown_layer_gets_the_nearest_name():
    with pytest.raises(ValueError, match=r"expected a layer of the model, got '3\.bodi'; the nearest is '3\.body'"):
        record_scores(toy_classifier(), ["3.bodi"], toy_images()[0])


def test_a_layer_that_gives_a_tuple_is_refused():
    model = nn.Sequential(nn.Flatten(2), nn.LSTM(16, 3))
    with pytest.raises(TypeError, match="expected a tensor from layer '1', got tuple"):
        record_scores(model, ["1"], torch.zeros(1, 3, 4, 4))


def test_a_layer_that_mixes_up_the_images_is_refused():
    model = nn.Sequential(nn.Flatten(0, 1), nn.Flatten())
    with pytest.raises(ValueError, match=r"expected a layer that puts out \(8, units, ...\), got \(24, 4, 4\)"):
        record_scores(model, ["0"], torch.zeros(2, 3, 4, 4))


def test_settings_and_images_are_checked(unchecked):
    model, (images, _) = toy_classifier(), toy_images()
    with pytest.raises(ValueError, match="expected reduction to be one of 'max', 'mean', got 'sum'"):
        record_scores(model, [], images, "sum")
    with pytest.raises(ValueError, match="power of two from 1 to 256, got 3"):
        record_scores(model, [], images, tile=3)
    with pytest.raises(ValueError, match=r"expected images in \[0, 1\]"):
        record_scores(model, [], images * 255)


@pytest.mark.parametrize("n", [1, 3, 20])
def test_one_pass_shows_scores_logits_and_one_whole_output(n):
    model, (images, _) = toy_classifier(), toy_images(n)
    layers = conv_layers(model)
    seen = observe(model, layers, images, whole="3")
    scores = record_scores(model, layers, images)
    assert all(torch.equal(seen.scores[layer], scores[layer]) for layer in layers)
    with torch.no_grad():
        torch.testing.assert_close(seen.logits, model(images))
    torch.testing.assert_close(seen.whole, maps(model, "3", images))


def test_a_layer_may_be_scored_and_kept_whole_and_neither_has_to_be():
    model, (images, _) = toy_classifier(), toy_images()
    seen = observe(model, ["3"], images, whole="3")
    assert torch.equal(seen.scores["3"], seen.whole.amax((2, 3)))
    assert observe(model, [], images).whole is None


def test_a_whole_output_is_what_it_was_before_an_activation_in_place():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(4 * 16, 2))
    with torch.no_grad():
        model[0].bias.fill_(-9.0)
    images = torch.rand(2, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    assert observe(model, [], images, whole="0").whole.max() < -1


def test_a_model_that_puts_out_no_logits_is_refused():
    model = nn.Sequential(nn.Flatten(2), nn.LSTM(16, 3))
    with pytest.raises(TypeError, match="expected a model that puts out logits, got tuple; wrap it"):
        observe(model, [], torch.zeros(1, 3, 4, 4))
