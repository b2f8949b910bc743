"""The images."""

import torch
from torch import Tensor

from robustbench.utils import load_model


def load_cifar10(n_examples: int = 5, data_dir: str = "") -> tuple[Tensor, Tensor]:
    """Random images, each labelled by the stand-in network itself: its accuracy on them is 1."""
    images = torch.rand(n_examples, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return images, load_model()(images).argmax(1)
