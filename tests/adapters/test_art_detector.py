"""The detector does in ART what a built-in does, and says what the core says."""

import inspect

import numpy as np
import pytest
import torch
from art.defences.detector import evasion
from art.defences.preprocessor import FeatureSqueezing
from art_world import Net, arrays, classifier, said, softmaxed
from toys import CLASSES, modes

import interp_plugins
from interp_art.detector import ConflictDetector
from interp_plugins.neurons import detection, neuron_exemplars
from interp_plugins.neurons.histograms import histogram

QUIET = {"units": 3, "false_alarms": 0.2, "share": 0.2, "verbose": False}


@pytest.fixture
def estimator():
    return classifier(Net(0))


def fitted(estimator, x, y, **settings):
    detector = ConflictDetector(estimator, "second", **(QUIET | settings))
    detector.fit(x, y)
    return detector


def test_it_is_an_evasion_detector_with_the_settings_of_its_constructor(estimator):
    named = set(inspect.signature(ConflictDetector.__init__).parameters) - {"self"}
    detector = ConflictDetector(estimator, "second")
    assert isinstance(detector, evasion.EvasionDetector)
    assert set(detector.get_params()) == named


def test_install_adds_it_where_arts_own_detectors_are():
    with interp_plugins.install("art"):
        assert evasion.ConflictDetector is ConflictDetector
    assert not hasattr(evasion, "ConflictDetector")


def test_the_defaults_are_the_cores(estimator):
    assert ConflictDetector(estimator, "second")._method == detection.ConflictDetector()


def test_conflict_is_the_cores_with_histograms_of_every_second_input(estimator):
    x, new = arrays(40), arrays(6, seed=1)
    y, net = said(estimator, x), estimator.model
    images = torch.from_numpy(x)
    top = neuron_exemplars(net, ["second"], [(images[::2], torch.arange(20))], 4)["second"].ids
    p = histogram(top, torch.from_numpy(y)[::2], CLASSES)
    core = detection.ConflictDetector(units=3, false_alarms=0.2)
    known = core.fit(net, "second", [(images[1::2], torch.from_numpy(y)[1::2])], histograms=p)
    report, flags = fitted(estimator, x, y).detect(new)
    scores = core.scores(net, "second", torch.from_numpy(new), known).numpy()
    assert np.array_equal(report["scores"], scores)
    assert np.array_equal(flags, scores > float(known.threshold))


def test_distance_is_the_cores_over_all_inputs(estimator):
    x, new = arrays(60), arrays(6, seed=1)
    y, net = said(estimator, x), estimator.model
    core = detection.ConflictDetector(score="distance", units=3, false_alarms=0.2)
    known = core.fit(net, "second", [(torch.from_numpy(x), torch.from_numpy(y))])
    report, _ = fitted(estimator, x, y, score="distance").detect(new)
    scores = core.scores(net, "second", torch.from_numpy(new), known).numpy()
    assert np.array_equal(report["scores"], scores, equal_nan=True)


def test_the_similarity_of_classes_counts(estimator):
    x = arrays(40)
    y, steps = said(estimator, x), np.arange(CLASSES)
    similarity = np.exp(-((steps[:, None] - steps) ** 2) / 2)
    plain, alike = fitted(estimator, x, y), fitted(estimator, x, y, similarity=similarity)
    assert (alike.detect(x)[0]["scores"] <= plain.detect(x)[0]["scores"] + 1e-12).all()
    assert (alike.detect(x)[0]["scores"] < plain.detect(x)[0]["scores"]).any()


def test_the_report_says_where_each_score_lies_and_its_argmax_is_the_flag(estimator):
    x, y = arrays(40), np.arange(40) % CLASSES
    report, flags = fitted(estimator, x, y, score="distance").detect(np.concatenate([x, arrays(40, seed=1)]))
    assert flags.dtype == bool
    assert flags.shape == (80,)
    assert set(report) == {"scores", "threshold", "predictions"}
    assert np.array_equal(report["predictions"].argmax(1).astype(bool), flags)
    assert np.array_equal(np.nan_to_num(report["scores"], nan=-1) > report["threshold"], flags)


