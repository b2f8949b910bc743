"""An attack of ours does in ART what a built-in does."""

import inspect
from dataclasses import fields

import numpy as np
import pytest
import torch
from art.attacks.attack import EvasionAttack
from art.defences.preprocessor import FeatureSqueezing
from art.defences.trainer import AdversarialTrainer
from art.estimators.classification import PyTorchClassifier
from art.exceptions import EstimatorError
from art.metrics import adversarial_accuracy
from art.summary_writer import SummaryWriter
from art_world import SHAPE, Net, arrays, classifier, classifiers, ensemble, nets, said, softmaxed
from torch import nn
from toys import CLASSES, modes

from interp_art.attacks import EnsembleOptimization
from interp_art.units import Units
from interp_plugins import attacks


@pytest.fixture
def attack() -> EnsembleOptimization:
    first, *others = classifiers(3)
    return EnsembleOptimization(first, surrogates=others, steps=4, verbose=False)


def untargeted(estimator, **settings) -> EnsembleOptimization:
    return EnsembleOptimization(estimator, steps=4, targeted=False, verbose=False, **settings)


# ------------------------------------------------------------------ settings


def test_the_settings_are_those_of_the_constructor(attack):
    named = set(inspect.signature(EnsembleOptimization.__init__).parameters)
    assert set(attack.attack_params) == named - {"self", "estimator", "surrogates", "summary_writer"}


def test_every_setting_of_the_core_has_its_place(attack):
    words = {"epsilon": "eps"}
    assert {words.get(field.name, field.name) for field in fields(attacks.EnsembleOptimization)} <= set(
        attack.attack_params
    )


def test_the_defaults_are_the_cores():
    attack = EnsembleOptimization(classifier(Net(0)))
    assert attack._method(Units.of(attack.estimator)) == attacks.EnsembleOptimization()


def test_set_params_changes_what_repr_says_and_what_generate_does(attack):
    x = arrays()
    targets = (said(attack.estimator, x) + 1) % CLASSES
    attack.set_params(steps=1, eps=4 / 255)
    assert "steps=1" in repr(attack)
    assert f"eps={4 / 255}" in repr(attack)
    adversarial = attack.generate(x, targets)
    again = EnsembleOptimization(attack.estimator, attack._surrogates, steps=1, eps=4 / 255, verbose=False)
    assert np.array_equal(adversarial, again.generate(x, targets))
    assert np.abs(adversarial - x).max() <= 4 / 255 + 1e-6


def test_set_params_refuses_a_name_it_does_not_know(attack):
    with pytest.raises(ValueError, match="max_iter"):
        attack.set_params(max_iter=3)


def test_repr_shows_no_network(attack):
    assert repr(attack).startswith("EnsembleOptimization(steps=4")
    assert "Conv2d" not in repr(attack)


@pytest.mark.parametrize(
    ("settings", "error", "sentence"),
    [
        ({"targeted": "yes"}, ValueError, "`targeted` has to be of type bool"),
        ({"balance": 1}, ValueError, "`balance` has to be of type bool"),
        ({"verbose": "no"}, ValueError, "`verbose` has to be of type bool"),
        ({"steps": 1.5}, TypeError, "expected steps as an integer, got 1.5"),
        ({"steps": 0}, ValueError, "expected steps above 0"),
        ({"step_size": "1"}, TypeError, "expected step_size as a number, got '1'"),
        ({"step_size": -1.0}, ValueError, "expected step_size above 0"),
        ({"eps": "1"}, TypeError, "expected eps as a number, got '1'"),
        ({"eps": -1.0}, ValueError, "above 0"),
        ({"norm": 1}, ValueError, 'must be `np.inf`, "inf" or 2, got 1'),
        ({"batch_size": 0}, ValueError, "`batch_size` has to be positive"),
        ({"batch_size": 8.0}, TypeError, "expected batch_size as an integer"),
        ({"seed": "1"}, TypeError, "expected seed as an integer"),
        ({"tile": 3}, ValueError, "expected tile to be a power of two"),
        ({"weights": (1.0, 2.0)}, ValueError, "expected 3 weights, one per member, got 2"),
        ({"targets": "easiest"}, ValueError, "expected targets as least-likely"),
        ({"targets": "least-likely:1", "targeted": False}, ValueError, "nothing to aim at"),
    ],
)
def test_settings_that_cannot_be_are_refused_at_once(settings, error, sentence):
    first, *others = classifiers(3)
    with pytest.raises(error, match=sentence):
        EnsembleOptimization(first, surrogates=others, **settings)


