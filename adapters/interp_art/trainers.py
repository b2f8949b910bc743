"""Training that keeps a network's representations, and training on other networks' attacks, as trainers of ART.

    ConsistentLossTrainer       what a layer sees in an image and in its attacked copy is brought together, pair by pair
    DomainAdaptationTrainer     the same for the two batches: their covariances and their means
    EnsembleAdversarialTraining attacked on this network or on others, which stay as they are

The first two take what `AdversarialTrainerTRADESPyTorch` takes, classifier, attack and beta; all have its `fit`,
`fit_generator` and `predict`.
"""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from art.attacks.attack import EvasionAttack
from art.estimators.classification import PyTorchClassifier
from torch import nn

from interp_art.members import classifiers
from interp_art.training_attacks import Against, Attack, OneOf, as_called
from interp_art.training_loop import AnyAttack, CoreTrainer, placed
from interp_plugins import training as core
from interp_plugins.foundation import check
from interp_plugins.foundation.borrow import borrow
from interp_plugins.foundation.record import record

Schedule = Literal["epoch", "step"]
Precision = Literal["fp32", "bf16", "fp16"]
Shape = Literal["map", "pooled", "flat"]


class ConsistentLossTrainer(CoreTrainer):
    """Trains a network to see in an attacked image what it saw in the image (Dong et al., arXiv:1901.09035).

        alpha CE(f(x), y) + (1 - alpha) CE(f(x*), y) + beta d(phi(x), phi(x*))

    Args:
        classifier: The classifier that is trained, with its own optimiser. Its preprocessing has to be PyTorch's.
        attack: An `EvasionAttack` of ART, an attack of the core, or None for one step of FGSM in torch away from what
            the network says.
        beta: What the distance is multiplied by.
        layer: A layer of the network, phi, by its dotted name, as in `model.named_modules()`; the paper takes the last
            convolutional one. None: the logits.
        alpha: The share of clean images in the cross-entropy, 0 to 1.
        distance: "squared", "l2" or "cosine".
        reduction: "mean" or "sum" of the squares over features.
        detach: The side through which no gradient flows, "clean" or "adversarial"; None: it flows through both.
        shape: What of the layer is compared: "map", "pooled" or "flat".
        eps: Radius of the FGSM that stands in for None, in the units of x; None for 8/255 of the range.
        schedule: When the scheduler steps: after each "epoch" or each "step".
        precision: Of the forward pass in training: "fp32", "bf16" or "fp16", by torch's own autocast.
        clip_norm: The length to which longer gradients are cut; None for none.
        verbose: Whether to show a bar an epoch.

    Raises:
        TypeError: For a classifier of another framework, or an attack that is none.
        ValueError: For wrong settings, a layer the network has not, a classifier without `clip_values`.

    Example:
        >>> trainer = ConsistentLossTrainer(classifier, attack, layer="layer4")  # doctest: +SKIP
        >>> trainer.fit(x, y, validation_data=(x_test, y_test), nb_epochs=10)  # doctest: +SKIP
    """

    def __init__(
        self,
        classifier: PyTorchClassifier,
        attack: AnyAttack | None = None,
        beta: float = 0.1,
        *,
        layer: str | None = None,
        alpha: float = core.Mixed.alpha,
        distance: Literal["squared", "l2", "cosine"] = core.ConsistentLoss.distance,
        reduction: Literal["mean", "sum"] = core.ConsistentLoss.reduction,
        detach: Literal["clean", "adversarial"] | None = core.ConsistentLoss.detach,
        shape: Shape = "map",
        eps: float | None = None,
        schedule: Schedule = "epoch",
        precision: Precision = "fp32",
        clip_norm: float | None = None,
        verbose: bool = True,
    ) -> None:
        super().__init__(
            classifier, attack, alpha=alpha, eps=eps, schedule=schedule, precision=precision, clip_norm=clip_norm,
            verbose=verbose,
        )  # fmt: skip
        self.layer = self._layer(layer)
        self.loss = core.ConsistentLoss(distance=distance, reduction=reduction, detach=detach)
        self.beta, self.shape = beta, shape
        self._terms(classifier.model)

    def _terms(self, network: nn.Module) -> tuple[core.Term, ...]:
        layer = placed(network, self.layer)
        return (core.Term(name="consistent", layer=layer, loss=self.loss, weight=self.beta, shape=self.shape),)


