"""The network, and how it is judged."""

import torch
from torch import Tensor, nn


def load_model(model_name: str = "Standard", model_dir: str = "", norm: str = "Linf") -> nn.Module:
    """A small network for CIFAR-10's shapes, the same at every call; no name is looked up and nothing is read."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.Conv2d(8, 16, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(784, 10)
        )
        net[-1].weight.data *= 4
        return net.eval()


@torch.no_grad()
def clean_accuracy(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """The share of images that the model takes for their labels."""
    return (model(images).argmax(1) == labels).float().mean().item()
