"""How strongly each unit of some layers answers each image: one number a unit and image, from one forward pass.

A unit of a convolution is a channel, and its activation on an image is the largest value of its map (the convention of
Zhou et al. 2014 and of network dissection; Dong et al., arXiv 1708.05493, do not say) or, on request, the mean. The
number is taken while the layer's output is at hand: no map is kept, and an activation that works in place afterwards
changes nothing.

This is a measurement: the network runs as it is, in its own precision, nothing folded.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from interp_plugins.foundation import check
from interp_plugins.foundation.borrow import borrow
from interp_plugins.foundation.record import record
from interp_plugins.foundation.tiles import check_tile, fill, spans, tile_size

Reduction = Literal["max", "mean"]
REDUCTIONS: tuple[Reduction, ...] = ("max", "mean")


@dataclass(frozen=True)
class Seen:
    """What one forward pass of n images showed."""

    scores: dict[str, Float[Tensor, "n _"]]  # of each layer's units
    logits: Float[Tensor, "n k"]
    whole: Float[Tensor, "n *shape"] | None  # everything that one layer put out, if it was asked for


def record_scores(
    model: nn.Module,
    layers: Sequence[str],
    images: Float[Tensor, "n c h w"],
    reduction: Reduction = "max",
    tile: int | None = None,
) -> dict[str, Float[Tensor, "n _"]]:
    """The score of each unit of each layer on each image.

    Args:
        model: The network; it is in eval mode meanwhile and given back as found.
        layers: Dotted names, as in `named_modules()`. What such a layer puts out is (n, u, ...): units, and places to
            reduce over if there are any. Of a layer that runs several times the last run counts.
        images: In [0, 1]; normalisation belongs inside the model.
        reduction: "max" or "mean" over the places.
        tile: Rows a network call, a power of two; None is 8 on a CPU and 64 on a GPU. A score depends on it in its
            last bits, and on no other image.

    Returns:
        For each layer the scores (n, u), in the model's precision.

    Raises:
        LayerNotReached: A layer did not run.
        TypeError: A layer put out something other than a tensor.
        ValueError: A name is no layer, or a layer's output is not (n, u, ...).
    """
    return _run(model, layers, images, reduction, tile, None)[0]


def observe(
    model: nn.Module,
    layers: Sequence[str],
    images: Float[Tensor, "n c h w"],
    reduction: Reduction = "max",
    tile: int | None = None,
    whole: str | None = None,
) -> Seen:
    """The scores of `record_scores`, the logits, and on request all that one layer put out, from one pass.

    Args:
        model: As for `record_scores`.
        layers: As for `record_scores`; may be none.
        images: As for `record_scores`.
        reduction: As for `record_scores`.
        tile: As for `record_scores`.
        whole: The layer whose output is kept as it is.

    Raises:
        LayerNotReached: A layer did not run.
        TypeError: A layer, or the model, put out something other than a tensor.
        ValueError: A name is no layer, or an output is not (n, ...).
    """
    scores, kept, answers = _run(model, layers, images, reduction, tile, whole)
    strange = next((answer for answer in answers if not isinstance(answer, Tensor)), None)
    if strange is not None:
        raise TypeError(f"expected a model that puts out logits, got {type(strange).__name__}; wrap it")
    return Seen(scores, torch.cat(answers)[: len(images)], torch.cat(kept) if whole else None)


def _run(
    model: nn.Module, layers: Sequence[str], images: Tensor, reduction: Reduction, tile: int | None, whole: str | None
) -> tuple[dict[str, Tensor], list[Tensor], list[Any]]:
    """Scores of each layer, what one layer put out in each tile, and what the model did, its padding included."""
    check_tile(tile)
    check.one_of("reduction", reduction, REDUCTIONS)
    images = check.images(images)
    rows = tile_size(tile, images.device)
    scores: dict[str, list[Tensor]] = {layer: [] for layer in layers}
    kept: list[Tensor] = []
    answers: list[Any] = []
    with borrow(model), torch.no_grad():
        for span in spans(len(images), rows):
            count = span.stop - span.start
            with ExitStack() as stack:
                outputs = stack.enter_context(record(model, list(scores), partial(_reduced, rows, reduction)))
                everything = stack.enter_context(record(model, [whole] if whole else []))
                answers.append(model(fill(images[span], rows)))
            for layer, found in scores.items():
                found.append(outputs[layer][:count])
            if whole:
                kept.append(_rows(everything[whole], rows)[:count])
    return {layer: torch.cat(found) for layer, found in scores.items()}, kept, answers


def _reduced(rows: int, reduction: Reduction, output: Tensor) -> Tensor:
    _rows(output, rows)
    if output.ndim == 2:
        return output.clone()
    places = tuple(range(2, output.ndim))
    return output.amax(places) if reduction == "max" else output.mean(places)


def _rows(output: Tensor, rows: int) -> Tensor:
    if output.ndim < 2 or len(output) != rows:
        raise ValueError(f"expected a layer that puts out ({rows}, units, ...), got {tuple(output.shape)}")
    return output