class DomainAdaptationTrainer(CoreTrainer):
    """Trains a network to have one distribution of representations, clean and attacked (Song et al., arXiv:1810.00740).

        alpha CE(f(x), y) + (1 - alpha) CE(f(x*), y) + beta (CORAL + MMD of phi)

    Song et al. take the logits, Xie the last layer of features. A batch needs two inputs.

    Args:
        classifier: The classifier that is trained, with its own optimiser. Its preprocessing has to be PyTorch's.
        attack: An `EvasionAttack` of ART, an attack of the core, or None for one step of FGSM in torch away from what
            the network says.
        beta: What both losses are multiplied by.
        layer: A layer of the network, phi, by its dotted name, as in `model.named_modules()`. None: the logits.
        alpha: The share of clean images in the cross-entropy, 0 to 1.
        coral: How covariances are compared: entry by entry, "l1" as in the paper, or "frobenius" as in Deep CORAL; None
            for not at all.
        covariance: "unbiased", "biased" or "scatter", which is that of the published code.
        mmd: How means are compared: "mean", their difference, as in the paper, or "kernels", which see any difference
            of the distributions; None for not at all.
        shape: "pooled", the mean over height and width, or "flat"; None for pooled where the layer puts out maps.
        eps: Radius of the FGSM that stands in for None, in the units of x; None for 8/255 of the range.
        schedule: When the scheduler steps: after each "epoch" or each "step".
        precision: Of the forward pass in training: "fp32", "bf16" or "fp16", by torch's own autocast.
        clip_norm: The length to which longer gradients are cut; None for none.
        verbose: Whether to show a bar an epoch.

    Raises:
        TypeError: For a classifier of another framework, or an attack that is none.
        ValueError: For wrong settings, a layer the network has not, a classifier without `clip_values`.

    Example:
        >>> trainer = DomainAdaptationTrainer(classifier, attack, layer="avgpool")  # doctest: +SKIP
        >>> trainer.fit_generator(loader, nb_epochs=10)  # doctest: +SKIP
    """

    def __init__(
        self,
        classifier: PyTorchClassifier,
        attack: AnyAttack | None = None,
        beta: float = 1 / 3,
        *,
        layer: str | None = None,
        alpha: float = core.Mixed.alpha,
        coral: Literal["l1", "frobenius"] | None = core.Coral.norm,
        covariance: Literal["unbiased", "biased", "scatter"] = core.Coral.covariance,
        mmd: Literal["mean", "kernels"] | None = "mean",
        shape: Literal["pooled", "flat"] | None = None,
        eps: float | None = None,
        schedule: Schedule = "epoch",
        precision: Precision = "fp32",
        clip_norm: float | None = None,
        verbose: bool = True,
    ) -> None:
        super().__init__(
            classifier, attack, alpha=alpha, eps=eps, schedule=schedule, precision=precision, clip_norm=clip_norm,
            verbose=verbose,
        )  # fmt: skip
        check.one_of("shape", shape, ("pooled", "flat", None))
        check.one_of("mmd", mmd, ("mean", "kernels", None))
        check.positive(beta=beta)
        if coral is None and mmd is None:
            raise ValueError("expected coral or mmd, got neither: then AdversarialTrainer does the same")
        self.layer, self.beta, self.shape = self._layer(layer), beta, shape
        self.losses: dict[str, Any] = {}
        if coral is not None:
            self.losses["coral"] = core.Coral(norm=coral, covariance=covariance)
        if mmd is not None:
            self.losses["mmd"] = core.MeanDifference() if mmd == "mean" else core.MultiKernelMMD()

    def _terms(self, network: nn.Module) -> tuple[core.Term, ...]:
        layer = placed(network, self.layer)
        shape = self._shape(network, layer) if self.shape is None else self.shape
        return tuple(
            core.Term(name=name, layer=layer, loss=loss, weight=self.beta, shape=shape)
            for name, loss in self.losses.items()
        )

    def _shape(self, network: nn.Module, layer: str | None) -> Shape:
        if layer is None:
            return "flat"
        with borrow(network), torch.no_grad(), record(network, [layer]) as outputs:
            network(self._grey())
        return "pooled" if outputs[layer].ndim == 4 else "flat"


