"""The host's modes decide which way an attack goes: which target, and how far."""

import pytest
import torch
from torchattacks import FGSM
from torchattacks_world import (
    MODES,
    by_chance,
    by_function,
    by_label,
    by_least_likely,
    ensemble,
    slow_least_likely,
    world,
)
from toys import CLASSES, Net, nets

from interp_torchattacks.attacks import EnsembleOptimization


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


@pytest.mark.parametrize("mode", [by_least_likely, by_chance])
def test_a_label_missing_is_told_before_targets_are_chosen(mode):
    images, labels = world(6)
    attack = ensemble()
    mode(attack)
    with pytest.raises(ValueError, match=r"expected labels of shape \(6,\), got \(3,\)"):
        attack(images, labels[:3])


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
