"""ART's checks on our attack, run in a process of its own whose `tests` is ART's (see test_art_host_checks.py).

The helpers and the classifiers' architectures are ART's. Its source distribution has neither the recorded MNIST weights
nor the fixtures of the repository's root conftest.py, so both are made here: the same networks are trained on
scikit-learn's digits (padded to 28 x 28) and iris. Nothing swallows an ARTTestException.
"""

import sys
from importlib.machinery import ModuleSpec
from types import ModuleType

import numpy as np
import pytest
import torch
from art.defences.preprocessor import FeatureSqueezing
from art.defences.trainer import AdversarialTrainer
from art.estimators.classification import EnsembleClassifier, PyTorchClassifier
from art.estimators.classification.classifier import ClassifierMixin
from art.estimators.estimator import BaseEstimator, LossGradientsMixin
from art.metrics import adversarial_accuracy
from art.summary_writer import SummaryWriter
from art.utils import to_categorical
from art_table import BITES, CASES, CHECKS

from interp_art import EnsembleOptimization
from interp_plugins import attacks as core


def stand_in(name: str) -> ModuleType:
    """An empty module for what ART's helpers import and never use here."""
    module = ModuleType(name)
    module.__spec__ = ModuleSpec(name, None, is_package=True)  # torch looks at the spec of what is loaded
    sys.modules[name] = module
    return module


stand_in("keras").backend = stand_in("keras.backend")

from tests.utils import ExpectedValue, get_image_classifier_pt, get_tabular_classifier_pt, master_seed  # noqa: E402

from tests.attacks import utils as host  # noqa: E402


class Idle(EnsembleOptimization):
    """An attack that does nothing."""

    def generate(self, x, y=None, **kwargs):
        return np.array(x, dtype=np.float32)


class Squeezing(FeatureSqueezing):
    """The host's defence in float32: with NumPy 2 it returns float64, which the host's own `predict` cannot take."""

    def __call__(self, x, y=None):
        squeezed, y = super().__call__(x, y)
        return squeezed.astype(np.float32), y


class Told(SummaryWriter):
    """A summary writer that keeps what it is told and needs no TensorBoard."""

    def __init__(self):
        self.updates, self.resets = [], 0

    def update(self, batch_id, global_step, grad=None, patch=None, estimator=None, x=None, y=None, targeted=False, **_):
        self.updates.append((batch_id, global_step, grad, estimator, x, y, targeted))

    def reset(self):
        self.resets += 1


# ------------------------------------------------------------------ data and classifiers


@pytest.fixture(autouse=True)
def _seeded():
    master_seed(1234, set_torch=True)


def split(x, y, classes, n_test):
    order = np.random.default_rng(0).permutation(len(x))
    x, y = x[order].astype(np.float32), to_categorical(y[order], classes).astype(np.float32)
    return x[n_test:], y[n_test:], x[:n_test], y[:n_test]


@pytest.fixture(scope="session")
def digits():
    from sklearn.datasets import load_digits

    data = load_digits()
    images = (data.images / 16).repeat(3, axis=1).repeat(3, axis=2)
    return split(np.pad(images, ((0, 0), (2, 2), (2, 2)))[:, None], data.target, 10, n_test=100)


@pytest.fixture(scope="session")
def iris():
    from sklearn.datasets import load_iris

    data = load_iris()
    x = (data.data - data.data.min(0)) / (data.data.max(0) - data.data.min(0))
    return split(x, data.target, 3, n_test=30)


def trained(build, data, epochs, seed):
    """ART's network with weights of our own instead of the recorded ones; its module."""
    torch.manual_seed(seed)
    np.random.seed(seed)
    classifier = build()
    x, y, x_test, y_test = data
    classifier.fit(x, y, batch_size=64, nb_epochs=epochs)
    hits = (classifier.predict(x_test).argmax(1) == y_test.argmax(1)).mean()
    assert hits > 0.8, f"the stand-in classifier should be right on most test data, got {hits:.2f}"
    return classifier.model