@pytest.mark.parametrize("score", ["conflict", "distance"])
def test_neither_the_batch_size_nor_the_form_of_the_labels_matters(estimator, score):
    x = arrays(40)
    y = said(estimator, x)
    one, other = (ConflictDetector(estimator, "second", score=score, **QUIET) for _ in range(2))
    one.fit(x, y, batch_size=128, nb_epochs=20)
    other.fit(x, np.eye(CLASSES)[y], batch_size=7, nb_epochs=1)
    assert np.array_equal(one.detect(x)[0]["scores"], other.detect(x, batch_size=9)[0]["scores"], equal_nan=True)


@pytest.mark.parametrize("score", ["conflict", "distance"])
def test_preprocessing_a_range_and_a_softmax_change_nothing_but_rounding(score):
    x = arrays(40)
    net = Net(0)
    plain = classifier(net)
    y = said(plain, x)
    expected = fitted(plain, x, y, score=score).detect(x)[0]["scores"]
    grey = fitted(classifier(net, clip_values=(0, 255), preprocessing=(0.0, 255.0)), x * 255, y, score=score)
    np.testing.assert_allclose(grey.detect(x * 255)[0]["scores"], expected, atol=1e-4)
    probable = ConflictDetector(classifier(softmaxed(net)), "0.second", score=score, **QUIET)
    probable.fit(x, y)
    assert probable.detect(x)[0]["scores"].shape == (40,)


def test_classifier_and_inputs_come_back_as_they_were(estimator):
    x = arrays(40)
    y, before = said(estimator, x), x.copy()
    estimator.model.norm.train()
    kept = modes(estimator.model)
    fitted(estimator, x, y).detect(x)
    assert modes(estimator.model) == kept
    assert np.array_equal(x, before)
    assert not any(module._forward_hooks for module in estimator.model.modules())


def test_set_params_asks_for_another_fit(estimator):
    x = arrays(40)
    detector = fitted(estimator, x, said(estimator, x))
    detector.set_params(false_alarms=0.5)
    assert detector.get_params()["false_alarms"] == 0.5
    with pytest.raises(ValueError, match=r"knows clean inputs, got one without: call fit\(x, y\) first"):
        detector.detect(x)


@pytest.mark.parametrize(
    ("settings", "error", "sentence"),
    [
        ({"layer": "third"}, ValueError, "a layer of the network, got 'third'; it has first, norm, second, drop, head"),
        ({"units": 0}, ValueError, "expected units above 0"),
        ({"score": "votes"}, ValueError, "expected score to be one of"),
        ({"false_alarms": 0.0}, ValueError, r"expected false_alarms in \(0, 1\)"),
        ({"share": 2.0}, ValueError, r"a share in \(0, 1\]"),
        ({"verbose": "yes"}, ValueError, "`verbose` has to be of type bool"),
    ],
)
def test_wrong_settings_are_refused_by_constructor_and_set_params(estimator, settings, error, sentence, unchecked):
    with pytest.raises(error, match=sentence):
        ConflictDetector(estimator, **({"layer": "second"} | settings))
    with pytest.raises(error, match=sentence):
        ConflictDetector(estimator, "second").set_params(**settings)


def test_something_else_than_a_classifier_of_pytorch_is_refused():
    with pytest.raises(TypeError, match="expected a PyTorchClassifier, got Net"):
        ConflictDetector(Net(0), "second")


def test_a_defence_in_numpy_is_refused():
    defended = classifier(Net(0), preprocessing_defences=FeatureSqueezing(bit_depth=4, clip_values=(0, 1)))
    with pytest.raises(TypeError, match="whose layers can be seen, got a defence in numpy or a class with a predict"):
        ConflictDetector(defended, "second", **QUIET).fit(arrays(40), np.zeros(40, dtype=int))


def test_labels_that_do_not_fit_are_refused(estimator):
    with pytest.raises(ValueError, match=r"expected y of shape \(40,\) or \(40, 12\), got \(39,\)"):
        ConflictDetector(estimator, "second", **QUIET).fit(arrays(40), np.zeros(39, dtype=int))
