"""Whose images a network sees, in which mode it runs, and that it is given back as it was found."""

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from torchattacks import FGSM
from torchattacks_world import (
    MEAN,
    MODES,
    STD,
    Breaking,
    Normalised,
    Watching,
    ensemble,
    normalise,
    slow_least_likely,
    world,
)
from toys import CLASSES, Net, modes, nets

from interp_torchattacks.attacks import EnsembleOptimization, PredictedLabelFGSM


@pytest.mark.parametrize("mode", MODES)
def test_images_may_come_and_go_normalised(mode):
    images, labels = world()
    net, surrogate = Net(0), Net(1)
    plain = EnsembleOptimization(Normalised(net), surrogates=[surrogate], steps=3)
    host = EnsembleOptimization(net, surrogates=[surrogate], steps=3)
    host.set_normalization_used(MEAN, STD)
    results = []
    for attack, given in ((plain, images), (host, normalise(images))):
        mode(attack)
        torch.manual_seed(3)
        results.append(attack(given, (labels + 1) % CLASSES))
    assert torch.allclose(results[1], normalise(results[0]), atol=1e-2)
    back = host.inverse_normalize(results[1])
    assert back.min() > -1e-6
    assert back.max() < 1 + 1e-6


def test_with_normalisation_the_model_sees_normalised_images_and_a_surrogate_plain_ones():
    images, labels = world()
    seen, seen_by_surrogate = [], []
    model = Watching(Net(0), lambda net, x: seen.append(x.detach().clone()))
    surrogate = Watching(Net(1), lambda net, x: seen_by_surrogate.append(x.detach().clone()))
    attack = EnsembleOptimization(model, surrogates=[surrogate], steps=1, tile=8)
    attack.set_normalization_used(MEAN, STD)
    attack(normalise(images), labels)
    assert near(normalise(images), seen)
    assert near(images, seen_by_surrogate)
    assert not near(images, seen)


def test_with_normalisation_the_first_logits_agree_with_a_normalising_models():
    images, labels = world(8)
    net = Net(0)
    said = []
    attack = EnsembleOptimization(Watching(net, lambda _, x: said.append(net(x.detach()).detach())), steps=1)
    attack.set_normalization_used(MEAN, STD)
    attack(normalise(images), labels)
    with torch.no_grad():
        expected = Normalised(net)(images)
    assert min((logits - expected).abs().max() for logits in said if logits.shape == expected.shape) < 1e-5


def near(images, batches) -> bool:
    """Whether one of the batches begins with these images."""
    n = len(images)
    return any(len(batch) >= n and torch.allclose(batch[:n], images, atol=1e-5) for batch in batches)


def test_targets_asked_for_between_attacks_take_normalised_images():
    images, labels = world(16)
    net, surrogate = Net(0), Net(1)
    attack = EnsembleOptimization(net, surrogates=[surrogate])
    attack.set_normalization_used(MEAN, STD)
    attack.set_mode_targeted_least_likely(kth_min=2, quiet=True)
    expected = slow_least_likely([Normalised(net), surrogate], images, labels, 2)
    assert torch.equal(attack.get_target_label(normalise(images), labels), expected)


def mixed(net: Net) -> Net:
    net.train()
    net.norm.eval()
    return net


@pytest.mark.parametrize("prepare", [nn.Module.train, nn.Module.eval, mixed])
@pytest.mark.parametrize("mode", MODES)
def test_modes_are_given_back_one_by_one(mode, prepare):
    attack = ensemble(steps=1)
    members = (attack.model, *attack._surrogates)
    for net in members:
        prepare(net)
    before = modes(*members)
    mode(attack)
    attack(*world())
    assert modes(*members) == before


def test_save_thaws_a_frozen_batch_norm_as_the_host_does(tmp_path):
    loader = DataLoader(TensorDataset(*world()), batch_size=4)
    nets_of_two_attacks = [mixed(Net(0)), mixed(Net(0))]
    for attack in (FGSM(nets_of_two_attacks[0]), EnsembleOptimization(nets_of_two_attacks[1], steps=1)):
        attack.save(loader)
    assert [net.norm.training for net in nets_of_two_attacks] == [True, True]


@pytest.mark.parametrize("normalised", [False, True])
@pytest.mark.parametrize("attack_class", [EnsembleOptimization, PredictedLabelFGSM])
def test_what_breaks_in_a_network_leaves_everything_as_it_was(attack_class, normalised):
    images, labels = world()
    net = Breaking(mixed(Net(0)))
    attack = attack_class(net)
    if normalised:
        attack.set_normalization_used(MEAN, STD)
        images = normalise(images)
    before = modes(net)
    with pytest.raises(RuntimeError, match="out of order"):
        attack(images, labels)
    assert modes(net) == before
    assert attack._normalization_applied is (True if normalised else None)


def test_a_surrogate_that_breaks_leaves_its_neighbours_as_they_were():
    model, between, broken = mixed(Net(0)), mixed(Net(1)), Breaking(mixed(Net(2)))
    before = modes(model, between, broken)
    with pytest.raises(RuntimeError, match="out of order"):
        EnsembleOptimization(model, surrogates=[between, broken])(*world())
    assert modes(model, between, broken) == before


@pytest.mark.parametrize("batchnorm", [False, True])
@pytest.mark.parametrize("dropout", [False, True])
@pytest.mark.parametrize("attack_class", [EnsembleOptimization, PredictedLabelFGSM])
def test_an_attack_in_training_mode_runs_in_the_modes_the_host_set(attack_class, dropout, batchnorm):
    seen = set()
    net = Net(0)
    model = Watching(net, lambda watching, images: seen.add((watching.training, net.norm.training, net.drop.training)))
    attack = attack_class(model.eval())
    attack.set_model_training_mode(model_training=True, batchnorm_training=batchnorm, dropout_training=dropout)
    attack(*world())
    assert seen == {(True, batchnorm, dropout)}
    assert modes(model) == [False] * len(modes(model))


def test_targets_are_chosen_in_eval_mode_even_when_the_attack_trains():
    images, labels = world(16)
    attack = ensemble(steps=1)
    attack.set_model_training_mode(model_training=True, batchnorm_training=True, dropout_training=True)
    attack.set_mode_targeted_least_likely(quiet=True)
    chosen = []
    attack.get_least_likely_label = lambda *given: (
        chosen.append(EnsembleOptimization.get_least_likely_label(attack, *given)) or chosen[0]
    )
    attack.set_mode_targeted_least_likely(quiet=True)
    expected = slow_least_likely(nets(3), images, labels, 1)
    attack(images, labels)
    assert torch.equal(chosen[0], expected)
