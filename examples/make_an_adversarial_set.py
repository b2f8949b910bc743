"""Keep adversarial images as a set that can be trusted: make it, measure it again, damage a copy, read it back.

python examples/make_an_adversarial_set.py
python examples/make_an_adversarial_set.py --model nets.py:first --model nets.py:second --data FOLDER --out SET
"""

import argparse
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from rich.progress import track
from torch import nn
from torch.utils.data import DataLoader

from interp_plugins.attacks import EnsembleOptimization, LeastLikely
from interp_plugins.demo.networks import fresh, train
from interp_plugins.report import adversarial
from interp_plugins.report.results import Row
from interp_plugins.sources import images, models, scenes, weights
from interp_plugins.store.dataset import AdversarialImages
from interp_plugins.store.generate import Generator
from interp_plugins.store.manifest import Member
from interp_plugins.store.plan import plan
from interp_plugins.store.sets import AdversarialSet
from interp_plugins.store.verify import verify

Networks = dict[str, nn.Module]
NUMBERS = {"images": 16, "size": 32, "targets": 3, "steps": 20, "training": 640}


@dataclass(frozen=True)
class Result:
    """The rates, and what is wrong with the set and with a copy of it that was damaged."""

    rows: dict[str, Row]
    wrong: tuple[str, ...]
    wrong_in_the_copy: tuple[str, ...]


# [drawn]
def drawn(given: argparse.Namespace) -> tuple[Networks, Networks, images.ImageSet]:
    """Networks that are trained here on drawn scenes, the last of them held out, and scenes they have not seen."""
    seen, unseen = scenes.draw(given.training, given.size), scenes.draw(given.images, given.size, start=given.training)
    networks: Networks = {f"depth {depth}": fresh(depth, len(seen.classes), 16, seed=0) for depth in (4, 8, 12)}
    for name, network in networks.items():
        tuple(track(train(network, seen.images, seen.labels, epochs=6, seed=0), f"training {name}", total=6))
    clean = images.from_arrays(unseen.images.numpy(), unseen.labels.numpy(), "scenes", classes=unseen.classes)
    return networks, {(last := list(networks)[-1]): networks.pop(last)}, clean


# [real]
def real(given: argparse.Namespace) -> tuple[Networks, Networks, images.ImageSet]:
    """Networks and images of yours."""
    members, heldout = ({n.name: n.module for n in map(models.load, specs)} for specs in (given.model, given.heldout))
    return members, heldout, images.load(given.data, size=given.size)


# [main]
def main(argv: Sequence[str] | None = None) -> Result:
    """Make the set, or say why one cannot, and print what was found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", action="append", default=[], metavar="SPEC", help="a network to attack; repeat")
    parser.add_argument("--heldout", action="append", default=[], metavar="SPEC", help="a network that is only asked")
    parser.add_argument("--data", help="images: a folder of class folders or with a labels.csv, or an .npz")
    parser.add_argument(
        "--out", type=Path, help="a new folder for the set; without it the set goes when the script ends"
    )
    for name, number in NUMBERS.items():
        parser.add_argument(f"--{name}", type=int, default=number, help=f"{number} if not given")
    given = parser.parse_args(argv)
    if bool(given.model) != bool(given.data):
        parser.error("--model and --data go together")
    torch.set_num_threads(1)  # bits are promised for one thread
    networks, heldout, clean = real(given) if given.model else drawn(given)
    with TemporaryDirectory() as scratch:
        result = keep(given, networks, heldout, clean, given.out or Path(scratch) / "set", Path(scratch) / "copy")
    # [expect]
    assert not result.wrong, "a set that was just made is not what it says of itself"
    assert result.wrong_in_the_copy, "an altered byte went unnoticed"
    if given == parser.parse_args([]):
        assert (result.rows["success/all members at once/all images"].value or 0) > 0.9, "too few attacks succeed"
    # [end]
    return result


def keep(
    given: argparse.Namespace, networks: Networks, heldout: Networks, clean: images.ImageSet, folder: Path, copy: Path
) -> Result:
    """Make the set in one folder, and damage a copy of it in another."""
    # [make]
    nets = list(networks.values())
    members = [
        Member(name=name, spec=spec, sha256=weights.digest(network))
        for spec, (name, network) in zip(given.model or networks, networks.items(), strict=True)
    ]
    attack, where = EnsembleOptimization(steps=given.steps, tile=8), given.data or "drawn"
    manifest = plan(attack, f"least-likely:{given.targets}", members, clean, where, count=given.images)
    kept = AdversarialSet.create(folder, manifest)
    Generator(kept, nets, clean, attack, LeastLikely(given.targets)).make(kept.missing())
    digest = kept.seal()
    # [verify]
    found = verify(kept, nets, clean, heldout=list(heldout.values()), weights=[weights.digest(net) for net in nets])
    rows = {row.name: row for row in adversarial.rows([*networks, *heldout], found)}
    # [damage]
    shutil.copytree(folder, copy)
    shard = copy / "shards" / "00000.safetensors"
    altered = bytearray(shard.read_bytes())
    altered[-1] ^= 1  # the last colour of the shard's last image, by one grey level
    shard.write_bytes(altered)
    damaged = verify(AdversarialSet.open(copy), nets, clean)
    # [read]
    pairs, largest = AdversarialImages(kept, clean), 0
    for changed, original, _label, _target, _index in DataLoader(pairs, batch_size=16):
        largest = max(largest, int((changed.int() - original.int()).abs().max()))
    # [print]
    print(f"{given.images} images, {given.targets} targets each, {manifest.shards} shards, digest {digest[:12]}")
    print(*adversarial.lines([row for row in rows.values() if row.name.endswith("all images")]), sep="\n")
    print(f"verify finds {found.disagreeing} differences; in the copy:", *damaged.disagreements, sep="\n  ")
    print(f"{len(pairs)} pairs read back, largest change {largest} of 255 grey levels")
    return Result(rows, found.disagreements, damaged.disagreements)


if __name__ == "__main__":
    main()
