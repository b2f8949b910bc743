"""Train a network three ways from one start: on clean images, on attacked ones too, and with the consistent loss.

python examples/train_with_the_consistent_loss.py
python examples/train_with_the_consistent_loss.py --data FOLDER --model nets.py:fresh --layer layer4 --out pictures
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from rich.progress import track
from torch import Tensor, nn, optim
from torch.utils.data import DataLoader, TensorDataset

from interp_plugins.attacks import FGSM, PGD, PredictedLabelFGSM
from interp_plugins.demo.networks import fresh
from interp_plugins.foundation.record import record
from interp_plugins.report import figures
from interp_plugins.report.results import Row, rate
from interp_plugins.sources import images, models, scenes
from interp_plugins.training import ConsistentLoss, Mixed, Term, Trainer
from interp_plugins.training.evaluation import Attack

NUMBERS = {"training": 800, "images": 240, "size": 32, "epochs": 6}
EPSILON = 4 / 255  # of the attack in training and of those that judge


@dataclass(frozen=True)
class Result:
    """Of each way of training the accuracies by attack, and how far features move when images are attacked."""

    rates: dict[str, dict[str, Row]]
    moved: dict[str, float]  # 1 - cosine of clean and attacked features, mean over images


# [data]
def data(given: argparse.Namespace) -> tuple[Tensor, Tensor]:
    """Images in [0, 1] and their classes, those to train with first: drawn here, or yours."""
    count = given.training + given.images
    if not given.data:
        drawn = scenes.draw(count, given.size)
        return drawn.floats(), drawn.labels
    found = images.load(given.data, size=given.size, split=given.split)
    order = torch.randperm(len(found.labels), generator=torch.Generator().manual_seed(0))[:count]  # folders are sorted
    return found.tensor(order.tolist()).float() / 255, torch.as_tensor(found.labels)[order]


# [train]
def ways(layer: str, weight: float) -> dict[str, Trainer]:
    """The three trainings."""
    consistent = Term(name="consistent", layer=layer, loss=ConsistentLoss(), weight=weight)
    return {
        "standard": Trainer(classify=Mixed(alpha=1), schedule="step"),
        "attacked too": Trainer(schedule="step"),
        "consistent": Trainer(terms=(consistent,), schedule="step"),
    }


def trained(name: str, way: Trainer, model: nn.Module, loader: DataLoader[tuple[Tensor, ...]]) -> nn.Module:
    """The model after its training."""
    fgsm = PredictedLabelFGSM(epsilon=EPSILON)
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)
    run = way(
        model.train(),
        optimizer,
        loader,
        attack=None if name == "standard" else lambda network, x, _labels: fgsm(network, x),
        scheduler=optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=way.epochs * len(loader)),
    )
    tuple(track(run, name, total=way.epochs))
    return model.eval()


# [main]
def main(argv: Sequence[str] | None = None) -> Result:
    """Train three networks, attack all alike, and print what each withstands and how far its features move."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", help="images: a folder of class folders or with a labels.csv, CIFAR-10, or an .npz")
    parser.add_argument("--split", choices=("train", "test"), help="of CIFAR-10")
    parser.add_argument("--model", metavar="SPEC", help="FILE.py:factory of an untrained network")
    parser.add_argument("--layer", help="whose output is to stay where it is; with --model")
    parser.add_argument("--weight", type=float, default=10.0, help="of the consistent loss; 10 if not given")
    for name, number in NUMBERS.items():
        parser.add_argument(f"--{name}", type=int, default=number, help=f"{number} if not given")
    parser.add_argument("--out", type=Path, help="a folder for a picture; without it there is none")
    given = parser.parse_args(argv)
    if bool(given.model) != bool(given.layer):
        parser.error("--model and --layer go together")
    torch.set_num_threads(1)  # bits are promised for one thread
    x, labels = data(given)
    seen, unseen = slice(given.training), slice(given.training, None)
    layer, rates, moved = given.layer or "features", {}, {}
    for name, way in ways(layer, given.weight).items():
        torch.manual_seed(0)  # one start, one order of images
        model = models.load(given.model).module if given.model else fresh(8, int(labels.max()) + 1, 16, seed=0)
        loader = DataLoader(TensorDataset(x[seen], labels[seen]), 32, shuffle=True)
        model = trained(name, replace(way, epochs=given.epochs), model, loader)
        rates[name], moved[name] = judged(model, layer, x[unseen], labels[unseen])
    # [print]
    columns = next(iter(rates.values()))
    print(f"{'':<14}", *(f"{column:>22}" for column in columns), f"{'features move by':>18}")
    for name, rows in rates.items():
        print(f"{name:<14}", *(f"{shown(row):>22}" for row in rows.values()), f"{moved[name]:>18.4f}")
    # [figure]
    if given.out:
        given.out.mkdir(parents=True, exist_ok=True)
        lines = [(f"{name}: {column}", row) for name, rows in rates.items() for column, row in rows.items()]
        (given.out / "trained.png").write_bytes(figures.rates(lines, alt="accuracy of three networks").light)
    # [expect]
    if given == parser.parse_args([]):
        expect(rates, moved)
    # [end]
    return Result(rates, moved)


# [judge]
def judged(model: nn.Module, layer: str, x: Tensor, labels: Tensor) -> tuple[dict[str, Row], float]:
    """The accuracies on images not trained with, and how far the layer's output moves under PGD."""
    attacks: dict[str, Attack] = {
        "FGSM": FGSM(epsilon=EPSILON),
        "PGD-20": PGD(epsilon=EPSILON, step_size=EPSILON / 4, steps=20),
    }
    pixels = {"clean": x} | {name: attack(model, x, labels) for name, attack in attacks.items()}
    rows, features = {}, {}
    for name, some in pixels.items():
        with record(model, [layer]) as outputs, torch.no_grad():
            right = model(some).argmax(1) == labels
        rows[name], features[name] = rate(name, int(right.sum()), len(x)), outputs[layer]
    cosine = ConsistentLoss(distance="cosine")
    return rows, float(cosine(features["clean"], features["PGD-20"]))


def shown(row: Row) -> str:
    """A rate with its 95 % interval."""
    return f"{row.value:.1%} [{row.low:.1%}, {row.high:.1%}]"


# [claims]
def expect(rates: Mapping[str, Mapping[str, Row]], moved: Mapping[str, float]) -> None:
    """Stop if what the recipe says does not hold."""
    pgd = {name: rows["PGD-20"].value or 0 for name, rows in rates.items()}
    assert pgd["attacked too"] > pgd["standard"], "training on attacked images bought nothing"
    assert moved["consistent"] < moved["attacked too"] < moved["standard"], "the features moved otherwise"


# [start]
if __name__ == "__main__":
    main()
