"""The host's modes: which target, which normalisation, which training mode; and all of it given back."""

import pytest
import torch
from torch import nn
from torchattacks import FGSM
from torchattacks_world import CLASSES, Breaking, Net, Watching, modes, nets, world

from interp_torchattacks.attacks import EnsembleOptimization, PredictedLabelFGSM

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)


class Normalised(nn.Module):
    """A network behind its normalisation."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, images):
        return self.net(normalise(images))


def normalise(images):
    return (images - torch.tensor(MEAN).view(1, 3, 1, 1)) / torch.tensor(STD).view(1, 3, 1, 1)


def ensemble(count: int = 3, **settings) -> EnsembleOptimization:
    first, *others = nets(count)
    return EnsembleOptimization(first, surrogates=others, **settings)


def by_least_likely(attack):
    attack.set_mode_targeted_least_likely(kth_min=2, quiet=True)


def by_chance(attack):
    attack.set_mode_targeted_random(quiet=True)


def by_function(attack):
    attack.set_mode_targeted_by_function(lambda images, labels: (labels + 1) % CLASSES, quiet=True)


def by_label(attack):
    attack.set_mode_targeted_by_label(quiet=True)


def by_default(attack):
    attack.set_mode_default()


MODES = [by_default, by_least_likely, by_chance, by_function, by_label]


def slow_least_likely(members, images, labels, k):
    """The k-th least likely class but the label, by the mean probability: a sort of Python floats for each image."""
    with torch.no_grad():
        rows = torch.stack([net(images).double().softmax(1) for net in members]).mean(0).tolist()
    ranked = [
        sorted(set(range(CLASSES)) - {label}, key=row.__getitem__)
        for row, label in zip(rows, labels.tolist(), strict=True)
    ]
    return torch.tensor([classes[k - 1] for classes in ranked])


@pytest.mark.parametrize("k", range(1, CLASSES))
def test_the_kth_least_likely_class_is_that_of_the_mean_probability(k):
    images, labels = world(16)
    attack = ensemble()
    attack.set_mode_targeted_least_likely(kth_min=k, quiet=True)
    expected = slow_least_likely([attack.model, *attack._surrogates], images, labels, k)
    assert torch.equal(attack.get_target_label(images, labels), expected)


def test_members_disagree_on_the_least_likely_class_of_the_world_tested_here():
    images, labels = world(16)
    first, *_ = members = nets(3)
    assert not torch.equal(slow_least_likely(members, images, labels, 1), slow_least_likely([first], images, labels, 1))


def test_one_model_alone_takes_the_hosts_own_least_likely_class():
    images, labels = world(16)
    attacks = [EnsembleOptimization(Net(0)), FGSM(Net(0))]
    for attack in attacks:
        attack.set_mode_targeted_least_likely(kth_min=3, quiet=True)
    ours, theirs = (attack.get_target_label(images, labels) for attack in attacks)
    assert torch.equal(ours, theirs)


def test_more_least_likely_classes_than_there_are_wrong_ones_are_refused():
    attack = ensemble()
    attack.set_mode_targeted_least_likely(kth_min=CLASSES, quiet=True)
    with pytest.raises(ValueError, match="11"):
        attack(*world())


def test_random_targets_are_never_the_label_and_reach_every_other_class():
    images, labels = world(2)
    attack = ensemble(1)
    attack.set_mode_targeted_random(quiet=True)
    torch.manual_seed(0)
    targets = attack.get_target_label(images.repeat(200, 1, 1, 1), labels.repeat(200)).view(200, 2)
    for column, label in zip(targets.unbind(1), labels.tolist(), strict=True):
        assert set(column.tolist()) == set(range(CLASSES)) - {label}


def test_random_targets_follow_the_hosts_seed_and_differ_from_call_to_call():
    images, labels = world(64)
    attack = ensemble(1)
    attack.set_mode_targeted_random(quiet=True)
    torch.manual_seed(5)
    first, second = attack.get_target_label(images, labels), attack.get_target_label(images, labels)
    torch.manual_seed(5)
    assert torch.equal(attack.get_target_label(images, labels), first)
    assert not torch.equal(first, second)


def test_least_likely_targets_draw_nothing_from_the_callers_generator():
    attack = ensemble(steps=2)
    attack.set_mode_targeted_least_likely(quiet=True)
    before = torch.get_rng_state()
    attack(*world())
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("mode", [by_least_likely, by_chance, by_function])
def test_targets_without_labels_keep_off_the_prediction(mode):
    images, _ = world(16)
    attack = ensemble()
    mode(attack)
    seen = []
    choose = attack._target_map_function
    attack.set_mode_targeted_by_function(lambda *given: seen.append(choose(*given)) or seen[0], quiet=True)
    attack(images)
    with torch.no_grad():
        said = torch.stack([net(images).softmax(1) for net in (attack.model, *attack._surrogates)]).mean(0).argmax(1)
    assert (seen[0] != said).all()


def test_labels_as_targets_have_to_be_given():
    attack = ensemble()
    by_label(attack)
    with pytest.raises(ValueError, match=r"expected labels to aim at .* got None"):
        attack(world()[0])


def test_labels_as_targets_are_aimed_at():
    images, labels = world()
    attack = ensemble()
    by_label(attack)
    targets = (labels + 5) % CLASSES
    with torch.no_grad():
        assert torch.equal(attack.model(attack(images, targets)).argmax(1), targets)


@pytest.mark.parametrize("mode", MODES[1:])
def test_the_default_mode_undoes_every_other(mode):
    images, labels = world()
    attack = ensemble(steps=3)
    expected = attack(images, labels)
    mode(attack)
    assert not torch.equal(attack(images, (labels + 1) % CLASSES), expected)
    attack.set_mode_default()
    assert torch.equal(attack(images, labels), expected)


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("mode", MODES)
def test_every_mode_stays_in_the_box_and_in_the_ball(mode, norm):
    images, labels = world()
    images[:, :, :4] = images[:, :, :4].round()  # pixels at the edge of the box
    eps = 4 / 255 if norm == "linf" else 0.3
    attack = ensemble(steps=5, eps=eps, norm=norm)
    mode(attack)
    adversarial = attack(images, (labels + 1) % CLASSES)
    far = (adversarial - images).flatten(1).norm(dim=1, p=float("inf") if norm == "linf" else 2)
    assert far.max() <= eps + 1e-6
    assert far.min() > eps / 2
    assert adversarial.min() >= 0
    assert adversarial.max() <= 1


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
