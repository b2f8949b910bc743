"""What an adversarial set costs beside the attack, and how fast it is read back.

    python -m benchmarks store [--images 64 --size 64 --targets 10 --steps 20 --rounds 3 --only cost]

Four tables:

- CPU time of one process: the attack alone; the same with rounding, writing, reading back and judging; `verify`.
- Peak memory of making 2 shards and 16, each in a fresh process (Linux: the kernel keeps the figures).
- Wall time of `attack run` with one process and with two.
- Records a second read through a DataLoader, against torchvision's ImageFolder on the same set exported as PNGs.

Networks have random weights and images are smooth noise, so nothing has to be downloaded.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import numpy as np
import torch
from rich.console import Console
from safetensors.torch import save_file
from torch import Tensor
from torch.utils.data import DataLoader

from benchmarks import workload
from benchmarks.attack_memory import count_what_is_in_use, difference, forget_peak, resident
from benchmarks.measure import Job, Timing, interleave
from interp_plugins.attacks import EnsembleOptimization
from interp_plugins.attacks.targets import parse
from interp_plugins.foundation.prepare import prepare
from interp_plugins.sources import images, models, weights
from interp_plugins.store.dataset import AdversarialImages
from interp_plugins.store.drafts import ShardDraft
from interp_plugins.store.export import export_png
from interp_plugins.store.generate import Generator
from interp_plugins.store.manifest import Member
from interp_plugins.store.plan import plan
from interp_plugins.store.sets import AdversarialSet
from interp_plugins.store.verify import verify

CLASSES = 1000  # of torchvision's networks
TABLES = ("reading", "memory", "processes", "cost")
MEMORY_STEPS = 2  # more take longer and no more memory


@dataclass(frozen=True)
class Work:
    """A folder with networks and images in files, and the attack on them."""

    folder: Path
    networks: tuple[str, ...]  # torchvision's names
    count: int  # images that are attacked, where only time is measured
    targets: int
    steps: int
    size: int  # of the images, and of what the networks look at
    tile: int = 8
    shard: int | None = None  # images in a shard where only time is measured; None: as many as the plan says

    @property
    def specs(self) -> list[str]:
        """The networks as they are typed."""
        return [f"torchvision:{name}@{self.folder / name}.safetensors?size={self.size}" for name in self.networks]

    @property
    def method(self) -> EnsembleOptimization:
        """The attack with its own defaults."""
        return EnsembleOptimization(steps=self.steps, tile=self.tile)

    @property
    def policy(self) -> str:
        """The targets as they are typed."""
        return f"least-likely:{self.targets}"

    def write(self, n: int) -> None:
        """Write the networks' weights and n images."""
        for seed, name in enumerate(self.networks):
            weights_alone = workload.network(name, seed, self.size).get_submodule("net").state_dict()
            save_file(weights_alone, f"{self.folder / name}.safetensors")
        pixels = (workload.pictures(n, self.size) * 255).round().byte()
        np.savez(self.folder / "images.npz", images=pixels.numpy(), labels=np.arange(n) % CLASSES)

    def images(self) -> images.ImageSet:
        """The images, loaded."""
        return images.load(self.folder / "images.npz")


class Maker:
    """A process's networks, loaded and prepared once, as for a set of many images."""

    def __init__(self, work: Work) -> None:
        self.work, self.clean = work, work.images()
        self.networks = [models.load(spec).module for spec in work.specs]
        self.members = [Member(name=n.__class__.__name__, spec=s, sha256=weights.digest(n))
                        for n, s in zip(self.networks, work.specs, strict=True)]  # fmt: skip
        self.prepared = [prepare(network, self._floats(range(1))) for network in self.networks]
        self._number = count()

    def attack(self) -> list[Tensor]:
        """The attack alone, a tile of images at a time."""
        n, tile, policy = self.work.count, self.work.tile, parse(self.work.policy)
        parts = (range(at, min(at + tile, n)) for at in range(0, n, tile))
        return [
            self.work.method(
                self.prepared, self._floats(part), policy, labels=self.clean.labels[part.start : part.stop]
            )
            for part in parts
        ]

    def store(self) -> AdversarialSet:
        """A whole set in a folder of its own."""
        manifest = plan(
            self.work.method, self.work.policy, self.members, self.clean, str(self.work.folder), count=self.work.count
        )
        manifest = manifest.model_copy(update={"images_per_shard": self.work.shard or manifest.images_per_shard})
        made = AdversarialSet.create(self.work.folder / f"set-{next(self._number)}", manifest)
        self.generator(made).make(range(manifest.shards))
        made.seal()
        return made

    def generator(self, target_set: AdversarialSet) -> Generator:
        """Whoever makes its shards."""
        return Generator(target_set, self.prepared, self.clean, self.work.method, parse(self.work.policy))

    def verify(self, made: AdversarialSet) -> None:
        """Measure a set again, as the command does."""
        if verify(made, self.networks, self.clean).disagreeing:
            raise ValueError(f"{made.folder} does not verify")

    def _floats(self, part: range) -> Tensor:
        return self.clean.tensor(part).float() / 255


