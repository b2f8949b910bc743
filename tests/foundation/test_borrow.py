import pytest
import torch

from interp_plugins.foundation.borrow import borrow
from interp_plugins.testing import toy_classifier


def mixed():
    """A training model with a frozen BatchNorm and a frozen parameter."""
    model = toy_classifier().train()
    model[1].eval()
    model[0].weight.requires_grad_(False)
    return model


def modes(model):
    return [module.training for module in model.modules()], [p.requires_grad for p in model.parameters()]


def test_inside_everything_is_in_eval_mode_and_frozen():
    model = mixed()
    with borrow(model):
        assert modes(model) == ([False] * len(list(model.modules())), [False] * len(list(model.parameters())))


def test_each_module_and_parameter_gets_its_own_former_state_back():
    model = mixed()
    before = modes(model)
    with borrow(model):
        pass
    assert modes(model) == before


def test_the_model_is_given_back_when_the_body_raises():
    model = mixed()
    before = modes(model)
    with pytest.raises(RuntimeError, match="stop"), borrow(model):
        raise RuntimeError("stop")
    assert modes(model) == before


def test_hooks_added_inside_are_gone_and_those_from_before_stay():
    model = mixed()
    model[0].register_forward_hook(lambda *_: None)
    with borrow(model):
        model[0].register_forward_hook(lambda *_: None)
        model[1].register_forward_pre_hook(lambda *_: None)
    assert (len(model[0]._forward_hooks), len(model[1]._forward_pre_hooks)) == (1, 0)


def test_what_is_no_module_is_left_alone():
    with borrow(torch.relu, "name", None):
        pass
