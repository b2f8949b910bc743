"""Borrow a model, give it back as found.

Inside `with borrow(model):` every module is in eval mode and every parameter is frozen. Afterwards, also when the
body raised, each module has its own former mode (a BatchNorm that was frozen inside a training model stays frozen),
each parameter its own `requires_grad`, and hooks that were added inside are gone. Gradients are safe because this
package takes them with `torch.autograd.grad` only, and randomness because it draws from generators of its own.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


@contextmanager
def borrow(*models: object) -> Iterator[None]:
    """Hold models in eval mode and frozen.

    What stands for a model by an attribute `original` (a prepared copy) holds that one; what is no `nn.Module` is left
    alone.
    """
    nets = [net for net in (getattr(model, "original", model) for model in models) if isinstance(net, nn.Module)]
    modules = [module for net in nets for module in net.modules()]
    modes = [module.training for module in modules]
    parameters = [parameter for net in nets for parameter in net.parameters()]
    wanted = [parameter.requires_grad for parameter in parameters]
    hooks = [{name: set(getattr(module, name)) for name in _HOOKS} for module in modules]
    try:
        for net in nets:
            net.eval()
        for parameter in parameters:
            parameter.requires_grad_(False)
        yield
    finally:
        for module, mode, before in zip(modules, modes, hooks, strict=True):
            module.training = mode
            for name, known in before.items():
                registered = getattr(module, name)
                for key in set(registered) - known:
                    del registered[key]
        for parameter, want in zip(parameters, wanted, strict=True):
            parameter.requires_grad_(want)
