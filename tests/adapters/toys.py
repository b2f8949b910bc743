"""What the tests of the adapters attack: small networks of 12 classes, which can be pickled."""

import torch
from torch import Tensor, nn

CLASSES = 12


class Net(nn.Module):
    """Convolutions, batch norm with statistics that matter, dropout, a linear layer: 8 x 8 images to 12 logits."""

    def __init__(self, seed: int, loud: tuple[str, ...] = ("first", "second", "head"), gain: float = 4) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.first, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
            self.second, self.drop = nn.Conv2d(8, 16, 3, stride=2, padding=1), nn.Dropout(0.2)
            self.head = nn.Linear(16 * 16, CLASSES)
            self.norm.running_mean.uniform_(-0.2, 0.2)
            self.norm.running_var.uniform_(0.5, 1.5)
            for layer in loud:
                getattr(self, layer).weight.data *= gain  # so that the image decides, not the biases
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        features = torch.relu(self.second(torch.relu(self.norm(self.first(images)))))
        return self.head(self.drop(features.flatten(1)))


def nets(count: int) -> list[Net]:
    return [Net(seed) for seed in range(count)]


def modes(*models: nn.Module) -> list[bool]:
    return [module.training for model in models for module in model.modules()]
