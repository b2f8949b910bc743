"""Train a network whose features of clean and of attacked images have one distribution, and see what that buys.

python examples/adapt_clean_and_adversarial_features.py
python examples/adapt_clean_and_adversarial_features.py --data FOLDER --weight 3
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
from interp_plugins.neurons.separation import Share, separation
from interp_plugins.report import figures
from interp_plugins.report.results import Row, rate
from interp_plugins.sources import images, scenes
from interp_plugins.training import Coral, MeanDifference, Term, Trainer
from interp_plugins.training.evaluation import accuracies

NUMBERS = {"training": 800, "images": 160, "size": 32, "epochs": 6}
EPSILON = 4 / 255  # of the attack in training and of those that judge
ADAPTED = "head.0"  # the adaptation layer


@dataclass(frozen=True)
class Gap:
    """How clean and attacked features of one layer differ."""

    coral: float  # of features divided by the spread of the clean ones, so that shrinking them gains nothing
    means: float  # likewise
    told: Share  # AUROC of the line that tells the two apart best, on images it was not drawn for


@dataclass(frozen=True)
class Result:
    """Of each way of training the accuracies by attack, and the gap between the two kinds of features."""

    rates: dict[str, dict[str, Row]]
    gaps: dict[str, Gap]


# [network]
def network(classes: int) -> nn.Module:
    """A network with an adaptation layer between its features and what reads the class."""
    model = fresh(8, classes, 16, seed=0)
    model.head = nn.Sequential(nn.Linear(256, 32), nn.ReLU(), nn.Linear(32, classes))  # type: ignore[assignment]
    return model


# [ways]
def ways(weight: float) -> dict[str, Trainer]:
    """Training on clean and attacked images, and the same with the losses that adapt one domain to the other."""
    coral = Term(name="CORAL", layer=ADAPTED, loss=Coral(), weight=weight, shape="flat")
    means = Term(name="means", layer=ADAPTED, loss=MeanDifference(), weight=weight, shape="flat")
    return {
        "no adaptation": Trainer(schedule="step"),
        "CORAL": Trainer(terms=(coral,), schedule="step"),
        "means": Trainer(terms=(means,), schedule="step"),
        "both": Trainer(terms=(coral, means), schedule="step"),
    }


# [train]
def trained(name: str, way: Trainer, model: nn.Module, loader: DataLoader[tuple[Tensor, ...]]) -> nn.Module:
    """The model after its training."""
    fgsm = PredictedLabelFGSM(epsilon=EPSILON)
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)
    run = way(
        model.train(),
        optimizer,
        loader,
        attack=lambda network, x, _labels: fgsm(network, x),
        scheduler=optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=way.epochs * len(loader)),
    )
    tuple(track(run, name, total=way.epochs))
    return model.eval()


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


# [main]
def main(argv: Sequence[str] | None = None) -> Result:
    """Train four networks, and print what each withstands and how its clean and attacked features differ."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", help="images: a folder of class folders or with a labels.csv, CIFAR-10, or an .npz")
    parser.add_argument("--split", choices=("train", "test"), help="of CIFAR-10")
    parser.add_argument("--weight", type=float, default=1.0, help="of each adapting loss; 1 if not given")
    for name, number in NUMBERS.items():
        parser.add_argument(f"--{name}", type=int, default=number, help=f"{number} if not given")
    parser.add_argument("--out", type=Path, help="a folder for a picture; without it there is none")
    given = parser.parse_args(argv)
    torch.set_num_threads(1)  # bits are promised for one thread
    x, labels = data(given)
    seen, unseen = slice(given.training), slice(given.training, None)
    rates, gaps = {}, {}
    for name, way in ways(given.weight).items():
        torch.manual_seed(0)  # one start, one order of images
        loader = DataLoader(TensorDataset(x[seen], labels[seen]), 32, shuffle=True)
        model = trained(name, replace(way, epochs=given.epochs), network(int(labels.max()) + 1), loader)
        rates[name], gaps[name] = judged(model, x[unseen], labels[unseen])
    # [print]
    columns = next(iter(rates.values()))
    print(f"{'':<14}", *(f"{column:>8}" for column in columns), f"{'CORAL':>9}{'means':>9}  told apart, AUROC")
    for name, rows in rates.items():
        gap = gaps[name]
        told = f"{gap.told.value:.2f} [{gap.told.low:.2f}, {gap.told.high:.2f}]"
        accurate = (f"{row.value:>8.1%}" for row in rows.values())
        print(f"{name:<14}", *accurate, f"{gap.coral:>9.4f}{gap.means:>9.4f}  {told}")
    # [figure]
    if given.out:
        given.out.mkdir(parents=True, exist_ok=True)
        lines = [(f"{name}: {column}", row) for name, rows in rates.items() for column, row in rows.items()]
        (given.out / "adapted.png").write_bytes(figures.rates(lines, alt="accuracy of four networks").light)
    # [expect]
    if given == parser.parse_args([]):
        expect(gaps)
    # [end]
    return Result(rates, gaps)


# [judge]
def judged(model: nn.Module, x: Tensor, labels: Tensor) -> tuple[dict[str, Row], Gap]:
    """The accuracies on images not trained with, and the gap between their clean and their attacked features."""
    fgsm = FGSM(epsilon=EPSILON)
    attacks = {"clean": None, "FGSM": fgsm, "PGD-20": PGD(epsilon=EPSILON, step_size=EPSILON / 4, steps=20)}
    found = accuracies(model, [(x, labels)], list(attacks.values()))
    rows = {name: rate(name, each.correct, each.images) for name, each in zip(attacks, found, strict=True)}
    sides = []
    for pixels in (x, fgsm(model, x, labels)):
        with record(model, [ADAPTED]) as outputs, torch.no_grad():
            model(pixels)
        sides.append(outputs[ADAPTED].double())
    spread = sides[0].std(0).square().mean().sqrt()
    clean, attacked = (side / spread for side in sides)
    return rows, Gap(float(Coral()(clean, attacked)), float(MeanDifference()(clean, attacked)), told(clean, attacked))


# [gap]
def told(clean: Tensor, attacked: Tensor) -> Share:
    """How well Fisher's line, drawn for every other image, tells attacked features of the rest from clean ones."""
    pairs = torch.cat([clean[::2] - clean[::2].mean(0), attacked[::2] - attacked[::2].mean(0)])
    within = pairs.T @ pairs / len(pairs)
    within += 1e-3 * within.diagonal().mean() * torch.eye(len(within), dtype=within.dtype)  # features may be dead
    line = torch.linalg.solve(within, attacked[::2].mean(0) - clean[::2].mean(0))
    rest = clean[1::2] @ line, attacked[1::2] @ line
    return separation(*rest, sources=torch.arange(len(rest[0]))).auroc


# [claims]
def expect(gaps: Mapping[str, Gap]) -> None:
    """Stop if what the recipe says does not hold."""
    assert gaps["both"].coral < gaps["no adaptation"].coral, "CORAL did not bring the covariances together"
    assert gaps["means"].means < gaps["no adaptation"].means, "the means did not come together"


# [start]
if __name__ == "__main__":
    main()
