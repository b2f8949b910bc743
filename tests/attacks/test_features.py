"""PGD on representations: what it climbs, from where, and that it needs no labels."""

import pytest
import torch
import torch.nn.functional as F

from interp_plugins.attacks import PGD, FeaturePGD
from interp_plugins.foundation.ball import random_start
from interp_plugins.foundation.prepare import prepare
from interp_plugins.foundation.randomness import seeds
from interp_plugins.foundation.record import record
from interp_plugins.testing import Affine, check_attack, toy_classifier, toy_images

CONVOLUTION = "0"  # before a BatchNorm that a prepared copy folds into it
SHORTCUT = "3"


def looked_at(model, images, layer):
    with record(model, [layer] if layer else []) as outputs:
        logits = model(images)
    return outputs[layer].flatten(1) if layer else logits


def far(kind, clean, seen):
    """The distance of one pair, as printed."""
    if kind == "squared":
        return ((clean - seen) ** 2).sum()
    if kind == "cosine":
        return 1 - (clean @ seen) / (clean.norm() * seen.norm())
    p, q = clean.softmax(0), seen.softmax(0)
    return (p * (p.log() - q.log())).sum()


def climbed(model, image, start, *, layer, distance, epsilon, step_size, steps, norm):
    """The iterate of one image with the largest distance, by autograd on the model itself."""
    clean, x, visited = looked_at(model, image[None], layer)[0].detach(), start, []
    for step in range(steps + 1):
        x = x.detach().requires_grad_()
        value = far(distance, clean, looked_at(model, x[None], layer)[0])
        visited.append((float(value.detach()), step, x.detach()))
        (gradient,) = torch.autograd.grad(value, x)
        move = gradient.sign() if norm == "linf" else gradient / gradient.norm()
        change = x.detach() + step_size * move - image
        if norm == "linf":
            change = change.clamp(-epsilon, epsilon)
        elif change.norm() > epsilon:
            change = change * epsilon / change.norm()
        x = (image + change).clamp(0, 1)
    return max(visited, key=lambda each: (each[0], -each[1]))[2]


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize(
    ("layer", "distance"),
    [(CONVOLUTION, "squared"), ("1", "cosine"), (SHORTCUT, "squared"), (None, "cosine"), (None, "divergence")],
)
def test_it_equals_the_oracle(layer, distance, norm):
    model, images = toy_classifier().double(), toy_images(3)[0].double()
    settings = {"layer": layer, "distance": distance, "epsilon": 0.3, "step_size": 0.1, "steps": 5, "norm": norm}
    found = FeaturePGD(**settings)(model, images)
    starts = random_start(images, 0.3, norm, seeds(0, None, 3))
    for image, start, reached in zip(images, starts, found, strict=True):
        torch.testing.assert_close(reached, climbed(model, image, start, **settings), rtol=0, atol=1e-8)


@pytest.mark.parametrize(
    ("layer", "distance"), [(CONVOLUTION, "squared"), (SHORTCUT, "cosine"), (None, "squared"), (None, "divergence")]
)
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_every_distance_keeps_the_contract_of_an_attack(layer, distance, norm):
    attack = FeaturePGD(layer=layer, distance=distance, epsilon=0.05, steps=3, norm=norm)
    check_attack(
        lambda model, images, labels: attack(model, images, labels, ids=[f"{image.sum():.9f}" for image in images]),
        epsilon=0.05,
        norm=norm,
    )


@pytest.mark.parametrize("seed", range(3))
def test_it_moves_a_representation_farther_than_an_attack_on_the_label(seed):
    model, (images, labels) = toy_classifier(seed), toy_images(8, seed=seed)
    clean, small = looked_at(model, images, SHORTCUT), {"steps": 40, "step_size": 1 / 255}
    found, other = (
        (looked_at(model, attack(model, images, labels), SHORTCUT) - clean).square().sum()
        for attack in (FeaturePGD(layer=SHORTCUT, **small), PGD(**small))
    )
    assert found > 1.1 * other


def test_the_divergence_grows_beyond_that_of_the_random_start():
    model, images = toy_classifier(), toy_images(8)[0]
    start = random_start(images, 8 / 255, "linf", seeds(0, None, 8))
    found = FeaturePGD(distance="divergence")(model, images)
    clean = model(images)
    for begin, end, logits in zip(model(start), model(found), clean, strict=True):
        assert far("divergence", logits, end) > far("divergence", logits, begin)


def test_labels_are_not_looked_at():
    model, (images, labels) = toy_classifier(), toy_images(3)
    found = FeaturePGD(steps=2)(model, images)
    assert torch.equal(FeaturePGD(steps=2)(model, images, labels), found)
    assert torch.equal(FeaturePGD(steps=2)(model, images, labels + 100), found)


def test_the_start_depends_on_seed_and_id_alone():
    model, images = toy_classifier(), toy_images(3)[0]
    attack = FeaturePGD(layer=SHORTCUT, steps=2)
    found = attack(model, images, seed=3, ids=["a", "b", "c"])
    assert torch.equal(attack(model, images[2:], seed=3, ids=["c"])[0], found[2])
    assert not torch.equal(attack(model, images, seed=4, ids=["a", "b", "c"]), found)


def test_a_representation_that_is_zero_everywhere_leaves_the_start():
    model, images = Affine(torch.zeros(2, 192)), toy_images(2)[0]
    start = random_start(images, 8 / 255, "linf", seeds(0, None, 2))
    for distance in ("squared", "cosine", "divergence"):
        assert torch.equal(FeaturePGD(distance=distance)(model, images), start)


def test_a_search_in_bf16_climbs_as_well():
    model, images = toy_classifier(), toy_images(4)[0]
    clean, start = looked_at(model, images, SHORTCUT), random_start(images, 8 / 255, "linf", seeds(0, None, 4))
    found = FeaturePGD(layer=SHORTCUT, precision="bf16")(model, images)
    far_begin, far_end = ((looked_at(model, x, SHORTCUT) - clean).square().sum() for x in (start, found))
    assert far_end > 2 * far_begin


def test_a_prepared_classifier_is_looked_into_by_its_original():
    model, images = toy_classifier(), toy_images(2)[0]
    attack = FeaturePGD(layer=SHORTCUT, steps=2)
    assert torch.equal(attack(prepare(model, images), images), attack(model, images))


def test_the_logits_of_any_callable_can_be_moved():
    model, images = toy_classifier(), toy_images(2)[0]
    found = FeaturePGD(steps=2)(lambda x: F.linear(x.flatten(1), torch.eye(3, 192)), images)
    assert not torch.equal(found, images)
    with pytest.raises(TypeError, match=r"expected an nn\.Module to look for layer '3' in, got function"):
        FeaturePGD(layer="3")(lambda x: model(x), images)


def test_a_layer_that_does_not_exist_is_told():
    with pytest.raises(ValueError, match="expected a layer of the model, got 'layer4'"):
        FeaturePGD(layer="layer4")(toy_classifier(), toy_images(1)[0])


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"distance": "l1"}, "expected distance to be one of 'squared', 'cosine', 'divergence', got 'l1'"),
        ({"distance": "divergence", "layer": "3"}, "expected layer=None for the divergence, .* got '3'"),
        ({"steps": 0}, "expected steps above 0"),
        ({"step_size": -1.0}, "expected step_size above 0"),
        ({"epsilon": 8.0}, "write 8 / 255"),
        ({"norm": "l1"}, "expected norm to be one of"),
        ({"tile": 5}, "power of two"),
        ({"precision": "fp8"}, "expected precision to be one of"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_wrong_settings_are_refused(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        FeaturePGD(**settings)
