"""What a network dissection costs, and whether it finds what NetDissect-Lite finds.

    python -m benchmarks dissection [--images 128 --rounds 3] [--only whole] [--peers FOLDER]

Tables, each of which `--only` chooses:

- whole: dissecting ResNet-18's layer4 on a drawn data set in Broden's layout, reading it included, against
  NetDissect-Lite, dissect (masks of `--side`), and the floor: decode all once and run the network once, eagerly.
- beside: all but network and decoding, which are known by heart, against NetDissect-Lite's.
- thresholds: a stream of values that drift, against both libraries' sketches, with the error of the rank.
- shared: several layers, clean and attacked images, chance: what they add to one layer on clean images.
- agreement: thresholds and tables, unit by unit, against NetDissect-Lite's own.
- memory: the peak of a dissection of N images and of 8 N, each in a fresh process (Linux).

CPU times of one thread in interleaved rounds; quote the ratios. Weights are random. FOLDER holds checkouts named
NetDissect-Lite and dissect.
"""

import argparse
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import torch
from rich.console import Console
from torch import Tensor, nn

from benchmarks import (
    dissect_peer,
    dissection_agreement,
    dissection_memory,
    dissection_thresholds,
    lite,
    plain_broden,
    workload,
)
from benchmarks.drawn_broden import draw
from benchmarks.measure import Job, Timing, interleave
from benchmarks.replay import LAYER, Remembered, RememberedFiles, Replay
from interp_plugins.dissection.dissection import Attack, Dissected, NetworkDissection
from interp_plugins.foundation.measuring import for_measuring
from interp_plugins.sources.labelled import Broden
from interp_plugins.sources.models import Preprocessed

OURS, FLOOR, LITE = "interp-plugins", "floor", "NetDissect-Lite"
FULL = 63_305  # images of Broden
TABLES = ("whole", "beside", "thresholds", "shared", "agreement", "memory")
MATCHING: dict[str, Any] = {"quantile": "netdissect", "union": "lite"}
ALONE: dict[str, Any] = {"permutations": 0, "draws": 0}  # what the others do as well: no chance, no bootstrap


@dataclass(frozen=True)
class Work:
    """A data set, and the network that is dissected on it."""

    folder: Path
    images: int
    size: int = 224
    name: str = "resnet18"
    layer: str = "layer4"

    @cached_property
    def net(self) -> nn.Module:
        """The network without normalisation."""
        return workload.network(self.name, 0, self.size).get_submodule("net").requires_grad_(False)

    @cached_property
    def model(self) -> nn.Module:
        """The same network for images in [0, 1], with NetDissect-Lite's normalisation."""
        return Preprocessed(self.net, lite.MEAN, lite.STD).eval()

    def data(self) -> Broden:
        """The data set, opened anew."""
        return Broden(draw(self.folder, self.images, self.size))

    def plain(self) -> plain_broden.Broden:
        """The data set for the loop that everybody writes."""
        return plain_broden.Broden(draw(self.folder, self.images, self.size))

    def ours(self, layers: Sequence[str] = (), attack: Attack | None = None, **settings: Any) -> dict[str, Dissected]:
        """Ours, from the files on."""
        names = [f"net.{layer}" for layer in layers or (self.layer,)]
        return NetworkDissection(**{**ALONE, **settings})(self.model, names, self.data(), attack)

    def lite(self) -> lite.Dissected:
        """NetDissect-Lite's, from the files on."""
        return lite.dissect(self.net, self.layer, self.folder, self.size)


def whole(work: Work, sides: Sequence[int]) -> dict[str, Job]:
    """The jobs that dissect from files to a table of IoU."""
    plain = work.plain()
    jobs: dict[str, Job] = {
        OURS: work.ours,
        FLOOR: partial(plain_broden.floor, work.model, plain, 16),
        "network and decoding alone, as ours has them": partial(_passes, work),
        LITE: work.lite,
    }
    for side in sides:
        jobs[f"dissect, {side} x {side}"] = partial(
            dissect_peer.dissect, work.model, f"net.{work.layer}", plain, work.size, side
        )
    return jobs


def beside(work: Work) -> dict[str, Job]:
    """The jobs that dissect what is at hand."""
    data, found = work.data(), list[Tensor]()
    hook = work.net.get_submodule(work.layer).register_forward_hook(lambda *given: found.append(given[2].clone()))
    try:
        _run(work.model, data)
    finally:
        hook.remove()
    maps, images, files = torch.cat(found), Remembered(data), RememberedFiles(work.folder)
    model = Preprocessed(Replay(maps, channels_last=True), lite.MEAN, lite.STD).eval()
    return {
        OURS: partial(NetworkDissection(**ALONE), model, [f"net.{LAYER}"], images),
        f"{OURS} as {LITE} counts": partial(NetworkDissection(**ALONE, **MATCHING), model, [f"net.{LAYER}"], images),
        LITE: partial(lite.dissect, Replay(maps, channels_last=False), LAYER, work.folder, work.size, files),
    }