def cost(work: Work, rounds: int, watch: Callable[[int, str], None]) -> str:
    """CPU time of the attack, of the same with a set to show for it, and of verifying that."""
    maker = Maker(work)
    made = maker.store()
    jobs: dict[str, Job] = {
        "attack alone": maker.attack,
        "stored and judged": maker.store,
        "verify": partial(maker.verify, made),
    }
    warm = dict.fromkeys(jobs, partial(maker.verify, made))  # making the set has run all else
    timing = interleave(jobs, rounds, warm=warm, watch=watch)
    records = work.count * work.targets
    lines = ["| | CPU s a record | / the attack alone |", "|---|---|---|"]
    lines += [
        f"| {name} | {median(seconds) / records:.4f} | {_ratio(timing, name, 'attack alone')} |"
        for name, seconds in timing.seconds.items()
    ]
    return "\n".join([*lines, *(f"| {name} | not run: {why} | |" for name, why in timing.problems.items())])


def _ratio(timing: Timing, name: str, other: str) -> str:
    if name == other:
        return "1"
    low, high = timing.spread(name, other)
    return f"{timing.ratio(name, other):.3f} ({low:.3f} to {high:.3f})"


def memory(work: Work, shards: Sequence[int]) -> str:
    """Peak memory of making some shards of a set and of making more."""
    found = []
    for number in shards:
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            found.append(pool.submit(peak, work, number).result())
    lines = ["| shards | peak MB | difference |", "|---|---|---|"]
    notes = ["", *(f"{difference(found[0], value):+.1f} % of the first" for value in found[1:])]
    lines += [f"| {n} | {value:.0f} | {note} |" for n, value, note in zip(shards, found, notes, strict=True)]
    return "\n".join(lines)


def peak(work: Work, shards: int) -> float:
    """Peak MB of making so many shards of four images each, above what the process held before."""
    torch.set_num_threads(1)
    count_what_is_in_use()
    maker = Maker(work)
    manifest = plan(work.method, work.policy, maker.members, maker.clean, str(work.folder))
    manifest = manifest.model_copy(update={"images_per_shard": 4})
    with TemporaryDirectory(dir=work.folder) as folder:
        generator = maker.generator(AdversarialSet.create(Path(folder) / "set", manifest))
        generator.make(range(1))  # what is kept from shard to shard is kept from here on
        forget_peak()
        before = resident("VmRSS")
        generator.make(range(1, 1 + shards))
        return resident("VmHWM") - before


def processes(work: Work, counts: Sequence[int]) -> str:
    """Wall time of the command with one process and with more, from the start of the attack to the end."""
    lines = ["| processes | wall s | efficiency |", "|---|---|---|"]
    first = 0.0
    for number in counts:
        out = work.folder / f"run-{number}"
        words = ["attack", "run", *(word for spec in work.specs for word in ("--model", spec))]
        words += ["--data", str(work.folder / "images.npz"), "--targets", work.policy, "--steps", str(work.steps)]
        words += ["--limit", str(work.count), "--tile", str(work.tile), "--device", "cpu"]
        words += ["--processes", str(number), "--out", str(out)]
        start = perf_counter()
        subprocess.run([sys.executable, "-m", "interp_plugins", *words], check=True, capture_output=True)
        wall = perf_counter() - start
        seconds = json.loads((out / "run.json").read_text(encoding="utf-8"))["runs"][-1]["seconds"]
        first = first or seconds * number
        lines.append(f"| {number} | {seconds:.1f} ({wall:.1f} with the start) | {first / (seconds * number):.2f} |")
    return "\n".join(lines)


