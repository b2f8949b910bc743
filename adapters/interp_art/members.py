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
from interp_plugins.foundation.borrow import borrow
from interp_plugins.kinds import LossGradient
from torch import Tensor, nn

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Units:
    """The host's arrays, of any shape and range, and the core's images, (n, c, h, w) in [0, 1].

    Channels go first, and an input that is no image becomes one of a single line; a range other than [0, 1] is scaled.

    Args:
        low: Least value of a feature.
        span: Length of the range, above 0.
        shape: Shape of one input of the estimator.
        channels_first: Whether that is (c, h, w) rather than (h, w, c).
    """

    low: float
    span: float
    shape: tuple[int, ...]
    channels_first: bool

    @classmethod
    def of(cls, estimator: PyTorchClassifier | EnsembleClassifier) -> "Units":
        """The units of an estimator.

        Raises:
            ValueError: Where `clip_values` is missing, or differs from feature to feature.
        """
        clip = estimator.clip_values
        if clip is None:
            raise ValueError(
                "expected an estimator with clip_values, got None: the attack needs the range of the pixels"
            )
        if np.ndim(clip) > 1:
            raise ValueError(
                "expected one range for all features, got clip_values with arrays: scale the features alike"
            )
        low, high = (float(value) for value in clip)
        return cls(low, high - low, tuple(estimator.input_shape), bool(estimator.channels_first))

    @property
    def trivial(self) -> bool:
        """Whether the host's arrays are the core's images as they stand."""
        return self.unscaled and self.channels_first and len(self.shape) == 3

    @property
    def unscaled(self) -> bool:
        """Whether the range is [0, 1]."""
        return (self.low, self.span) == (0.0, 1.0)

    def images(self, x: Array) -> Tensor:
        """The core's images of a host's float32 array."""
        x = x if self.unscaled else (x - np.float32(self.low)) / np.float32(self.span)
        return self.turn(torch.from_numpy(x))

    def inputs(self, images: Tensor) -> Tensor:
        """What the estimator takes, of the core's images; differentiable."""
        return self.turn_back(images if self.unscaled else images * self.span + self.low)

    def array(self, images: Tensor) -> Array:
        """The host's float32 array of the core's images."""
        x: Array = self.inputs(images.detach().float()).contiguous().cpu().numpy()
        return x

    def turn(self, x: Tensor) -> Tensor:
        """A tensor of the host's shape in the core's, (n, c, h, w)."""
        if len(self.shape) != 3:
            return x.reshape(len(x), 1, 1, -1)
        return x if self.channels_first else x.permute(0, 3, 1, 2)

    def turn_back(self, images: Tensor) -> Tensor:
        """A tensor of the core's shape in the host's."""
        if len(self.shape) != 3:
            return images.reshape(len(images), *self.shape)
        return images if self.channels_first else images.permute(0, 2, 3, 1)

    def gradient(self, gradient: Array, images: Tensor) -> Tensor:
        """A gradient w.r.t. the host's array as one w.r.t. the core's images."""
        return self.turn(torch.from_numpy(gradient.astype(np.float32)).to(images.device)) * self.span


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
                gradient = self.classifier.loss_gradient(self.units.array(images), labels)
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
            f"expected no surrogates beside an EnsembleClassifier, got {len(surrogates)}: its classifiers are the members"
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
