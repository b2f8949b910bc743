"""Statistics over the batches of all processes: two of them find what one finds that has all rows."""

import pytest
import torch
import two_processes
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from interp_plugins.training import Coral, MarginLoss, MeanDifference, MultiKernelMMD
from interp_plugins.training.batches import gathered

LOSSES = [
    Coral(across_ranks=True),
    Coral(norm="frobenius", across_ranks=True),
    MeanDifference(across_ranks=True),
    MultiKernelMMD(across_ranks=True),
    MultiKernelMMD(estimator="unbiased", across_ranks=True),
]
SHARES = [((0, 4), (4, 8)), ((0, 1), (1, 8))]  # the rows of each rank: alike, and one row against seven


def network():
    """A small network in float64 with the same weights everywhere, and clean and attacked images for it."""
    generator = torch.Generator().manual_seed(0)
    layers = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 4)).double()
    for parameter in layers.parameters():
        nn.init.normal_(parameter, generator=generator)
    return layers, *torch.randn(2, 8, 3, generator=generator, dtype=torch.float64)


def trained(model, clean, adversarial, loss):
    """The loss and the gradients of all parameters."""
    model.zero_grad()
    representations = model(torch.cat([clean, adversarial]))
    value = loss(*representations.split([len(clean), len(adversarial)]))
    value.backward()
    return [value.detach(), *(parameter.grad.clone() for parameter in model.parameters())]


def _losses(rank):
    layers, clean, adversarial = network()
    model = DistributedDataParallel(layers)
    return [
        trained(model, clean[slice(*share[rank])], adversarial[slice(*share[rank])], loss)
        for loss in LOSSES
        for share in SHARES
    ]


@pytest.mark.slow
def test_two_processes_train_on_the_statistics_of_the_global_batch(tmp_path):
    layers, clean, adversarial = network()
    expected = [trained(layers, clean, adversarial, loss) for loss in LOSSES for _ in SHARES]
    for found in two_processes.run(_losses, tmp_path):
        torch.testing.assert_close(found, expected, atol=1e-12, rtol=1e-10)


def _centres(rank):
    _, rows, _ = network()
    loss, own = MarginLoss(4, 3, across_ranks=True).double(), slice(*SHARES[1][rank])
    loss.update(rows[own], (torch.arange(8) % 3)[own])
    return loss.centres


@pytest.mark.slow
def test_the_centres_of_two_processes_are_those_of_one(tmp_path):
    _, rows, _ = network()
    loss = MarginLoss(4, 3).double()
    loss.update(rows, torch.arange(8) % 3)
    first, second = two_processes.run(_centres, tmp_path)
    assert torch.equal(first, second)
    torch.testing.assert_close(first, loss.centres, atol=1e-12, rtol=0)


def _a_rank_without_rows(rank):
    rows = torch.arange(6.0).reshape(3, 2)[: 3 * rank].requires_grad_()
    joined = gathered(rows)
    (gradient,) = torch.autograd.grad((joined * (rank + 1)).sum(), rows)
    return [joined.detach(), gradient]


@pytest.mark.slow
def test_gradients_of_all_processes_are_summed_also_where_one_has_no_rows(tmp_path):
    rows = torch.arange(6.0).reshape(3, 2)
    none, all_rows = two_processes.run(_a_rank_without_rows, tmp_path)
    torch.testing.assert_close(none, [rows, torch.zeros(0, 2)])
    torch.testing.assert_close(all_rows, [rows, torch.full((3, 2), 3.0)])


def _too_few(rank):
    rows = torch.ones(1 - rank, 2)
    try:
        Coral(across_ranks=True)(rows, rows)
    except ValueError as error:
        return str(error)


@pytest.mark.slow
def test_too_few_rows_in_all_are_refused_by_every_process(tmp_path):
    for said in two_processes.run(_too_few, tmp_path):
        assert said.startswith("expected at least 2 clean and 2 adversarial representations, got 1 and 1")


def test_a_process_alone_keeps_its_own_rows():
    _, clean, adversarial = network()
    assert gathered(clean) is clean
    for loss in LOSSES:
        alone = type(loss)(**{**vars(loss), "across_ranks": False})
        assert torch.equal(loss(clean, adversarial), alone(clean, adversarial))
