"""Flag attacked images by what the network's units say of them, and see which attacks that finds and which not.

python examples/was_this_image_attacked.py
python examples/was_this_image_attacked.py --model nets.py:net --layer layer4 --data FOLDER --size 224
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import torch
from rich.progress import track
from torch import Tensor, nn

from interp_plugins.attacks import PGD, EnsembleOptimization, LeastLikely
from interp_plugins.demo.networks import fresh, train
from interp_plugins.foundation.taxonomy import similarity
from interp_plugins.neurons import neuron_exemplars, top_count
from interp_plugins.neurons.detection import ConflictDetector
from interp_plugins.neurons.histograms import histogram, select
from interp_plugins.neurons.separation import Separation, separation
from interp_plugins.report.results import Row, rate
from interp_plugins.sources import images, models, scenes, wordnet

Labelled = tuple[Tensor, Tensor]
NUMBERS = {"training": 800, "clean": 320, "images": 96, "size": 32, "steps": 20}


@dataclass(frozen=True)
class Result:
    """For each score and attack how well they are told apart, and how many images were flagged."""

    separations: dict[tuple[str, str], Separation]
    flagged: dict[tuple[str, str], Row]


# [drawn]
def drawn(given: argparse.Namespace) -> tuple[nn.Module, str, list[Labelled], Tensor]:
    """A network that is trained here on drawn scenes; those scenes, and twice others."""
    parts = [scenes.draw(stop - start, given.size, start=start) for start, stop in pairwise(bounds(given))]
    network = fresh(8, len(parts[0].classes), 16, seed=0)
    tuple(track(train(network, parts[0].images, parts[0].labels, epochs=6, seed=0), "training", total=6))
    alike = similarity(wordnet.packaged().distances(parts[0].wnids))
    return network, "features.7", [(part.floats(), part.labels) for part in parts], alike


# [real]
def real(given: argparse.Namespace) -> tuple[nn.Module, str, list[Labelled], None]:
    """A network and images of yours."""
    found = images.load(given.data, size=given.size)
    order = torch.randperm(len(found.labels), generator=torch.Generator().manual_seed(0)).tolist()  # folders are sorted
    chosen = [order[start:stop] for start, stop in pairwise(bounds(given))]
    parts = [(found.tensor(some).float() / 255, torch.as_tensor(found.labels)[some]) for some in chosen]
    return models.load(given.model).module, given.layer, parts, None


def bounds(given: argparse.Namespace) -> list[int]:
    """Where the images that show what units stand for end, the clean ones after them, and those that are attacked."""
    return list(accumulate([given.training, given.clean, given.images], initial=0))


# [main]
def main(argv: Sequence[str] | None = None) -> Result:
    """Fit on clean images, attack others, compare the scores, and print what was found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", metavar="SPEC", help="the network to defend")
    parser.add_argument("--layer", help="its layer, by the dotted name; a late one, after its activation")
    parser.add_argument("--data", help="images: a folder of class folders or with a labels.csv, or an .npz")
    for name, number in NUMBERS.items():
        parser.add_argument(f"--{name}", type=int, default=number, help=f"{number} if not given")
    given = parser.parse_args(argv)
    if len({bool(given.model), bool(given.layer), bool(given.data)}) > 1:
        parser.error("--model, --layer and --data go together")
    torch.set_num_threads(1)  # bits are promised for one thread
    network, layer, (shown, clean, new), alike = real(given) if given.model else drawn(given)
    # [fit]
    ids = torch.arange(len(shown[1]))
    top = neuron_exemplars(network, [layer], [(shown[0], ids)], max(5, top_count(len(ids))))[layer]
    classes = network(new[0][:1]).shape[1]
    meanings = histogram(select(top.ids, dead=top.dead), shown[1], classes)
    conflict, distance = ConflictDetector(units=10), ConflictDetector(score="distance")
    fitted = {
        "conflict": (conflict, conflict.fit(network, layer, [clean], histograms=meanings, similarity=alike)),
        "distance": (distance, distance.fit(network, layer, [clean])),
    }
    # [attack]
    x, labels = new
    attacks: dict[str, Callable[[], Tensor]] = {
        "PGD, 2 grey levels": lambda: PGD(epsilon=2 / 255, step_size=0.5 / 255)(network, x, labels),
        "PGD, 8 grey levels": lambda: PGD(epsilon=8 / 255)(network, x, labels),
        "least likely class": lambda: EnsembleOptimization(steps=given.steps)(
            [network], x, LeastLikely(1), labels=labels
        )[:, 0],
    }
    attacked = {name: attack() for name, attack in attacks.items()}
    # [ask]
    separations, flagged = {}, {}
    for score, (detector, known) in fitted.items():
        before = detector.scores(network, layer, x, known)
        flagged[score, "none"] = rate("none", int((before > known.threshold).sum()), len(x))
        for name, changed in attacked.items():
            after = detector.scores(network, layer, changed, known)
            flagged[score, name] = rate(name, int((after > known.threshold).sum()), len(x))
            separations[score, name] = separation(before, after, sources=torch.arange(len(x)))
    # [print]
    for (score, name), row in flagged.items():
        line = f"{score:<10}{name:<20}{row.numerator:>4} of {row.denominator} flagged"
        if found := separations.get((score, name)):
            auroc, alarms = found.auroc, found.fpr_at_95.value
            line += f", AUROC {auroc.value:.2f} [{auroc.low:.2f}, {auroc.high:.2f}], FPR at 95 % TPR {alarms:.2f}"
        print(line)
    # [expect]
    if given == parser.parse_args([]):
        assert separations["distance", "least likely class"].auroc.low > 0.85, "the strong attack was not found"
        assert separations["distance", "PGD, 2 grey levels"].auroc.high < 0.7, "the weak attack was found: tell us"
        assert all((flagged[score, "none"].value or 0) < 0.15 for score in fitted), "too many false alarms"
    # [end]
    return Result(separations, flagged)


if __name__ == "__main__":
    main()
