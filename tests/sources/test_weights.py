"""The digest of a network's weights: the same for the same weights, another for any other."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import nn

from interp_plugins.sources.models import Preprocessed
from interp_plugins.sources.weights import digest


def network() -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 2))
    for parameter in net.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator)
    return Preprocessed(net, mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2))


def test_equal_networks_have_equal_digests() -> None:
    assert digest(network()) == digest(network())


def test_mode_memory_format_and_requires_grad_do_not_enter() -> None:
    net = network()
    before = digest(net)
    net = net.eval().requires_grad_(False).to(memory_format=torch.channels_last)
    assert digest(net) == before


def a_bit(net: nn.Module) -> None:
    net.get_parameter("net.0.weight").data.view(torch.int32)[0, 0, 0, 0] ^= 1


def a_running_mean(net: nn.Module) -> None:
    net.get_buffer("net.1.running_mean")[2] += 1


def a_normalisation(net: nn.Module) -> None:
    net.get_buffer("mean")[0] = 0.25


def a_dtype(net: nn.Module) -> None:
    net.double()


def a_shape(net: nn.Module) -> None:
    weight = net.get_parameter("net.3.weight")
    weight.data = weight.data.view(8, 4)


def a_name(net: nn.Module) -> None:
    net.register_module("other", net.get_submodule("net"))
    net.register_module("net", nn.Identity())


@pytest.mark.parametrize("change", [a_bit, a_running_mean, a_normalisation, a_dtype, a_shape, a_name])
def test_any_change_of_the_weights_changes_the_digest(change: Callable[[nn.Module], None]) -> None:
    net = network()
    other = copy.deepcopy(net)
    change(other)
    assert digest(other) != digest(net)


def test_scalars_and_whole_numbers_and_half_precision_are_digested() -> None:
    net = nn.BatchNorm1d(2).bfloat16()  # num_batches_tracked is a scalar int64
    assert len(digest(net)) == 64
