"""A step of adversarial training as other libraries' users take it, through the libraries' public doors.

Each function gets a `Subject` and returns what takes one step of it. Attacks have as many steps each, and start at the
images, where the library lets them. The floors take the passes that the step cannot do without, and nothing else.
"""

import contextlib
import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor, nn, optim

from benchmarks import workload
from interp_plugins.foundation.ball import project, steepest

EPSILON, LENGTH = 0.5, 0.1  # of PGD in L2 and of its steps
FGSM_EPSILON = 1 / 255
ALPHA, BETA = 0.5, 0.1  # the share of clean images and the weight of the consistent loss (arXiv:1901.09035)
CLASSES, SIDE = 10, 32

Step = Callable[[], object]


class Network(nn.Module):
    """ResNet-18 of torchvision as it is built for CIFAR-10: a first convolution of 3 x 3 and no first pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.net = import_module("torchvision.models").resnet18(weights=None, num_classes=CLASSES)
        self.net.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
        self.net.maxpool = nn.Identity()

    def forward(self, images: Tensor, with_latent: bool = False, **_others: object) -> Any:
        """Logits; `with_latent` the features before them as well, by the name that robustness gives it."""
        net = self.net
        x = net.relu(net.bn1(net.conv1(images)))
        features = net.avgpool(net.layer4(net.layer3(net.layer2(net.layer1(x))))).flatten(1)
        logits = net.fc(features)
        return (logits, features) if with_latent else logits


@dataclass(frozen=True)
class Subject:
    """A network in training with its optimiser, a batch, and how many steps an attack has."""

    network: nn.Module
    optimizer: optim.Optimizer
    images: Tensor  # (n, 3, 32, 32)
    labels: Tensor
    steps: int

    def train(self, attacked: Tensor) -> None:
        """One step of the optimiser on attacked images."""
        self.network.train()
        self.descend(F.cross_entropy(self.network(attacked), self.labels))

    def train_consistent(self, attacked: Tensor) -> None:
        """One step on clean and attacked images and on the distance of their features."""
        self.network.train()
        clean, adversarial = (self.network(x, with_latent=True) for x in (self.images, attacked))
        self.descend(consistent(clean, adversarial, self.labels))

    def descend(self, loss: Tensor) -> None:
        """Follow a loss."""
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()


def subject(batch: int, steps: int, *, channels_last: bool = False) -> Subject:
    """A network of seed 0 whose BatchNorm knows pictures, and a batch of them."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Network().train()
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None  # a plain mean over what follows
    with torch.no_grad():
        network(workload.pictures(16, SIDE, 7))
    for norm in norms:
        norm.momentum = 0.1
    if channels_last:
        network = network.to(memory_format=torch.channels_last)
    optimizer = optim.SGD(network.parameters(), lr=1e-3, momentum=0.9)
    labels = torch.randint(CLASSES, (batch,), generator=torch.Generator().manual_seed(1))
    return Subject(network, optimizer, workload.pictures(batch, SIDE), labels, steps)


def consistent(clean: tuple[Tensor, Tensor], adversarial: tuple[Tensor, Tensor], labels: Tensor) -> Tensor:
    """The loss of Dong et al. as one writes it by hand, of (logits, features) twice."""
    entropies = [F.cross_entropy(logits, labels) for logits, _ in (clean, adversarial)]
    distance = (clean[1] - adversarial[1]).square().mean(1).mean()
    return ALPHA * entropies[0] + (1 - ALPHA) * entropies[1] + BETA * distance


def pgd_floor(given: Subject) -> Step:
    """The passes of PGD with frozen weights, and a step of the optimiser."""

    def step() -> None:
        given.network.eval().requires_grad_(False)
        for _ in range(given.steps):
            x = given.images.detach().requires_grad_()
            torch.autograd.grad(F.cross_entropy(given.network(x), given.labels), x)
        given.network.requires_grad_(True)
        given.train(given.images)

    return step


def pgd_textbook(given: Subject) -> Step:
    """The loop that everybody writes first, by `loss.backward()`."""

    def step() -> None:
        given.network.eval()
        x = given.images.clone()
        for _ in range(given.steps):
            x.requires_grad_()
            F.cross_entropy(given.network(x), given.labels).backward()
            moved = x.detach() + LENGTH * steepest(x.grad, "l2")  # type: ignore[arg-type]  # there is one now
            x = project(moved, given.images, EPSILON, "l2")
        given.train(x)

    return step


def pgd_torchattacks(given: Subject) -> Step:
    """PGDL2 of torchattacks, and a step."""
    attack = import_module("torchattacks").PGDL2(
        given.network, eps=EPSILON, alpha=LENGTH, steps=given.steps, random_start=False
    )
    return lambda: given.train(attack(given.images, given.labels))


