"""The evaluator of influence gives the core's numbers, which are those of Captum's own tool where it has one."""

import pytest
import torch
from captum.attr import LayerFeatureAblation
from evaluated import IMAGES
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from toys import CLASSES, Net, modes

from interp_captum.influence import NeuronInfluence, neuron_influence
from interp_plugins.neurons import influence as core

SOME = IMAGES[:4]


class Scaled(nn.Module):
    """A net whose features are scaled by further arguments."""

    def __init__(self) -> None:
        super().__init__()
        self.net = Net(0)

    def forward(self, images, scale=1.0, shift=0):
        features = torch.relu(self.net.first(images) * torch.as_tensor(scale).reshape(-1, 1, 1, 1))
        return self.net.head(torch.relu(self.net.second(features)).flatten(1)) + shift


def test_the_differences_are_captums_layer_feature_ablation_with_a_mask_a_channel():
    net = Net(0)
    mask = torch.arange(16).view(1, -1, 1, 1).expand(1, 16, 4, 4)
    with torch.no_grad():
        theirs = LayerFeatureAblation(net, net.second).attribute(SOME, target=7, layer_mask=mask)[:, :, 0, 0]
    found = NeuronInfluence(net, net.second, score="logit").evaluate(SOME, target=7)
    torch.testing.assert_close(found.differences.float(), theirs, rtol=1e-4, atol=1e-4)
    assert torch.equal(found.targets, torch.full((4,), 7))


@pytest.mark.parametrize("settings", [{}, {"score": "log_odds", "laplace": 100}, {"score": "logit", "preselect": 5}])
def test_the_result_is_the_cores(settings):
    expected = core.NeuronInfluence(**settings)(Net(0), "second", SOME)
    found = NeuronInfluence(Net(0), "second", **settings).evaluate(SOME)
    torch.testing.assert_close(found.differences, expected.differences, rtol=0, atol=0, equal_nan=True)
    assert torch.equal(found.scores, expected.scores)
    assert torch.equal(found.targets, expected.targets)
    assert torch.equal(found.top(3), expected.top(3))


def test_units_are_set_to_their_mean_over_reference_images():
    expected = core.NeuronInfluence(ablation="mean")(Net(0), "second", SOME, reference=IMAGES)
    found = NeuronInfluence(Net(0), "second", ablation="mean").evaluate(SOME, reference=IMAGES)
    assert torch.equal(found.differences, expected.differences)


def test_a_dataloader_with_a_target_for_each_image_gives_what_one_tensor_gives():
    evaluator, targets = NeuronInfluence(Net(0), "second"), [3, 1, 0, 11]
    found = evaluator.evaluate(DataLoader(TensorDataset(SOME), batch_size=3), target=targets)
    assert torch.equal(found.targets, torch.tensor(targets))
    torch.testing.assert_close(found.differences, evaluator.evaluate(SOME, target=targets).differences)


def test_several_layers_give_a_list():
    first, second = NeuronInfluence(Net(0), ["first", "second"]).evaluate(SOME)
    assert (first.layer, first.differences.shape) == ("first", (4, 8))
    assert torch.equal(second.differences, NeuronInfluence(Net(0), "second").evaluate(SOME).differences)


def test_grey_levels_are_read_as_images():
    grey = (SOME * 255).byte()
    evaluator = NeuronInfluence(Net(0), "second")
    assert torch.equal(evaluator.evaluate(grey).differences, evaluator.evaluate(grey.float() / 255).differences)


def test_perturbations_per_eval_change_nothing_but_last_bits():
    evaluator = NeuronInfluence(Net(0), "second")
    found = evaluator.evaluate(SOME, perturbations_per_eval=2)
    torch.testing.assert_close(found.differences, evaluator.evaluate(SOME).differences, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("score", ["prob", "logit"])
def test_each_image_is_run_with_its_own_row_of_additional_arguments(score):
    model, scales = Scaled().eval(), torch.tensor([1.0, 0.5, 2.0, 0.1])
    found = NeuronInfluence(model, model.net.second, score=score).evaluate(SOME, 3, (scales, 0))
    for row, scale in enumerate(scales):
        alone = NeuronInfluence(model, "net.second", score=score).evaluate(SOME[row : row + 1], 3, (float(scale), 0))
        torch.testing.assert_close(found.differences[row], alone.differences[0], rtol=1e-4, atol=1e-6)
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_the_function_gives_a_number_for_each_image_and_unit():
    net = Net(0)
    found = neuron_influence(net, net.second, SOME, 5, score="logit")
    assert torch.equal(found, NeuronInfluence(net, "second", score="logit").evaluate(SOME, 5).differences)


def test_the_model_comes_back_as_it_was_found():
    net = Net(0).train()
    before = modes(net)
    NeuronInfluence(net, net.second).evaluate(SOME)
    assert modes(net) == before


def test_the_data_frame_has_a_row_for_each_image():
    pytest.importorskip("pandas")
    found = NeuronInfluence(Net(0), "second").evaluate(SOME)
    assert list(found.to_dataframe().columns) == ["layer", "image", "scores", "targets"]


def test_a_setting_out_of_range_is_refused_at_once():
    with pytest.raises(ValueError, match="expected laplace with score 'log_odds' alone"):
        NeuronInfluence(Net(0), "second", laplace=9)


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ([1, 2, 3], r"expected target of shape \(4,\), got \(3,\)"),
        ([1, 2, 3, 4, 5], "expected target with one row for each of 4 images, got 5"),
        (CLASSES, "expected targets from 0 to 11, got 12"),
    ],
)
def test_targets_that_do_not_fit_are_refused(target, words):
    with pytest.raises(ValueError, match=words):
        NeuronInfluence(Net(0), "second").evaluate(SOME, target=target)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (3, r"expected additional_forward_args with one row for each image, got a tensor of shape \(3,\) for image 3"),
        (5, "expected additional_forward_args with one row for each of 4 images, got 5"),
    ],
)
def test_rows_of_additional_arguments_that_do_not_fit_are_refused(rows, words):
    with pytest.raises(ValueError, match=words):
        NeuronInfluence(Scaled().eval(), "net.second").evaluate(SOME, 0, torch.ones(rows))


def test_no_images_are_refused():
    with pytest.raises(ValueError, match="expected at least one batch of images, got none"):
        NeuronInfluence(Net(0), "second").evaluate([])