@pytest.fixture(scope="session")
def image_modules(digits):
    build = lambda: get_image_classifier_pt(from_logits=True, load_init=False)  # noqa: E731
    return [trained(build, digits, epochs=12, seed=seed) for seed in (1, 2)]


@pytest.fixture(scope="session")
def tabular_modules(iris):
    return [trained(lambda: get_tabular_classifier_pt(load_init=False), iris, epochs=40, seed=seed) for seed in (1, 2)]


def classifier(module, shape, classes, **settings):
    optimizer = torch.optim.Adam(module.parameters(), lr=0.001)
    loss = torch.nn.CrossEntropyLoss()
    return PyTorchClassifier(module, loss, shape, classes, optimizer=optimizer, clip_values=(0, 1), **settings)


class Shifted(torch.nn.Module):
    """A module that expects standardised input: (x - 0.1) / 0.5 undone, so that the weights stay of use."""

    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, x):
        return self.module(x * 0.5 + 0.1)


def on(path, modules, shape, classes):
    """The estimator of a road through the adapter."""
    first, second = modules
    match path:
        case "torch":
            return classifier(first, shape, classes)
        case "preprocessed":
            return classifier(Shifted(first), shape, classes, preprocessing=(0.1, 0.5))
        case "defended":
            return classifier(first, shape, classes, preprocessing_defences=Squeezing(bit_depth=4, clip_values=(0, 1)))
        case _:
            members = [classifier(torch.nn.Sequential(m, torch.nn.Softmax(1)), shape, classes) for m in (first, second)]
            return EnsembleClassifier(members, channels_first=True, clip_values=(0, 1))


class Bench:
    """What a check needs: an attack class, a road, the data and the estimators."""

    def __init__(self, attack, path, digits, iris, image_modules, tabular_modules):
        self.attack, self.path, self.iris = attack, path, iris
        x_train, y_train, x_test, y_test = digits
        self.images = x_train[:100], y_train[:100], x_test[:11], y_test[:11]
        self.image_modules, self.tabular_modules = image_modules, tabular_modules

    def on_images(self, **settings):
        return self.attack(on(self.path, self.image_modules, (1, 28, 28), 10), verbose=False, **settings)

    def on_tabular(self, **settings):
        return self.attack(on(self.path, self.tabular_modules, (4,), 3), verbose=False, **settings)

    def iris_as_the_helper_takes_it(self):
        x, y, x_test, y_test = self.iris
        return (x, y), (x_test, y_test)


# ------------------------------------------------------------------ the checks: ART's helpers first


def initialisation_changes_images(bench):
    host.backend_test_random_initialisation_images(bench.on_images(targeted=False), bench.images)


def untargeted_images(bench):
    host.back_end_untargeted_images(bench.on_images(targeted=False), bench.images, "pytorch")


def targeted_images(bench):
    attack = bench.on_images()
    attack.set_params(steps=30, batch_size=7)
    host.backend_targeted_images(attack, bench.images)


def masked_images(bench):
    host.backend_masked_images(bench.on_images(targeted=False), bench.images)


def defended_images(bench):
    host.backend_test_defended_images(bench.on_images(targeted=False, batch_size=128), bench.images)


def adverse_values_are_the_cores(bench):
    """The helper compares with recorded numbers; ours come from the core, called on the plain modules."""
    attack = bench.on_images(targeted=False, steps=5)
    _, _, x, _ = bench.images
    labels = torch.from_numpy(attack.estimator.predict(x).argmax(1))
    modules = bench.image_modules if bench.path == "ensemble" else bench.image_modules[:1]
    expected = core.EnsembleOptimization(targeted=False, steps=5)(modules, torch.from_numpy(x), labels).numpy()
    prediction = attack.estimator.predict(expected).argmax(1)
    values = {
        "x_test_mean": ExpectedValue(float(np.mean(expected - x)), 2),
        "x_test_min": ExpectedValue(float(np.min(expected - x)), 2),
        "x_test_max": ExpectedValue(float(np.max(expected - x)), 2),
        "y_test_pred_adv_expected": ExpectedValue(prediction, 2),
    }
    host.backend_check_adverse_values(attack, bench.images, values)