def reading(folder: Path, records: int, size: int, rounds: int, watch: Callable[[int, str], None]) -> str:
    """Records a second from the store and from PNGs of the same pictures, in order and shuffled."""
    from torchvision.datasets import ImageFolder
    from torchvision.transforms.functional import pil_to_tensor

    stored = AdversarialImages(noise_set(folder / "noise", records, size))
    export_png(stored.set, folder / "png")
    pictures = ImageFolder(str(folder / "png"), pil_to_tensor)
    jobs: dict[str, Job] = {}
    for order in ("in order", "shuffled"):
        for name, data in (("set", stored), ("ImageFolder", pictures)):
            loader: DataLoader[Any] = DataLoader(data, batch_size=64, shuffle=order == "shuffled")
            jobs[f"{name}, {order}"] = partial(_drain, loader)
    timing = interleave(jobs, rounds, watch=watch)
    lines = ["| | records a CPU second | / ImageFolder |", "|---|---|---|"]
    for name, seconds in timing.seconds.items():
        peer = f"ImageFolder, {name.partition(', ')[2]}"
        lines.append(f"| {name} | {records / median(seconds):.0f} | {1 / timing.ratio(name, peer):.1f} |")
    return "\n".join(lines)


def _drain(loader: "DataLoader[Any]") -> None:
    for _ in loader:
        pass


def noise_set(folder: Path, records: int, size: int) -> AdversarialSet:
    """A finished set of smooth pictures that attacked nothing."""
    n, t, generator = records // 10, 10, torch.Generator().manual_seed(0)
    clean = images.from_arrays((workload.pictures(n, size) * 255).byte().numpy(), list(range(n)), "noise")
    member = Member(name="nobody", spec="nobody", sha256="0" * 64)
    made = AdversarialSet.create(
        folder,
        plan(EnsembleOptimization(tile=8), f"least-likely:{t}", [member], clean, "noise", sha256s=["0" * 64] * n),
    )
    for number in range(made.manifest.shards):
        span = made.manifest.span(number)
        origin, flags = clean.tensor(span), torch.zeros(len(span), t, 1, dtype=torch.bool)
        change = torch.randint(-8, 9, (len(span), t, *origin.shape[1:]), generator=generator)
        draft = ShardDraft(
            ids=tuple(clean.ids[i] for i in span),
            labels=clean.labels[list(span)],
            targets=torch.arange(t).expand(len(span), -1).contiguous(),
            images=(origin[:, None] + change).clamp(0, 255).byte(),
            fooled_before=flags,
            steps=torch.zeros(len(span), t, dtype=torch.int64),
            gradient_norms=torch.zeros(len(span), t, 1),
            origin=origin,
        )
        made.write(number, draft, partial(_never, flags))
    made.seal()
    return made


def _never(flags: Tensor, images: Tensor, targets: Tensor) -> Tensor:
    """A judge that says no."""
    return flags


def main(words: Sequence[str] | None = None) -> str:
    """Measure everything and print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks store", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--size", type=int, default=64, help="of the images, and of what the networks see")
    parser.add_argument("--targets", type=int, default=10, help="an image")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--network", action="append", metavar="NAME", help="a torchvision network; repeat")
    parser.add_argument("--shard", type=int, help="images in a shard, for the cost; else what a set of so many gets")
    parser.add_argument("--shards", type=int, nargs=2, default=(2, 16), help="of which memory is measured")
    parser.add_argument("--processes", type=int, nargs="+", default=(1, 2))
    parser.add_argument("--records", type=int, default=2000, help="that are read back")
    parser.add_argument("--record-size", type=int, default=224)
    parser.add_argument("--only", nargs="+", default=TABLES, choices=TABLES)
    given = parser.parse_args(words)
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"
    console = Console(stderr=True)

    def watch(number: int, name: str) -> None:
        console.print(f"round {number} of {given.rounds}: {name}")

    with TemporaryDirectory() as place:
        networks = tuple(given.network or ("resnet18", "squeezenet1_1"))
        work = Work(Path(place), networks, given.images, given.targets, given.steps, given.size, shard=given.shard)
        work.write(max(given.images, 4 * (1 + max(given.shards))))
        tables: dict[str, Callable[[], str]] = {
            "reading": lambda: reading(work.folder, given.records, given.record_size, given.rounds, watch),
            "memory": lambda: memory(replace(work, steps=MEMORY_STEPS), given.shards),
            "processes": lambda: processes(work, given.processes),
            "cost": lambda: cost(work, given.rounds, watch),
        }
        shown = f"{given.images} images of {given.size} pixels, {given.targets} targets, {given.steps} steps\n"
        print(shown)
        for name in given.only:
            shown += (table := f"{name}\n\n{tables[name]()}\n")
            print(table, flush=True)
    return shown


if __name__ == "__main__":
    main()
