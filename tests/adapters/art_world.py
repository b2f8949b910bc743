"""A small world for the ART tests: images as arrays, and classifiers around networks."""

from typing import Any

import numpy as np
import torch
from art.estimators.classification import EnsembleClassifier, PyTorchClassifier
from torch import nn
from toys import CLASSES
from toys import Net as LoudNet

SHAPE = (3, 8, 8)


class Net(LoudNet):
    """One whose last layer alone is loud, so that a few steps tell targeted from untargeted."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed, loud=("head",), gain=8)


def nets(count: int) -> list[Net]:
    return [Net(seed) for seed in range(count)]


def arrays(count: int = 6, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((count, *SHAPE), dtype=np.float32)


def said(classifier: PyTorchClassifier, x: np.ndarray) -> np.ndarray:
    return classifier.predict(x).argmax(1)


def classifier(net: nn.Module, kind: type[PyTorchClassifier] = PyTorchClassifier, **settings: Any) -> PyTorchClassifier:
    """The network in ART, with an optimiser, so that it can be trained."""
    settings = {"input_shape": SHAPE, "nb_classes": CLASSES, "clip_values": (0, 1), "device_type": "cpu"} | settings
    optimizer = torch.optim.SGD([p for p in net.parameters() if p.requires_grad] or [torch.zeros(1)], lr=0.01)
    return kind(net, nn.CrossEntropyLoss(), optimizer=optimizer, **settings)


def classifiers(count: int, **settings: Any) -> list[PyTorchClassifier]:
    return [classifier(net, **settings) for net in nets(count)]


def ensemble(members: list[PyTorchClassifier], weights: list[float] | None = None) -> EnsembleClassifier:
    return EnsembleClassifier(members, classifier_weights=weights, channels_first=True, clip_values=(0, 1))


def softmaxed(net: nn.Module) -> nn.Module:
    return nn.Sequential(net, nn.Softmax(1)).eval()
