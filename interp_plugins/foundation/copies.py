"""How a network's copy is made quicker to search with: found by running it once, and repeated without.

A network in training is attacked again and again with other weights. What can be done to its copy depends on its layers
alone, so a plan says it by their names.
"""

import copy
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from interp_plugins.foundation.convolution import HOOKS, quicker, replace

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
NORMALISATIONS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is done to a copy.

    Args:
        memory_format: Of its weights, and of the images it is called with.
        folded: Names of convolutions, each with that of the BatchNorm that goes into it.
        quick: Names of convolutions, each with what takes its place.
    """

    memory_format: torch.memory_format = torch.contiguous_format
    folded: tuple[tuple[str, str], ...] = ()
    quick: Mapping[str, type[nn.Module]] = field(default_factory=dict)

    def copy_of(self, model: nn.Module) -> nn.Module:
        """A frozen copy, in eval mode, with the weights that the model has now."""
        network = copy.deepcopy(model).eval().requires_grad_(False)
        for convolution, norm in self.folded:
            fold(network.get_submodule(convolution), network.get_submodule(norm))
            network.set_submodule(norm, nn.Identity())
        replace(network, self.quick)
        return network.to(memory_format=self.memory_format)


def find(
    model: nn.Module,
    noise: Float[Tensor, "n c h w"],
    *,
    memory_format: torch.memory_format,
    folding: bool = False,
    quickening: bool = False,
) -> Plan:
    """Look for what can be done to a copy; whether it is still the same function is for the caller to try.

    Args:
        model: In eval mode.
        noise: Images to run it on.
        memory_format: Of the copy.
        folding: Look for BatchNorms to fold.
        quickening: Look for convolutions with a faster form.
    """
    plan = Plan(memory_format=memory_format, folded=pairs(model, noise) if folding else ())
    if not quickening:
        return plan
    return Plan(memory_format=memory_format, folded=plan.folded, quick=quicker(plan.copy_of(model), noise))


def structure(model: nn.Module) -> tuple[tuple[str, type[nn.Module], int], ...]:
    """What a plan depends on: the layers by name, of which type, and with how many hooks."""
    return tuple(
        (name, type(module), sum(len(getattr(module, hooks)) for hooks in HOOKS))
        for name, module in model.named_modules()
    )


def pairs(model: nn.Module, noise: Float[Tensor, "n c h w"]) -> tuple[tuple[str, str], ...]:
    """The names of convolutions, each with that of the BatchNorm which takes all that it puts out.

    They are found by running the network: a convolution that ran once, and a BatchNorm that ran once on the very tensor
    the convolution put out. That needs no tracing, so any control flow is fine; a convolution whose output was used
    elsewhere as well is caught by comparing the copy.
    """
    runs: dict[nn.Module, int] = {}
    made: dict[int, tuple[Tensor, nn.Module]] = {}
    found: dict[nn.Module, nn.Module] = {}

    def note(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        runs[module] = runs.get(module, 0) + 1
        if isinstance(module, CONVOLUTIONS):
            made[id(output)] = (output, module)  # the tensor is kept so that its id stays its own
        elif id(inputs[0]) in made:
            found[module] = made[id(inputs[0])][1]

    network = copy.deepcopy(model).eval()  # so that the model's own layers are not touched
    names = {module: name for name, module in network.named_modules()}
    with ExitStack() as hooks, torch.no_grad():  # a layer that kept `note`, which keeps the layer, would stay in memory
        for module in names:
            if isinstance(module, CONVOLUTIONS + NORMALISATIONS):
                hooks.enter_context(module.register_forward_hook(note))
        network(noise)
    return tuple(
        (names[convolution], names[norm])
        for norm, convolution in found.items()
        if runs[norm] == runs[convolution] == 1 and norm.running_var is not None
    )


def fold(convolution: Any, norm: Any) -> None:
    """Give a convolution the weights and the bias that make the BatchNorm after it needless, in place."""
    weight, bias = fuse_conv_bn_weights(
        convolution.weight, convolution.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
    )
    convolution.weight = nn.Parameter(weight.detach(), requires_grad=False)
    convolution.bias = nn.Parameter(bias.detach(), requires_grad=False)
