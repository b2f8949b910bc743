"""Wrong settings of our trainers are refused in a sentence, and the flow of ART's own example takes ours."""

import textwrap
import warnings
from functools import cache

import numpy as np
import pytest
import torch
from art.attacks.evasion import FastGradientMethod, ProjectedGradientDescent
from art.defences.preprocessor import FeatureSqueezing
from art.defences.preprocessor.cutout.cutout_pytorch import CutoutPyTorch
from art.estimators.classification import BlackBoxClassifier, PyTorchClassifier
from art_world import Net, arrays, classifier, ensemble
from torch import nn
from toys import CLASSES

from interp_art import ConsistentLossTrainer, DomainAdaptationTrainer, EnsembleAdversarialTraining

KINDS = [ConsistentLossTrainer, DomainAdaptationTrainer]
LABELS = np.arange(6) % CLASSES


def fit(trainer, x=None, y=LABELS, **settings):
    trainer.fit(arrays() if x is None else x, y, **({"batch_size": 3, "nb_epochs": 1} | settings))


# ------------------------------------------------------------------ settings


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("settings", "error", "sentence"),
    [
        ({"layer": "third"}, ValueError, "a layer of the network, got 'third'; it has first, norm, second, drop, head"),
        ({"beta": 0.0}, ValueError, "above 0, got 0.0"),
        ({"alpha": 1.5}, ValueError, "expected alpha from 0"),
        ({"shape": "round"}, ValueError, "expected shape to be one of"),
        ({"eps": 0.0}, ValueError, "expected epsilon"),
        ({"schedule": "batch"}, ValueError, "expected schedule to be one of"),
        ({"precision": "fp64"}, ValueError, "expected precision to be one of"),
        ({"clip_norm": -1.0}, ValueError, "expected clip_norm above 0"),
        ({"verbose": "yes"}, ValueError, "`verbose` has to be of type bool"),
        ({"attack": "layer4"}, TypeError, "attack of the core or None, got 'layer4'; a layer is named by layer="),
        ({"attack": lambda *words: words[1], "eps": 0.1}, ValueError, "eps without an attack, got 0.1 beside one"),
    ],
)
def test_wrong_settings_are_refused(kind, settings, error, sentence, unchecked):
    with pytest.raises(error, match=sentence):
        kind(classifier(Net(0)), **settings)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"distance": "far"}, "expected distance to be one of"),
        ({"reduction": "max"}, "expected reduction to be one of"),
        ({"detach": "both"}, "expected detach to be one of"),
    ],
)
def test_wrong_settings_of_the_consistent_loss_are_refused(settings, sentence, unchecked):
    with pytest.raises(ValueError, match=sentence):
        ConsistentLossTrainer(classifier(Net(0)), **settings)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"coral": "l2"}, "expected norm to be one of"),
        ({"covariance": "none"}, "expected covariance to be one of"),
        ({"mmd": "median"}, "expected mmd to be one of"),
        ({"coral": None, "mmd": None}, "expected coral or mmd, got neither"),
    ],
)
def test_wrong_settings_of_the_domains_are_refused(settings, sentence, unchecked):
    with pytest.raises(ValueError, match=sentence):
        DomainAdaptationTrainer(classifier(Net(0)), **settings)


@pytest.mark.parametrize("kind", [FastGradientMethod, ProjectedGradientDescent])
def test_a_targeted_attack_without_targets_is_refused(kind):
    estimator = classifier(Net(0))
    with pytest.raises(ValueError, match="expected an attack that needs no targets, got a targeted one"):
        ConsistentLossTrainer(estimator, kind(estimator, targeted=True))


# ------------------------------------------------------------------ classifiers


@pytest.mark.parametrize("kind", KINDS)
def test_classifiers_of_other_frameworks_are_refused(kind):
    black_box = BlackBoxClassifier(lambda x: np.eye(CLASSES)[np.zeros(len(x), int)], (3, 8, 8), CLASSES)
    with pytest.raises(TypeError, match="expected a PyTorchClassifier, got BlackBoxClassifier"):
        kind(black_box)
    with pytest.raises(TypeError, match="expected a PyTorchClassifier, got EnsembleClassifier"):
        kind(ensemble([classifier(Net(0))]))


def test_members_of_other_frameworks_are_refused():
    with pytest.raises(TypeError, match="expected PyTorchClassifier members, got Net"):
        EnsembleAdversarialTraining(classifier(Net(0)), [Net(1)])


def test_a_classifier_without_clip_values_is_refused():
    with pytest.raises(ValueError, match="expected an estimator with clip_values, got None"):
        ConsistentLossTrainer(classifier(Net(0), clip_values=None))


def test_a_classifier_without_an_optimizer_is_refused_when_it_is_trained():
    estimator = PyTorchClassifier(Net(0), nn.CrossEntropyLoss(), (3, 8, 8), CLASSES, clip_values=(0, 1))
    with pytest.raises(ValueError, match="expected a classifier with an optimizer, got None"):
        fit(ConsistentLossTrainer(estimator, verbose=False))


@pytest.mark.parametrize(
    "loss",
    [
        nn.MultiMarginLoss(),
        nn.CrossEntropyLoss(label_smoothing=0.1),
        nn.CrossEntropyLoss(reduction="sum"),
        nn.CrossEntropyLoss(weight=torch.ones(CLASSES)),
    ],
    ids=["margin", "smoothing", "sum", "weight"],
)
def test_another_loss_is_refused_because_it_would_not_be_the_one_that_trains(loss):
    estimator = PyTorchClassifier(Net(0), loss, (3, 8, 8), CLASSES, clip_values=(0, 1))
    with pytest.raises(ValueError, match=r"expected a classifier with nn.CrossEntropyLoss\(\), .* give the classifier"):
        ConsistentLossTrainer(estimator)


