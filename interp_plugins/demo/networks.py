"""Small residual networks and a plain loop that trains them, quick enough to be trained while somebody waits.

The networks are those of He et al. 2016 for CIFAR-10 (arXiv:1512.03385, section 4.2): a first convolution, three stages
of n blocks with two convolutions each, an average over the picture, a linear layer; the depth is 6n + 2. One departure:
the drawn world's pictures are larger, and so are the things in them, so the first convolution takes every second pixel
and the pooling after it halves the size once more.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn
from torch.nn import functional as F


class Block(nn.Module):
    """Two convolutions and the way around them."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        stride = 1 if before == after else 2
        self.first = nn.Conv2d(before, after, 3, stride, padding=1, bias=False)
        self.first_norm = nn.BatchNorm2d(after)
        self.second = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.second_norm = nn.BatchNorm2d(after)
        self.around: nn.Module = nn.Identity()
        if before != after:
            self.around = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))

    def forward(self, x: Tensor) -> Tensor:
        """Features in, features of half the size and twice the channels out where the stage begins."""
        y = F.relu(self.first_norm(self.first(x)))
        return F.relu(self.second_norm(self.second(y)) + self.around(x))


class ResidualNetwork(nn.Module):
    """A residual network of depth 6n + 2 for pictures of 32 pixels and more."""

    def __init__(self, depth: int, classes: int, width: int = 16) -> None:
        """Build the network with weights nobody has set; see `fresh`.

        Raises:
            ValueError: The depth is not 6n + 2.
        """
        super().__init__()
        blocks, left = divmod(depth - 2, 6)
        if left or blocks < 1:
            raise ValueError(f"expected a depth of 6n + 2 such as 8, 14 or 20, got {depth}")
        self.stem = nn.Conv2d(3, width, 5, stride=2, padding=2, bias=False)
        self.stem_norm = nn.BatchNorm2d(width)
        stages = []
        for before, after in ((width, width), (width, 2 * width), (2 * width, 4 * width)):
            stages += [Block(before, after), *(Block(after, after) for _ in range(blocks - 1))]
        self.stages = nn.Sequential(*stages)
        self.head = nn.Linear(4 * width, classes)

    def forward(self, images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n k"]:
        """Return the logits of [0, 1] images; bringing those to mean 0 is the network's own business."""
        x = F.max_pool2d(F.relu(self.stem_norm(self.stem(4 * images - 2))), 2)
        return self.head(self.stages(x).mean(dim=(2, 3)))  # type: ignore[no-any-return]


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
    return network


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
    batch: int = 32,
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
    optimizer = torch.optim.SGD(classifier.parameters(), lr=rate, momentum=0.9, nesterov=True, weight_decay=5e-4)
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
