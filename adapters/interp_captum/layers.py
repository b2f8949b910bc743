"""A layer as Captum's users name it, a module of the model, or by its dotted name; and several of them."""

from collections.abc import Sequence

from torch import nn

Layer = nn.Module | str


def is_one(layer: Layer | Sequence[Layer]) -> bool:
    """Whether one layer was given and not a list; one layer gives one result."""
    return isinstance(layer, nn.Module | str)


def names_of(model: nn.Module, layer: Layer | Sequence[Layer]) -> tuple[str, ...]:
    """The dotted names of one layer or of several.

    Args:
        model: The network.
        layer: A module of it, a name as in `named_modules()`, or a list of them.

    Raises:
        ValueError: A module is not in the model, or the list is empty.
    """
    known = {module: name for name, module in model.named_modules()}
    layers = [layer] if isinstance(layer, nn.Module | str) else list(layer)
    if not layers:
        raise ValueError("expected at least one layer, got an empty list")
    for each in layers:
        if isinstance(each, nn.Module) and each not in known:
            raise ValueError(f"expected a layer that is part of the model, got a {type(each).__name__} that is not")
    return tuple(known[each] if isinstance(each, nn.Module) else each for each in layers)