def pgd_robustness(given: Subject, *, use_best: bool) -> Step:
    """A step as robustness trains: its model attacks the batch and gives the logits."""
    with _without_cuda():
        model = _checkout("robustness", "robustness.attacker").AttackerModel(given.network, _Plain)

    def step() -> None:
        model.train()
        with _without_cuda():
            logits, _ = model(
                given.images, target=given.labels, make_adv=True, constraint="2", eps=EPSILON, step_size=LENGTH,
                iterations=given.steps, random_start=False, use_best=use_best, do_tqdm=False,
            )  # fmt: skip
        given.descend(F.cross_entropy(logits, given.labels))

    return step


def pgd_foolbox(given: Subject) -> Step:
    """L2PGD of foolbox, and a step."""
    foolbox = import_module("foolbox")

    def step() -> None:
        model = foolbox.PyTorchModel(given.network.eval(), bounds=(0, 1), device="cpu")
        attack = foolbox.attacks.L2PGD(abs_stepsize=LENGTH, steps=given.steps, random_start=False)
        given.train(attack(model, given.images, given.labels, epsilons=EPSILON)[1])

    return step


def pgd_art(given: Subject, trainer: str) -> Step:
    """One batch through a trainer of ART; MadryPGD has its own attack, in Linf."""
    defences, classifier = import_module("art.defences.trainer"), _classifier(given)
    attack = import_module("art.attacks.evasion").ProjectedGradientDescent(
        classifier, norm=2, eps=EPSILON, eps_step=LENGTH, max_iter=given.steps, batch_size=len(given.images),
        verbose=False,
    )  # fmt: skip
    images, labels = given.images.numpy(), F.one_hot(given.labels, CLASSES).float().numpy()
    fit: dict[str, Any] = {"batch_size": len(images), "nb_epochs": 1}
    if trainer == "AdversarialTrainerMadryPGD":
        made = defences.AdversarialTrainerMadryPGD(classifier, eps=8 / 255, eps_step=2 / 255, max_iter=given.steps)
    elif trainer == "AdversarialTrainerTRADESPyTorch":
        made = defences.AdversarialTrainerTRADESPyTorch(classifier, attack, beta=6.0)
    else:
        made = defences.AdversarialTrainer(classifier, attack, ratio=1.0)

    def step() -> None:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            made.fit(images, labels, **fit)

    return step


def consistent_floor(given: Subject) -> Step:
    """Two forward passes, of which the clean one serves FGSM too, and the passes back."""

    def step() -> None:
        given.network.train()
        x = given.images.detach().requires_grad_()
        clean = given.network(x, with_latent=True)
        (gradient,) = torch.autograd.grad(F.cross_entropy(clean[0], given.labels), x, retain_graph=True)
        moved = (given.images + FGSM_EPSILON * gradient.sign()).clamp(0, 1)
        given.descend(consistent(clean, given.network(moved, with_latent=True), given.labels))

    return step


def consistent_textbook(given: Subject) -> Step:
    """FGSM by `loss.backward()`, then the loss."""

    def step() -> None:
        given.network.train()
        x = given.images.detach().requires_grad_()
        F.cross_entropy(given.network(x), given.labels).backward()
        assert x.grad is not None
        given.train_consistent((given.images + FGSM_EPSILON * x.grad.sign()).clamp(0, 1))

    return step


def consistent_torchattacks(given: Subject) -> Step:
    """FGSM of torchattacks, then the loss."""
    attack = import_module("torchattacks").FGSM(given.network, eps=FGSM_EPSILON)
    return lambda: given.train_consistent(attack(given.images, given.labels))


def consistent_art(given: Subject) -> Step:
    """FastGradientMethod of ART, then the loss."""
    attack = import_module("art.attacks.evasion").FastGradientMethod(
        _classifier(given), eps=FGSM_EPSILON, batch_size=len(given.images)
    )
    images, labels = given.images.numpy(), F.one_hot(given.labels, CLASSES).numpy()
    return lambda: given.train_consistent(torch.from_numpy(attack.generate(images, y=labels)))


def _classifier(given: Subject) -> Any:
    return import_module("art.estimators.classification").PyTorchClassifier(
        given.network, loss=nn.CrossEntropyLoss(), input_shape=tuple(given.images.shape[1:]), nb_classes=CLASSES,
        optimizer=given.optimizer, clip_values=(0.0, 1.0), device_type="cpu",
    )  # fmt: skip


class _Plain:
    """What robustness wants to know of a data set: how to normalise. The images are left as they are."""

    mean, std = torch.zeros(3), torch.ones(3)


def _checkout(folder: str, module: str) -> Any:
    """A module of a library that is installed, or lies as a git checkout in the folder that $INTERP_PEERS names."""
    place = Path(os.environ.get("INTERP_PEERS", "")) / folder
    if os.environ.get("INTERP_PEERS") and place.is_dir() and str(place) not in sys.path:
        sys.path.append(str(place))
    return import_module(module)


@contextmanager
def _without_cuda() -> Iterator[None]:
    """Leave tensors on the processor, where robustness would bring them to a graphics card."""
    with mock.patch.object(Tensor, "cuda", lambda tensor, *_: tensor):
        yield