# ------------------------------------------------------------------ members


def test_the_estimator_is_the_object_it_was_given():
    member = classifier(Net(0))
    assert EnsembleOptimization(member).estimator is member


def test_an_estimator_without_loss_gradients_raises_the_hosts_error():
    with pytest.raises(EstimatorError, match="LossGradientsMixin"):
        EnsembleOptimization(object())


@pytest.mark.parametrize(
    ("build", "error", "sentence"),
    [
        (lambda: (classifier(Net(0)), [Net(1)]), TypeError, "expected PyTorchClassifier members, got Net"),
        (lambda: (classifier(Net(0)), [classifier(Net(1), nb_classes=5)]), ValueError, "one nb_classes, got 12 and 5"),
        (
            lambda: (classifier(Net(0)), [classifier(Net(1), input_shape=(3, 9, 9))]),
            ValueError,
            "one input_shape, got .3, 8, 8. and .3, 9, 9.",
        ),
        (
            lambda: (classifier(Net(0)), [classifier(Net(1), clip_values=(0, 255))]),
            ValueError,
            "members with one clip_values",
        ),
        (
            lambda: (ensemble(classifiers(2)), classifiers(1)),
            ValueError,
            "expected no surrogates beside an EnsembleClassifier, got 1",
        ),
        (lambda: (classifier(Net(0), clip_values=None), None), ValueError, "expected an estimator with clip_values"),
        (
            lambda: (classifier(Net(0), clip_values=(np.zeros(SHAPE), np.ones(SHAPE))), None),
            ValueError,
            "one range for all features",
        ),
    ],
)
def test_members_that_do_not_fit_are_refused_in_a_sentence(build, error, sentence):
    estimator, surrogates = build()
    with pytest.raises(error, match=sentence):
        EnsembleOptimization(estimator, surrogates=surrogates)


def test_a_network_with_one_output_is_refused_in_a_sentence():
    net = nn.Sequential(nn.Flatten(), nn.Linear(int(np.prod(SHAPE)), 1))
    with pytest.raises(ValueError, match=r"expected scores of shape \(1, 2\), got \(1, 1\)"):
        untargeted(classifier(net, nb_classes=2)).generate(arrays(2), np.array([0, 1]))


def test_another_fusion_than_the_losses_is_refused_with_a_defence_in_numpy():
    defended = classifier(Net(0), preprocessing_defences=FeatureSqueezing(bit_depth=8, clip_values=(0, 1)))
    with pytest.raises(ValueError, match="fusion"):
        untargeted(defended, fusion="prob").generate(arrays(2), np.array([0, 1]))


# ------------------------------------------------------------------ generate


@pytest.mark.parametrize("targeted", [True, False])
def test_labels_may_be_one_hot_or_indices(attack, targeted):
    attack.set_params(targeted=targeted)
    x = arrays()
    y = (said(attack.estimator, x) + int(targeted)) % CLASSES
    adversarial = attack.generate(x, y)
    assert np.array_equal(attack.generate(x, np.eye(CLASSES)[y]), adversarial)
    assert np.array_equal(attack.generate(x, y[:, None]), adversarial)


def test_a_targeted_attack_without_targets_raises_the_hosts_sentence(attack):
    with pytest.raises(ValueError, match=r"Target labels `y` need to be provided for a targeted attack\."):
        attack.generate(arrays())


def test_a_policy_of_several_targets_is_refused_before_the_first_step(attack):
    attack.set_params(targets="least-likely:3")
    with pytest.raises(ValueError, match="expected one target per input, got 3 from least-likely:3"):
        attack.generate(arrays())


@pytest.mark.parametrize(
    ("x", "y", "error", "sentence"),
    [
        (torch.rand(2, *SHAPE), [0, 1], TypeError, "expected x as a numpy array, got Tensor"),
        (
            arrays(2)[:, :1],
            [0, 1],
            ValueError,
            r"expected x of shape \(n, 3, 8, 8\) with n above 0, got \(2, 1, 8, 8\)",
        ),
        (arrays(2)[:0], [], ValueError, r"with n above 0, got \(0, 3, 8, 8\)"),
        (
            arrays(2) * 255,
            [0, 1],
            ValueError,
            r"expected x inside the estimator's clip_values \(0, 1\), got values from",
        ),
        (np.full((2, *SHAPE), np.nan), [0, 1], ValueError, "expected finite images, got NaN"),
        (arrays(2), [0], ValueError, r"expected y of shape \(2,\) or \(2, 12\), got \(1,\)"),
        (arrays(2), np.eye(5)[:2], ValueError, r"expected y of shape \(2,\) or \(2, 12\), got \(2, 5\)"),
        (arrays(2), [0, 12], ValueError, "12"),
    ],
)
def test_input_that_cannot_be_is_refused_in_a_sentence(attack, x, y, error, sentence):
    with pytest.raises(error, match=sentence):
        attack.generate(x, np.asarray(y))


