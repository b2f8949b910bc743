"""A gradient that is no number is an error in every attack; nothing is repaired in silence."""

import pytest
import torch

from interp_plugins.attacks import FGSM, PGD, EnsembleOptimization, LatticeRefinement, PredictedLabelFGSM
from interp_plugins.testing import toy_classifier, toy_images

IMAGES, LABELS = toy_images(5)
BYTES = (IMAGES * 255).byte()

ATTACKS = {
    "FGSM": lambda model: FGSM()(model, IMAGES, LABELS),
    "PredictedLabelFGSM": lambda model: PredictedLabelFGSM()(model, IMAGES),
    "PGD in Linf": lambda model: PGD()(model, IMAGES, LABELS),
    "PGD in L2": lambda model: PGD(norm="l2")(model, IMAGES, LABELS),
    "EnsembleOptimization": lambda model: EnsembleOptimization()([toy_classifier(1), model], IMAGES, LABELS),
    "LatticeRefinement": lambda model: LatticeRefinement()([toy_classifier(1), model], BYTES, BYTES, LABELS),
}


class Spoilt(torch.autograd.Function):
    """The identity, whose gradient has one value of row 2 replaced."""

    @staticmethod
    def forward(ctx, images, value):
        ctx.value = value
        return images.clone()

    @staticmethod
    def backward(ctx, gradient):
        gradient = gradient.clone()
        gradient[2, 1, 3, 4] = ctx.value
        return gradient, None


class LossGradientOnly:
    """A member that gives a gradient of NaN."""

    def logits(self, images):
        return toy_classifier()(images).detach()

    def loss_gradient(self, images, targets):
        return torch.full_like(images, float("nan"))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ATTACKS)
def test_a_gradient_that_is_no_number_is_an_error(name, value):
    model = toy_classifier()
    with pytest.raises(ValueError, match="expected finite gradients, got NaN or infinity in row 2 of a tile"):
        ATTACKS[name](lambda images: model(Spoilt.apply(images, value)))


@pytest.mark.parametrize("name", ["EnsembleOptimization", "LatticeRefinement"])
def test_a_member_that_gives_its_own_gradient_is_held_to_it_too(name):
    with pytest.raises(ValueError, match="expected finite gradients, got NaN or infinity in rows 0, 1, 2, 3, 4, …"):
        ATTACKS[name](LossGradientOnly())
