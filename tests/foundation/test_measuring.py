import pytest
import torch
from torch import nn

from interp_plugins.foundation.measuring import conv_layers, for_measuring, last_map
from interp_plugins.neurons.activations import record_scores
from interp_plugins.testing import toy_classifier, toy_images


def test_a_copy_for_measuring_has_the_weights_and_says_the_same():
    model, (images, _) = toy_classifier(), toy_images()
    network = for_measuring(model, images)
    assert network is not model
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), model.parameters(), strict=True))
    convolution = network.get_submodule(conv_layers(network)[0])
    assert convolution.weight.is_contiguous(memory_format=torch.channels_last)
    for layer in conv_layers(model):
        ours, plain = (record_scores(net, [layer], images)[layer] for net in (network, model))
        torch.testing.assert_close(ours, plain, rtol=1e-4, atol=1e-5)


def test_what_cannot_be_copied_is_measured_itself():
    class Stubborn(nn.Module):
        def __deepcopy__(self, memo):
            raise RuntimeError("no")

    model = Stubborn()
    assert for_measuring(model, toy_images()[0]) is model


def test_a_model_that_flattens_by_view_is_measured_in_its_own_memory_format():
    class Viewer(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4 * 36, 2)

        def forward(self, images):
            return self.head(self.conv(images).view(-1, 4 * 36))

    model, (images, _) = Viewer(), toy_images()
    network = for_measuring(model, images)
    assert network is not model
    assert torch.equal(record_scores(network, ["conv"], images)["conv"], record_scores(model, ["conv"], images)["conv"])


def test_a_model_without_convolutions_has_no_layers_by_itself():
    with pytest.raises(ValueError, match="expected a model with convolutions, got none; name its layers"):
        conv_layers(nn.Linear(2, 2))


def test_the_last_map_is_the_outermost_module_that_puts_it_out():
    block = nn.Sequential(nn.Conv2d(4, 4, 3), nn.ReLU())
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)]
    model = nn.Sequential(nn.Conv2d(3, 4, 3), block, *head).train()
    assert last_map(model, torch.zeros(1, 3, 8, 8)) == "1"
    assert model.training
    assert not any(module._forward_hooks for module in model.modules())


def test_a_model_without_maps_has_no_last_one():
    for model in (nn.Sequential(nn.Flatten(), nn.Linear(12, 2)), nn.Conv2d(3, 2, 1)):
        with pytest.raises(ValueError, match="expected a model with a layer that puts out maps, got none; name"):
            last_map(model, torch.zeros(1, 3, 2, 2))
