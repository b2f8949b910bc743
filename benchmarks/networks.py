"""The network that the training tables train: small enough for two cores, residual enough to be a ResNet.

    images -> normalised -> conv1 -> layer1 -> layer2 -> layer3 -> pool -> fc -> logits

`interp-plugins` loads it as `benchmarks/networks.py:small_resnet`.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)  # of CIFAR-10's training images
WIDTHS = (16, 32, 64)


class Block(nn.Module):
    """Two convolutions of 3 x 3 and the way around them, by a convolution of 1 x 1 where the shape changes."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or before != after:
            self.shortcut = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))

    def forward(self, x: Float[Tensor, "n before h w"]) -> Float[Tensor, "n after h2 w2"]:
        """Features that a rectifier ends."""
        return F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))) + self.shortcut(x))


class SmallResNet(nn.Module):
    """He et al.'s CIFAR network (arXiv:1512.03385, section 4.2) with one block a width: 8 layers with weights.

    Their shortcuts have no parameters; here a convolution of 1 x 1 leads from one width to the next.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1), persistent=False)
        narrow, middle, wide = WIDTHS
        self.conv1 = nn.Sequential(nn.Conv2d(3, narrow, 3, padding=1, bias=False), nn.BatchNorm2d(narrow), nn.ReLU())
        self.layer1 = Block(narrow, narrow, 1)
        self.layer2 = Block(narrow, middle, 2)
        self.layer3 = Block(middle, wide, 2)
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.fc = nn.Linear(wide, classes)
        for part in self.modules():
            if isinstance(part, nn.Conv2d):
                nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Float[Tensor, "n 3 32 32"]) -> Float[Tensor, "n classes"]:
        """Logits of images in [0, 1]."""
        x = self.conv1((images - self.mean) / self.std)
        logits: Tensor = self.fc(self.pool(self.layer3(self.layer2(self.layer1(x)))))
        return logits


def small_resnet() -> SmallResNet:
    """An untrained network of 78,042 parameters for ten classes of 32 x 32 pixels, in training mode.

    Its weights are drawn from torch's own randomness: call `torch.manual_seed(seed)` first for the network of a seed.
    He, Zhang, Ren and Sun, *Deep residual learning for image recognition*, arXiv:1512.03385.
    """
    return SmallResNet()
