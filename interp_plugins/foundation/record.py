"""Record what named layers put out, as a context manager.

    with record(model, ["layer4", "fc"]) as outputs:
        model(images)
    outputs["layer4"]                     # (n, u, h, w)

The recorded tensor is a copy where an in-place activation may follow, so it is what the layer put out and not what a
later `ReLU(inplace=True)` made of it. Layers are named as in `model.named_modules()`.
"""

import difflib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

from torch import Tensor, nn

from interp_plugins.errors import LayerNotReached


class Outputs(dict[str, Tensor]):
    """The outputs by layer name; asking for a layer that did not run says which did."""

    def __missing__(self, layer: str) -> Tensor:
        ran = ", ".join(self) or "none"
        raise LayerNotReached(f"layer {layer!r} did not run; layers that did: {ran}")


@contextmanager
def record(
    model: nn.Module, layers: Sequence[str], reduce: Callable[[Tensor], Tensor] = Tensor.clone
) -> Iterator[Outputs]:
    """Keep the latest output of each of `layers` while the body runs the model.

    Args:
        model: The network; its hooks are as before when the block ends.
        layers: Dotted names, as in `named_modules()`.
        reduce: What is kept of an output, taken before the next layer runs; never the output itself.

    Yields:
        A dictionary from layer name to its latest output, with the autograd graph if there is one.

    Raises:
        ValueError: A name is no layer of the model; the nearest one is suggested.
        TypeError: A layer put out something other than a tensor.
    """
    modules = dict(model.named_modules())
    outputs = Outputs()

    def keep(layer: str) -> Callable[[nn.Module, object, object], None]:
        def hook(_module: nn.Module, _inputs: object, output: object) -> None:
            if not isinstance(output, Tensor):
                raise TypeError(
                    f"expected a tensor from layer {layer!r}, got {type(output).__name__}; name a layer inside it"
                )
            outputs[layer] = reduce(output)

        return hook

    with ExitStack() as hooks:
        for layer in layers:
            if layer not in modules:
                near = difflib.get_close_matches(layer, modules, n=1, cutoff=0.0)
                raise ValueError(f"expected a layer of the model, got {layer!r}; the nearest is {near[0]!r}")
            hooks.enter_context(modules[layer].register_forward_hook(keep(layer)))
        yield outputs
