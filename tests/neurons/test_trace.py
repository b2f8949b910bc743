import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from interp_plugins.neurons.detection import ConflictDetector
from interp_plugins.neurons.influence import NeuronInfluence
from interp_plugins.neurons.trace import DecisionTrace, Share, leading
from interp_plugins.testing import Affine, toy_classifier, toy_images
from tests import oracles

# unit 0 speaks for class 0, unit 1 for both, unit 2 for class 1, unit 3 for neither
WEIGHT = torch.tensor([[2.0, 1.0, 0.0, 0.0], [0.0, 1.0, 4.0, 0.0]])
KNOWN = torch.tensor([[1.0, 0.0], [0.5, 0.5], [0.25, 0.75], [math.nan, math.nan]], dtype=torch.float64)
NEAR = torch.tensor([[1.0, 0.6], [0.6, 1.0]])


def linear():
    return nn.Sequential(nn.Identity(), Affine(WEIGHT))


def pixels(*values):
    return torch.tensor(values).view(-1, 1, 1)


def histograms(units, classes=10, seed=0):
    return torch.rand(units, classes, generator=torch.Generator().manual_seed(seed)).double().softmax(1)


def plane(classes=10):
    places = torch.arange(classes, dtype=torch.float64)
    return torch.exp(-((places[:, None] - places) ** 2) / 8)


def test_by_hand():
    clean, attacked = pixels(1.0, 0.5, 0.0, 0.0), pixels(0.5, 0.25, 1.0, 0.0)
    found = DecisionTrace(units=2)(linear(), "0", KNOWN, NEAR, clean, attacked)
    assert [unit.number for unit in found.clean.units] == [0, 1]  # 2 and 0.5 of the logit of class 0
    assert [unit.number for unit in found.attacked.units] == [2, 1]  # 4 and 0.25 of that of class 1
    assert [unit.influence for unit in found.clean.units] == [2.0, 0.5]
    assert [unit.influence for unit in found.attacked.units] == [4.0, 0.25]
    assert (found.clean.predicted, found.attacked.predicted) == (0, 1)
    assert found.clean.confidence == pytest.approx(1 / (1 + math.exp(-2)))  # logits 2.5 and 0.5
    assert (found.shared, found.only_attacked, found.units) == ((1,), (2,), (0, 1, 2))
    assert found.attacked.units[0].meaning == (Share(1, 0.75), Share(0, 0.25))
    of_two = (0.25 * 0.6 + 0.75) / math.sqrt(0.25**2 + 0.75**2 + 2 * 0.6 * 0.25 * 0.75)
    of_one = 0.8 / math.sqrt(0.8)
    assert [unit.conflict for unit in found.attacked.units] == pytest.approx([1 - of_two, 1 - of_one])
    assert found.attacked.conflict == pytest.approx(1 - (of_one + of_two) / 2)


def test_a_unit_of_which_nothing_is_known_has_no_meaning_and_does_not_count():
    found = DecisionTrace(units=4)(linear(), "0", KNOWN, NEAR, pixels(1.0, 0.5, 0.0, 0.0)).clean
    unknown = next(unit for unit in found.units if unit.number == 3)
    assert unknown.meaning == ()
    assert math.isnan(unknown.conflict)
    others = [unit.conflict for unit in found.units if unit.number != 3]
    assert found.conflict == pytest.approx(sum(others) / 3)


def test_where_nothing_is_known_of_any_unit_the_conflict_is_nan():
    found = DecisionTrace(units=2)(linear(), "0", KNOWN * math.nan, NEAR, pixels(1.0, 0.5, 0.0, 0.0))
    assert math.isnan(found.clean.conflict)


def test_one_image_has_nothing_to_share():
    found = DecisionTrace(units=2)(linear(), "0", KNOWN, NEAR, pixels(1.0, 0.5, 0.0, 0.0))
    assert found.attacked is None
    assert (found.shared, found.only_attacked, found.units) == ((), (), (0, 1))