def test_a_mask_that_does_not_broadcast_is_refused(attack):
    with pytest.raises(ValueError, match=r"expected a mask that broadcasts to x of shape \(2, 3, 8, 8\), got \(5,\)"):
        attack.generate(arrays(2), np.array([0, 1]), mask=np.ones(5))


@pytest.mark.parametrize("clip_values", [(0, 1), (0, 255)])
def test_nothing_changes_where_the_mask_is_zero(clip_values):
    attack = untargeted(classifier(Net(0), clip_values=clip_values))
    x = arrays() * np.float32(clip_values[1])
    mask = np.random.default_rng(0).random(SHAPE) < 0.5
    adversarial = attack.generate(x, mask=mask)
    assert np.array_equal(adversarial[:, ~mask], x[:, ~mask])
    assert not np.array_equal(adversarial, x)


def test_what_generic_code_passes_besides_is_ignored(attack):
    x = arrays()
    y = (said(attack.estimator, x) + 1) % CLASSES
    assert np.array_equal(attack.generate(x, y, x_init=x, mask=None), attack.generate(x, y))


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
def test_the_input_is_not_modified_and_the_output_is_float32_in_the_box(attack, dtype):
    x = arrays().astype(dtype)
    before = x.copy()
    adversarial = attack.generate(x, np.zeros(len(x), dtype=int))
    assert np.array_equal(x, before)
    assert adversarial.dtype == np.float32
    assert adversarial.min() >= 0
    assert adversarial.max() <= 1


def test_bytes_are_taken_where_the_range_is_that_of_bytes():
    x = (arrays() * 255).astype(np.uint8)
    adversarial = untargeted(classifier(Net(0), clip_values=(0, 255))).generate(x)
    assert adversarial.dtype == np.float32
    assert adversarial.max() > 1


def test_an_array_that_cannot_be_written_to_is_taken(attack):
    x = arrays()
    x.flags.writeable = False
    assert attack.generate(x, np.zeros(len(x), dtype=int)).shape == x.shape


def test_the_bar_is_shown_only_when_asked_for(attack, capfd):
    x, y = arrays(), np.zeros(6, dtype=int)
    attack.generate(x, y)
    assert capfd.readouterr().err == ""
    attack.set_params(verbose=True)
    attack.generate(x, y)
    assert "EnsembleOptimization" in capfd.readouterr().err


# ------------------------------------------------------------------ the model is given back