class EnsembleAdversarialTraining(CoreTrainer):
    """Trains a network on images attacked on itself or on other networks, which stay as they are.

    Tramèr et al. (arXiv:1705.07204): a network that is attacked on itself alone may learn to make attacks weak. For
    each batch one of the networks is drawn, this one as likely as each of the others.

    Args:
        classifier: The classifier that is trained, with its own optimiser. Its preprocessing has to be PyTorch's.
        static: Classifiers of the same classes, shape and range. They are not trained.
        attack: An attack of the core, which each network is attacked by, or None for one step of FGSM in torch away
            from what the network says; or a list of ART's, one built with each of the classifiers.
        alpha: The share of clean images in the cross-entropy, 0 to 1.
        eps: Radius of the FGSM that stands in for None, in the units of x; None for 8/255 of the range.
        schedule: When the scheduler steps: after each "epoch" or each "step".
        precision: Of the forward pass in training: "fp32", "bf16" or "fp16", by torch's own autocast.
        clip_norm: The length to which longer gradients are cut; None for none.
        verbose: Whether to show a bar an epoch.

    Raises:
        TypeError: For classifiers of another framework, or an attack that is none.
        ValueError: For wrong settings, classifiers that do not fit together, attacks on others than these.

    Example:
        >>> trainer = EnsembleAdversarialTraining(classifier, [first, second])  # doctest: +SKIP
        >>> trainer.fit(x, y, nb_epochs=10)  # doctest: +SKIP
    """

    def __init__(
        self,
        classifier: PyTorchClassifier,
        static: Sequence[PyTorchClassifier],
        attack: AnyAttack | Sequence[EvasionAttack] | None = None,
        *,
        alpha: float = core.Mixed.alpha,
        eps: float | None = None,
        schedule: Schedule = "epoch",
        precision: Precision = "fp32",
        clip_norm: float | None = None,
        verbose: bool = True,
    ) -> None:
        self.static = tuple(static)
        if not self.static:
            raise ValueError("expected static classifiers, got none: on itself alone AdversarialTrainer trains it")
        self._members = classifiers(classifier, self.static)
        super().__init__(
            classifier, attack, alpha=alpha, eps=eps, schedule=schedule, precision=precision, clip_norm=clip_norm,
            verbose=verbose,
        )  # fmt: skip

    def _attack(self) -> Attack:
        hosts = self._hosts()
        if any(isinstance(each, EvasionAttack) for each in hosts):
            if {id(getattr(each, "estimator", None)) for each in hosts} != {id(each) for each in self._members}:
                raise ValueError(
                    f"expected a list of attacks of ART, one on each of the {len(self._members)} classifiers, got "
                    f"{len(hosts)} on others or on some of them"
                )
            return OneOf(tuple(as_called(each, self.eps, self._units, self.classifier.nb_classes) for each in hosts))
        attack = super()._attack()
        return OneOf((attack, *(Against(attack, self._network(each)) for each in self.static)))

    def _hosts(self) -> tuple[Any, ...]:
        return tuple(self.attack) if isinstance(self.attack, list | tuple) else (self.attack,)
