"""An adaptation layer: a linear layer in the network's path, before its classifier, for the losses between domains.

    before:  ... -> features -> fc -> logits
    after:   ... -> features -> fc.0 (d x d, the identity at first) -> fc.1 (what fc was) -> logits

Xie introduces "an adaptation layer into the network", with the domain adaptation loss on the last feature layer; its
size and start are not published. Ours is as wide as what comes in, and starts as the identity, so that a trained
network is the same function as before. Being a layer of the network, it is trained, averaged and kept with it, also by
several processes.
"""

from torch import nn
from torch.nn.parallel import DistributedDataParallel

from interp_plugins.foundation.record import record


def insert_adaptation(model: nn.Module, before: str) -> str:
    """Put an adaptation layer in front of a linear layer of a network, in place.

    Args:
        model: The network, not yet in DistributedDataParallel; its optimiser has to be made afterwards.
        before: The dotted name of the linear layer, as in `named_modules()`; mostly the last one.

    Returns:
        The name of the new layer, for a term. The linear layer is one name deeper than it was, also in a state dict.

    Raises:
        TypeError: The layer is not linear.
        ValueError: There is no such layer, or the network is in DistributedDataParallel.

    Example:
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
        >>> insert_adaptation(model, "1")
        '1.0'
        >>> model[1][0].weight.shape
        torch.Size([12, 12])
    """
    if isinstance(model, DistributedDataParallel):
        raise ValueError(
            "expected a network that is not yet in DistributedDataParallel, got one that is; wrap it afterwards"
        )
    with record(model, [before]):
        pass  # a layer that does not exist is told
    linear = model.get_submodule(before)
    if not isinstance(linear, nn.Linear):
        raise TypeError(f"expected {before!r} to be a Linear layer, got {type(linear).__name__}; name the classifier")
    parent, _, name = before.rpartition(".")
    if name == "":
        raise ValueError("expected the name of a layer within the network, got ''")
    width, like = linear.in_features, linear.weight
    layer = nn.Linear(width, width, device=like.device, dtype=like.dtype).train(linear.training)
    nn.init.eye_(layer.weight)
    nn.init.zeros_(layer.bias)
    setattr(model.get_submodule(parent), name, nn.Sequential(layer, linear).train(linear.training))
    return f"{before}.0"
