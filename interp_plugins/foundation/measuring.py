"""What every measurement of a network's units begins with: images, which layers there are, a copy to measure with."""

import copy
from contextlib import ExitStack
from functools import partial

import torch
from jaxtyping import Float, Num
from torch import Tensor, nn

from interp_plugins.foundation.borrow import borrow
from interp_plugins.foundation.copies import CONVOLUTIONS


def levels(images: Num[Tensor, "*n c h w"], device: torch.device) -> Num[Tensor, "*n c h w"]:
    """Images on a device; grey levels (uint8) become float in [0, 1], others stay what they are."""
    images = images.to(device)
    return images.float() / 255 if images.dtype == torch.uint8 else images


def conv_layers(model: nn.Module) -> list[str]:
    """The names of a model's convolutions, in its own order: what "auto" stands for.

    Raises:
        ValueError: There is none.
    """
    names = [name for name, module in model.named_modules() if isinstance(module, CONVOLUTIONS)]
    if not names:
        raise ValueError("expected a model with convolutions, got none; name its layers, as in named_modules()")
    return names


def for_measuring(model: nn.Module, images: Float[Tensor, "n c h w"]) -> nn.Module:
    """A copy with the same weights to measure with: in eval mode, frozen, and on a CPU in the quicker memory format.

    Scores differ from the model's own in their last bits. A model that cannot be copied comes back itself, and one that
    does not run in that format, such as one that flattens its maps by `view`, in its own format.

    Args:
        model: The network.
        images: Some to try it on; one is used.
    """
    try:
        network = copy.deepcopy(model).eval().requires_grad_(False)
    except Exception:  # a stranger may refuse to be copied in any way
        return model
    if images.device.type != "cpu":
        return network
    try:
        with torch.no_grad():
            network.to(memory_format=torch.channels_last)(images[:1])
    except Exception:  # or to be run in another format; what is wrong with images or model, measuring will say
        network.to(memory_format=torch.contiguous_format)
    return network


def last_map(model: nn.Module, image: Float[Tensor, "1 c h w"]) -> str:
    """The name of the outermost module that puts out the last maps, those with more places than one.

    Of a residual network this is its last stage, after the activation: what Dong et al. (arXiv 1708.05493) may have
    called the last convolutional layer.

    Raises:
        ValueError: No module puts out maps.
    """
    found: list[str] = []

    def look(name: str, _module: nn.Module, _inputs: object, output: object) -> None:
        if isinstance(output, Tensor) and output.ndim == 4 and output[0, 0].numel() > 1:
            found.append(name)

    with borrow(model), torch.no_grad(), ExitStack() as hooks:
        for name, module in model.named_modules():
            hooks.enter_context(module.register_forward_hook(partial(look, name)))
        model(image)
    if not found or not found[-1]:
        raise ValueError("expected a model with a layer that puts out maps, got none; name the layer")
    return found[-1]
