"""The core's prediction differences as an evaluator in Captum's manner: which units carried a decision?

No mathematics is done here.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from interp_captum.arguments import as_tuple, given, with_rows
from interp_captum.layers import Layer, is_one, names_of
from interp_captum.results import Result
from interp_captum.targets import classes_for
from interp_plugins.foundation.measuring import levels
from interp_plugins.foundation.prepare import device_of
from interp_plugins.neurons import influence as core


@dataclass(frozen=True, eq=False)
class NeuronInfluenceResult(Result):
    """What each of the u units of a layer adds to the score of one class, for each of n images."""

    row: ClassVar[str] = "image"

    layer: str  # its dotted name
    differences: Tensor  # score less the score without the unit, float64 (n, u); nan where it was not chosen
    scores: Tensor  # of the class when nothing is ablated, float64 (n,)
    targets: Tensor  # the class, int64 (n,)

    def top(self, m: int) -> Tensor:
        """The m units of each image that add most, the first first, int64 (n, m).

        Raises:
            ValueError: There are fewer than m units whose difference is known.
        """
        return core.Influence(self.differences, self.scores, self.targets).top(m)


class NeuronInfluence:
    """Ablates each unit of one or several layers and tells what the score of a class loses.

    Where Captum's `LayerFeatureAblation` gives the same numbers, with one mask a channel, it runs the whole model for
    each; here only what follows the layer runs.

    Args:
        model: The network: [0, 1] images in, logits out; given back as found.
        layer: A layer, as a module of the model or by its dotted name, or a list of them. Name the activation and not
            the convolution before it.
        score: "prob", "logit" or "log_odds", in bits.
        ablation: What a unit is set to: "zero", or its "mean" over reference images.
        preselect: Units an image that are computed exactly, chosen by a first-order estimate; None for all.
            Default: None
        laplace: For log-odds, the number of training images of the Laplace correction; None for none. Default: None

    Raises:
        ValueError: For a module that is not in the model, or a setting out of range.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(1, 2, 1, bias=False), nn.Flatten(), nn.Linear(2, 2, bias=False))
        >>> weights = {"0.weight": torch.ones(2, 1, 1, 1), "2.weight": torch.tensor([[3.0, 1.0], [0.0, 0.0]])}
        >>> _ = net.load_state_dict(weights)
        >>> image = torch.full((1, 1, 1, 1), 0.5)
        >>> NeuronInfluence(net, net[0], score="logit").evaluate(image).differences
        tensor([[1.5000, 0.5000]], dtype=torch.float64)
    """

    def __init__(
        self,
        model: nn.Module,
        layer: Layer | Sequence[Layer],
        *,
        score: core.Score = core.NeuronInfluence.score,
        ablation: core.Ablation = core.NeuronInfluence.ablation,
        preselect: int | None = None,
        laplace: int | None = None,
    ) -> None:
        self.model = model
        self._one, self.layers = is_one(layer), names_of(model, layer)
        self.settings: dict[str, Any] = {
            "score": score,
            "ablation": ablation,
            "preselect": preselect,
            "laplace": laplace,
        }
        core.NeuronInfluence(**self.settings)  # which refuses what is out of range

    def evaluate(
        self,
        inputs: Any,
        target: int | Sequence[int] | Tensor | None = None,
        additional_forward_args: Any = None,
        reference: Tensor | None = None,
        perturbations_per_eval: int | None = None,
        show_progress: bool = False,
    ) -> NeuronInfluenceResult | list[NeuronInfluenceResult]:
        """The prediction differences of each image.

        Args:
            inputs: Images, (n, c, h, w), float in [0, 1] or uint8; or a DataLoader, or anything that yields such
                tensors or tuples that begin with one.
            target: The class whose score is looked at: one for all images, or one for each, in their order. None for
                the predicted one. Default: None
            additional_forward_args: What the model takes besides images. Of a tensor each image has its row, as
                everywhere in Captum. Default: None
            reference: Images over which the mean is taken that ablated units are set to, with ablation "mean".
                Default: None
            perturbations_per_eval: Ablated units per call of the network, a power of two; None for the core's choice.
                Default: None
            show_progress: Whether to show a bar, one step a batch. Default: False

        Returns:
            A result, its tensors on the CPU, or a list of them where a list of layers was given.

        Raises:
            LayerNotReached: For a layer that did not run.
            TypeError: For a layer that puts out something other than a tensor.
            ValueError: For images or targets out of range, a tensor of additional arguments without a row for each
                image, or a model that answers one image in two ways.
        """
        results = self._each(
            inputs, target, additional_forward_args, reference, perturbations_per_eval, show_progress=show_progress
        )
        return results[0] if self._one else results

    def _each(
        self,
        inputs: Any,
        target: int | Sequence[int] | Tensor | None,
        additional_forward_args: Any,
        reference: Tensor | None = None,
        tile: int | None = None,
        *,
        show_progress: bool = False,
    ) -> list[NeuronInfluenceResult]:
        method = core.NeuronInfluence(**self.settings, tile=tile)
        extra = as_tuple(additional_forward_args)
        aims = None if target is None else torch.as_tensor(target)
        device = device_of([self.model], torch.device("cpu"))
        if reference is not None:
            reference = levels(reference, device)
        batches = tqdm(
            [inputs] if isinstance(inputs, Tensor) else inputs, desc="NeuronInfluence", disable=not show_progress
        )
        found: list[list[core.Influence]] = []
        seen = 0
        for images in _parts(batches, device, by_image=bool(with_rows(extra))):
            some = None
            if aims is not None:
                some = classes_for(aims if aims.numel() == 1 else aims[seen : seen + len(images)], images)
            with given(self.model, extra, seen if with_rows(extra) else None):
                found.append([method(self.model, layer, images, some, reference=reference) for layer in self.layers])
            seen += len(images)
        for name, rows in [("target", aims), *(("additional_forward_args", each) for each in with_rows(extra))]:
            if rows is not None and rows.numel() != 1 and len(rows) != seen:
                raise ValueError(f"expected {name} with one row for each of {seen} images, got {len(rows)}")
        return [_joined(*parts) for parts in zip(self.layers, *found, strict=True)]


def neuron_influence(
    model: nn.Module,
    layer: Layer,
    inputs: Tensor,
    target: int | Sequence[int] | Tensor | None = None,
    additional_forward_args: Any = None,
    score: core.Score = core.NeuronInfluence.score,
    max_examples_per_batch: int | None = None,
) -> Tensor:
    """What the score of a class loses without each unit of a layer, in the shape of Captum's metrics.

    Args:
        model: The network: [0, 1] images in, logits out.
        layer: A layer, as a module of the model or by its dotted name.
        inputs: Images, (n, c, h, w).
        target: The class, one for all images or one for each; None for the predicted one. Default: None
        additional_forward_args: What the model takes besides images; of a tensor each image has its row. Default: None
        score: "prob", "logit" or "log_odds".
        max_examples_per_batch: Ablated units per call of the network, a power of two; None for the core's choice.
            Default: None

    Returns:
        The differences, float64 (n, u), on the CPU.
    """
    evaluator = NeuronInfluence(model, layer, score=score)
    (found,) = evaluator._each(inputs, target, additional_forward_args, tile=max_examples_per_batch)
    return found.differences


def _parts(batches: Iterable[Any], device: torch.device, *, by_image: bool) -> Iterator[Tensor]:
    """The batches' images, or each image alone."""
    for batch in batches:
        images = levels(batch if isinstance(batch, Tensor) else batch[0], device)
        yield from images.split(1) if by_image else [images]


def _joined(layer: str, *parts: core.Influence) -> NeuronInfluenceResult:
    if not parts:
        raise ValueError("expected at least one batch of images, got none")
    fields = ("differences", "scores", "targets")
    return NeuronInfluenceResult(layer, *(torch.cat([getattr(part, name) for part in parts]).cpu() for name in fields))
