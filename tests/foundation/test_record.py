import pytest
import torch
from torch import nn

from interp_plugins.errors import LayerNotReached
from interp_plugins.foundation.record import record
from interp_plugins.testing import toy_classifier, toy_images


def test_an_in_place_activation_does_not_change_what_was_recorded():
    model, (images, _) = toy_classifier(), toy_images()
    with record(model, ["1"]) as outputs:
        model(images)
    expected = model[1](model[0](images))
    assert torch.equal(outputs["1"], expected)
    assert expected.min() < 0  # so that the ReLU behind it would show


def test_several_layers_cost_one_pass_and_hooks_are_gone():
    model, (images, _) = toy_classifier(), toy_images()
    with record(model, ["0", "3.body.0"]) as outputs:
        model(images)
    assert set(outputs) == {"0", "3.body.0"}
    assert not any(module._forward_hooks for module in model.modules())


def test_a_layer_that_did_not_run_names_those_that_did():
    model = nn.ModuleDict({"used": nn.Identity(), "idle": nn.Identity()})
    with record(model, ["used", "idle"]) as outputs:
        model["used"](torch.zeros(1))
    with pytest.raises(LayerNotReached, match="layer 'idle' did not run; layers that did: used"):
        outputs["idle"]


def test_an_unknown_layer_gets_the_nearest_name():
    with (
        pytest.raises(ValueError, match=r"got '3.bodi'; the nearest is '3.body'"),
        record(toy_classifier(), ["3.bodi"]),
    ):
        pass


def test_a_layer_that_gives_a_tuple_is_refused():
    model = nn.Sequential(nn.LSTM(3, 3))
    with pytest.raises(TypeError, match="expected a tensor from layer '0', got tuple"), record(model, ["0"]):
        model(torch.zeros(1, 2, 3))
