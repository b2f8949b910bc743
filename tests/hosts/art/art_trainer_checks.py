"""ART's own trainer tests on our classes, run in a process of its own whose `tests` is ART's (see art_checks.py).

The functions of its test of TRADES are called as they stand in ART's source distribution. They insist on an accuracy of
0.32 before training, which is that of a recorded network on recorded images. Here the network has seen a little of
scikit-learn's digits, and the hundred test images are chosen so that it reads 32 of them.
"""

import copy
import warnings

import numpy as np
import pytest
import torch
from art.attacks.evasion import ProjectedGradientDescent
from art.data_generators import PyTorchDataGenerator
from art_checks import _seeded, classifier, digits  # noqa: F401 - fixtures among them
from art_table import LABEL_FORMATS, TRAINER_CHECKS, TRAINERS
from torch.utils.data import DataLoader, TensorDataset

from interp_art import ConsistentLossTrainer, DomainAdaptationTrainer, EnsembleAdversarialTraining

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of marks that ART registers in its own conftest
    from tests.defences.trainer import test_adversarial_trainer_trades_pytorch as host
    from tests.utils import get_image_classifier_pt

SHAPE, CLASSES = (1, 28, 28), 10


def around(module):
    estimator = classifier(module, SHAPE, CLASSES)
    estimator.optimizer.param_groups[0]["lr"] = 0.01  # five steps have to show
    return estimator


@pytest.fixture(scope="session")
def begun(digits):  # noqa: F811
    """A network that reads some digits, and a hundred of which it reads 32."""
    x, y, *_ = digits
    torch.manual_seed(1)
    np.random.seed(1)
    estimator = around(get_image_classifier_pt(from_logits=True, load_init=False).model)
    estimator.fit(x[100:400], y[100:400], batch_size=64, nb_epochs=2)
    others, labels = x[400:], y[400:]
    right = estimator.predict(others).argmax(1) == labels.argmax(1)
    chosen = np.concatenate([np.flatnonzero(right)[:32], np.flatnonzero(~right)[:68]])
    assert len(chosen) == 100, f"the network should read some digits and not others, got {right.mean():.2f}"
    return estimator.model, others[chosen], labels[chosen]


def pgd(estimator):
    return ProjectedGradientDescent(
        estimator, norm=np.inf, eps=0.3, eps_step=0.03, max_iter=5, num_random_init=1, batch_size=128, verbose=False
    )


def build(kind, module):
    """A trainer of ours where the test has TRADES."""
    estimator = around(copy.deepcopy(module))
    match kind:
        case "consistent":
            return ConsistentLossTrainer(estimator, pgd(estimator), verbose=False)
        case "domain":
            return DomainAdaptationTrainer(estimator, pgd(estimator), verbose=False)
        case _:
            static = around(copy.deepcopy(module))
            attacks = [pgd(estimator), pgd(static)]
            return EnsembleAdversarialTraining(estimator, [static], attacks, verbose=False)


def idle(trainer):
    """The same trainer, which does not train."""
    trainer.fit = trainer.fit_generator = lambda *words, **settings: None
    return trainer


def run(check, get_trainer, label_format, begun, digits):  # noqa: F811
    x, y, *_ = digits
    _, x_test, y_test = begun

    def generator():
        loader = DataLoader(TensorDataset(torch.from_numpy(x[:100]), torch.from_numpy(y[:100])), 50, shuffle=True)
        return PyTorchDataGenerator(loader, size=100, batch_size=50)

    data = x[:100].copy(), y[:100].copy(), x_test.copy(), y_test.copy()
    if check == "fit":
        host.test_adversarial_trainer_trades_pytorch_fit_and_predict(get_trainer, data, label_format)
    else:
        host.test_adversarial_trainer_trades_pytorch_fit_generator_and_predict(
            get_trainer, data, generator, label_format
        )


@pytest.mark.parametrize("label_format", LABEL_FORMATS)
@pytest.mark.parametrize("check", TRAINER_CHECKS)
@pytest.mark.parametrize("kind", TRAINERS)
def test_trainer(kind, check, label_format, begun, digits):  # noqa: F811
    run(check, lambda: build(kind, begun[0]), label_format, begun, digits)


@pytest.mark.parametrize("label_format", LABEL_FORMATS)
@pytest.mark.parametrize("check", TRAINER_CHECKS)
@pytest.mark.parametrize("kind", TRAINERS)
def test_idle_trainer(kind, check, label_format, begun, digits):  # noqa: F811
    with pytest.raises(AssertionError):
        run(check, lambda: idle(build(kind, begun[0])), label_format, begun, digits)
