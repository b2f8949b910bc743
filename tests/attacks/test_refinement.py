"""Refinement on the lattice: it wins back what rounding broke, and never makes an image worse."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import cross_entropy

from interp_plugins.attacks import EnsembleOptimization, LatticeRefinement, LeastLikely, to_bytes
from interp_plugins.foundation.prepare import prepare
from interp_plugins.sources import cifar, models
from interp_plugins.testing import Affine, check_attack, toy_classifier, toy_images

BALLS = [(None, "linf"), (3 / 255, "linf"), (0.1, "l2")]


def members():
    return [toy_classifier(seed, width=4 + 4 * seed) for seed in range(2)]


def case(n=5, seed=0, epsilon=None, norm="linf"):
    """Clean bytes, bytes inside the ball around them, and targets."""
    images, labels = toy_images(2 * n, seed=seed)
    origin = to_bytes(images[:n], torch.zeros_like(images[:n]).byte())
    return to_bytes(images[n:], origin, epsilon, norm), origin, (labels[:n] + 1) % 10


def standing(models, images, targets):
    """How many members each image fools, and its mean cross-entropy."""
    with torch.no_grad():
        logits = torch.stack([model(images.float() / 255) for model in models])
    losses = [[cross_entropy(z, y) for z, y in zip(member, targets.tolist(), strict=True)] for member in logits]
    return (logits.argmax(2) == targets).sum(0), torch.tensor(losses).mean(0)


def test_a_round_by_hand():
    weight = torch.zeros(2, 32)
    weight[0, 3], weight[0, 20], weight[0, 7] = 3.0, -2.0, 1.0  # two of 32 pixels move
    images = torch.full((1, 1, 1, 32), 100, dtype=torch.uint8)
    found = LatticeRefinement(rounds=1)([Affine(weight)], images, images, torch.tensor([0]))
    change = found.int() - 100
    assert change.nonzero()[:, 3].tolist() == [3, 20]
    assert change[0, 0, 0, [3, 20]].tolist() == [1, -1]


def test_pixels_at_the_border_leave_their_place_to_others():
    weight = torch.zeros(2, 16)
    weight[0, 3], weight[0, 5], weight[0, 7] = 3.0, 2.0, 1.0
    images = torch.full((1, 1, 1, 16), 100, dtype=torch.uint8)
    images[..., 3], origin = 255, images.clone()  # at the border of the box
    origin[..., 3], origin[..., 5] = 254, 98  # at the border of the ball
    found = LatticeRefinement(rounds=1, epsilon=2 / 255)([Affine(weight)], images, origin, torch.tensor([0]))
    assert (found.int() - images.int())[0, 0, 0].nonzero().flatten().tolist() == [7]


@settings(max_examples=15)
@given(st.sampled_from(BALLS), st.integers(0, 2**32), st.integers(1, 4))
def test_no_image_gets_worse_or_leaves_its_ball(ball, seed, rounds):
    epsilon, norm = ball
    images, origin, targets = case(4, seed, epsilon, norm)
    found = LatticeRefinement(rounds=rounds, epsilon=epsilon, norm=norm)(members(), images, origin, targets)
    before, loss_before = standing(members(), images, targets)
    after, loss_after = standing(members(), found, targets)
    assert bool(((after > before) | ((after == before) & (loss_after <= loss_before + 1e-5))).all())
    assert torch.equal(to_bytes(found.float() / 255, origin, epsilon, norm), found)


@pytest.mark.parametrize(("epsilon", "norm"), BALLS)
def test_the_loss_of_every_image_falls(epsilon, norm):
    images, origin, targets = case(16, epsilon=epsilon, norm=norm)
    found = LatticeRefinement(rounds=10, epsilon=epsilon, norm=norm)(members(), images, origin, targets)
    assert (standing(members(), found, targets)[1] < standing(members(), images, targets)[1]).all()


@pytest.mark.parametrize(("epsilon", "norm"), BALLS)
def test_an_image_alone_is_refined_to_the_same_bytes(epsilon, norm):
    images, origin, targets = case(11, epsilon=epsilon, norm=norm)
    refine = LatticeRefinement(rounds=3, epsilon=epsilon, norm=norm)
    found = refine(members(), images, origin, targets)
    alone = [refine(members(), *(part[i : i + 1] for part in (images, origin, targets))) for i in range(11)]
    assert torch.equal(torch.cat(alone), found)


def test_prepared_members_and_a_caller_in_inference_mode_give_the_same_bytes():
    images, origin, targets = case()
    expected = LatticeRefinement(rounds=2)(members(), images, origin, targets)
    prepared = [prepare(model, origin.float() / 255) for model in members()]
    with torch.inference_mode():
        assert torch.equal(LatticeRefinement(rounds=2)(prepared, images, origin, targets), expected)


def test_weights_say_whose_gradient_counts():
    images, origin, targets = case()
    alone = LatticeRefinement(rounds=2)(members()[:1], images, origin, targets)
    mostly = LatticeRefinement(rounds=2, weights=(1e9, 1e-9))(members(), images, origin, targets)
    evenly = LatticeRefinement(rounds=2)(members(), images, origin, targets)
    assert (mostly != alone).float().mean() < 0.5 * (evenly != alone).float().mean()


def test_a_search_in_bf16_lowers_the_loss_too():
    images, origin, targets = case(8)
    found = LatticeRefinement(precision="bf16")(members(), images, origin, targets)
    assert standing(members(), found, targets)[1].mean() < standing(members(), images, targets)[1].mean() - 0.01
    assert not torch.equal(found, LatticeRefinement()(members(), images, origin, targets))


def test_refinement_keeps_the_contract_of_an_attack():
    def attack(model, images, labels):
        levels = to_bytes(images, torch.zeros_like(images).byte())
        return LatticeRefinement(rounds=2)([model], levels, levels, labels).float() / 255

    check_attack(attack)


def test_the_bytes_that_are_handed_in_are_left_alone():
    images, origin, targets = case()
    before = images.clone(), origin.clone()
    LatticeRefinement(rounds=2)(members(), images, origin, targets)
    assert torch.equal(images, before[0])
    assert torch.equal(origin, before[1])


class Uncopied(torch.nn.Sequential):
    """Searched as it is, in whatever mode it is held."""

    def __deepcopy__(self, memo):
        raise TypeError


def test_a_member_that_cannot_be_copied_is_held_in_eval_mode():
    images_origin_targets = case()
    expected = LatticeRefinement(rounds=2)([Uncopied(toy_classifier())], *images_origin_targets)
    model = Uncopied(toy_classifier()).train()
    assert torch.equal(LatticeRefinement(rounds=2)([model], *images_origin_targets), expected)
    assert all(module.training for module in model.modules())


def refined(change=lambda *case: case, **fields):
    return LatticeRefinement(**fields)(members(), *change(*case()))


@pytest.mark.parametrize(
    ("call", "error", "sentence"),
    [
        (lambda: LatticeRefinement(rounds=0), ValueError, "expected rounds above 0, got 0"),
        (lambda: LatticeRefinement(precision="fp8"), ValueError, "expected precision to be one of"),
        (lambda: LatticeRefinement(weights=(1.0, 0.0)), ValueError, "expected weight above 0, got 0"),
        (lambda: LatticeRefinement(epsilon=8), ValueError, "write 8 / 255"),
        (lambda: LatticeRefinement(tile=3), ValueError, "power of two"),
        (lambda: refined(weights=(1.0,)), ValueError, "expected 2 weights, one a classifier, got 1"),
        (
            lambda: refined(lambda x, o, y: (x / 255, o, y)),
            TypeError,
            "expected images in grey levels, torch.uint8, got torch.float32; make them with to_bytes",
        ),
        (lambda: refined(lambda x, o, y: (x, o[:2], y)), ValueError, r"expected origin of shape \(5, 3, 8, 8\), got"),
        (lambda: refined(lambda x, o, y: (x, o, y[:2])), ValueError, r"expected targets of shape \(5,\), got \(2,\)"),
        (lambda: refined(lambda x, o, y: (x, o, y + 9)), ValueError, "expected targets from 0 to 9"),
        (
            lambda: refined(epsilon=2 / 255),
            ValueError,
            "inside the linf ball of radius 0.007843, got image 0 outside it; make them with to_bytes",
        ),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_a_refinement_that_cannot_be_is_one_sentence(call, error, sentence):
    with pytest.raises(error, match=sentence):
        call()


@pytest.mark.real
def test_images_of_cifar_that_rounding_broke_are_won_back(data_folder):
    found = cifar.from_tiles(data_folder / "cifar10", "test")
    origin, labels = found.tensor(range(8)), found.labels[:8]
    names = [f"{data_folder / 'nets.py'}:{name}" for name in ("cifar_resnet20", "cifar_resnet32")]
    nets = [models.load(name).module for name in names]
    clean = origin.float() / 255
    result = EnsembleOptimization(steps=8, step_size=1 / 255).run(nets, clean, LeastLikely(1), labels=labels)
    targets, far = result.targets[:, 0], result.images[:, 0]

    def fooled(images):
        with torch.no_grad():
            return torch.stack([net(images).argmax(1) == targets for net in nets]).all(0)

    near, reach = torch.zeros(8, 1, 1, 1), torch.ones(8, 1, 1, 1)
    for _ in range(10):  # the first point of the way at which both say the target: rounding may break it
        middle = (near + reach) / 2
        there = fooled(clean + middle * (far - clean)).view(-1, 1, 1, 1)
        near, reach = torch.where(there, near, middle), torch.where(there, middle, reach)
    floats = clean + reach * (far - clean)
    before = to_bytes(floats, origin)
    after = LatticeRefinement(rounds=2)(nets, before, origin, targets)
    broken = fooled(floats) & ~fooled(before.float() / 255)
    assert int(broken.sum()) >= 2
    assert bool(fooled(after.float() / 255)[fooled(floats)].all())
