"""Two processes train as one that has the global batch, and go on, stop and count together."""

import pytest
import torch
import two_processes
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, Subset
from trained_world import ATTACK, TERM, images, loader, network, optimiser

from interp_plugins.errors import LossNotFinite
from interp_plugins.foundation.distributed import Place
from interp_plugins.store.checkpoints import CheckpointFolder
from interp_plugins.training import Coral, MarginLoss, Term, Trainer

pytestmark = pytest.mark.slow

CORAL = Term(name="coral", layer="3", loss=Coral(across_ranks=True), weight=1.0, shape="pooled")


def batches(rank: int, world: int) -> list:
    """A rank's share of each of three batches of eight."""
    pictures, labels = images(24).tensors
    return [
        (x.chunk(world)[rank], y.chunk(world)[rank]) for x, y in zip(pictures.split(8), labels.split(8), strict=True)
    ]


def plain(report) -> list:
    return [
        *report.losses.values(),
        report.images,
        report.clean.correct,
        report.clean.images,
        report.adversarial.correct,
    ]


def trained(rank: int = 0, world: int = 1) -> list:
    """Weights, centres and reports of a network in float64 whose BatchNorm is frozen."""
    inner = network().double().eval()
    model = DistributedDataParallel(inner) if world > 1 else inner
    held_out = DataLoader(Subset(images(7, 1), Place(rank=rank, world=world).share(7)), 2)
    centres = MarginLoss(4, 4, across_ranks=True).double()
    margin = Term(name="margin", loss=centres, weight=0.3, labelled=True)
    trainer = Trainer(epochs=3, terms=(TERM, CORAL, margin))
    found = trainer(model, optimiser(model), batches(rank, world), attack=ATTACK, held_out=held_out)
    return [[plain(report) for report in found], [*inner.state_dict().values(), centres.centres]]


def _trained(rank: int) -> list:
    return trained(rank, 2)


def test_two_processes_train_as_one_with_the_global_batch(tmp_path):
    reports, weights = trained()
    for found_reports, found_weights in two_processes.run(_trained, tmp_path):
        assert [row[-4:] for row in found_reports] == [row[-4:] for row in reports]
        for found, expected in zip(found_reports, reports, strict=True):
            assert found == pytest.approx(expected, rel=1e-10)
        torch.testing.assert_close(found_weights, weights, atol=1e-10, rtol=0)


def _kept(rank: int, folder: str) -> list:
    """A network with dropout and BatchNorm at once, and in two parts."""

    def run(epochs: int, name: str) -> list:
        torch.manual_seed(rank)
        model = DistributedDataParallel(network())
        trainer, checkpoints = Trainer(epochs=epochs), CheckpointFolder(f"{folder}/{name}")
        given = {"attack": ATTACK, "checkpoints": checkpoints, "resume": True}
        list(trainer(model, optimiser(model), batches(rank, 2), **given))
        return list(model.module.state_dict().values())

    return [run(3, "straight"), run(1, "parted") and run(3, "parted")]


def test_two_processes_go_on_to_the_same_bits(tmp_path):
    for straight, parted in two_processes.run(_kept, tmp_path, str(tmp_path)):
        assert all(map(torch.equal, straight, parted))


def _refused(rank: int) -> list[str]:
    said = []
    model = DistributedDataParallel(network())

    def spoiled(clean, adversarial):
        return (clean - adversarial).square().mean() * (float("nan") if rank == 1 else 1)

    term = Term(name="spoiled", layer="3", loss=spoiled, weight=1.0)
    for trainer, given in ((Trainer(terms=(term,)), batches(rank, 2)), (Trainer(), loader(8 * (rank + 1)))):
        try:
            list(trainer(model, optimiser(model), given, attack=ATTACK))
        except (LossNotFinite, ValueError) as error:
            said.append(str(error))
    return said


def test_what_one_process_refuses_all_refuse(tmp_path):
    for not_finite, unequal in two_processes.run(_refused, tmp_path):
        assert "got nan in the term 'spoiled' at step 1" in not_finite
        assert "expected as many batches in each process, got 1 in one and 2 in another" in unequal
