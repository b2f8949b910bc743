"""Which concepts do a layer's units point at, and do they still under attack?

python examples/dissect_a_layer.py
python examples/dissect_a_layer.py --model nets.py:mine --layer layer4 --data BRODEN --epsilon 8/255
"""

import argparse
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from rich.progress import track
from torch import Tensor, nn

from interp_plugins.attacks import PredictedLabelFGSM
from interp_plugins.demo.networks import fresh, train
from interp_plugins.dissection.dissection import Dissected, NetworkDissection
from interp_plugins.dissection.labels import quantile95
from interp_plugins.foundation.concepts import Vocabulary
from interp_plugins.report import detectors
from interp_plugins.sources import models, scenes
from interp_plugins.sources.labelled import open_labelled
from interp_plugins.sources.marked import MarkedImages

NUMBERS = {
    "training": 640,
    "images": 320,
    "size": 64,
    "epochs": 6,
}  # for the network that is trained here, and its scenes


# [drawn]
def drawn(given: argparse.Namespace, folder: Path) -> tuple[nn.Module, MarkedImages]:
    """A network that is trained here on drawn scenes, and scenes it has not seen as a Broden directory."""
    seen, unseen = scenes.draw(given.training, given.size), scenes.draw(given.images, given.size, start=given.training)
    model = fresh(8, len(seen.classes), 16, seed=0)
    if given.epochs:
        rounds = train(model, seen.images, seen.labels, epochs=given.epochs, seed=0)
        tuple(track(rounds, "training", total=given.epochs))
    return model, open_labelled(scenes.write_broden(unseen, folder))


# [main]
def main(argv: Sequence[str] | None = None) -> Dissected:
    """Dissect a layer on clean and on attacked images, and print what its units point at."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", metavar="SPEC", help="a network; without it a small one is trained here")
    parser.add_argument("--data", help="a Broden directory, or a folder with images/, masks/ and labels.csv")
    parser.add_argument("--layer", default="features.5", help="a name as in named_modules(); features.5 if not given")
    parser.add_argument("--epsilon", type=Fraction, default=Fraction(16, 255), help="16/255 if not given")
    for name, number in NUMBERS.items():
        parser.add_argument(f"--{name}", type=int, default=number, help=f"{number} if not given")
    parser.add_argument("--out", type=Path, help="a folder for a picture; without it there is none")
    given = parser.parse_args(argv)
    if bool(given.model) != bool(given.data):
        parser.error("--model and --data go together")
    torch.set_num_threads(1)  # bits are promised for one thread
    with TemporaryDirectory() as scratch:
        if given.model:
            model, images = models.load(given.model).module, open_labelled(given.data)
        else:
            model, images = drawn(given, Path(scratch))
        # [dissect]
        attack = PredictedLabelFGSM(epsilon=float(given.epsilon))
        layers = NetworkDissection()(model, [given.layer], images, lambda clean, numbers: attack(model, clean))
        found = layers[given.layer]
        # [print]
    units, concepts = len(found.clean.labels.iou), len(images.vocabulary.concepts)
    print(f"{given.layer}: {units} units, {len(images)} images, {concepts} concepts, epsilon {given.epsilon}")
    print(*table(found, images.vocabulary), *changes(found, images.vocabulary), sep="\n")
    # [figure]
    if given.out and (bars := detectors.bars(given.layer, found, images.vocabulary)):
        given.out.mkdir(parents=True, exist_ok=True)
        (given.out / "concepts.png").write_bytes(bars.light)
    # [expect]
    if given == parser.parse_args([]):
        assert found.clean.chance, "by default the labels are exchanged between images as well"
        assert found.clean.labels.unique > quantile95(found.clean.chance.unique), "chance points at as many concepts"
        assert found.attacked, "there are attacked images"
        assert found.attacked.labels.detectors.sum() < found.clean.labels.detectors.sum(), "the attack takes nothing"
    # [end]
    return found


# [table]
def table(found: Dissected, vocabulary: Vocabulary) -> Iterator[str]:
    """Detectors by the category of their concept, all of them, and different concepts: a line for each kind of images.

    Beneath each, what 95 % of the permutations do not exceed.
    """
    yield f"{'':<14}" + "".join(f"{name:>9}" for name in (*vocabulary.categories, "all", "concepts"))
    for kind, side in (("clean", found.clean), ("attacked", found.attacked)):
        if side and side.chance:
            labels, chance = side.labels, side.chance
            yield line(kind, *labels.by_category, labels.detectors.sum(), labels.unique)
            yield line("  by chance", *map(quantile95, (*chance.by_category.t(), chance.detectors, chance.unique)))


def line(name: str, *numbers: int | Tensor) -> str:
    """A line of the table."""
    return f"{name:<14}" + "".join(f"{int(number):>9}" for number in numbers)


# [changes]
def changes(found: Dissected, vocabulary: Vocabulary) -> Iterator[str]:
    """Whether the drop is real, and the units that lose most of their concept."""
    if not (found.attacked and found.drop):
        return
    drop = found.drop.detectors.difference
    yield f"detectors, attacked - clean: {drop.value:+.0f}, 95 % interval {drop.low:+.0f} to {drop.high:+.0f}"
    for unit in found.drop.iou.difference.value.nan_to_num(1).argsort()[:3].tolist():
        sides = []
        for labels in (found.clean.labels, found.attacked.labels):
            name = vocabulary.name(int(labels.concept[unit])) if labels.concept[unit] else "nothing"
            sides.append(f"{name} {labels.iou[unit]:.3f}")
        yield f"  unit {unit}: {' -> '.join(sides)}"


if __name__ == "__main__":
    main()
