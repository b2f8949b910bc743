import pytest
import torch
from oracles import best, ensemble_optimization

from interp_plugins.attacks import EnsembleOptimization, FixedTargets, LeastLikely, RandomTargets
from interp_plugins.attacks.members import Ensemble
from interp_plugins.foundation.prepare import prepare
from interp_plugins.testing import Affine, toy_classifier, toy_images

IMAGES, LABELS = toy_images(5)
TARGETS = (LABELS[:, None] + torch.tensor([1, 4, 7])) % 10


def members(count=3):
    return [toy_classifier(seed, width=4 + 4 * seed) for seed in range(count)]


def attack(**settings):
    return EnsembleOptimization(**{"steps": 4, **settings})


def test_the_first_step_by_hand():
    model = Affine(torch.tensor([[1.0, -2.0, 0.0], [0.0, 0.0, 0.0]]))
    found = attack(steps=1, step_size=0.1)([model], torch.full((1, 3, 1, 1), 0.5), torch.tensor([0]))
    torch.testing.assert_close(found.flatten(), torch.tensor([0.6, 0.4, 0.5]))  # Adam's first step is the sign


@pytest.mark.parametrize("fusion", ["loss", "prob", "logit"])
@pytest.mark.parametrize(
    ("kind", "weight", "epsilon"), [("l2", 0.05, None), ("squared", 0.5, 0.03), ("rmse", 2.0, None)]
)
def test_every_image_equals_the_oracle(fusion, kind, weight, epsilon):
    models = [model.double() for model in members()]
    result = attack(
        steps=7, fusion=fusion, distance=kind, distance_weight=weight, weights=(1.0, 2.0, 3.0), epsilon=epsilon
    ).run(models, IMAGES.double(), TARGETS)
    for i in range(len(IMAGES)):
        for j in range(TARGETS.shape[1]):
            visited = ensemble_optimization(
                models,
                IMAGES[i],
                int(TARGETS[i, j]),
                steps=7,
                step_size=5 / 255,
                fusion=fusion,
                weights=[1, 2, 3],
                distance_weight=weight,
                kind=kind,
                epsilon=epsilon,
            )
            step = best(visited)
            assert int(result.steps[i, j]) == step
            torch.testing.assert_close(result.images[i, j], visited[step][0], rtol=0, atol=1e-8)


def test_an_untargeted_attack_leaves_the_label():
    models = members()
    said = models[0](IMAGES).argmax(1)
    result = attack(steps=20, step_size=0.1, targeted=False).run(models[:1], IMAGES, said)
    assert torch.equal(result.fooled[:, 0, 0], models[0](result.images[:, 0]).argmax(1) != said)
    assert result.fooled.float().mean() > 0.5


@pytest.mark.parametrize("fusion", ["loss", "prob", "logit"])
def test_the_gradient_is_that_of_the_objective(fusion):
    models = [model.double() for model in members()]
    ensemble = Ensemble(
        models, IMAGES.double(), weights=None, fusion=fusion, balance=False, targeted=True, precision="fp32"
    )
    (point,) = ensemble.evaluate(IMAGES.double(), TARGETS[:, :1].T)
    images = IMAGES.double().requires_grad_(True)
    loss = ensemble._fuse(torch.stack([model(images) for model in models]), ensemble.weights.double(), TARGETS[:, 0])
    (expected,) = torch.autograd.grad(loss.sum(), images)
    torch.testing.assert_close(point.gradient, expected, rtol=1e-6, atol=1e-10)
    torch.testing.assert_close(point.loss, loss.detach())


def test_balancing_gives_every_member_the_same_length():
    models = [Affine(torch.tensor([[100.0, 0.0], [0.0, 0.0]])), Affine(torch.tensor([[0.0, 1.0], [0.0, 0.0]]))]
    images, target = torch.full((1, 1, 1, 2), 0.5), torch.tensor([[1]])
    common = {"weights": None, "fusion": "loss", "targeted": True, "precision": "fp32"}
    (plain,) = Ensemble(models, images, balance=False, **common).evaluate(images, target)
    (even,) = Ensemble(models, images, balance=True, **common).evaluate(images, target)
    assert float(plain.gradient[..., 0] / plain.gradient[..., 1]) > 50
    torch.testing.assert_close(even.gradient[..., 0], even.gradient[..., 1])
    torch.testing.assert_close(even.norms, plain.norms)
    assert plain.norms.shape == (1, 2)


