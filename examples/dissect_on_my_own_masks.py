"""Is there a unit for what I have marked in my images? From a folder of images and a folder of masks.

python examples/dissect_on_my_own_masks.py
python examples/dissect_on_my_own_masks.py --model nets.py:mine --layer layer4 --data FOLDER --size 224
"""

import argparse
import csv
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from PIL import Image
from rich.progress import track
from torch import nn

from interp_plugins.demo.networks import fresh, train
from interp_plugins.dissection.dissection import Alignment, NetworkDissection
from interp_plugins.dissection.labels import quantile95
from interp_plugins.sources import models, scenes
from interp_plugins.sources.labelled import open_labelled

NUMBERS = {"training": 640, "images": 320}  # of the drawn scenes
MARKED = {"object": "masks", "part": "masks_parts"}  # what is marked, and the folders of the masks


# [folder]
def write(drawn: scenes.Scenes, folder: Path) -> None:
    """Write images, a mask for each in each folder of masks, and the table of what the masks' numbers mean."""
    for name in ("images", *MARKED.values()):
        (folder / name).mkdir()
    for place, picture in enumerate(drawn.images):
        file = f"{place:05}.png"
        Image.fromarray(picture.permute(1, 2, 0).numpy()).save(folder / "images" / file)
        for category, masks in MARKED.items():
            Image.fromarray(drawn.masks[category][place, 0].astype("uint8")).save(folder / masks / file)
    with (folder / "labels.csv").open("w", newline="", encoding="utf-8") as table:
        lines = csv.writer(table)
        lines.writerow(["number", "name", "category"])
        lines.writerows([each.number, each.name, each.category] for each in drawn.concepts if each.category in MARKED)


# [drawn]
def drawn(given: argparse.Namespace, folder: Path) -> nn.Module:
    """Train a network on drawn scenes, and write others to the folder."""
    seen = scenes.draw(given.training, given.size)
    write(scenes.draw(given.images, given.size, start=given.training), folder)
    model = fresh(8, len(seen.classes), 16, seed=0)
    tuple(track(train(model, seen.images, seen.labels, epochs=6, seed=0), "training", total=6))
    return model


# [main]
def main(argv: Sequence[str] | None = None) -> Alignment:
    """Dissect a layer on a folder of images and masks, and print which units find what is marked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", metavar="SPEC", help="a network; without it a small one is trained here")
    parser.add_argument("--data", type=Path, help="a folder with images/, masks/ and labels.csv")
    parser.add_argument("--layer", default="features.5", help="a name as in named_modules(); features.5 if not given")
    parser.add_argument("--size", type=int, default=64, help="of the images that the network gets; 64 if not given")
    for name, number in NUMBERS.items():
        parser.add_argument(f"--{name}", type=int, default=number, help=f"{number} if not given; of the drawn scenes")
    given = parser.parse_args(argv)
    if bool(given.model) != bool(given.data):
        parser.error("--model and --data go together")
    torch.set_num_threads(1)  # bits are promised for one thread
    with TemporaryDirectory() as scratch:
        model = models.load(given.model).module if given.model else drawn(given, Path(scratch))
        # [dissect]
        images = open_labelled(given.data or scratch, size=given.size)
        found = NetworkDissection()(model, [given.layer], images)[given.layer].clean
        # [read]
    labels, vocabulary, chance = found.labels, images.vocabulary, found.chance
    assert chance, "by default the labels are exchanged between images as well"
    by_chance = [int(quantile95(counts)) for counts in (chance.detectors, chance.unique)]
    print(f"{len(images)} images, {len(vocabulary.concepts)} concepts, {len(labels.iou)} units of {given.layer}")
    print(
        f"{int(labels.detectors.sum())} units detect one of {labels.unique} concepts; with the labels of other images"
    )
    print(f"at most {by_chance[0]} detect one of {by_chance[1]}, in 95 of 100 cases")
    iou, unit = found.overlap.iou.max(0)  # of each concept, with the unit that finds it best
    for concept in sorted(vocabulary.concepts, key=lambda each: -float(iou[each.number]))[:8]:
        best = int(unit[concept.number])
        label = vocabulary.name(int(labels.concept[best])) if labels.concept[best] else "nothing"
        print(f"  {concept.name:<10} IoU {iou[concept.number]:.3f} with unit {best}, which points at {label}")
    # [expect]
    if given == parser.parse_args([]):
        assert labels.unique > quantile95(chance.unique), "chance points at as many concepts"
    # [end]
    return found


if __name__ == "__main__":
    main()
