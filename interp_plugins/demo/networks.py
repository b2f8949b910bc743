"""Small residual networks and a plain loop that trains them, quick enough to be trained while somebody waits.

Three convolutions, each followed by a pooling, bring a picture to a sixteenth of its width; after the second and the
third stand n residual blocks (He et al. 2016, arXiv:1512.03385) of two convolutions each; a linear layer reads what is
left in each quarter of the picture. The depth, counted in layers with weights, is 4n + 4.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from interp_plugins.sources import weights


class Convolution(nn.Sequential):
    """A convolution, its norm, and a rectifier."""

    def __init__(self, before: int, after: int, size: int = 3, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(before, after, size, stride, padding=size // 2, bias=False), nn.BatchNorm2d(after), nn.ReLU()
        )


class Block(nn.Module):
    """Two convolutions and the way around them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = Convolution(channels, channels)
        self.second = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.second_norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Features in, features of the same shape out."""
        return F.relu(x + self.second_norm(self.second(self.first(x))))


class ResidualNetwork(nn.Module):
    """A residual network of depth 4n + 4 for pictures of 32 pixels and more."""

    def __init__(self, depth: int, classes: int, width: int = 16) -> None:
        """Build the network with torch's own weights; `fresh` sets those that a seed decides.

        Raises:
            ValueError: The depth is not 4n + 4.
        """
        super().__init__()
        blocks, left = divmod(depth - 4, 4)
        if left or blocks < 0:
            raise ValueError(f"expected a depth of 4n + 4 such as 4, 8 or 12, got {depth}")
        self.features = nn.Sequential(
            Convolution(3, width, 5, stride=2),
            nn.MaxPool2d(2),
            Convolution(width, 2 * width),
            nn.MaxPool2d(2),
            *(Block(2 * width) for _ in range(blocks)),
            Convolution(2 * width, 4 * width),
            nn.MaxPool2d(2),
            *(Block(4 * width) for _ in range(blocks)),
            nn.AdaptiveAvgPool2d(2),
        )
        self.head = nn.Linear(4 * 4 * width, classes)

    def forward(self, images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n k"]:
        """Return the logits of [0, 1] images; bringing those to mean 0 is the network's own business."""
        return self.head(self.features(4 * images - 2).flatten(1))  # type: ignore[no-any-return]


def fresh(depth: int, classes: int, width: int, seed: int) -> ResidualNetwork:
    """Return an untrained network whose weights only the seed decides; global randomness is neither used nor moved."""
    with torch.device("meta"):
        network = ResidualNetwork(depth, classes, width)
    network.to_empty(device="cpu")
    generator = torch.Generator().manual_seed(seed)
    for part in network.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, mode="fan_out", generator=generator)
        elif isinstance(part, nn.BatchNorm2d):
            part.reset_parameters()
        elif isinstance(part, nn.Linear):
            nn.init.normal_(part.weight, std=0.01, generator=generator)
            nn.init.zeros_(part.bias)
    for part in network.modules():
        if isinstance(part, Block):
            nn.init.zeros_(part.second_norm.weight)  # at first a block passes its input on, and any depth trains
    return network


def trained(file: Path, depth: int, classes: int, width: int) -> ResidualNetwork:
    """Return the network whose weights lie in a safetensors file, in eval mode.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It holds no weights, or those of another network.
    """
    network = fresh(depth, classes, width, seed=0)
    weights.fit(network, weights.read(file), file)
    return network.eval()


@dataclass(frozen=True)
class Epoch:
    """How one round over the training images went."""

    number: int  # 1 to `of`
    of: int
    loss: float  # mean cross-entropy
    accuracy: float  # share of training images that were right when they were used


def train(
    classifier: nn.Module,
    images: UInt8[Tensor, "n 3 h w"],
    labels: Int64[Tensor, " n"],
    *,
    epochs: int,
    seed: int,
    batch: int = 16,
    rate: float = 0.1,
) -> Iterator[Epoch]:
    """Train a classifier of [0, 1] images in place, one report an epoch, and leave it in eval mode.

    Stochastic gradient descent with momentum, one cycle of the learning rate; pictures are mirrored and moved by a few
    pixels at random.

    Args:
        classifier: [0, 1] images in, logits out.
        images: The training images as bytes.
        labels: Their classes.
        epochs: Rounds over all images.
        seed: Decides order, mirroring and moves.
        batch: Images a step.
        rate: The learning rate at the top of the cycle.
    """
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.SGD(
        classifier.parameters(), lr=rate, momentum=0.9, nesterov=True, weight_decay=5e-4, fused=True
    )
    steps = epochs * -(-len(images) // batch)
    classifier.to(memory_format=torch.channels_last)  # a fifth quicker
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)
    for epoch in range(1, epochs + 1):
        classifier.train()
        loss_sum, right = 0.0, 0
        for rows in torch.randperm(len(images), generator=generator).split(batch):
            varied = _varied(images[rows].float() / 255, generator)
            logits = classifier(varied.to(memory_format=torch.channels_last))
            loss = F.cross_entropy(logits, labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            loss_sum += loss.item() * len(rows)
            right += int((logits.argmax(1) == labels[rows]).sum())
        classifier.eval()
        if epoch == epochs:
            classifier.to(memory_format=torch.contiguous_format)
        yield Epoch(epoch, epochs, loss_sum / len(images), right / len(images))


def _varied(images: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror half of the images and move the whole batch by up to four pixels, repeating the rim."""
    mirrored = torch.rand(len(images), 1, 1, 1, generator=generator) < 0.5
    images = torch.where(mirrored, images.flip(3), images)
    down, right = torch.randint(0, 9, (2,), generator=generator).tolist()
    height, width = images.shape[2:]
    return F.pad(images, (4, 4, 4, 4), mode="replicate")[:, :, down : down + height, right : right + width]