def test_the_same_bits_in_another_order_among_other_neighbours_and_one_target_at_a_time():
    models, (images, labels) = members(), toy_images(19)
    targets = (labels[:, None] + torch.arange(1, 6)) % 10
    found = attack()(models, images, targets)
    order = torch.randperm(19, generator=torch.Generator().manual_seed(0))
    assert torch.equal(attack()(models, images[order], targets[order]), found[order])
    assert torch.equal(attack()(models, images[4:5], targets[4:5]), found[4:5])
    columns = [attack()(models, images, targets[:, j]) for j in range(5)]
    assert torch.equal(torch.stack(columns, 1), found)


def test_the_shape_of_the_targets_is_the_shape_of_the_answer():
    assert attack()(members(1), IMAGES, TARGETS[:, 0]).shape == (5, 3, 8, 8)
    assert attack()(members(1), IMAGES, TARGETS).shape == (5, 3, 3, 8, 8)
    assert attack()(members(1), IMAGES, LeastLikely(2), labels=LABELS).shape == (5, 2, 3, 8, 8)


def test_the_record_says_what_the_images_are():
    models = members()
    result = attack(steps=10, epsilon=0.1).run(models, IMAGES, LeastLikely(4), labels=LABELS)
    change = result.images - IMAGES[:, None]
    torch.testing.assert_close(result.rmse, change.flatten(2).square().mean(2).sqrt() * 255)
    torch.testing.assert_close(result.linf, change.flatten(2).abs().amax(2))
    assert float(result.linf.max()) <= 0.1 + 1e-6
    for k, model in enumerate(models):
        said = model(result.images.flatten(0, 1)).argmax(1).view(5, 4)
        assert torch.equal(result.fooled[:, :, k], said == result.targets)
    assert result.gradient_norms.shape == (5, 4, 3)
    assert (result.gradient_norms > 0).all()


def test_a_run_holds_its_members_once():
    class Counting(torch.nn.Sequential):
        held = 0

        def eval(self):
            Counting.held += 1
            return super().eval()

        def __deepcopy__(self, memo):
            raise TypeError

    model = Counting(toy_classifier())
    prepared, Counting.held = prepare(model, IMAGES), 0
    attack(steps=1).run([prepared], IMAGES, LeastLikely(2))
    assert Counting.held == 1


def test_without_labels_a_policy_leaves_out_what_the_ensemble_says():
    models = members()
    said = sum(model(IMAGES).softmax(1) for model in models).argmax(1)
    result = attack(steps=1).run(models, IMAGES, LeastLikely(9))
    assert not (result.targets == said[:, None]).any()


def test_random_targets_follow_ids():
    result = attack(steps=1).run(members(1), IMAGES, RandomTargets(2), labels=LABELS, ids=list("abcde"))
    alone = attack(steps=1).run(members(1), IMAGES[3:4], RandomTargets(2), labels=LABELS[3:4], ids=["d"])
    assert torch.equal(alone.targets[0], result.targets[3])


def test_any_callable_is_a_policy():
    result = attack(steps=1).run(members(1), IMAGES, lambda p, labels, seeds: (labels + 1) % 10, labels=LABELS)
    assert torch.equal(result.targets[:, 0], (LABELS + 1) % 10)


def test_a_mask_keeps_pixels_as_they_are():
    mask = torch.zeros(1, 1, 8, 8)
    mask[..., :4] = 1
    found = attack()(members(1), IMAGES, TARGETS[:, 0], mask=mask)
    assert torch.equal(found[..., 4:], IMAGES[..., 4:])
    assert not torch.equal(found[..., :4], IMAGES[..., :4])


def test_watching_changes_nothing_and_sees_every_step():
    seen = []
    found = attack()(members(2), IMAGES, TARGETS[:, 0], watch=seen.append)
    assert torch.equal(found, attack()(members(2), IMAGES, TARGETS[:, 0]))
    assert [step.step for step in seen] == [1, 2, 3, 4]
    assert seen[0].images.shape == seen[0].gradient.shape == (8, 3, 8, 8)


