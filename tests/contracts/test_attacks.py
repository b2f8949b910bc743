"""The contract of an attack, for every attack the core offers."""

import pytest
import torch

import interp_plugins
from interp_plugins.attacks import FGSM, PGD, EnsembleOptimization, FeaturePGD, PredictedLabelFGSM
from interp_plugins.testing import BrokenContract, check_attack, toy_classifier

EPSILON = 0.05
OTHER = toy_classifier(7)

CALLS = {
    "FGSM": lambda model, images, labels: FGSM(epsilon=EPSILON)(model, images, labels),
    "PredictedLabelFGSM": lambda model, images, labels: PredictedLabelFGSM(epsilon=EPSILON)(model, images),
    "PGD": lambda model, images, labels: PGD(epsilon=EPSILON, random_start=True)(
        model, images, labels, ids=[f"{image.sum():.9f}" for image in images]
    ),
    "FeaturePGD": lambda model, images, labels: FeaturePGD(epsilon=EPSILON, steps=3)(
        model, images, ids=[f"{image.sum():.9f}" for image in images]
    ),
    "EnsembleOptimization": lambda model, images, labels: EnsembleOptimization(epsilon=EPSILON, steps=3)(
        [model, OTHER], images, (labels + 1) % 10, labels=labels
    ),
}


@pytest.mark.parametrize(
    "name", [method.name for method in interp_plugins.methods(kind="attack") if method.host is None]
)
def test_every_attack_of_the_core_keeps_the_contract(name):
    check_attack(CALLS[name], epsilon=EPSILON)


def test_pgd_in_l2_and_each_fusion_keep_it_too():
    check_attack(PGD(epsilon=EPSILON, norm="l2"), epsilon=EPSILON, norm="l2")
    for fusion in ("prob", "logit"):
        ensemble = EnsembleOptimization(epsilon=EPSILON, norm="l2", steps=3, fusion=fusion, balance=True)
        check_attack(lambda m, x, y, e=ensemble: e([m, OTHER], x, (y + 1) % 10), epsilon=EPSILON, norm="l2")


def broken_box(model, images, labels):
    return images + 2


def broken_ball(model, images, labels):
    return 1 - images


def broken_mode(model, images, labels):
    model.eval()
    return images


def broken_input(model, images, labels):
    return images.mul_(0.99)


def broken_randomness(model, images, labels):
    return torch.rand_like(images) * 0 + images


def broken_batch(model, images, labels):
    return (images * (1 - 1e-3 * len(images))).clamp(0, 1)


def broken_gradients(model, images, labels):
    model.eval()
    model(images).sum().backward()
    model.train()
    return images


def broken_exception(model, images, labels):
    modes = [module.training for module in model.modules()]
    model.eval()
    with torch.no_grad():
        model(images)
    for module, mode in zip(model.modules(), modes, strict=True):
        module.training = mode
    return images


@pytest.mark.parametrize(
    ("attack", "promise"),
    [
        (broken_box, r"the box \[0, 1\]"),
        (broken_ball, "a change of at most"),
        (broken_mode, "a model given back as found"),
        (broken_input, "an input that is left alone"),
        (broken_randomness, "the global random state left alone"),
        (broken_batch, "the same bits alone and in a batch"),
        (broken_gradients, "a model given back as found"),
        (broken_exception, "a model given back as found when it raises"),
        (lambda model, images, labels: images, "a classifier's own exception to come through"),
    ],
)
def test_the_contract_can_be_broken(attack, promise):
    with pytest.raises(BrokenContract, match=promise):
        check_attack(attack, epsilon=EPSILON)