def shared(work: Work) -> dict[str, Job]:
    """The jobs that find more than one layer's answer on clean images."""
    nothing: Attack = lambda images, _numbers: images  # noqa: E731  # what an attack costs is not asked here
    other = "layer3"
    return {
        work.layer: work.ours,
        other: partial(work.ours, [other]),
        f"{work.layer} and {other}": partial(work.ours, [work.layer, other]),
        f"{work.layer}, clean and attacked by nothing": partial(work.ours, attack=nothing),
        f"{work.layer}, and 20 permutations": partial(work.ours, permutations=20),
        f"{work.layer}, clean and attacked, 20 permutations, 500 draws": partial(
            work.ours, attack=nothing, permutations=20, draws=500
        ),
    }


def table(timing: Timing, images: int, other: str) -> str:
    """Markdown: milliseconds, ratios of the rounds with their spread, and minutes for all of Broden."""
    lines = [f"|  | CPU ms an image | / {other} | {OURS} / this | {FULL:,} images, minutes |", "|---|---|---|---|---|"]
    for name, seconds in timing.seconds.items():
        ratios = [_ratio(timing, *pair) for pair in ((name, other), (next(iter(timing.seconds)), name))]
        each = median(seconds) / images
        lines.append(f"| {name} | {1000 * each:.3g} | {' | '.join(ratios)} | {each * FULL / 60:.0f} |")
    lines += [f"| {name} | not run: {problem} | | | |" for name, problem in timing.problems.items()]
    return "\n".join(lines) + "\n"


def _ratio(timing: Timing, name: str, other: str) -> str:
    if name == other or other not in timing.seconds:
        return "1" if name == other else "-"
    low, high = timing.spread(name, other)
    return f"{timing.ratio(name, other):.3g} ({low:.3g} to {high:.3g})"


def _passes(work: Work) -> None:
    data = work.data()
    _run(for_measuring(work.model, data.tensor([0]) / 255), data)
    for number in range(len(data)):
        data.labels(number)


def _run(model: nn.Module, data: Broden, rows: int = 8) -> None:
    with torch.no_grad():
        for start in range(0, len(data), rows):
            model(data.tensor(range(start, min(start + rows, len(data)))) / 255)


def main(words: Sequence[str] | None = None) -> str:
    """Measure what was asked for and print each table as soon as it is there."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks dissection", description=(__doc__ or "").split("\n\n")[0]
    )
    parser.add_argument("--images", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--network", default="resnet18", help="torchvision's name")
    parser.add_argument("--layer", default="layer4")
    parser.add_argument("--side", type=int, action="append", metavar="N", help="of dissect's masks, 56; repeat")
    parser.add_argument("--values", type=int, default=8192, help="images of the stream of values")
    parser.add_argument("--only", action="append", choices=TABLES, help="repeat")
    parser.add_argument("--skip", action="append", default=[], metavar="WORD", help="ways whose names hold it; repeat")
    parser.add_argument("--peers", default="", help="folder that holds the checkouts")
    parser.add_argument("--data", type=Path, help="where the data set is drawn, or was; a temporary folder by default")
    given = parser.parse_args(words)
    if given.peers:
        os.environ["INTERP_PEERS"] = given.peers
    torch.set_num_threads(1)
    with TemporaryDirectory() as temporary:
        folder = given.data or Path(temporary) / "broden"
        work = Work(folder, given.images, given.size, given.network, given.layer)
        shown = {name: text for name, text in _tables(given, work)}
    return "\n".join(shown.values())


def _tables(given: argparse.Namespace, work: Work) -> Iterator[tuple[str, str]]:
    machine = f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}"
    print(f"{given.images} images of {given.size} pixels, {given.rounds} rounds; {machine}\n")
    for name in given.only or TABLES:
        text = _one(name, given, work)
        print(f"{name}\n\n{text}")
        yield name, text


def _one(name: str, given: argparse.Namespace, work: Work) -> str:
    if name == "memory":
        return dissection_memory.table(work.name, work.layer, work.size, given.images)
    if name == "agreement":
        return dissection_agreement.table(work.lite(), work.ours(**MATCHING), work.data())
    if name == "thresholds":
        maps = dissection_thresholds.stream(given.values, units=128)
        return dissection_thresholds.table(_timed(dissection_thresholds.jobs(maps), given), maps)
    jobs, other = {
        "whole": lambda: (whole(work, given.side or [56]), FLOOR),
        "beside": lambda: (beside(work), LITE),
        "shared": lambda: (shared(work), work.layer),
    }[name]()
    return table(_timed(jobs, given), given.images, other)


def _timed(jobs: dict[str, Job], given: argparse.Namespace) -> Timing:
    console = Console(stderr=True)
    chosen = {name: job for name, job in jobs.items() if not any(word in name for word in given.skip)}
    unwarmed = {name: (lambda: None) if name.startswith("dissect,") else job for name, job in chosen.items()}  # minutes
    return interleave(
        chosen,
        given.rounds,
        warm=unwarmed,
        watch=lambda number, name: console.print(f"round {number} of {given.rounds}: {name}"),
    )


if __name__ == "__main__":
    main()
