"""The same targeted attack by other libraries, through their public doors, on a network that averages logits.

Each function gets the averaging network with trainable parameters, as its user would have it, images (n, c, h, w), one
target an image, and the number of steps, and returns the adversarial images. None offers Adam on the average of losses;
their own rules do the same network passes, so time compares, and the loss that is reached says what the passes bought.
"""

import contextlib
import io
import os
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EPSILON, STEP = 16 / 255, 2 / 255  # the ball that all share, and the sign methods' step

Peer = Callable[[nn.Module, Tensor, Tensor, int], Tensor]


def transferattack(network: nn.Module, images: Tensor, targets: Tensor, steps: int) -> Tensor:
    """TransferAttack's ENS, from the checkout that $INTERP_PEERS names or holds."""
    folder = Path(os.environ.get("INTERP_PEERS", "")) / "TransferAttack"
    if not folder.is_dir():
        raise FileNotFoundError("no checkout of TransferAttack; name the folder that holds it with --peers")
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    ens = import_module("transferattack.ensemble.ens").ENS
    ensemble = import_module("transferattack.utils").EnsembleModel(list(_members(network)))
    own = type("OwnEns", (ens,), {"load_model": lambda self, name: ensemble})  # its documented way to other surrogates
    attack = own("own", epsilon=EPSILON, alpha=STEP, epoch=steps, targeted=True)
    change: Tensor = attack.forward(images, torch.stack([targets, targets]))  # it looks at the second row alone
    return images + change


def torchattacks(network: nn.Module, images: Tensor, targets: Tensor, steps: int) -> Tensor:
    """PGD of torchattacks."""
    attack = import_module("torchattacks").PGD(network, eps=EPSILON, alpha=STEP, steps=steps, random_start=False)
    attack.set_mode_targeted_by_label(quiet=True)
    adversarial: Tensor = attack(images, targets)
    return adversarial


def art(network: nn.Module, images: Tensor, targets: Tensor, steps: int) -> Tensor:
    """PGD of ART."""
    classes = _classes(network, images)
    classifier = import_module("art.estimators.classification").PyTorchClassifier(
        network, loss=nn.CrossEntropyLoss(), input_shape=tuple(images.shape[1:]), nb_classes=classes,
        optimizer=torch.optim.SGD(network.parameters(), 0.0), clip_values=(0.0, 1.0), device_type="cpu",
    )  # fmt: skip
    attack = import_module("art.attacks.evasion").ProjectedGradientDescent(
        classifier, eps=EPSILON, eps_step=STEP, max_iter=steps, targeted=True, batch_size=len(images), verbose=False
    )
    return torch.from_numpy(attack.generate(images.numpy(), y=F.one_hot(targets, classes).numpy()))


def foolbox_pgd(network: nn.Module, images: Tensor, targets: Tensor, steps: int) -> Tensor:
    """LinfPGD of foolbox."""
    return _foolbox("LinfPGD", network, images, targets, steps)


def foolbox_adam(network: nn.Module, images: Tensor, targets: Tensor, steps: int) -> Tensor:
    """LinfAdamPGD of foolbox, of all peers the nearest to ours."""
    return _foolbox("LinfAdamPGD", network, images, targets, steps)


def textbook(network: nn.Module, images: Tensor, targets: Tensor, steps: int) -> Tensor:
    """The loop that everybody writes first: Adam on the pixels and `loss.backward()`."""
    x = images.clone().requires_grad_(True)
    optimizer = torch.optim.Adam([x], lr=5 / 255)
    for _ in range(steps):
        optimizer.zero_grad()
        _mean_loss(network, x, targets).backward()
        optimizer.step()
        with torch.no_grad():
            x.copy_(torch.min(torch.max(x, images - EPSILON), images + EPSILON).clamp(0, 1))
    return x.detach()


def floor(network: nn.Module, images: Tensor, targets: Tensor, steps: int) -> Tensor:
    """The network passes that no attack can do without, and nothing else; the images come back as they were."""
    network.requires_grad_(False)
    for _ in range(steps):
        x = images.detach().requires_grad_(True)
        torch.autograd.grad(_mean_loss(network, x, targets), x)
    network.requires_grad_(True)
    return images


def in_batches(peer: Peer, network: nn.Module, images: Tensor, targets: Tensor, steps: int, rows: int) -> Tensor:
    """Run a peer on batches of so many rows, and let it leave no gradients behind."""
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            parts = [peer(network, x, y, steps) for x, y in zip(images.split(rows), targets.split(rows), strict=True)]
        return torch.cat(parts).detach()
    finally:
        network.zero_grad(set_to_none=True)


def _members(network: nn.Module) -> list[nn.Module]:
    return [member for _, member in network.get_submodule("networks").named_children()]


def _mean_loss(network: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
    return torch.stack([F.cross_entropy(member(images), targets) for member in _members(network)]).mean()


def _classes(network: nn.Module, images: Tensor) -> int:
    with torch.no_grad():
        return int(network(images[:1]).shape[1])


def _foolbox(name: str, network: nn.Module, images: Tensor, targets: Tensor, steps: int) -> Tensor:
    foolbox = import_module("foolbox")
    model = foolbox.PyTorchModel(network, bounds=(0, 1), device="cpu")
    attack = getattr(foolbox.attacks, name)(abs_stepsize=STEP, steps=steps, random_start=False)
    found: Tensor = attack(model, images, foolbox.criteria.TargetedMisclassification(targets), epsilons=EPSILON)[1]
    return found


PEERS: dict[str, Peer] = {
    "TransferAttack ENS": transferattack,
    "torchattacks PGD": torchattacks,
    "ART PGD": art,
    "foolbox LinfAdamPGD": foolbox_adam,
    "foolbox LinfPGD": foolbox_pgd,
    "textbook Adam loop": textbook,
}
