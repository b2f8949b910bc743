"""The core's detection of attacked images as an evasion detector of ART.

`ConflictDetector` is an `EvasionDetector`: `fit(x, y)` on clean arrays, `detect(x)` on others, `set_params`. The
network runs as the attacks run it (`members`): with its preprocessing in front, any layer of it by its dotted name. No
mathematics is done here.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from art.defences.detector.evasion import EvasionDetector
from art.estimators.classification import PyTorchClassifier
from torch import Tensor, nn
from tqdm.auto import tqdm

from interp_art.members import Front, member
from interp_art.units import Array, Units, class_indices
from interp_plugins.neurons import detection, neuron_exemplars, top_count
from interp_plugins.neurons.histograms import histogram, select


class ConflictDetector(EvasionDetector):
    """Flags inputs for which the units that carry the decision stand for something else than what was decided.

    `fit` takes clean inputs alone, best those that the network was not trained with. Of these every second one tells
    what the units stand for, and the others set the threshold; with `score="distance"` all do both.

    Args:
        classifier: The classifier that is defended. Its preprocessing, if any, has to be PyTorch's.
        layer: A layer of its network by its dotted name, as in `model.named_modules()`; a late one, after its ReLU.
        similarity: How alike the classes are, (nb_classes, nb_classes); None where none is more alike than others.
        units: How many units with most influence are asked about each input.
        score: "conflict", or "distance" from the class that the classifier says.
        false_alarms: Share of clean inputs that may be flagged.
        share: Share of the inputs that stand for a unit, its strongest.
        verbose: Whether to show a bar.

    Raises:
        TypeError: For a classifier of another framework, or one with a defence in numpy or a `predict` of its own.
        ValueError: For wrong settings, a layer the network has not, a classifier without `clip_values`.

    Example:
        >>> detector = ConflictDetector(classifier, "features")  # doctest: +SKIP
        >>> detector.fit(x_clean, y_clean)  # doctest: +SKIP
        >>> report, is_adversarial = detector.detect(x)  # doctest: +SKIP
    """

    defence_params = [  # noqa: RUF012 - the host's own form
        "classifier",
        "layer",
        "similarity",
        "units",
        "score",
        "false_alarms",
        "share",
        "verbose",
    ]

    def __init__(
        self,
        classifier: PyTorchClassifier,
        layer: str,
        similarity: Array | Tensor | None = None,
        units: int = detection.ConflictDetector.units,
        score: Literal["conflict", "distance"] = detection.ConflictDetector.score,
        false_alarms: float = detection.ConflictDetector.false_alarms,
        share: float = 0.01,
        verbose: bool = True,
    ) -> None:
        super().__init__()
        self.classifier, self.layer, self.similarity = classifier, layer, similarity
        self.units, self.score, self.false_alarms = units, score, false_alarms
        self.share, self.verbose = share, verbose
        self._fitted: detection.Fitted | None = None
        self._check_params()

    def fit(self, x: Array, y: Array, batch_size: int = 128, nb_epochs: int = 20, **kwargs: Any) -> None:
        """Learn from clean inputs what units stand for, or where classes lie, and the threshold.

        Args:
            x: Clean inputs, of the classifier's `input_shape`, inside its `clip_values`.
            y: Their true classes, one-hot or indices; not whether an input was attacked.
            batch_size: Inputs that are held on the device at once; the result does not depend on it.
            nb_epochs: Of no use here: nothing is trained.
            kwargs: Ignored.

        Raises:
            ValueError: For too few inputs for that few false alarms, inputs or labels of a wrong shape or range.
        """
        units = Units.of(self.classifier)
        images = units.images(units.checked(x))
        labels = class_indices(y, len(x), self.classifier.nb_classes)
        model, layer = self._network(units, images[:1])
        whole = _Batches(images, labels, batch_size, self.classifier.device)
        histograms = None
        if self.score == "conflict":
            shown, whole = whole.every_second(0), whole.every_second(1)
            k = top_count(len(shown.images), self.share)
            bar = tqdm(shown.numbered(), "exemplars", leave=False, disable=not self.verbose)
            found = neuron_exemplars(model, [layer], bar, k)[layer]
            ids = select(found.ids, dead=found.dead)
            histograms = histogram(ids, shown.labels.to(ids.device), self.classifier.nb_classes)
        similarity = None if self.similarity is None else torch.as_tensor(self.similarity, device=whole.device)
        bar = tqdm(whole, "clean scores", leave=False, disable=not self.verbose)
        self._fitted = self._method.fit(model, layer, bar, histograms=histograms, similarity=similarity)

    def detect(self, x: Array, batch_size: int = 128, **kwargs: Any) -> tuple[dict[str, Any], Array]:
        """Which inputs are suspicious.

        Args:
            x: Inputs, of the classifier's `input_shape`, inside its `clip_values`.
            batch_size: Inputs that are held on the device at once; the result does not depend on it.
            kwargs: Ignored.

        Returns:
            A report with the `scores` (n,), nan where nothing is known; the `threshold`; and `predictions` (n, 2), how
            far each score lies below and above it. And whether each input is flagged, the `argmax` of these.

        Raises:
            ValueError: Where `fit` was not called, and for inputs of a wrong shape or range.
        """
        if self._fitted is None:
            raise ValueError("expected a detector that knows clean inputs, got one without: call fit(x, y) first")
        units = Units.of(self.classifier)
        images = units.images(units.checked(x))
        model, layer = self._network(units, images[:1])
        batches = _Batches(images, torch.zeros(len(x)), batch_size, self.classifier.device)
        bar = tqdm(batches, "ConflictDetector", leave=False, disable=not self.verbose)
        scores = torch.cat([self._method.scores(model, layer, part, self._fitted).cpu() for part, _ in bar])
        threshold = self._fitted.threshold.cpu()
        margins = torch.stack([threshold - scores, scores - threshold], 1).numpy()
        report = {"scores": scores.numpy(), "threshold": float(threshold), "predictions": margins}
        return report, (scores > threshold).numpy()

    def set_params(self, **kwargs: Any) -> None:
        """Change settings, by the names of the constructor; afterwards the detector has to be fitted again."""
        self._fitted = None
        super().set_params(**kwargs)

    @property
    def _method(self) -> detection.ConflictDetector:
        return detection.ConflictDetector(units=self.units, score=self.score, false_alarms=self.false_alarms)

    def _network(self, units: Units, example: Tensor) -> tuple[nn.Module, str]:
        """The network with its preprocessing, and the name of the layer in it."""
        net = member(self.classifier, units, example.to(self.classifier.device))
        if not isinstance(net, nn.Module):
            raise TypeError(
                "expected a classifier whose layers can be seen, got a defence in numpy or a class with a predict of "
                "its own: fit the detector on a plain PyTorchClassifier around the network"
            )
        return net, f"network.{self.layer}" if isinstance(net, Front) else self.layer

    def _check_params(self) -> None:
        if not isinstance(self.classifier, PyTorchClassifier):
            raise TypeError(f"expected a PyTorchClassifier, got {type(self.classifier).__name__}")
        Units.of(self.classifier)
        layers = [name for name, _ in self.classifier.model.named_modules() if name]
        if self.layer not in layers:
            raise ValueError(f"expected a layer of the network, got {self.layer!r}; it has {', '.join(layers)}")
        if not isinstance(self.verbose, bool):
            raise ValueError("The flag `verbose` has to be of type bool.")
        top_count(1, self.share)
        self._method  # noqa: B018 - it checks its own settings


@dataclass(frozen=True)
class _Batches:
    """Images on the host's side, a batch at a time on the device, as often as they are gone through."""

    images: Tensor
    labels: Tensor
    size: int
    device: torch.device

    def __len__(self) -> int:
        return -(-len(self.images) // self.size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for images, labels in zip(self.images.split(self.size), self.labels.split(self.size), strict=True):
            yield images.to(self.device), labels.to(self.device)

    def every_second(self, start: int) -> "_Batches":
        return _Batches(self.images[start::2], self.labels[start::2], self.size, self.device)

    def numbered(self) -> "_Batches":
        """The images with their numbers in place of the labels."""
        return _Batches(self.images, torch.arange(len(self.images)), self.size, self.device)
