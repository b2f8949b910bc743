"""What our trainers have in common: the core's trainer, as a trainer of ART.

The network is trained as the attacks see it (`members`), with its preprocessing in front, on images in [0, 1]. No
mathematics is done here. What the host leaves open and this class settles: the network comes back in the modes in which
it came; the bar counts batches; one image that is left over joins the batch before it.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch
from art.attacks.attack import EvasionAttack
from art.data_generators import DataGenerator
from art.defences.trainer import Trainer
from art.estimators.classification import PyTorchClassifier
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader

from interp_art.members import Front, member
from interp_art.training_attacks import Attack, as_called, without_bars
from interp_art.training_batches import Held, Shown, Streamed
from interp_art.units import Array, Units
from interp_plugins import training as core

logger = logging.getLogger(__name__)

AnyAttack = EvasionAttack | Callable[..., Tensor]
LOSSES = (nn.CrossEntropyLoss, nn.NLLLoss)  # the same, of logits and of their logarithmic softmax


class CoreTrainer(Trainer):
    """A trainer of ART that trains by the core's; each of ours says what it adds to the cross-entropy."""

    def __init__(
        self,
        classifier: PyTorchClassifier,
        attack: AnyAttack | Sequence[EvasionAttack] | None,
        *,
        alpha: float,
        eps: float | None,
        schedule: Literal["epoch", "step"],
        precision: Literal["fp32", "bf16", "fp16"],
        clip_norm: float | None,
        verbose: bool,
    ) -> None:
        if not isinstance(classifier, PyTorchClassifier):
            raise TypeError(f"expected a PyTorchClassifier, got {type(classifier).__name__}")
        super().__init__(classifier)
        self._classifier: PyTorchClassifier = classifier
        self.attack, self.eps, self.verbose = attack, eps, verbose
        self._settings: dict[str, Any] = {
            "classify": core.Mixed(alpha=alpha), "schedule": schedule, "precision": precision, "clip_norm": clip_norm
        }  # fmt: skip
        self.history: list[core.EpochReport] = []  # of the latest fit, an entry an epoch
        core.Trainer(**self._settings)  # it checks its own settings
        if not isinstance(verbose, bool):
            raise ValueError("The flag `verbose` has to be of type bool.")
        self._units = Units.of(classifier)
        self._check()
        self._attack()

    @property
    def classifier(self) -> PyTorchClassifier:
        """The classifier that is trained."""
        return self._classifier

    def fit(
        self,
        x: Array,
        y: Array,
        validation_data: tuple[Array, Array] | None = None,
        batch_size: int = 128,
        nb_epochs: int = 20,
        scheduler: Any = None,
        *,
        training_mode: bool = True,
        drop_last: bool = False,
        **kwargs: Any,
    ) -> None:
        """Train the classifier's network with the classifier's optimiser.

        Args:
            x: Inputs, of the classifier's `input_shape`, inside its `clip_values`. Not modified.
            y: Their classes, one-hot (n, nb_classes) or indices (n,).
            validation_data: Inputs and classes on which each epoch's network is judged, clean and attacked.
            batch_size: Inputs in a batch, each of which is seen clean and attacked.
            nb_epochs: How often all inputs are seen, in an order that torch's own generator draws.
            scheduler: Of the classifier's optimiser; one of torch's, or anything with a `step()` for each epoch.
            training_mode: Whether BatchNorm and dropout are in training mode, as in ART's own `fit`.
            drop_last: Whether a last batch of fewer inputs is left out.
            kwargs: Ignored.

        Raises:
            TypeError: For an x that is no array, a scheduler without `step`, a network whose layers cannot be seen.
            ValueError: For inputs or classes of a wrong shape or range, and a classifier without an optimiser.
            LossNotFinite: A loss or a gradient is NaN or infinite; the step is not taken.
        """
        classes = self.classifier.nb_classes
        batches = Held.of(x, y, self._units, classes, batch_size, shuffled=True, drop_last=drop_last)
        self._train(batches, validation_data, batch_size, nb_epochs, scheduler, training_mode)

    def fit_generator(
        self,
        generator: DataGenerator | DataLoader[Any],
        nb_epochs: int = 20,
        scheduler: Any = None,
        validation_data: tuple[Array, Array] | None = None,
        *,
        training_mode: bool = True,
        **kwargs: Any,
    ) -> None:
        """Train on batches as they come, such as augmented ones.

        Args:
            generator: One of ART's, or torch's `DataLoader` as it is; of a `PyTorchDataGenerator` the loader in it.
                Inputs are arrays or tensors in the classifier's units.
            nb_epochs: How often the loader is gone through, or as many batches taken as its `size` makes.
            scheduler: As in `fit`.
            validation_data: As in `fit`.
            training_mode: As in `fit`.
            kwargs: Ignored.

        Raises:
            TypeError: As `fit`, and for something else than a generator or a loader.
            ValueError: As `fit`, and for a generator without a size.
            LossNotFinite: As `fit`.
        """
        batches = Streamed.of(generator, self._units, self.classifier.nb_classes)
        size = getattr(generator, "batch_size", None) or 128
        self._train(batches, validation_data, size, nb_epochs, scheduler, training_mode)

    def predict(self, x: Array, **kwargs: Any) -> Array:
        """What the classifier's own `predict` says."""
        predictions: Array = self.classifier.predict(x, **kwargs)
        return predictions

    def _terms(self, network: nn.Module) -> tuple[core.Term, ...]:
        """What is added to the cross-entropy."""
        return ()

    def _attack(self) -> Attack:
        """The attack as the core calls it."""
        return as_called(self.attack, self.eps, self._units, self.classifier.nb_classes)

    def _train(
        self,
        batches: Held | Streamed,
        validation_data: tuple[Array, Array] | None,
        batch_size: int,
        nb_epochs: int,
        scheduler: Any,
        training_mode: bool,
    ) -> None:
        network, units = self._network(self.classifier), self._units
        held_out = None
        if validation_data is not None:
            held_out = Held.of(*validation_data, units, self.classifier.nb_classes, batch_size)
        stepped = self._stepped(scheduler)
        trainer = core.Trainer(epochs=nb_epochs, terms=self._terms(network), **self._settings)
        self.history = []
        with _in_mode(self.classifier.model, training_mode), without_bars(*self._hosts()):
            run = trainer(
                network,
                self._optimizer(),
                Shown(batches, nb_epochs, self.verbose),
                attack=self._attack(),
                scheduler=None if stepped else scheduler,
                held_out=held_out,
            )
            for report in run:
                if stepped:
                    scheduler.step()
                self.history.append(report)
                logger.info("%s", report)

    def _hosts(self) -> tuple[Any, ...]:
        """Attacks that may be ART's."""
        return (self.attack,)

    def _stepped(self, scheduler: Any) -> bool:
        """Whether a scheduler is none of torch's and has to be stepped here."""
        if scheduler is None or isinstance(scheduler, LRScheduler):
            return False
        if not callable(getattr(scheduler, "step", None)):
            raise TypeError(f"expected a scheduler with step(), got {type(scheduler).__name__}")
        if self._settings["schedule"] == "step":
            raise TypeError(f"expected one of torch's schedulers for schedule='step', got {type(scheduler).__name__}")
        return True

    def _optimizer(self) -> torch.optim.Optimizer:
        if self.classifier.optimizer is None:
            raise ValueError(
                "expected a classifier with an optimizer, got None: PyTorchClassifier(..., optimizer=...) takes one"
            )
        return self.classifier.optimizer

    def _check(self) -> None:
        """Refuse a classifier whose training would be another one than that of ART.

        Raises:
            ValueError: For another loss than the cross-entropy, and preprocessing for training or prediction alone.
        """
        loss = self.classifier.loss
        plain = getattr(loss, "weight", None) is None and not getattr(loss, "label_smoothing", 0)
        if not (isinstance(loss, LOSSES) and plain and loss.reduction == "mean"):
            raise ValueError(
                f"expected a classifier with nn.CrossEntropyLoss(), which the trainer mixes, got {loss}: "
                "give the classifier that loss"
            )
        one_sided = [step for step in self.classifier.preprocessing_operations if step.apply_fit != step.apply_predict]
        if one_sided:
            raise ValueError(
                f"expected preprocessing for training and prediction alike, got {type(one_sided[0]).__name__} for one "
                "of them: leave it out, and augment in a DataLoader, which fit_generator takes"
            )

    def _network(self, classifier: PyTorchClassifier) -> nn.Module:
        """A classifier's network with its preprocessing, from images in [0, 1] to logits."""
        net = member(classifier, self._units, self._grey())
        if not isinstance(net, nn.Module):
            raise TypeError(
                "expected a classifier that torch can train, got a defence in numpy or a class with a predict of its "
                "own: train a plain PyTorchClassifier around the network"
            )
        return net

    def _grey(self) -> Tensor:
        """One image of the core's, to ask a network what it puts out."""
        return self._units.turn(torch.full((1, *self._units.shape), 0.5, device=self.classifier.device))

    def _layer(self, layer: str | None) -> str | None:
        """A layer that the network has, or None for its logits.

        Raises:
            ValueError: Where the network has no such layer.
        """
        layers = [name for name, _ in self.classifier.model.named_modules() if name]
        if layer is not None and layer not in layers:
            raise ValueError(f"expected a layer of the network, got {layer!r}; it has {', '.join(layers)}")
        return layer


def placed(network: nn.Module, layer: str | None) -> str | None:
    """The name of a classifier's layer in what the core is handed."""
    return f"network.{layer}" if isinstance(network, Front) and layer is not None else layer


@contextmanager
def _in_mode(model: nn.Module, training: bool) -> Iterator[None]:
    """Hold a network in a mode; afterwards, also on an exception, each module is in its own."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        model.train(training)
        yield
    finally:
        for module, mode in modes:
            module.training = mode
