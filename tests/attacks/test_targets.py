import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from interp_plugins.attacks.targets import FixedTargets, LeastLikely, RandomTargets, mean_probabilities, parse
from interp_plugins.foundation.randomness import seeds
from interp_plugins.testing import Affine, toy_classifier, toy_images


def test_least_likely_by_hand_leaves_the_label_out():
    probabilities = torch.tensor([[0.1, 0.6, 0.05, 0.25]])
    assert LeastLikely(3)(probabilities, torch.tensor([2]), [0]).tolist() == [[0, 3, 1]]


def test_ties_go_to_the_lower_class():
    assert LeastLikely(2)(torch.full((1, 4), 0.25), torch.tensor([0]), [0]).tolist() == [[1, 2]]


@given(st.integers(2, 12), st.integers(0, 2**32), st.data())
def test_targets_differ_from_each_other_and_from_the_label(classes, seed, data):
    k = data.draw(st.integers(1, classes - 1))
    generator = torch.Generator().manual_seed(seed)
    probabilities = torch.rand(5, classes, generator=generator).softmax(1)
    labels = torch.randint(classes, (5,), generator=generator)
    for policy in (LeastLikely(k), RandomTargets(k)):
        targets = policy(probabilities, labels, seeds(seed, None, 5))
        assert targets.shape == (5, k)
        for row, label in zip(targets.tolist(), labels.tolist(), strict=True):
            assert len({*row, label}) == k + 1
            assert all(0 <= target < classes for target in row)


def test_random_targets_follow_the_sample_and_not_its_place():
    probabilities, labels = torch.full((3, 10), 0.1), torch.tensor([1, 2, 3])
    targets = RandomTargets(4)(probabilities, labels, seeds(5, ["a", "b", "c"], 3))
    alone = RandomTargets(4)(probabilities[:1], labels[2:], seeds(5, ["c"], 1))
    assert torch.equal(alone[0], targets[2])


def test_random_targets_reach_every_class_but_the_label():
    targets = RandomTargets(1)(torch.full((300, 4), 0.25), torch.full((300,), 2), seeds(0, None, 300))
    assert set(targets.flatten().tolist()) == {0, 1, 3}


@pytest.mark.parametrize(("policy", "name"), [(LeastLikely(10), "least-likely"), (RandomTargets(10), "random")])
def test_too_many_targets_say_the_most_possible(policy, name):
    with pytest.raises(
        ValueError, match=f"expected at most 9 targets an image from 10 classes, got 10; write {name}:9"
    ):
        policy(torch.full((1, 10), 0.1), torch.tensor([0]), [0])


def test_fixed_targets_must_exist():
    assert FixedTargets((3, 1))(torch.full((2, 4), 0.25), torch.tensor([0, 0]), [0, 1]).tolist() == [[3, 1], [3, 1]]
    with pytest.raises(ValueError, match="expected targets from 0 to 3, got 7"):
        FixedTargets((7,))(torch.full((2, 4), 0.25), torch.tensor([0, 0]), [0, 1])


def test_policies_have_names_to_type():
    assert parse("least-likely:5") == LeastLikely(5)
    assert parse("least-likely") == LeastLikely(10)
    assert parse("random:3") == RandomTargets(3)
    assert parse("fixed:207,281") == FixedTargets((207, 281))


@pytest.mark.parametrize("text", ["likeliest:3", "least-likely:x", "fixed:", ""])
def test_what_names_no_policy_is_refused(text):
    with pytest.raises(ValueError, match="expected targets as least-likely:K, random:K or fixed:CLASS,CLASS"):
        parse(text)


def test_a_policy_needs_at_least_one_target():
    with pytest.raises(ValueError, match="expected k above 0, got 0"):
        parse("least-likely:0")


def test_probabilities_are_averaged_and_not_logits():
    loud, quiet = (
        Affine(torch.zeros(2, 3), torch.tensor([50.0, 0.0])),
        Affine(torch.zeros(2, 3), torch.tensor([0.0, 2.0])),
    )
    mean = mean_probabilities([loud, quiet], torch.rand(3, 3, 1, 1))
    torch.testing.assert_close(mean, torch.tensor([[0.559601, 0.440399]]).expand(3, 2), rtol=0, atol=1e-6)


def test_probabilities_are_those_of_the_originals_whatever_the_batch():
    models, (images, _) = [toy_classifier(0).train(), toy_classifier(1)], toy_images(11)
    whole = mean_probabilities(models, images)
    assert torch.equal(torch.cat([mean_probabilities(models, image[None]) for image in images]), whole)
    assert models[0].training
