"""The fixed work of the attack's benchmarks: networks with random weights, smooth images, and the targets.

Time depends on neither weights nor pictures, so nothing has to be downloaded. BatchNorm gets the statistics of such
pictures, because a network that puts out nothing but zeros would be no work for the loss.
"""

from importlib import import_module

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from interp_plugins.sources.models import Preprocessed

NETWORKS = ("resnet18", "alexnet", "vgg11")  # torchvision's names
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def pictures(n: int, size: int, seed: int = 0) -> Tensor:
    """Smooth noise, float (n, 3, size, size) that fills [0, 1]."""
    generator = torch.Generator().manual_seed(seed)
    x = 0.3 * torch.rand(n, 3, size, size, generator=generator)
    for side in (4, 8, 16, 32):
        rough = torch.rand(n, 3, min(side, size), min(side, size), generator=generator)
        x += F.interpolate(rough, size=(size, size), mode="bilinear", align_corners=False)
    x -= x.amin((1, 2, 3), keepdim=True)
    return x / x.amax((1, 2, 3), keepdim=True)


def network(name: str, seed: int, size: int) -> nn.Module:
    """A torchvision network with random weights, normalisation inside, in eval mode."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Preprocessed(import_module("torchvision.models").get_model(name, weights=None), MEAN, STD).eval()
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over what follows
        norm.train()
    if norms:
        with torch.no_grad(), torch.random.fork_rng():
            for seed in (7, 8):
                model(pictures(16, size, seed))
    return model.eval()


class MeanLogits(nn.Module):
    """What the user of a library for single networks writes to give it an ensemble."""

    def __init__(self, networks: list[nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, images: Tensor) -> Tensor:
        """Logits, the members' mean."""
        return torch.stack([net(images) for net in self.networks]).mean(0)
