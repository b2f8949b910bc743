"""A small world for the torchattacks tests: networks that watch or break, images, and the modes of the host."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from toys import CLASSES, Net, nets

from interp_torchattacks.attacks import EnsembleOptimization

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)


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


def world(count: int = 6, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Images and labels; a label is what the first network says, so that it starts with everything right."""
    images = torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        return images, Net(0)(images).argmax(1)


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