def test_it_is_the_slow_definition():
    model, (images, _) = toy_classifier().double(), toy_images(2)
    known, near = histograms(8), plane()
    found = DecisionTrace(units=3)(model, "2", known, near, *images.double())
    tops = []
    for decision, image in zip(found.decisions, images.double(), strict=True):
        with torch.no_grad():
            logits = model(image[None])[0].tolist()
        predicted = max(range(10), key=lambda c: logits[c])
        assert decision.predicted == predicted
        assert decision.confidence == pytest.approx(math.exp(-oracles.cross_entropy(logits, predicted)))
        differences = oracles.prediction_differences(model, "2", image, predicted, "logit")
        tops.append(sorted(range(8), key=lambda unit: -differences[unit])[:3])
        assert [unit.number for unit in decision.units] == tops[-1]
        for unit in decision.units:
            p = known[unit.number].tolist()
            alike = sum(p[i] * float(near[i, predicted]) for i in range(10))
            own = sum(p[i] * p[j] * float(near[i, j]) for i in range(10) for j in range(10))
            assert unit.influence == pytest.approx(differences[unit.number], rel=1e-8)
            assert unit.conflict == pytest.approx(1 - alike / math.sqrt(own))
    assert set(found.shared) == set(tops[0]) & set(tops[1])
    assert set(found.only_attacked) == set(tops[1]) - set(tops[0])


def test_the_conflict_of_a_decision_is_the_score_of_the_detector():
    model, (images, _) = toy_classifier(), toy_images(30)
    known, near = histograms(8), plane()
    detector = ConflictDetector(units=3, influence=NeuronInfluence(score="logit"))
    fitted = detector.fit(model, "2", [(images, torch.zeros(30).long())], histograms=known, similarity=near)
    found = DecisionTrace(units=3)(model, "2", known, near, *images[:2])
    scores = detector.scores(model, "2", images[:2], fitted).tolist()
    assert [found.clean.conflict, found.attacked.conflict] == pytest.approx(scores)


@given(seed=st.integers(0, 10**6), m=st.integers(1, 8))
def test_every_unit_is_shared_or_belongs_to_one_image_alone(seed, m):
    model, (images, _) = toy_classifier(seed % 7), toy_images(2, seed=seed)
    found = DecisionTrace(units=m)(model, "2", histograms(8), plane(), *images)
    clean, attacked = ({unit.number for unit in decision.units} for decision in found.decisions)
    assert len(clean) == len(attacked) == m
    assert set(found.shared) == clean & attacked
    assert set(found.only_attacked) == attacked - clean
    assert set(found.units) == clean | attacked


def test_an_image_that_was_not_changed_shares_all_its_units():
    model, image = toy_classifier(), toy_images(1)[0][0]
    found = DecisionTrace(units=4)(model, "2", histograms(8), plane(), image, image)
    assert found.clean == found.attacked
    assert found.only_attacked == ()


def test_a_picture_is_told_the_same_alone_and_beside_another():
    model, (images, _) = toy_classifier(), toy_images(2)
    trace = DecisionTrace(units=4)
    alone = trace(model, "2", histograms(8), plane(), images[0])
    beside = trace(model, "2", histograms(8), plane(), *images)
    assert alone.clean.says == beside.clean.says
    assert [unit.influence for unit in alone.clean.units] == [unit.influence for unit in beside.clean.units]


def test_the_model_is_given_back_as_found():
    model, (images, _) = toy_classifier().train(), toy_images(2)
    before, random = {name: value.clone() for name, value in model.state_dict().items()}, torch.get_rng_state()
    DecisionTrace(units=2)(model, "2", histograms(8), plane(), *images)
    assert all(module.training for module in model.modules())
    assert not any(module._forward_hooks for module in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)


def test_of_equal_shares_the_lower_class_leads_and_no_share_is_no_class():
    shares = torch.tensor([[0.0, 0.5, 0.5], [0.0, 0.0, 0.0], [math.nan] * 3])
    assert leading(shares) == [(Share(1, 0.5), Share(2, 0.5)), (), ()]
    assert leading(shares, most=1)[0] == (Share(1, 0.5),)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"histograms": histograms(7)}, "histograms of the 8 units of layer '2', got 7; take the exemplars of that"),
        ({"histograms": histograms(8, 4), "similarity": plane(4)}, "over the model's 10 classes, got 4"),
        ({"attacked": torch.zeros(3, 9, 9)}, r"both images of one shape, got \(3, 8, 8\) and \(3, 9, 9\)"),
        ({"image": torch.full((3, 8, 8), 2.0)}, r"an image in \[0, 1\]"),
        ({"units": 9}, "expected m from 1 to 8"),
        ({"units": 0}, "units above 0, got 0"),
    ],
)
def test_what_it_refuses(change, words, unchecked):
    given = {"units": 2, "histograms": histograms(8), "similarity": plane(), "image": torch.zeros(3, 8, 8)} | change
    with pytest.raises(ValueError, match=words):
        DecisionTrace(units=given.pop("units"))(toy_classifier(), "2", **given)
