"""A small world for the torchattacks tests: networks of 12 classes that can be pickled, and images they see."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from interp_torchattacks.attacks import EnsembleOptimization

CLASSES = 12
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)


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
            for layer in (self.first, self.second, self.head):
                layer.weight.data *= 4  # so that the image decides, not the biases
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        features = torch.relu(self.second(torch.relu(self.norm(self.first(images)))))
        return self.head(self.drop(features.flatten(1)))


class Watching(nn.Module):
    """A network that tells `saw(network, images)` of every call, and is otherwise the one it holds."""

    def __init__(self, net: nn.Module, saw: Callable[[nn.Module, Tensor], None]) -> None:
        super().__init__()
        self.net, self.saw = net, saw

    def forward(self, images: Tensor) -> Tensor:
        self.saw(self, images)
        return self.net(images)


class Breaking(nn.Module):
    """A network that breaks down in a backward pass: the worst moment for whoever borrowed its neighbours."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> Tensor:
        logits = self.net(images)
        if logits.requires_grad:
            raise RuntimeError("out of order")
        return logits


def nets(count: int) -> list[Net]:
    return [Net(seed) for seed in range(count)]


def world(count: int = 6, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Images and labels; a label is what the first network says, so that it starts with everything right."""
    images = torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        return images, Net(0)(images).argmax(1)


def modes(*models: nn.Module) -> list[bool]:
    return [module.training for model in models for module in model.modules()]


class Normalised(nn.Module):
    """A network behind its normalisation."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, images):
        return self.net(normalise(images))


def normalise(images):
    return (images - torch.tensor(MEAN).view(1, 3, 1, 1)) / torch.tensor(STD).view(1, 3, 1, 1)


def ensemble(count: int = 3, **settings) -> EnsembleOptimization:
    first, *others = nets(count)
    return EnsembleOptimization(first, surrogates=others, **settings)


def by_least_likely(attack):
    attack.set_mode_targeted_least_likely(kth_min=2, quiet=True)


def by_chance(attack):
    attack.set_mode_targeted_random(quiet=True)


def by_function(attack):
    attack.set_mode_targeted_by_function(lambda images, labels: (labels + 1) % CLASSES, quiet=True)


def by_label(attack):
    attack.set_mode_targeted_by_label(quiet=True)


def by_default(attack):
    attack.set_mode_default()


MODES = [by_default, by_least_likely, by_chance, by_function, by_label]


def slow_least_likely(members, images, labels, k):
    """The k-th least likely class but the label, by the mean probability: a sort of Python floats for each image."""
    with torch.no_grad():
        rows = torch.stack([net(images).double().softmax(1) for net in members]).mean(0).tolist()
    ranked = [
        sorted(set(range(CLASSES)) - {label}, key=row.__getitem__)
        for row, label in zip(rows, labels.tolist(), strict=True)
    ]
    return torch.tensor([classes[k - 1] for classes in ranked])