def test_a_defence_in_numpy_is_refused():
    defended = classifier(Net(0), preprocessing_defences=FeatureSqueezing((0, 1), bit_depth=4, apply_fit=True))
    with pytest.raises(TypeError, match="expected a classifier that torch can train, got a defence in numpy"):
        fit(ConsistentLossTrainer(defended, verbose=False))


def test_preprocessing_for_training_alone_is_refused():
    cut = classifier(Net(0), preprocessing_defences=CutoutPyTorch(2, channels_first=True, apply_predict=False))
    with pytest.raises(ValueError, match="for training and prediction alike, got CutoutPyTorch for one of them"):
        ConsistentLossTrainer(cut)


# ------------------------------------------------------------------ data


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("data", "error", "sentence"),
    [
        ({"x": arrays() * 255}, ValueError, r"inside the estimator's clip_values \(0, 1\), got values from"),
        ({"x": arrays()[:, :2]}, ValueError, r"expected x of shape \(n, 3, 8, 8\)"),
        ({"x": arrays()[:0], "y": LABELS[:0]}, ValueError, "with n above 0"),
        ({"x": torch.from_numpy(arrays())}, TypeError, "expected x as a numpy array, got Tensor"),
        ({"y": LABELS[:5]}, ValueError, r"expected y of shape \(6,\) or \(6, 12\), got \(5,\)"),
        ({"y": LABELS + CLASSES}, ValueError, "expected labels from 0 to 11, got"),
        ({"batch_size": 0}, ValueError, "expected a batch_size above 0, got 0"),
        ({"nb_epochs": 0}, ValueError, "expected epochs above 0, got 0"),
        ({"validation_data": (arrays() * 2, LABELS)}, ValueError, "inside the estimator's clip_values"),
    ],
)
def test_data_that_do_not_fit_are_refused(kind, data, error, sentence):
    with pytest.raises(error, match=sentence):
        fit(kind(classifier(Net(0)), verbose=False), **data)


def test_one_image_alone_has_no_covariance():
    with pytest.raises(ValueError, match="expected at least 2 clean and 2 adversarial representations, got 1 and 1"):
        fit(DomainAdaptationTrainer(classifier(Net(0)), verbose=False), arrays(1), LABELS[:1])


# ------------------------------------------------------------------ the host's example

HOST = "from art.defences.trainer import AdversarialTrainerTRADESPyTorch"
OURS = {kind.__name__: f"from interp_art import {kind.__name__} as AdversarialTrainerTRADESPyTorch" for kind in KINDS}
FLOW = textwrap.dedent(
    """
    import numpy as np
    import torch
    from art.attacks.evasion import ProjectedGradientDescent
    from art.data_generators import PyTorchDataGenerator
    from art.estimators.classification import PyTorchClassifier
    from torch import nn
    from torch.utils.data import DataLoader, TensorDataset

    {the_import}

    torch.manual_seed(0)
    np.random.seed(0)
    y = np.arange(96) % 4
    noise = np.random.default_rng(0).random((96, 1, 12, 12), dtype=np.float32)
    x = (0.3 * noise + 0.7 * (y / 3)[:, None, None, None]).astype(np.float32)
    model = Pair()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones=[15], gamma=0.1)
    classifier = PyTorchClassifier(
        model=model, clip_values=(0, 1), loss=nn.CrossEntropyLoss(), optimizer=optimizer, input_shape=(1, 12, 12),
        nb_classes=4, device_type="cpu",
    )
    attack = ProjectedGradientDescent(
        classifier, norm=np.inf, eps=0.03, eps_step=0.02, max_iter=2, targeted=False, batch_size=32, verbose=False
    )
    trainer = AdversarialTrainerTRADESPyTorch(classifier, attack, beta=0.5)
    loader = DataLoader(TensorDataset(torch.from_numpy(x), torch.from_numpy(y)), batch_size=32, shuffle=True)
    generator = PyTorchDataGenerator(iterator=loader, size=len(x), batch_size=32)
    before = float((classifier.predict(x).argmax(1) == y).mean())
    trainer.fit_generator(generator, nb_epochs=20{scheduler})
    trainer.fit(x, y, validation_data=(x, y), batch_size=32, nb_epochs=2)
    clean = float((trainer.predict(x).argmax(1) == y).mean())
    attacked = float((trainer.predict(attack.generate(x, y=y)).argmax(1) == y).mean())
    """
)


class Pair(nn.Module):
    """The network of the flow."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 8, 5), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(2))
        self.head = nn.Linear(32, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(x).flatten(1))


@cache
def flow(the_import: str, scheduler: bool) -> dict:
    names = {"Pair": Pair}
    code = FLOW.format(the_import=the_import, scheduler=", scheduler=scheduler" if scheduler else "")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the host
        exec(code, names)  # noqa: S102 - the flow itself is what is tested
    return names


@pytest.mark.parametrize("kind", OURS)
def test_arts_flow_works_with_our_trainer_by_changing_one_import(kind):
    host, ours = flow(HOST, scheduler=False), flow(OURS[kind], scheduler=False)
    assert type(ours["trainer"]).__name__ == kind
    for names in (host, ours):
        assert names["before"] < 0.5
        assert names["clean"] > 0.9
        assert names["attacked"] > 0.8


def test_ours_takes_the_scheduler_of_arts_flow_which_arts_own_refuses():
    with pytest.raises(ValueError, match="Invalid Pytorch scheduler"):
        flow(HOST, scheduler=True)
    names = flow(OURS["ConsistentLossTrainer"], scheduler=True)
    assert names["scheduler"].last_epoch == 20
    assert names["clean"] > 0.9