class Breaking(nn.Module):
    """A network that breaks down as soon as a gradient is wanted of it."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, images):
        scores = self.net(images)
        if scores.requires_grad:
            raise RuntimeError("out of order")
        return scores


def mixed(net: Net) -> Net:
    """Training, with one frozen layer."""
    net.train()
    net.norm.eval()
    return net


class Own(PyTorchClassifier):
    """A classifier with a loss gradient of its own: the road on which the host itself runs the network."""

    def loss_gradient(self, x, y, training_mode=False, **kwargs):
        return super().loss_gradient(x, y, training_mode=training_mode, **kwargs)


DEFENCE = {"preprocessing_defences": FeatureSqueezing(bit_depth=8, clip_values=(0, 1))}
ROADS = [{}, {"preprocessing": (0.5, 0.2)}, DEFENCE, {"kind": Own}]


@pytest.mark.parametrize("settings", ROADS)
def test_each_module_has_its_mode_and_each_parameter_its_gradient_back(settings):
    nets_ = [mixed(net) for net in nets(2)]
    nets_[0].head.weight.requires_grad_(False)
    members = [classifier(net, **settings) for net in nets_]
    nets_[1].head.weight.grad = torch.ones_like(nets_[1].head.weight)
    before = modes(*nets_)
    EnsembleOptimization(members[0], members[1:], steps=2, verbose=False).generate(arrays(2), np.array([0, 1]))
    assert modes(*nets_) == before
    assert not nets_[0].head.weight.requires_grad
    assert nets_[0].first.weight.requires_grad
    assert nets_[0].first.weight.grad is None
    assert torch.equal(nets_[1].head.weight.grad, torch.ones_like(nets_[1].head.weight))


@pytest.mark.parametrize("settings", ROADS)
def test_modes_are_given_back_when_a_member_raises(settings):
    fine, broken = mixed(Net(0)), Breaking(mixed(Net(1)))
    before = modes(fine, broken)
    members = [classifier(fine), classifier(broken, **settings)]
    with pytest.raises(RuntimeError, match="out of order"):
        EnsembleOptimization(members[0], members[1:], verbose=False).generate(arrays(2), np.array([0, 1]))
    assert modes(fine, broken) == before


def test_modes_are_given_back_when_the_host_predicts_the_labels():
    net = mixed(Net(0))
    before = modes(net)
    untargeted(classifier(net)).generate(arrays(2))
    assert modes(net) == before


def test_global_randomness_is_as_it_was(attack):
    torch.manual_seed(0)
    np.random.seed(0)
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()
    attack.set_params(targets="random:1")
    attack.generate(arrays(2))
    assert torch.equal(torch.get_rng_state(), before)
    assert np.array_equal(np.random.get_state()[1], numpy_before)


# ------------------------------------------------------------------ the host's own features


def test_adversarial_trainer_takes_it_untargeted_and_crafts_afresh():
    member = classifier(Net(0).train())
    before = member.model.head.weight.detach().clone()
    trainer = AdversarialTrainer(member, untargeted(member), ratio=0.5)
    trainer.fit(arrays(8), np.eye(CLASSES, dtype=np.float32)[:8], batch_size=4, nb_epochs=1)
    assert trainer._precomputed_adv_samples == [None]
    assert not torch.equal(member.model.head.weight, before)


def test_adversarial_accuracy_takes_it():
    member, x = classifier(Net(0)), arrays()
    assert adversarial_accuracy(member, x, said(member, x), attack_crafter=untargeted(member)) < 0.5


class Told(SummaryWriter):
    """A writer that keeps what it is told and needs no TensorBoard."""

    def __init__(self):
        self.updates, self.resets = [], 0

    def update(self, batch_id, global_step, grad=None, patch=None, estimator=None, x=None, y=None, targeted=False, **_):
        self.updates.append((batch_id, global_step, grad, x, y, targeted))

    def reset(self):
        self.resets += 1


@pytest.mark.parametrize("batch_size", [4, 32])
def test_the_summary_writer_is_told_each_step_of_each_tile_once(batch_size):
    writer = Told()
    member, x = classifier(Net(0)), arrays(11)
    attack = EnsembleOptimization(
        member, steps=3, tile=4, batch_size=batch_size, targets="least-likely:1", summary_writer=writer, verbose=False
    )
    attack.generate(x)
    assert [update[:2] for update in writer.updates] == [(tile, step) for tile in range(3) for step in range(3)]
    assert [len(update[3]) for update in writer.updates] == [4] * 6 + [3] * 3
    assert all(grad.shape == shown.shape and grad.any() for _, _, grad, shown, _, _ in writer.updates)
    assert all(y.shape == (len(shown), CLASSES) and targeted for _, _, _, shown, y, targeted in writer.updates)
    assert writer.resets == 1


def test_gradients_in_the_summary_are_in_the_units_of_x():
    x, told = arrays(2), {}
    for high, net in ((1, Net(0)), (255, nn.Sequential(Scaled(255), Net(0)))):
        writer = Told()
        attack = untargeted(classifier(net, clip_values=(0, high)), summary_writer=writer)
        attack.generate(x * np.float32(high), np.array([0, 1]))
        told[high] = writer.updates[0][2]
    np.testing.assert_allclose(told[255] * 255, told[1], rtol=1e-2, atol=1e-3)


class Scaled(nn.Module):
    def __init__(self, by: float) -> None:
        super().__init__()
        self.by = by

    def forward(self, x):
        return x / self.by


def test_it_is_an_evasion_attack_like_the_hosts():
    assert issubclass(EnsembleOptimization, EvasionAttack)


def test_probabilities_and_logits_may_be_members_together():
    members = [classifier(Net(0)), classifier(softmaxed(Net(1)))]
    x = arrays()
    targets = (said(members[0], x) + 1) % CLASSES
    adversarial = EnsembleOptimization(members[0], members[1:], verbose=False).generate(x, targets)
    assert all((said(member, adversarial) == targets).all() for member in members)
