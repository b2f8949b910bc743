"""ART's own detector test on our class, run in a process of its own whose `tests` is ART's (see art_checks.py).

The test's function is called as it stands in ART's source distribution, with data and classifiers of art_checks. It
builds ART's binary detector and teaches it with attacked images; ours knows no attack, so that a small class in between
hands it the clean half. ART's network has one filter, whose meaning can contradict nothing: it is given to "distance",
and one with sixteen filters to "conflict".
"""

import warnings

import numpy as np
import pytest
import torch
from art_checks import _seeded, classifier, digits, trained  # noqa: F401 - fixtures among them
from art_table import DETECTORS
from torch import nn

from interp_art import ConflictDetector

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of marks that ART registers in its own conftest
    from tests.defences.detector.evasion import test_binary_activation_detector as host
    from tests.utils import get_image_classifier_pt

LAYERS = {"conflict": "1", "distance": "relu"}


def network(score):
    """The network that a score is tried on, untrained."""
    if score == "distance":
        return get_image_classifier_pt(from_logits=True, load_init=False)
    net = nn.Sequential(nn.Conv2d(1, 16, 5), nn.ReLU(), nn.MaxPool2d(4), nn.Flatten(), nn.Linear(16 * 36, 10))
    return classifier(net, (1, 28, 28), 10)


@pytest.fixture(scope="session")
def networks(digits):  # noqa: F811
    return {score: trained(lambda: network(score), digits, epochs=12, seed=1) for score in DETECTORS}  # noqa: B023


def behind(kind, score):
    """A detector of ours that is built and taught as ART's test does it."""

    class Between(kind):
        def __init__(self, classifier, detector, layer):
            super().__init__(classifier, LAYERS[score], score=score, share=0.02, verbose=False)

        def fit(self, x, y, batch_size=128, nb_epochs=20, **kwargs):
            clean = x[y.argmax(1) == 0]
            super().fit(clean, self.classifier.predict(clean), batch_size, nb_epochs, **kwargs)

    return Between


class Blind(ConflictDetector):
    """A detector that flags nothing."""

    def detect(self, x, batch_size=128, **kwargs):
        return {}, np.zeros(len(x), dtype=bool)


class Nervous(ConflictDetector):
    """A detector that flags everything."""

    def detect(self, x, batch_size=128, **kwargs):
        return {}, np.ones(len(x), dtype=bool)


def run(kind, score, digits, networks, monkeypatch):  # noqa: F811
    """ART's test, with one of ours in the place of its own detector."""

    def refuse(exception):
        raise exception

    x, y, x_test, y_test = digits
    monkeypatch.setattr(host, "BinaryActivationDetector", behind(kind, score))
    host.test_binary_activation_detector(
        refuse,
        ((x, y), (x_test, y_test)),
        lambda from_logits: (classifier(networks[score], (1, 28, 28), 10), None),
        lambda: None,
    )


@pytest.mark.parametrize("score", DETECTORS)
def test_detector(score, digits, networks, monkeypatch):  # noqa: F811
    run(ConflictDetector, score, digits, networks, monkeypatch)


@pytest.mark.parametrize("score", DETECTORS)
def test_blind_detector(score, digits, networks, monkeypatch):  # noqa: F811
    with pytest.raises(AssertionError):
        run(Blind, score, digits, networks, monkeypatch)


@pytest.mark.parametrize("score", DETECTORS)
def test_nervous_detector(score, digits, networks, monkeypatch):  # noqa: F811
    with pytest.raises(AssertionError):
        run(Nervous, score, digits, networks, monkeypatch)


@pytest.mark.parametrize("score", DETECTORS)
def test_false_alarms(score, digits, networks):  # noqa: F811
    """Of clean images that were in neither half, few more are flagged than were allowed: 10 of 100, at most 20."""
    x, _, x_test, _ = digits
    estimator = classifier(networks[score], (1, 28, 28), 10)
    detector = ConflictDetector(estimator, LAYERS[score], score=score, share=0.02, false_alarms=0.1, verbose=False)
    detector.fit(x, estimator.predict(x))
    assert torch.from_numpy(detector.detect(x_test)[1]).sum() <= 20
