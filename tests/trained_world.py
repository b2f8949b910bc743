"""A network, images and a run small enough to train in a test."""

from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from interp_plugins.attacks import FGSM
from interp_plugins.store.checkpoints import CheckpointFolder
from interp_plugins.testing import toy_classifier
from interp_plugins.training import ConsistentLoss, Mixed, Term, Trainer, WeightAverages
from interp_plugins.training.snapshots import unpack

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


class Noisy(TensorDataset):
    """Images with a noise of their own at each look.

    It is torch's: the suite's checks of types draw from Python's, and so change it between an epoch and the next.
    """

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        pixels, label = super().__getitem__(index)
        return (pixels + 0.05 * torch.rand(())).clamp(0, 1), label


def kept(folder: Path, *, epochs: int = 4, save_every: int | None = 1, **settings: object) -> tuple[nn.Module, list]:
    """A run with dropout, momentum, a schedule and noise, resumed where there is a checkpoint.

    Returns:
        The network and the reports; its averages are judged, so that the reports tell of them too.
    """
    torch.manual_seed(3)
    model = network()
    optimizer = optimiser(model)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=16)
    averages = WeightAverages(model, decay=0.9)
    trainer = Trainer(epochs=epochs, terms=(TERM,), schedule="step", save_every=save_every, **settings)
    run = trainer(
        model,
        optimizer,
        DataLoader(Noisy(*images(32).tensors), batch_size=8, shuffle=True),
        attack=ATTACK,
        scheduler=scheduler,
        held_out=loader(8, 1),
        averages=averages,
        checkpoints=CheckpointFolder(folder),
        resume=True,
    )
    return model, list(run)


def steps(folder: Path) -> int:
    """Steps that the last checkpoint has seen."""
    found = CheckpointFolder(folder).read("last")
    return unpack(found.plain["progress"], found.tensors)["steps"] if found is not None else 0
