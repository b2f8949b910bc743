"""The part of a model after one of its layers, to be run again and again with other values of that layer.

An arbitrary model has no such part: only its own `forward` knows what follows what. torch.fx reads it, and the graph is
cut in two: what does not depend on the layer runs once (`reach`), what does runs as often as it is asked (`logits`),
with the values that cross the cut elsewhere, such as a shortcut, kept for each image. Only the modules that hold the
layer are looked into; what the others do inside is no matter.

The cut is believed after a check: the model itself, its layer's output replaced by a hook, has to give the same logits.
Where it does not, or where the model cannot be traced (its control flow depends on values), that slower way, which runs
everything, is the one that is used: `Whole`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, fx, nn
from torch.fx.node import map_aggregate

from interp_plugins.foundation import check
from interp_plugins.foundation.record import record

TOLERANCE = 1e-4  # of the largest logit; a right cut is equal to the bit or nearly


@dataclass(frozen=True)
class Reached:
    """A tile of images at the layer: what it put out, and whatever else the part after it needs."""

    maps: Tensor
    rest: tuple[Any, ...]


class Whole:
    """The model itself, with a hook that replaces the layer's output."""

    def __init__(self, model: nn.Module, layer: str) -> None:
        self.model, self.layer = model, layer

    def reach(self, images: Float[Tensor, "n c h w"]) -> Reached:
        """Run a tile of images and keep what the layer puts out.

        Raises:
            LayerNotReached: The layer did not run.
            TypeError: It put out something other than a tensor.
            ValueError: It is no layer, ran more than once, or its output is not (n, units, ...).
        """
        runs: list[Tensor] = []

        def keep(output: Tensor) -> Tensor:
            runs.append(output.clone())
            return runs[-1]

        with record(self.model, [self.layer], keep) as outputs:
            self.model(images)
        maps = outputs[self.layer]
        if len(runs) > 1:
            raise ValueError(f"expected a layer that runs once, got {self.layer!r}, which ran {len(runs)} times")
        if maps.ndim < 2 or len(maps) != len(images):
            raise ValueError(f"expected a layer that puts out ({len(images)}, units, ...), got {tuple(maps.shape)}")
        return Reached(maps, (images,))

    def logits(self, reached: Reached, row: int, maps: Float[Tensor, "n u *places"]) -> Float[Tensor, "n k"]:
        """Logits of the image in one row of what was reached, with each of these values of the layer."""
        (images,) = reached.rest

        def replace(_module: nn.Module, _inputs: object, _output: object) -> Tensor:
            return maps

        with self.model.get_submodule(self.layer).register_forward_hook(replace):
            return check.logits(self.model(_of_row(images, row, len(maps))), len(maps), "the model")


class Cut:
    """The model cut in two by torch.fx: only the part after the layer runs for each of its values."""

    def __init__(self, before: Callable[..., Any], after: Callable[..., Any]) -> None:
        self._before, self._after = before, after

    def reach(self, images: Float[Tensor, "n c h w"]) -> Reached:
        """Run a tile of images up to the layer."""
        maps, *rest = self._before(images)
        return Reached(maps, tuple(rest))

    def logits(self, reached: Reached, row: int, maps: Float[Tensor, "n u *places"]) -> Float[Tensor, "n k"]:
        """Logits of the image in one row of what was reached, with each of these values of the layer."""
        tile = len(reached.maps)

        def one(value: Any) -> Any:
            has_rows = isinstance(value, Tensor) and value.ndim > 0 and len(value) == tile
            return _of_row(value, row, len(maps)) if has_rows else value

        rest = map_aggregate(reached.rest, one)
        return check.logits(self._after(maps, *rest), len(maps), "the model")


def split(model: nn.Module, layer: str, images: Float[Tensor, "n c h w"]) -> Cut | Whole:
    """A model in two parts, the second one as short as can be had.

    Args:
        model: In eval mode and frozen; it is not changed.
        layer: Its dotted name, as in `named_modules()`; it runs once in a pass.
        images: A tile of images to check with; later tiles have as many rows.

    Raises:
        LayerNotReached: The layer did not run.
        TypeError: It put out something other than a tensor.
        ValueError: It is no layer, ran more than once, its output is not (n, units, ...), or the model answers one
            image in two ways.
    """
    whole = Whole(model, layer)
    with torch.no_grad():
        reached = whole.reach(images)
        every_other = (torch.arange(reached.maps.shape[1]) + torch.arange(len(images))[:, None]) % 2 == 0
        every_other[1::2] = False  # the odd rows ask for what the model says when nothing is replaced
        maps = reached.maps.masked_fill(_spread(every_other.to(images.device), reached.maps), 0)
        expected = whole.logits(reached, 0, maps.clone())
        try:
            cut = _cut(model, layer)
            if _alike(cut.logits(cut.reach(images), 0, maps.clone()), expected):
                return cut
        except Exception:  # a stranger's forward may refuse to be traced, or its halves to be run, in any way
            pass
        if not _alike(whole.logits(reached, 0, maps.clone()), expected):
            raise ValueError(
                "expected a model that answers an image in one way, got two answers; switch off its dropout or noise"
            )
    return whole


class _Tracer(fx.Tracer):
    def __init__(self, layer: str) -> None:
        super().__init__()
        self._layer = layer

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return not self._layer.startswith(f"{module_qualified_name}.")


def _cut(model: nn.Module, layer: str) -> Cut:
    """The two parts as modules that share the model's own.

    Raises:
        Exception: Whatever a model raises that cannot be traced.
    """
    graph = _Tracer(layer).trace(model)
    (middle,) = (node for node in graph.nodes if node.op == "call_module" and node.target == layer)
    later = {middle}
    for node in graph.nodes:
        if later & set(node.all_input_nodes):
            later.add(node)
    later.discard(middle)
    crossing = [node for node in graph.nodes if node not in later and node is not middle and later & node.users.keys()]
    before, after = fx.Graph(), fx.Graph()
    known: dict[fx.Node, fx.Node] = {}
    for node in graph.nodes:
        if node not in later and node.op != "output":
            known[node] = before.node_copy(node, known.__getitem__)
    before.output((known[middle], *(known[node] for node in crossing)))
    known = {node: after.placeholder(f"value_{number}") for number, node in enumerate((middle, *crossing))}
    for node in graph.nodes:
        if node in later:
            known[node] = after.node_copy(node, known.__getitem__)
    return Cut(fx.GraphModule(model, before), fx.GraphModule(model, after))


def _of_row(value: Tensor, row: int, rows: int) -> Tensor:
    """One row so many times, as values of their own: what follows may work in place."""
    return value[row : row + 1].repeat(rows, *[1] * (value.ndim - 1))


def _spread(values: Tensor, maps: Tensor) -> Tensor:
    return values.view(*values.shape, *[1] * (maps.ndim - 2))


def _alike(logits: Tensor, expected: Tensor) -> bool:
    return bool((logits - expected).abs().max() <= TOLERANCE * expected.abs().max())
