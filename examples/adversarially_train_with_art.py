"""Train a network against attacks by ART's own trainer and by ours, side by side.

python examples/adversarially_train_with_art.py
python examples/adversarially_train_with_art.py --training 800 --epochs 8
"""

import argparse
import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import process_time

import numpy as np
import torch
from art.defences.trainer import AdversarialTrainerMadryPGD
from art.estimators.classification import PyTorchClassifier
from torch import Tensor, nn

from interp_art import ConsistentLossTrainer, DomainAdaptationTrainer
from interp_plugins.attacks import PGD
from interp_plugins.demo.networks import fresh
from interp_plugins.report.results import Row, rate
from interp_plugins.sources import scenes

NUMBERS = {"training": 480, "held-out": 192, "size": 32, "warm-up": 8, "epochs": 4, "steps": 7}
EPS, STEP = 4 / 255, 1 / 255


@dataclass(frozen=True)
class Result:
    """For each way of training the images read correctly, clean and attacked, and the seconds of processor time."""

    clean: dict[str, Row]
    attacked: dict[str, Row]
    seconds: dict[str, float]


# [classifier]
def classifier(network: nn.Module, classes: int, size: int) -> PyTorchClassifier:
    """The network in ART, with an optimiser of its own."""
    optimizer = torch.optim.SGD(network.parameters(), lr=0.02, momentum=0.9)
    shape = (3, size, size)
    return PyTorchClassifier(
        network, nn.CrossEntropyLoss(), shape, classes, optimizer=optimizer, clip_values=(0, 1), device_type="cpu"
    )


# [main]
def main(argv: Sequence[str] | None = None) -> Result:
    """Train a network, go on against attacks in four ways, and print what each withstands and costs."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    for name, number in NUMBERS.items():
        parser.add_argument(f"--{name}", type=int, default=number, help=f"{number} if not given")
    given = parser.parse_args(argv)
    torch.set_num_threads(1)
    drawn = scenes.draw(given.training, given.size)
    others = scenes.draw(given.held_out, given.size, start=given.training)
    x, y = drawn.floats().numpy(), drawn.labels.numpy()
    seeded(0)
    first = classifier(fresh(8, len(drawn.classes), 16, seed=0), len(drawn.classes), given.size)
    first.fit(x, y, batch_size=32, nb_epochs=given.warm_up)

    # [train]
    pgd = PGD(epsilon=EPS, step_size=STEP, steps=given.steps, random_start=True, tile=32)
    host = {"eps": EPS, "eps_step": STEP, "max_iter": given.steps}
    trainers: dict[str, Callable[[PyTorchClassifier], object]] = {
        "ART's Madry, PGD": lambda net: AdversarialTrainerMadryPGD(net, batch_size=32, **host),
        "consistent, PGD": lambda net: ConsistentLossTrainer(net, pgd, alpha=0, layer="features.7"),
        "consistent, FGSM": lambda net: ConsistentLossTrainer(net, eps=EPS, layer="features.7"),
        "CORAL and MMD, FGSM": lambda net: DomainAdaptationTrainer(net, eps=EPS, layer="features.7"),
    }
    trained, seconds = {"not trained on": first.model}, {"not trained on": 0.0}
    for name, trainer in trainers.items():
        seeded(1)
        net = classifier(copy.deepcopy(first.model), len(drawn.classes), given.size)
        began = process_time()
        trainer(net).fit(x, y, batch_size=32, nb_epochs=given.epochs)  # type: ignore[attr-defined]
        trained[name], seconds[name] = net.model.eval(), process_time() - began
    # [judge]
    strong = PGD(epsilon=EPS, step_size=STEP, steps=20, random_start=True)
    images, labels = others.floats(), others.labels
    clean = {name: right(name, network, images, labels) for name, network in trained.items()}
    attacked = {
        name: right(name, network, strong(network, images, labels), labels) for name, network in trained.items()
    }
    # [print]
    for name in trained:
        a, b = clean[name], attacked[name]
        print(
            f"{name:<20} clean {a.numerator:>3} of {a.denominator}, attacked {b.numerator:>3} of {b.denominator}, "
            f"{seconds[name]:.0f} s"
        )
    # [expect]
    if given == parser.parse_args([]):
        worst = attacked["not trained on"].high
        assert all((attacked[name].low or 0) > (worst or 0) for name in trainers), "a trainer did not help: tell us"
    # [end]
    return Result(clean, attacked, seconds)


def seeded(seed: int) -> None:
    """ART draws from numpy, torch from its own."""
    np.random.seed(seed)
    torch.manual_seed(seed)


def right(name: str, network: nn.Module, images: Tensor, labels: Tensor) -> Row:
    """How many images a network reads."""
    with torch.no_grad():
        return rate(name, int((network.eval()(images).argmax(1) == labels).sum()), len(labels))


if __name__ == "__main__":
    main()
