import gc
import weakref

import pytest
import torch
from torch import nn

from interp_plugins.foundation import copies
from interp_plugins.foundation.prepare import Prepared, judge, prepare
from interp_plugins.testing import toy_classifier, toy_images


def normalisations(network):
    return [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]


def test_a_copy_gives_the_same_logits_without_batchnorm():
    model, (images, _) = toy_classifier(), toy_images()
    prepared = prepare(model, images)
    torch.testing.assert_close(prepared.logits(images), model(images).detach(), rtol=1e-4, atol=1e-4)
    assert prepared.classes == 10
    assert normalisations(prepared._network) == []
    assert len(normalisations(model)) == 2


def test_the_original_is_left_alone_and_judges():
    model, (images, _) = toy_classifier().train(), toy_images()
    modes = [module.training for module in model.modules()]
    prepared = prepare(model, images)
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(judge(prepared, images), judge(model, images)) is False or not model.training
    model.eval()
    assert torch.equal(judge(prepared, images), model(images).detach())


def test_gradients_are_those_of_the_original_for_each_cotangent():
    model, (images, labels) = toy_classifier(), toy_images()
    leaf = images.clone().requires_grad_(True)
    expected = []
    for column in range(2):
        expected.append(torch.autograd.grad(model(leaf)[:, column].sum(), leaf)[0])
    pulls = [nn.functional.one_hot(torch.full_like(labels, column), 10).float() for column in range(2)]
    logits, gradients = prepare(model, images).gradients(images, lambda _: pulls)
    torch.testing.assert_close(gradients, torch.stack(expected), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(logits, model(images).detach(), rtol=1e-4, atol=1e-4)
    assert gradients.is_contiguous()


class SharedConvolution(nn.Module):
    """The convolution's output is used beside its BatchNorm, so folding changes the function."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.norm.running_var.fill_(9.0)

    def forward(self, x):
        y = self.conv(x)
        return (self.norm(y) + y).mean((2, 3))


def test_folding_is_taken_back_where_it_changes_the_function():
    model, (images, _) = SharedConvolution().eval(), toy_images()
    prepared = prepare(model, images)
    torch.testing.assert_close(prepared.logits(images), model(images).detach(), rtol=1e-5, atol=1e-6)
    assert len(normalisations(prepared._network)) == 1
    assert prepared._network is not model


class Repeated(SharedConvolution):
    """One BatchNorm after two runs of one convolution."""

    def forward(self, x):
        return self.norm(self.conv(x)).mean((2, 3)) + self.norm(self.conv(x.flip(3))).mean((2, 3))


def test_a_layer_that_runs_twice_is_not_folded():
    model, (images, _) = Repeated().eval(), toy_images()
    assert len(normalisations(prepare(model, images)._network)) == 1


class NoCopy(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = toy_classifier()

    def forward(self, x):
        return self.inner(x)

    def __deepcopy__(self, memo):
        raise RuntimeError("no")


class Viewed(nn.Module):
    """Flattens its maps as old code does, which torch refuses of channels-last maps."""

    def __init__(self):
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.head = nn.Linear(4 * 16 * 16, 10)

    def forward(self, images):
        maps = self.norm(self.convolution(images)).relu()
        return self.head(maps.view(len(maps), -1))


@pytest.mark.parametrize("wrapped", [False, True], ids=["module", "callable"])
def test_a_network_that_views_its_maps_as_rows_can_be_searched(wrapped):
    torch.manual_seed(0)
    model, (images, _) = Viewed().eval(), toy_images(size=16)
    prepared = prepare(model.forward if wrapped else model, images)
    logits, gradients = prepared.gradients(images, lambda z: [torch.ones_like(z)])
    leaf = images.clone().requires_grad_()
    torch.testing.assert_close(logits, model(images).detach(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(gradients[0], torch.autograd.grad(model(leaf).sum(), leaf)[0], rtol=1e-4, atol=1e-5)
    assert wrapped or normalisations(prepared._network) == []


def test_a_model_that_cannot_be_copied_serves_itself():
    model, (images, _) = NoCopy(), toy_images()
    prepared = prepare(model, images)
    assert prepared._network is model
    assert torch.equal(prepared.logits(images), model(images.contiguous(memory_format=torch.channels_last)).detach())


def test_what_is_prepared_stays_as_it_is_and_a_callable_is_used_as_it_stands():
    model, (images, _) = toy_classifier(), toy_images()
    prepared = prepare(model, images)
    assert prepare(prepared, images) is prepared
    by_call = prepare(lambda x: model(x), images)
    assert isinstance(by_call, Prepared)
    assert by_call.classes == 10


def test_bf16_casts_the_copy_alone():
    model, (images, _) = toy_classifier(), toy_images()
    prepared = prepare(model, images, "bf16")
    assert {parameter.dtype for parameter in prepared._network.parameters()} == {torch.bfloat16}
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert prepared.logits(images).dtype == torch.float32
    assert (prepared.logits(images) - model(images)).abs().max() < 0.1 * model(images).abs().max()


def test_images_follow_the_models_dtype_and_gradients_the_images():
    model, (images, _) = toy_classifier().double(), toy_images()
    logits, gradients = prepare(model, images).gradients(images, lambda z: [torch.ones_like(z)])
    assert (logits.dtype, gradients.dtype) == (torch.float64, torch.float32)


@pytest.mark.parametrize(
    ("model", "error", "sentence"),
    [
        (3, TypeError, "expected a classifier that can be called, got int"),
        (lambda x: x.flatten(1).softmax(1), ValueError, "got probabilities"),
        (lambda x: x, ValueError, "expected logits of shape"),
        (lambda x: x.flatten(1) * float("nan"), ValueError, "expected finite logits"),
    ],
)
def test_what_is_no_classifier_is_refused(model, error, sentence):
    with pytest.raises(error, match=sentence):
        prepare(model, toy_images()[0])


def test_a_classifier_without_a_graph_is_refused():
    prepared = prepare(lambda x: x.detach().flatten(1), toy_images()[0])
    with pytest.raises(ValueError, match="expected a classifier that torch can differentiate"):
        prepared.gradients(toy_images()[0], lambda z: [z])


def test_a_network_that_was_trained_on_is_prepared_anew_by_the_same_plan(monkeypatch):
    model, (images, _) = toy_classifier(), toy_images()
    first = prepare(model, images)
    monkeypatch.setattr(copies, "pairs", None)  # nothing is looked for again
    with torch.no_grad():
        for value in model.state_dict().values():
            value.mul_(1.5) if value.is_floating_point() else value
    again = prepare(model, images)
    assert again._network is not first._network
    assert normalisations(again._network) == []
    torch.testing.assert_close(again.logits(images), model(images).detach(), rtol=1e-4, atol=1e-4)


def hooked(model):
    model.net[0].register_forward_hook(lambda module, inputs, output: output * 3)


def other_function(model):
    model.between = nn.Sigmoid()


def another_layer(model):
    model.net[1] = nn.GroupNorm(2, 4)


class Changing(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
        self.net[1].running_var.fill_(4.0)
        self.between = nn.Identity()
        self.twice = False

    def forward(self, x):
        y = self.between(self.net[0](x))
        return (self.net[1](y) + y * self.twice).mean((2, 3))


@pytest.mark.parametrize("change", [hooked, other_function, another_layer, lambda model: setattr(model, "twice", True)])
def test_a_network_that_became_another_is_looked_at_anew(change):
    model, (images, _) = Changing().eval(), toy_images()
    prepare(model, images)
    change(model)
    prepared = prepare(model, images)
    torch.testing.assert_close(prepared.logits(images), model(images).detach(), rtol=1e-4, atol=1e-5)


def test_what_a_network_was_before_plays_no_part():
    model, (images, _) = Changing().eval(), toy_images()
    model.twice = True  # so that nothing can be folded
    plainer = prepare(model, images)
    model.twice = False
    assert len(normalisations(plainer._network)) == 1
    assert normalisations(prepare(model, images)._network) == []


def test_a_network_that_was_prepared_can_be_forgotten():
    model, (images, _) = toy_classifier(), toy_images()
    prepare(model, images)
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None


def test_the_layers_of_copies_that_a_search_makes_are_gone_when_it_ends():
    class Counted(nn.Conv2d):
        pass

    model, (images, _) = Changing().eval(), toy_images()
    model.net[0] = Counted(3, 4, 3)
    gc.disable()  # what is gone only when Python looks for circles counts as there
    try:
        prepared = prepare(model, images)
        there = [thing for thing in gc.get_objects() if type(thing) is Counted]
    finally:
        gc.enable()
    assert len(there) == len([model, prepared._network])