def test_members_prepared_once_give_the_same_bits():
    models = members()
    prepared = [prepare(model, IMAGES) for model in models]
    assert torch.equal(attack()(prepared, IMAGES, TARGETS), attack()(models, IMAGES, TARGETS))


class LossGradientOnly:
    """What a numpy estimator offers: predictions and the gradient of its loss."""

    def __init__(self, model):
        self.model = model

    def logits(self, images):
        return self.model(images).detach()

    def loss_gradient(self, images, targets):
        leaf = images.clone().requires_grad_(True)
        with torch.enable_grad():
            loss = torch.nn.functional.cross_entropy(self.model(leaf), targets, reduction="sum")
        return torch.autograd.grad(loss, leaf)[0]


@pytest.mark.parametrize("targeted", [True, False])
def test_a_member_that_gives_only_its_loss_gradient_is_a_member(targeted):
    models = [model.double() for model in members(2)]
    plain = attack(targeted=targeted)(models, IMAGES.double(), TARGETS)
    through = attack(targeted=targeted)([LossGradientOnly(model) for model in models], IMAGES.double(), TARGETS)
    torch.testing.assert_close(through, plain, rtol=0, atol=1e-8)


def test_classifiers_of_one_ensemble_may_take_other_sizes():
    small = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(4), toy_classifier(1))
    result = attack(steps=10).run([toy_classifier(0), small], IMAGES, TARGETS)
    assert result.images.shape == (5, 3, 3, 8, 8)


@pytest.mark.parametrize(
    ("call", "error", "sentence"),
    [
        (
            lambda: attack()(toy_classifier(), IMAGES, TARGETS),
            TypeError,
            r"sequence of classifiers, got Sequential; write \[model\]",
        ),
        (
            lambda: attack()(Affine(torch.eye(2)), IMAGES, TARGETS),
            TypeError,
            r"sequence of classifiers, got Affine; write \[model\]",
        ),
        (lambda: attack()([], IMAGES, TARGETS), ValueError, "expected at least one classifier, got none"),
        (
            lambda: attack(weights=(1.0,))(members(2), IMAGES, TARGETS),
            ValueError,
            "expected 2 weights, one a classifier, got 1",
        ),
        (
            lambda: attack()([toy_classifier(), toy_classifier(classes=7)], IMAGES, TARGETS),
            ValueError,
            r"one number of classes, got \[10, 7\]",
        ),
        (lambda: attack()(members(1), IMAGES * 255, TARGETS), ValueError, "divide by 255"),
        (
            lambda: attack()(members(1), IMAGES, TARGETS[:2]),
            ValueError,
            r"expected targets of shape \(5,\), got \(2,\)",
        ),
        (lambda: attack()(members(1), IMAGES, [3]), TypeError, "targets as a tensor or a policy, got list"),
        (lambda: attack()(members(1), IMAGES, TARGETS + 9), ValueError, "expected targets from 0 to 9"),
        (lambda: attack()(members(1), IMAGES, LABELS, labels=LABELS), ValueError, "whose label it is"),
        (
            lambda: attack()(members(1), IMAGES, LeastLikely(10), labels=LABELS),
            ValueError,
            "expected at most 9 targets",
        ),
        (
            lambda: attack()(members(1), IMAGES, FixedTargets((int(LABELS[0]),)), labels=LABELS),
            ValueError,
            "choose targets with LeastLikely",
        ),
        (
            lambda: attack(fusion="prob")([LossGradientOnly(toy_classifier())], IMAGES, TARGETS),
            ValueError,
            "expected fusion 'loss' for a classifier that gives only its loss's gradient, got 'prob'",
        ),
        (lambda: attack(fusion="mean"), ValueError, "expected fusion to be one of 'loss', 'prob', 'logit', got 'mean'"),
        (lambda: attack(distance_weight=-1.0), ValueError, "expected distance_weight of at least 0, got -1"),
        (lambda: attack(weights=(1.0, 0.0)), ValueError, "expected weight above 0, got 0"),
        (lambda: attack()([torch.nn.Softmax(1)], IMAGES, TARGETS), ValueError, "expected logits"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_bad_input_is_one_sentence(call, error, sentence):
    with pytest.raises(error, match=sentence):
        call()
