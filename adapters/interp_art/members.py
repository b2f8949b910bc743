"""ART's classifiers as members of the core's ensemble.

A `PyTorchClassifier` takes one of four roads; on each the core sees float images in [0, 1] and logits.

    what stands in front of the network          what the core is handed
    nothing, clip_values (0, 1)                  the network itself: the bits are the core's own
    torch preprocessing, a range, a flat input   a module with the same in front of the network
    a defence in numpy                           its loss gradient: the defence forward, ART's estimate of it backward
    a subclass with its own `loss_gradient`      the loss gradient that the subclass gives, its own loss included

A network that gives probabilities is read through their logarithm.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from art.defences.preprocessor.preprocessor import Preprocessor
from art.estimators.classification import EnsembleClassifier, PyTorchClassifier
from art.preprocessing.standardisation_mean_std.pytorch import StandardisationMeanStdPyTorch
from torch import Tensor, nn

from interp_art.units import Array, Units
from interp_plugins.foundation.borrow import borrow
from interp_plugins.kinds import LossGradient


class Front(nn.Module):
    """What stands in front of a classifier's network, the network, and the logarithm where it gives probabilities."""

    def __init__(self, network: nn.Module, units: Units, operations: list[Preprocessor], probabilities: bool) -> None:
        super().__init__()
        self.network, self.units, self.operations, self.probabilities = network, units, operations, probabilities

    def forward(self, images: Tensor) -> Tensor:
        """Logits of images in [0, 1]."""
        x = self.units.inputs(images)
        for operation in self.operations:
            x, _ = operation.forward(x)
        return logits(self.network(x), self.probabilities)


@dataclass(frozen=True)
class Defended:
    """A network behind defences in numpy, by its loss gradient."""

    network: nn.Module
    units: Units
    operations: list[Preprocessor]
    probabilities: bool

    def logits(self, images: Tensor) -> Tensor:
        """Logits of images in [0, 1]."""
        with torch.no_grad():
            return logits(self.network(self._defended(images)), self.probabilities)

    def loss_gradient(self, images: Tensor, targets: Tensor) -> Tensor:
        """Gradient of the summed cross-entropy; through a defence it is the estimate that the defence gives."""
        x = self._defended(images).requires_grad_()
        with torch.enable_grad():
            scores = logits(self.network(x), self.probabilities)
            loss = nn.functional.cross_entropy(scores, targets, reduction="sum")
        gradient: Array = torch.autograd.grad(loss, x)[0].cpu().numpy()
        clean = self.units.array(images)
        for operation in reversed(self.operations):
            gradient = operation.estimate_gradient(clean, gradient)
        return self.units.gradient(gradient, images)

    def _defended(self, images: Tensor) -> Tensor:
        x = self.units.array(images)
        for operation in self.operations:
            x, _ = operation(x)
        # under NumPy 2 some of the host's defences return float64, which a float32 network does not take
        return torch.from_numpy(x.astype(np.float32)).to(images.device)


@dataclass(frozen=True)
class Asked:
    """A classifier that has its own `predict` and `loss_gradient`, asked for just these."""

    classifier: PyTorchClassifier
    units: Units
    probabilities: bool

    def logits(self, images: Tensor) -> Tensor:
        """Logits of images in [0, 1]."""
        scores = self.classifier.predict(self.units.array(images), batch_size=len(images))
        return logits(torch.from_numpy(scores).to(images.device), self.probabilities)

    def loss_gradient(self, images: Tensor, targets: Tensor) -> Tensor:
        """Gradient of the classifier's own loss, summed over the images."""
        labels = np.eye(self.classifier.nb_classes, dtype=np.float32)[targets.cpu().numpy()]
        kept = [(parameter, parameter.grad) for parameter in self.classifier.model.parameters()]
        try:
            with torch.enable_grad():
                gradient: Array = self.classifier.loss_gradient(self.units.array(images), labels)  # type: ignore[assignment]
        finally:
            for parameter, grad in kept:  # the host clears them
                parameter.grad = grad
        summed = 1 if getattr(self.classifier.loss, "reduction", "mean") == "sum" else len(images)
        return self.units.gradient(gradient * summed, images)


def classifiers(estimator: Any, surrogates: tuple[Any, ...]) -> list[PyTorchClassifier]:
    """The members behind an estimator and its surrogates, fit to be attacked together.

    Raises:
        TypeError: Where one is no `PyTorchClassifier`.
        ValueError: Where they differ in classes, input shape, range or place of the channels.
    """
    ensemble = isinstance(estimator, EnsembleClassifier)
    if ensemble and surrogates:
        raise ValueError(
            f"expected no surrogates beside an EnsembleClassifier, got {len(surrogates)}: "
            "its classifiers are the members"
        )
    members = [*estimator.classifiers] if ensemble else [estimator, *surrogates]
    for member in members:
        if not isinstance(member, PyTorchClassifier):
            raise TypeError(
                f"expected PyTorchClassifier members, got {type(member).__name__}: wrap the network for PyTorch, "
                "the attack has no other framework"
            )
    for name in ("nb_classes", "input_shape", "clip_values", "channels_first"):
        found = (getattr(each, name) for each in ([estimator, *members] if ensemble else members))
        values = [value for value in found if value is not None]
        if any(not np.array_equal(value, values[0]) for value in values):
            raise ValueError(f"expected members with one {name}, got {' and '.join(str(value) for value in values)}")
    return members


def member(classifier: PyTorchClassifier, units: Units, example: Tensor) -> nn.Module | LossGradient:
    """A classifier as the core takes it.

    Args:
        classifier: The classifier.
        units: Its units.
        example: A few images in [0, 1], (n, c, h, w), on its device: they show whether it gives probabilities.

    Raises:
        ValueError: Where it does not give one score for each class.
    """
    plain = _road(classifier, units, probabilities=False)
    with borrow(classifier.model), torch.no_grad():
        scores = plain(example) if isinstance(plain, nn.Module) else plain.logits(example)
    expected = (len(example), classifier.nb_classes)
    if tuple(scores.shape) != expected:
        raise ValueError(f"expected scores of shape {expected}, got {tuple(scores.shape)}: one column for each class")
    return _road(classifier, units, probabilities=True) if _are_probabilities(scores) else plain


def _road(classifier: PyTorchClassifier, units: Units, probabilities: bool) -> nn.Module | LossGradient:
    own = ("predict", "loss_gradient", "_make_model_wrapper")
    if any(getattr(type(classifier), name) is not getattr(PyTorchClassifier, name) for name in own):
        return Asked(classifier, units, probabilities)
    network: nn.Module = classifier.model
    operations = [step for step in classifier.preprocessing_operations if step.apply_predict and not _is_identity(step)]
    if not classifier.all_framework_preprocessing:
        return Defended(network, units, operations, probabilities)
    if units.trivial and not operations and not probabilities:
        return network
    return Front(network, units, operations, probabilities)


def _is_identity(operation: Preprocessor) -> bool:
    """Whether it is the standardisation by mean 0 and deviation 1 that every classifier has by default."""
    return (
        isinstance(operation, StandardisationMeanStdPyTorch)
        and not operation.mean.any()
        and bool((operation.std == 1).all())
    )


def _are_probabilities(scores: Tensor) -> bool:
    return bool((scores >= 0).all() and (scores.sum(1) - 1).abs().max() < 1e-4)


def logits(scores: Tensor, probabilities: bool) -> Tensor:
    """Scores as they are, or the logarithm of probabilities, the smallest of which count as the smallest float."""
    return scores.clamp_min(torch.finfo(scores.dtype).tiny).log() if probabilities else scores
