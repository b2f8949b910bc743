"""Does a network withstand attacks, or does it only hide the gradient that they follow? Checks that tell.

python examples/is_my_robust_model_masking_gradients.py
python examples/is_my_robust_model_masking_gradients.py --model nets.py:mine --surrogate nets.py:other --data FOLDER
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from importlib import import_module

import torch
from rich.progress import track
from torch import Tensor, nn, optim
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from interp_plugins.attacks import FGSM, PGD
from interp_plugins.demo.networks import fresh
from interp_plugins.report.results import Row, rate
from interp_plugins.sources import images, models, scenes
from interp_plugins.training import MADRY, Mixed, Trainer
from interp_plugins.training.evaluation import Attack

NUMBERS = {"training": 800, "images": 120, "size": 32, "epochs": 6}
STRONG = "PGD-20"  # what the others are held against
WEAKER, STRONGER = ("random points", "FGSM", "other network's PGD"), ("PGD-50", "AutoAttack")
WEAKER_FINDS, STRONGER_FINDS, LEFT, FLAT = 0.02, 0.05, 0.05, 0.02  # limits of ours, as shares of all images


@dataclass(frozen=True)
class Checked:
    """One network."""

    rows: dict[str, Row]  # images read rightly under each attack, and those whose loss has a gradient of exactly 0
    suspicions: tuple[str, ...]


# [masked]
class Masked(nn.Module):
    """A network whose logits are a hundred times as large: as fragile as before, but its loss is flat."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        """Logits that the softmax turns into ones and zeros."""
        logits: Tensor = self.network(x)
        return 100 * logits


# [drawn]
def drawn(given: argparse.Namespace) -> tuple[dict[str, nn.Module], nn.Module, Tensor, Tensor]:
    """Three networks trained on drawn scenes, one more to carry attacks over from, and scenes that none has seen."""
    world = scenes.draw(given.training + given.images, given.size)
    x, labels, seen, unseen = world.floats(), world.labels, slice(given.training), slice(given.training, None)
    pgd = PGD(epsilon=float(given.epsilon), step_size=float(given.epsilon) / 2, steps=4)
    made: list[nn.Module] = []
    for seed, attack in enumerate((None, pgd, None)):
        torch.manual_seed(seed)
        model = fresh(8, len(world.classes), 16, seed=seed).train()
        loader = DataLoader(TensorDataset(x[seen], labels[seen]), 32, shuffle=True)
        optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)
        scheduler = optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=given.epochs * len(loader))
        trainer = Trainer(epochs=given.epochs, classify=MADRY if attack else Mixed(alpha=1), schedule="step")
        run = trainer(model, optimizer, loader, attack=attack, scheduler=scheduler)
        tuple(track(run, f"network {seed + 1} of 3", total=given.epochs))
        made.append(model.eval())
    standard, robust, other = made
    networks = {"standard": standard, "trained with PGD": robust, "masked": Masked(standard).eval()}
    return networks, other, x[unseen], labels[unseen]


# [real]
def real(given: argparse.Namespace) -> tuple[dict[str, nn.Module], nn.Module, Tensor, Tensor]:
    """Your network, another of yours for the same classes, and your images."""
    network, other = (models.load(spec) for spec in (given.model, given.surrogate))
    found = images.load(given.data, size=given.size)
    order = torch.randperm(len(found.labels), generator=torch.Generator().manual_seed(0))[: given.images]
    x, labels = found.tensor(order.tolist()).float() / 255, torch.as_tensor(found.labels)[order]
    return {network.name: network.module}, other.module, x, labels


# [attacks]
def attacks(other: nn.Module, epsilon: float) -> dict[str, Attack | None]:
    """From doing nothing to more than any network can withstand; each is called with network, images and labels."""
    strong = PGD(epsilon=epsilon, step_size=epsilon / 4, steps=20)
    return {
        "clean": None,
        "random points": lambda network, x, y: noise(network, x, y, epsilon),
        "FGSM": FGSM(epsilon=epsilon),
        "other network's PGD": lambda _network, x, y: strong(other, x, y),
        STRONG: strong,
        "PGD-50": PGD(epsilon=epsilon, step_size=epsilon / 8, steps=50, random_start=True),
        "PGD without bound": PGD(epsilon=1.0, step_size=16 / 255, steps=25),
    }


def noise(network: nn.Module, x: Tensor, labels: Tensor, epsilon: float, draws: int = 20) -> Tensor:
    """Of so many random corners of each image's ball the first at which the network errs; no gradient is used."""
    generator, found = torch.Generator().manual_seed(0), x.clone()
    for _ in range(draws):
        signs = torch.randint(2, x.shape, generator=generator) * 2 - 1
        right = correct(network, found, labels)
        found[right] = (x + epsilon * signs).clamp(0, 1)[right]
    return found


