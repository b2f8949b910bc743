"""The core's detection of attacked images as an evaluator in Captum's manner: was this image attacked?

No mathematics is done here.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from interp_captum.alike import Alike, similarity_of
from interp_captum.arguments import given
from interp_captum.inputs import batches_of, labelled, twice
from interp_captum.layers import Layer, names_of
from interp_captum.results import Result
from interp_captum.top_images import Pass
from interp_plugins.foundation.measuring import levels
from interp_plugins.foundation.prepare import device_of
from interp_plugins.neurons import detection as core
from interp_plugins.neurons.histograms import histogram, select


@dataclass(frozen=True, eq=False)
class ConflictDetectorResult(Result):
    """What is suspected of n images, in their order."""

    row: ClassVar[str] = "image"

    layer: str  # its dotted name
    scores: Tensor  # the higher, the more suspicious; float64 (n,), nan where nothing is known
    flagged: Tensor  # above the threshold, bool (n,)
    threshold: float


class ConflictDetector:
    """Flags images for which the units that carry the decision stand for something else than what was decided.

    `fit` it on clean images alone, then `evaluate` others. Who knows the detector can attack it too.

    Args:
        model: The network: [0, 1] images in, logits out; given back as found.
        layer: A layer, as a module of the model or by its dotted name; a late one, after its ReLU.
        k: For "conflict", top images that a unit stands for; `interp_plugins.neurons.top_count(n)` is 1 %.
            Default: None
        units: How many units with most influence are asked about each image.
        score: "conflict", or "distance" from the class that the model says.
        false_alarms: Share of clean images that may be flagged.
        similarity: For "conflict", how alike classes are: a matrix (c, c), or the wnid of each class, or "imagenet-1k",
            "cifar-10" or "scenes". None where none is more alike than others. Default: None
        sigma: In edges, where `similarity` is no matrix. Default: 2

    Raises:
        ValueError: For a module that is not in the model, a wrong setting, or no k for "conflict".
    """

    def __init__(
        self,
        model: nn.Module,
        layer: Layer,
        *,
        k: int | None = None,
        units: int = core.ConflictDetector.units,
        score: Literal["conflict", "distance"] = core.ConflictDetector.score,
        false_alarms: float = core.ConflictDetector.false_alarms,
        similarity: Alike | None = None,
        sigma: float | None = None,
    ) -> None:
        self.method = core.ConflictDetector(units=units, score=score, false_alarms=false_alarms)
        if (k is None) != (score == "distance"):
            raise ValueError(f"expected k with score 'conflict' alone, got k={k} with score {score!r}")
        self.model, self.k = model, k
        (self.layer,) = names_of(model, layer)
        self.similarity = None if similarity is None else similarity_of(similarity, sigma)
        self.fitted: core.Fitted | None = None

    def fit(
        self,
        inputs: Any,
        held_out: Any = None,
        additional_forward_args: Any = None,
        show_progress: bool = False,
    ) -> "ConflictDetector":
        """Learn what units stand for, or where classes lie, and the threshold.

        Args:
            inputs: Clean images with their labels: a DataLoader, or anything that yields tuples (images, labels) and
                can be gone through twice, or one such tuple.
            held_out: For "conflict", other clean images in the same form, best ones that the model was not trained
                with, from which the threshold comes; None for the same ones, and then new clean images are flagged more
                often than asked for. Default: None
            additional_forward_args: What the model takes besides images, the same for all of them. Default: None
            show_progress: Whether to show a bar, one step a batch. Default: False

        Returns:
            The detector itself.

        Raises:
            LayerNotReached: For a layer that did not run.
            TypeError: For batches without labels, or that cannot be gone through twice.
            ValueError: For fewer than k images, or too few for that few false alarms.
        """
        shown = twice(inputs)
        clean = shown if held_out is None else batches_of(held_out)
        device = device_of([self.model], torch.device("cpu"))
        histograms = None
        with given(self.model, additional_forward_args):
            if self.k is not None:
                title = "ConflictDetector, exemplars" if show_progress else None
                found = Pass(self.model, (self.layer,), "max", None, title)(shown, labelled, self.k)
                top, (classes,) = found.exemplars[self.layer], found.outputs
                histograms = histogram(select(top.ids, dead=top.dead), found.labels, classes).to(device)
            bar = _Again(clean, device, "ConflictDetector, clean scores" if show_progress else None)
            similarity = None if self.similarity is None or histograms is None else self.similarity.to(device)
            self.fitted = self.method.fit(self.model, self.layer, bar, histograms=histograms, similarity=similarity)
        return self

    def evaluate(
        self, inputs: Any, additional_forward_args: Any = None, show_progress: bool = False
    ) -> ConflictDetectorResult:
        """How suspicious each image is.

        Args:
            inputs: Images, (n, c, h, w), float in [0, 1] or uint8; or a DataLoader, or anything that yields such
                tensors or tuples that begin with one.
            additional_forward_args: What the model takes besides images, the same for all of them. Default: None
            show_progress: Whether to show a bar, one step a batch. Default: False

        Returns:
            A result, its tensors on the CPU.

        Raises:
            ValueError: Where `fit` was not called, and for images out of range.
        """
        if self.fitted is None:
            raise ValueError("expected a detector that knows clean images, got one without: call fit first")
        device = device_of([self.model], torch.device("cpu"))
        batches = [inputs] if isinstance(inputs, Tensor) else inputs
        parts = []
        with given(self.model, additional_forward_args):
            for batch in tqdm(batches, desc="ConflictDetector", disable=not show_progress):
                images = levels(batch if isinstance(batch, Tensor) else batch[0], device)
                parts.append(self.method.scores(self.model, self.layer, images, self.fitted).cpu())
        if not parts:
            raise ValueError("expected at least one batch of images, got none")
        scores, threshold = torch.cat(parts), float(self.fitted.threshold)
        return ConflictDetectorResult(self.layer, scores, scores > threshold, threshold)


@dataclass(frozen=True)
class _Again:
    """Batches that can be gone through as often as the core likes."""

    batches: Iterable[Any]
    device: torch.device
    title: str | None

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        bar = tqdm(self.batches, desc=self.title, disable=self.title is None)
        for batch in labelled(bar, self.device):
            yield batch.images, batch.labels.to(self.device)