def untargeted_tabular(bench):
    host.backend_untargeted_tabular(bench.on_tabular(targeted=False), bench.iris_as_the_helper_takes_it(), clipped=True)


def targeted_tabular(bench):
    host.backend_targeted_tabular(bench.on_tabular(), bench.iris_as_the_helper_takes_it())


def estimator_types(bench):
    required = [BaseEstimator, LossGradientsMixin, ClassifierMixin]
    host.backend_test_classifier_type_check_fail(bench.attack, required)


# ------------------------------------------------------------------ in the style of ART's own test files


def check_params(bench):
    """As `test_check_params` of ART's attacks, by the constructor and by `set_params`."""
    wrong = {
        ValueError: [
            {"steps": -1},
            {"step_size": -1.0},
            {"eps": -1.0},
            {"norm": "l7"},
            {"fusion": "vote"},
            {"weights": (1.0, 1.0, 1.0)},
            {"targeted": "true"},
            {"balance": "true"},
            {"batch_size": -1},
            {"verbose": "False"},
            {"targeted": False, "targets": "least-likely:1"},
        ],
        TypeError: [{"steps": 1.5}, {"step_size": "1"}, {"eps": "1"}, {"batch_size": 1.0}, {"seed": 1.5}],
    }
    for error, cases in wrong.items():
        for settings in cases:
            with pytest.raises(error):
                bench.attack(on(bench.path, bench.image_modules, (1, 28, 28), 10), **settings)
            with pytest.raises(error):
                bench.on_images().set_params(**settings)
    with pytest.raises(ValueError, match="cannot be set"):
        bench.on_images().set_params(max_iter=3)


def summary_writer_is_told_each_step(bench):
    writer = Told()
    attack = bench.on_images(steps=3, targeted=False, summary_writer=writer)
    _, _, x, y = bench.images
    attack.generate(x, y)
    assert [update[1] for update in writer.updates[:3]] == [0, 1, 2]
    assert {update[1] for update in writer.updates} == {0, 1, 2}
    assert all(update[2].shape == update[4].shape and len(update[5]) == len(update[4]) for update in writer.updates)
    assert sum(len(update[4]) for update in writer.updates) == 3 * len(x)
    assert writer.resets == 1


def adversarial_trainer_takes_it(bench):
    attack = bench.on_images(steps=2, targeted=False)
    x, y, _, _ = bench.images
    trainer = AdversarialTrainer(attack.estimator, attack, ratio=0.5)
    trainer.fit(x, y, batch_size=50, nb_epochs=1)
    assert trainer._precomputed_adv_samples == [None], "taken for a transfer attack: crafted before training"


def adversarial_accuracy_takes_it(bench):
    attack = bench.on_images(targeted=False)
    _, _, x, y = bench.images
    assert adversarial_accuracy(attack.estimator, x, y, attack_crafter=attack) < 0.5


# ------------------------------------------------------------------ ours, and an attack that does nothing


@pytest.mark.parametrize(("check", "path"), CASES)
def test_ours(check, path, digits, iris, image_modules, tabular_modules):
    globals()[check](Bench(EnsembleOptimization, path, digits, iris, image_modules, tabular_modules))


@pytest.mark.parametrize(("check", "path"), CASES)
def test_idle(check, path, digits, iris, image_modules, tabular_modules):
    """The table's label is true: the check fails for an attack that does nothing, or is only about the contract."""
    bench = Bench(Idle, path, digits, iris, image_modules, tabular_modules)
    if CHECKS[check] == BITES:
        with pytest.raises(AssertionError):
            globals()[check](bench)
    else:
        globals()[check](bench)
