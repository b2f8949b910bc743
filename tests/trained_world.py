"""A network, images and a run small enough to train in a test."""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from interp_plugins.attacks import FGSM
from interp_plugins.testing import toy_classifier
from interp_plugins.training import ConsistentLoss, Mixed, Term, Trainer

ATTACK = FGSM(epsilon=8 / 255)
TERM = Term(name="consistent", layer="3", loss=ConsistentLoss(), weight=0.1)
CLEAN = Mixed(alpha=1)


def images(count: int = 24, seed: int = 0) -> TensorDataset:
    """Images of four classes, each of which is bright in a corner of its own."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 4
    pixels = torch.rand(count, 3, 8, 8, generator=generator) * 0.5
    for image, label in zip(pixels, labels.tolist(), strict=True):
        image[:, 4 * (label // 2) :, 4 * (label % 2) :][:, :4, :4] += 0.4
    return TensorDataset(pixels, labels)


def loader(count: int = 24, seed: int = 0, **settings: object) -> DataLoader:
    return DataLoader(images(count, seed), **{"batch_size": 8, "shuffle": True, **settings})


def network() -> nn.Module:
    """A toy network in training mode."""
    return toy_classifier(classes=4).train()


def optimiser(model: nn.Module, rate: float = 0.05) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9)


def reports(model: nn.Module, trainer: Trainer, batches: object = None, **given: object) -> list:
    """The reports of a whole run from a fixed random state."""
    torch.manual_seed(0)
    given = {"attack": ATTACK, **given}
    return list(trainer(model, given.pop("optimizer", None) or optimiser(model), batches or loader(), **given))