# [check]
def check(network: nn.Module, x: Tensor, labels: Tensor, tried: Mapping[str, Attack | None]) -> Checked:
    """Attack one network in all ways, and say what is suspicious."""
    moved = {name: attack(network, x, labels) if attack else x for name, attack in tried.items()}
    holds = {name: correct(network, pixels, labels) for name, pixels in moved.items()}
    pixels = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(F.cross_entropy(network(pixels), labels, reduction="sum"), pixels)
    holds["no gradient"] = (gradient == 0).flatten(1).all(1)
    rows = {name: rate(name, int(those.sum()), len(x)) for name, those in holds.items()}
    return Checked(rows, tuple(suspicions(holds)))


def correct(network: nn.Module, x: Tensor, labels: Tensor) -> Tensor:
    """Which images a network reads rightly."""
    with torch.no_grad():
        right: Tensor = network(x).argmax(1) == labels
    return right


# [suspicions]
def suspicions(holds: Mapping[str, Tensor]) -> Iterator[str]:
    """What an honest network would not show, from which images it holds under each attack."""
    n = len(holds[STRONG])
    for weaker in WEAKER:
        if (found := int((holds[STRONG] & ~holds[weaker]).sum())) > WEAKER_FINDS * n:
            yield f"{weaker} fools it on {found} images on which {STRONG} does not"
    for stronger in STRONGER:
        if stronger in holds and (found := int((holds[STRONG] & ~holds[stronger]).sum())) > STRONGER_FINDS * n:
            yield f"{stronger} fools it on {found} images on which {STRONG} does not: {STRONG} overstates"
    if (left := int(holds["PGD without bound"].sum())) > LEFT * n:
        yield f"{left} images are read rightly whatever the change: the attack has nothing to follow"
    if (flat := int(holds["no gradient"].sum())) > FLAT * n:
        yield f"on {flat} images the gradient is exactly 0"


# [main]
def main(argv: Sequence[str] | None = None) -> dict[str, Checked]:
    """Check each network, and print under what it is right and what is suspicious."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", metavar="SPEC", help="the network to check")
    parser.add_argument("--surrogate", metavar="SPEC", help="another for the same classes, to carry attacks over from")
    parser.add_argument("--data", help="images: a folder of class folders or with a labels.csv, CIFAR-10, or an .npz")
    parser.add_argument("--epsilon", type=Fraction, default=Fraction(4, 255), help="in Linf; 4/255 if not given")
    parser.add_argument("--autoattack", action="store_true", help="AutoAttack of torchattacks as well; slow")
    for name, number in NUMBERS.items():
        parser.add_argument(f"--{name}", type=int, default=number, help=f"{number} if not given")
    given = parser.parse_args(argv)
    if len({bool(given.model), bool(given.surrogate), bool(given.data)}) > 1:
        parser.error("--model, --surrogate and --data go together")
    torch.set_num_threads(1)  # bits are promised for one thread
    networks, other, x, labels = real(given) if given.model else drawn(given)
    tried = attacks(other, float(given.epsilon))
    if given.autoattack:
        tried["AutoAttack"] = autoattack(float(given.epsilon))
    found = {}
    for name, network in track(networks.items(), "checking", total=len(networks)):
        found[name] = check(network, x, labels, tried)
    # [print]
    print(f"{'':<20}", *(f"{name:>24}" for name in found))
    for line in next(iter(found.values())).rows:
        print(f"{line:<20}", *(f"{shown(one.rows[line]):>24}" for one in found.values()))
    for name, one in found.items():
        print(f"{name}: {'suspicious' if one.suspicions else 'nothing suspicious'}")
        print(*(f"  {sentence}\n" for sentence in one.suspicions), sep="", end="")
    # [expect]
    if given == parser.parse_args([]):
        assert not found["standard"].suspicions, "an honest network was suspected"
        assert not found["trained with PGD"].suspicions, "an honest network was suspected"
        assert len(found["masked"].suspicions) >= 2, "a network that hides its gradient was not found out"
    # [end]
    return found


# [autoattack]
def autoattack(epsilon: float) -> Attack:
    """AutoAttack (Croce and Hein, arXiv:2003.01690) as torchattacks has it: four attacks, one of them blind."""
    torchattacks = import_module("torchattacks")

    def attack(network: nn.Module, x: Tensor, labels: Tensor) -> Tensor:
        with torch.no_grad():
            classes = network(x[:1]).shape[1]
        moved: Tensor = torchattacks.AutoAttack(network, eps=epsilon, n_classes=classes, seed=0)(x, labels)
        return moved

    return attack


# [shown]
def shown(row: Row) -> str:
    """A rate with its 95 % interval."""
    return f"{row.value:.1%} [{row.low:.1%}, {row.high:.1%}]"


if __name__ == "__main__":
    main()
