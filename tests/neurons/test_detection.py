import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from interp_plugins.errors import LayerNotReached
from interp_plugins.neurons.detection import ConflictDetector, Fitted, agreement, conflict
from interp_plugins.neurons.influence import NeuronInfluence
from interp_plugins.testing import Affine, toy_classifier, toy_images
from tests import oracles


def affine(rows):
    return nn.Sequential(nn.Identity(), Affine(torch.tensor(rows, dtype=torch.float64)))


def pixels(*rows):
    """Images of one pixel in three channels, the missing ones of which are 0."""
    return torch.tensor([[*row, 0.0, 0.0][:3] for row in rows], dtype=torch.float64).view(len(rows), 3, 1, 1)


def plain():
    """Logits are the first two channels."""
    return affine([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])


def undecided(images, classes):
    """A network of two layers whose head says another class of each image."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(classes, 4 * images[0, 0].numel(), generator=generator)
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(inplace=True), Affine(weight)).double()
    with torch.no_grad():
        for value in model[0].parameters():
            value.copy_(torch.randn(value.shape, generator=generator))
        model[2].bias -= model(images).mean(0)
    return model


def some_histograms(units, classes, seed=0, dead=()):
    p = torch.rand(units, classes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    p /= p.sum(1, keepdim=True)
    p[list(dead)] = torch.nan
    return p


def some_similarity(classes):
    steps = torch.arange(classes, dtype=torch.float64)
    return torch.exp(-((steps[:, None] - steps) ** 2) / 2)


# ------------------------------------------------------------------ conflict


def test_conflict_by_hand():
    model = affine([[4.0, 3.0, 0.0], [0.0, 0.0, 4.0]])
    p = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.5, 0.5]])
    image = pixels([1.0, 1.0, 0.5])  # logits 7 and 2: class 0, carried by the units 0 and 1
    detector = ConflictDetector(units=2, false_alarms=0.5)
    fitted = detector.fit(model, "0", [(image, torch.tensor([0]))], histograms=p)
    assert detector.scores(model, "0", image, fitted).tolist() == pytest.approx([1 - (1 + 0.6) / 2])


def test_similar_classes_agree_by_the_weight_of_the_similarity():
    p, a = torch.tensor([[0.5, 0.5]]), torch.tensor([[1.0, 0.5], [0.5, 1.0]])
    assert agreement(p, a).tolist() == [pytest.approx([0.75 / math.sqrt(0.75)] * 2)]


@given(seed=st.integers(0, 10**6), weighted=st.booleans())
def test_conflict_is_the_slow_definition(seed, weighted):
    p, a = some_histograms(6, 4, seed, dead=[2]), some_similarity(4) if weighted else torch.eye(4, dtype=torch.float64)
    units, classes = torch.tensor([[0, 2, 5], [1, 4, 3]]), torch.tensor([3, seed % 4])
    found = conflict(agreement(p, a if weighted else None), units, classes)
    slow = [
        oracles.unit_conflict(p.tolist(), row, c, a.tolist())
        for row, c in zip(units.tolist(), classes.tolist(), strict=True)
    ]
    assert found.tolist() == pytest.approx(slow, rel=1e-12)


@pytest.mark.parametrize("weighted", [False, True])
def test_the_units_with_most_influence_on_the_predicted_class_are_asked(weighted):
    model, (images, labels) = toy_classifier().double(), toy_images(4)
    a = some_similarity(10) if weighted else None
    p, images = some_histograms(8, 10, dead=[1]), images.double()
    detector = ConflictDetector(units=3, false_alarms=0.5)
    fitted = detector.fit(model, "2", [(images, labels)], histograms=p, similarity=a)
    with torch.no_grad():
        said = model(images).argmax(1).tolist()
    table = (torch.eye(10) if a is None else a).tolist()
    slow = []
    for image, c in zip(images, said, strict=True):
        differences = oracles.prediction_differences(model, "2", image, c, "logit")
        units = sorted(range(8), key=lambda unit: -differences[unit])[:3]
        slow.append(oracles.unit_conflict(p.tolist(), units, c, table))
    assert detector.scores(model, "2", images, fitted).tolist() == pytest.approx(slow, rel=1e-9, abs=1e-12)
    assert fitted.clean.tolist() == pytest.approx(slow, rel=1e-9, abs=1e-12)


@given(units=st.lists(st.integers(0, 3), min_size=1, max_size=4, unique=True))
def test_units_that_stand_for_the_class_alone_do_not_contradict_it(units):
    assert conflict(agreement(torch.eye(4)[[2] * 4]), torch.tensor([units]), torch.tensor([2])).tolist() == [0]


@given(seed=st.integers(0, 10**6))
def test_conflict_lies_between_nothing_and_one_whatever_the_units(seed):
    found = conflict(agreement(some_histograms(5, 3, seed)), torch.arange(5)[None], torch.tensor([seed % 3]))
    assert 0 <= float(found) <= 1


def test_without_a_unit_that_is_known_the_score_is_nan_and_raises_no_alarm():
    model = plain()
    p = torch.tensor([[1.0, 0.0], [torch.nan, torch.nan], [0.0, 1.0]])
    images = pixels([1.0, 0.0], [0.0, 1.0])
    detector = ConflictDetector(units=1, false_alarms=0.5)
    fitted = detector.fit(model, "0", [(images, torch.tensor([0, 1]))], histograms=p)
    assert [math.isnan(score) for score in detector.scores(model, "0", images, fitted).tolist()] == [False, True]
    assert detector(model, "0", images, fitted).tolist() == [False, False]


# ------------------------------------------------------------------ distance


def test_distance_by_hand():
    model = plain()
    clean = pixels([0.6, 0.0], [1.0, 0.0], [0.0, 0.5], [0.0, 0.7])
    detector = ConflictDetector(score="distance", false_alarms=0.5)
    fitted = detector.fit(model, "0", [(clean, torch.tensor([0, 0, 1, 1]))])
    assert fitted.spreads.tolist() == pytest.approx([0.4, 0.2])  # each image from the one that is left of its class
    assert fitted.clean.tolist() == pytest.approx([1.0] * 4)
    far = detector.scores(model, "0", pixels([0.8, 0.6], [0.0, 1.0]), fitted)
    assert far.tolist() == pytest.approx([0.6 / 0.4, 0.4 / 0.2])


def test_distance_is_the_slow_definition():
    images, labels, new = toy_images(12)[0].double(), torch.arange(12) % 3, toy_images(5, seed=1)[0].double()
    model = undecided(images, classes=3)
    with torch.no_grad():
        (clean, other), (clean_said, other_said) = (
            [function(x).tolist() for x in (images, new)]
            for function in (lambda x: model[:2](x).flatten(1), lambda x: model(x).argmax(1))
        )
    assert len(set(clean_said)) == 3
    detector = ConflictDetector(score="distance", false_alarms=0.2)
    fitted = detector.fit(model, "1", [(images[:5], labels[:5]), (images[5:], labels[5:])])
    slow = oracles.distance_scores(clean, labels.tolist(), clean, clean_said, left_out=True)
    assert fitted.clean.tolist() == pytest.approx(slow, rel=1e-9)
    slow = oracles.distance_scores(clean, labels.tolist(), other, other_said, left_out=False)
    assert detector.scores(model, "1", new, fitted).tolist() == pytest.approx(slow, rel=1e-9)


def test_a_class_without_two_clean_images_gives_no_distance():
    model = plain()
    detector = ConflictDetector(score="distance", false_alarms=0.5)
    fitted = detector.fit(model, "0", [(pixels([0.6, 0.0], [1.0, 0.0], [0.0, 1.0]), torch.tensor([0, 0, 1]))])
    assert math.isnan(detector.scores(model, "0", pixels([0.0, 0.5]), fitted))


# ------------------------------------------------------------------ the threshold


@given(n=st.integers(4, 60), false_alarms=st.sampled_from([0.2, 0.25, 0.5, 0.9]), seed=st.integers(0, 1000))
def test_no_more_clean_images_raise_the_alarm_than_were_allowed(n, false_alarms, seed):
    scores = torch.rand(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    threshold = ConflictDetector(false_alarms=false_alarms)._threshold(scores)
    above = int((scores > threshold).sum())
    assert above <= false_alarms * (n + 1) - 1 + 1e-9 < above + 1  # and not one fewer than necessary


def test_the_promise_holds_for_clean_images_that_were_not_there():
    scores = torch.rand(4000, 20, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    detector = ConflictDetector(false_alarms=0.1)
    alarms = sum(bool(row[19] > detector._threshold(row[:19])) for row in scores)
    assert 0.08 < alarms / 4000 < 0.12


def test_too_few_clean_images_for_that_few_false_alarms_are_refused():
    detector = ConflictDetector(units=1)
    batch = (pixels(*[[1.0, 0.0]] * 18), torch.zeros(18, dtype=torch.long))
    with pytest.raises(ValueError, match=r"at least 19 clean images with a score for false_alarms=0\.05, got 18; give"):
        detector.fit(plain(), "0", [batch], histograms=torch.eye(3, 2))


# ------------------------------------------------------------------ contract


@pytest.mark.parametrize("score", ["conflict", "distance"])
def test_a_state_dict_is_all_that_there_is(score):
    model, (images, labels) = toy_classifier(), toy_images(8)
    detector = ConflictDetector(score=score, units=2, false_alarms=0.5)
    p = some_histograms(8, 10) if score == "conflict" else None
    fitted = detector.fit(model, "2", [(images, labels * 0 + 6)], histograms=p)  # it says 6 of all
    state = {name: value.clone() for name, value in fitted.state_dict().items()}
    assert detector(model, "2", images, Fitted(**state)).tolist() == detector(model, "2", images, fitted).tolist()


@pytest.mark.parametrize("score", ["conflict", "distance"])
def test_the_model_comes_back_as_it_was_and_neighbours_do_not_matter(score):
    model, (images, labels) = toy_classifier(), toy_images(9)
    model[1].train()
    before = [(module.training, len(module._forward_hooks)) for module in model.modules()]
    detector = ConflictDetector(score=score, units=2, false_alarms=0.5)
    p = some_histograms(8, 10) if score == "conflict" else None
    fitted = detector.fit(model, "2", [(images, labels * 0 + 6)], histograms=p)  # it says 6 of all
    together = detector.scores(model, "2", images, fitted)
    alone = torch.cat([detector.scores(model, "2", image[None], fitted) for image in images])
    torch.testing.assert_close(together, alone, rtol=0, atol=0, equal_nan=True)
    assert [(module.training, len(module._forward_hooks)) for module in model.modules()] == before


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"score": "votes"}, "expected score to be one of 'conflict', 'distance', got 'votes'"),
        ({"units": 0}, "expected units above 0, got 0"),
        ({"false_alarms": 1.0}, r"expected false_alarms in \(0, 1\), got 1.0"),
        ({"influence": NeuronInfluence(ablation="mean")}, "ablation 'zero', got 'mean', which needs images"),
        ({"influence": NeuronInfluence(preselect=3)}, "preselects at least 10 units, those that are asked, got 3"),
    ],
)
def test_wrong_settings_are_refused(settings, sentence, unchecked):
    with pytest.raises(ValueError, match=sentence):
        ConflictDetector(**settings)


@pytest.mark.parametrize(
    ("settings", "given", "sentence"),
    [
        ({}, {}, "expected histograms with score 'conflict' alone, got score 'conflict'"),
        ({"score": "distance"}, {"histograms": torch.eye(2)}, "histograms with score 'conflict' alone, got score 'dis"),
        ({"units": 3}, {"histograms": torch.eye(2)}, "expected at most 2 units, those of the layer, got 3"),
        ({"units": 1}, {"histograms": torch.eye(2)}, "expected histograms of the 3 units of layer '0', got 2"),
        ({"units": 1}, {"histograms": torch.ones(3, 1)}, "expected predicted classes from 0 to 0, got 1"),
    ],
)
def test_what_does_not_fit_is_refused(settings, given, sentence):
    batch = (pixels(*[[0.0, 1.0]] * 20), torch.ones(20, dtype=torch.long))
    with pytest.raises(ValueError, match=sentence):
        ConflictDetector(**settings).fit(plain(), "0", [batch], **given)


def test_batches_that_end_after_one_round_are_refused():
    batches = iter([(pixels([0.0, 1.0]), torch.tensor([1]))])
    with pytest.raises(ValueError, match="gone through twice, such as a list or a DataLoader, got an iterator"):
        ConflictDetector(score="distance").fit(plain(), "0", batches)


def test_no_batch_at_all_is_refused():
    with pytest.raises(ValueError, match="expected clean images, got no batch"):
        ConflictDetector(score="distance").fit(plain(), "0", [])


def test_what_another_score_was_fitted_to_is_refused():
    model, image = plain(), pixels([0.0, 1.0])
    detector = ConflictDetector(units=1, false_alarms=0.5)
    fitted = detector.fit(model, "0", [(image, torch.tensor([1]))], histograms=torch.eye(3, 2))
    with pytest.raises(ValueError, match="a detector with score 'distance' was fitted to, got another score's"):
        ConflictDetector(score="distance").scores(model, "0", image, fitted)


@pytest.mark.parametrize("score", ["conflict", "distance"])
def test_a_layer_that_does_not_run_is_named(score):
    class Aside(nn.Sequential):
        def forward(self, x):
            return self[1](x)

    model = Aside(nn.Identity(), Affine(torch.eye(2, 3, dtype=torch.float64)))
    p = torch.eye(3, 2) if score == "conflict" else None
    with pytest.raises(LayerNotReached, match="layer '0' did not run"):
        ConflictDetector(score=score, units=1).fit(model, "0", [(pixels([0.0, 1.0]), torch.tensor([1]))], histograms=p)
