"""r_1 and r_2 as an evaluator in Captum's manner: do attacked images leave their own class and go where they should?

No mathematics is done here.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from interp_captum.arguments import given
from interp_captum.inputs import Pairs, labelled, paired, twice
from interp_captum.layers import Layer, is_one, names_of
from interp_captum.representations import Representations
from interp_captum.results import Result
from interp_captum.targets import classes_for
from interp_plugins.foundation import check
from interp_plugins.foundation.prepare import device_of
from interp_plugins.neurons.centres import ClassCentres
from interp_plugins.neurons.distance import Denominator, DistanceRatios, Ratios


@dataclass(frozen=True, eq=False)
class RepresentationShiftResult(Result):
    """The ratios of m attacked images, in the order in which they came; nan where undefined."""

    row: ClassVar[str] = "image"

    layer: str  # its dotted name
    r1: Tensor  # above 1: further from the own class than real images are, float64 (m,)
    r2: Tensor  # below 1: nearer to the target's class than real images are, float64 (m,)
    labels: Tensor  # true classes, int64 (m,)
    targets: Tensor  # classes to be taken for, int64 (m,)
    counts: Tensor  # real images of each class, int64 (c,)


class RepresentationShift:
    """Measures how far attacked images move in the output of one or several layers.

    Args:
        model: The network: [0, 1] images in, logits out; given back as found.
        layer: A layer, as a module of the model or by its dotted name, or a list of them. The papers mean the last
            convolutional block, whose output is flattened.
        denominator: "class_mean": the mean distance of the real images of the class; "paired": the distance of the very
            image that was attacked.

    Raises:
        ValueError: For a module that is not in the model, or an unknown denominator.
    """

    def __init__(
        self, model: nn.Module, layer: Layer | Sequence[Layer], *, denominator: Denominator = "class_mean"
    ) -> None:
        check.one_of("denominator", denominator, ("class_mean", "paired"))
        self.model, self.denominator = model, denominator
        self._one, self.layers = is_one(layer), names_of(model, layer)

    def evaluate(
        self,
        inputs: Any,
        unattacked: Any = (),
        additional_forward_args: Any = None,
        internal_batch_size: int | None = None,
        show_progress: bool = False,
    ) -> RepresentationShiftResult | list[RepresentationShiftResult]:
        """The ratios of all attacked images, from two passes.

        Args:
            inputs: Real images with what was made of each: a DataLoader, or anything that yields tuples (images,
                labels, attacked, targets) and can be gone through twice, or one such tuple. Images (n, c, h, w) are
                float in [0, 1] or uint8, attacked ones (n, c, h, w) or, t of each, (n, t, c, h, w); targets (n,) or
                (n, t). Or the records of an adversarial set with its clean images, not shuffled.
            unattacked: Further real images, which count in the means: tuples (images, labels), or one. Default: ()
            additional_forward_args: What the model takes besides images, the same for all of them. Default: None
            internal_batch_size: Images per call of the network, a power of two; None for the core's choice.
                Default: None
            show_progress: Whether to show a bar, one step a batch. Default: False

        Returns:
            A result, its tensors on the CPU, or a list of them where a list of layers was given.

        Raises:
            LayerNotReached: For a layer that did not run.
            TypeError: For batches of another form, or that cannot be gone through twice.
            ValueError: For images out of range, a target that is the label, NaN or infinity in a representation.
        """
        results = self._each(inputs, unattacked, additional_forward_args, internal_batch_size, show_progress)
        return results[0] if self._one else results

    def _each(
        self, inputs: Any, unattacked: Any, additional_forward_args: Any, tile: int | None, show_progress: bool = False
    ) -> list[RepresentationShiftResult]:
        device = device_of([self.model], torch.device("cpu"))
        look = Representations(self.model, self.layers, tile)
        pairs, others = twice(inputs), twice(unattacked)

        def all_pairs(step: str) -> Iterator[Pairs]:
            yield from paired(tqdm(pairs, desc=f"RepresentationShift, {step}", disable=not show_progress), device)
            yield from (Pairs(batch.images, batch.labels) for batch in labelled(others, device))

        with given(self.model, additional_forward_args):
            ratios = self._about_means(look, all_pairs("means"))
            for pair in all_pairs("ratios"):
                _add(ratios, look, pair)
        return [_result(layer, metric.compute()) for layer, metric in ratios.items()]

    def _about_means(self, look: Representations, pairs: Iterable[Pairs]) -> dict[str, DistanceRatios]:
        """A metric for each layer, which knows the class means of the real images."""
        centres: dict[str, ClassCentres] = {}
        for pair in pairs:
            outputs, logits = look(pair.clean)
            for layer, output in outputs.items():
                if layer not in centres:
                    centres[layer] = ClassCentres(logits.shape[1], output[0].numel()).to(output.device)
                centres[layer].update(output, pair.labels.to(output.device))
        if not centres:
            raise ValueError("expected real images and what was made of them, got no batch")
        return {
            layer: DistanceRatios(each.compute(), self.denominator).to(each.counts.device)
            for layer, each in centres.items()
        }


def representation_shift(
    model: nn.Module,
    layer: Layer,
    inputs: Tensor,
    perturbed_inputs: Tensor,
    target: int | Sequence[int] | Tensor,
    perturbed_target: int | Sequence[int] | Tensor,
    additional_forward_args: Any = None,
    denominator: Denominator = "class_mean",
    max_examples_per_batch: int | None = None,
) -> tuple[Tensor, Tensor]:
    """r_1 and r_2 of each perturbed image, in the shape of Captum's metrics.

    Args:
        model: The network: [0, 1] images in, logits out.
        layer: A layer, as a module of the model or by its dotted name.
        inputs: Real images, (n, c, h, w).
        perturbed_inputs: What was made of each, (n, c, h, w).
        target: The true class, one for all images or one for each.
        perturbed_target: The class the perturbed images are to be taken for.
        additional_forward_args: What the model takes besides images, the same for all of them. Default: None
        denominator: "class_mean" or "paired".
        max_examples_per_batch: Images per call of the network, a power of two; None for the core's choice.
            Default: None

    Returns:
        r_1 and r_2, float64 (n,), on the CPU.
    """
    batch = (inputs, classes_for(target, inputs), perturbed_inputs, classes_for(perturbed_target, inputs))
    evaluator = RepresentationShift(model, layer, denominator=denominator)
    (found,) = evaluator._each(batch, (), additional_forward_args, max_examples_per_batch)
    return found.r1, found.r2


def _add(ratios: dict[str, DistanceRatios], look: Representations, pair: Pairs) -> None:
    clean, _ = look(pair.clean)
    moved, targets = None, None
    if pair.attacked is not None and pair.targets is not None:
        moved, _ = look(pair.attacked.flatten(0, 1))
    for layer, metric in ratios.items():
        device = metric.counts.device
        attacked = None
        if moved is not None and pair.targets is not None:
            attacked, targets = moved[layer].unflatten(0, pair.targets.shape), pair.targets.to(device)
        metric.update(clean[layer], pair.labels.to(device), attacked, targets)


def _result(layer: str, found: Ratios) -> RepresentationShiftResult:
    return RepresentationShiftResult(
        layer, found.r1.cpu(), found.r2.cpu(), found.labels.cpu(), found.targets.cpu(), found.counts.cpu()
    )
