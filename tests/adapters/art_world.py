"""A small world for the ART tests: networks of 12 classes, images they see as arrays, and classifiers around them."""

from typing import Any

import numpy as np
import torch
from art.estimators.classification import EnsembleClassifier, PyTorchClassifier
from torch import Tensor, nn

CLASSES = 12
SHAPE = (3, 8, 8)


class Net(nn.Module):
    """Convolutions, batch norm with statistics that matter, dropout, a linear layer: 8 x 8 images to 12 logits."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.first, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
            self.second, self.drop = nn.Conv2d(8, 16, 3, stride=2, padding=1), nn.Dropout(0.2)
            self.head = nn.Linear(16 * 16, CLASSES)
            self.norm.running_mean.uniform_(-0.2, 0.2)
            self.norm.running_var.uniform_(0.5, 1.5)
            self.head.weight.data *= 8
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        features = torch.relu(self.second(torch.relu(self.norm(self.first(images)))))
        return self.head(self.drop(features.flatten(1)))


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


def modes(*models: nn.Module) -> list[bool]:
    return [module.training for model in models for module in model.modules()]
