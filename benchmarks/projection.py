"""What half a million adversarial images would cost: at the rate of a set that was made here, and on a GPU on paper.

    python -m benchmarks.projection SET [SET ...] [--network alexnet ...] [--records 500000] [--teraflops 300]

The rate of a processor is that of the set's own run.json: core seconds a record, everything included. A GPU's time is a
floor, not a measurement: the floating-point operations of the members' forward passes, counted by torch, times three
for a gradient, times the steps, at a sustained speed that is assumed (300 teraflops is what bf16 convolutions reach on
a current data-centre GPU; --teraflops names another). An ensemble of torchvision's networks that nobody ran here gets
the paper's columns alone.
"""

import argparse
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import workload
from interp_plugins.sources import models
from interp_plugins.store.sets import AdversarialSet

DAY = 24 * 3600


def core_seconds(folder: Path) -> float:
    """Seconds of one core for a record, over all the runs that made the set."""
    runs = json.loads((folder / "run.json").read_text(encoding="utf-8"))["runs"]
    return float(sum(run["seconds"] * run["processes"] for run in runs) / sum(run["records"] for run in runs))


def operations(networks: Iterable[nn.Module], shape: Sequence[int]) -> int:
    """Floating-point operations of one forward pass of all networks for one image (c, h, w)."""
    total = 0
    for network in networks:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            network(torch.zeros(1, *shape))
        total += counter.get_total_flops()
    return total


def line(folder: Path, records: int, teraflops: float, cores: int) -> str:
    """The row of one set."""
    manifest, days = AdversarialSet.open(folder).manifest, core_seconds(folder) * records / DAY
    forward = operations((models.load(member.spec).module for member in manifest.members), manifest.shape)
    names, steps = ", ".join(member.name for member in manifest.members), int(str(manifest.settings["steps"]))
    measured = f"{core_seconds(folder):.2f} | {days:.1f} | {days / cores:.2f}"
    return f"| {names} | {measured} | {on_paper(forward, manifest.shape, steps, records, teraflops)} |"


def on_paper(forward: int, shape: Sequence[int], steps: int, records: int, teraflops: float) -> str:
    """The columns that need no run: pixels, steps, operations in all, time of a GPU, and bytes on disk."""
    passes, (channels, height, width) = forward * 3 * steps * records, shape
    minutes, bytes_ = passes / (teraflops * 1e12) / 60, channels * height * width * records
    return f"{width} x {height} | {steps} | {passes / 1e15:.1f} | {minutes:.1f} | {bytes_ / 1e9:.1f}"


def main(words: Sequence[str] | None = None) -> str:
    """Print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.projection", description=(__doc__ or "").split("\n\n")[0]
    )
    parser.add_argument("sets", type=Path, nargs="*", metavar="SET", help="a finished set")
    parser.add_argument(
        "--network", action="append", metavar="NAME", help="of torchvision, of one more ensemble; repeat"
    )
    parser.add_argument("--size", type=int, default=224, help="of that ensemble's images")
    parser.add_argument("--steps", type=int, default=20, help="against that ensemble")
    parser.add_argument("--records", type=int, default=500_000)
    parser.add_argument("--teraflops", type=float, default=300, help="sustained, of the GPU on paper")
    parser.add_argument("--cores", type=int, default=64, help="of the larger machine")
    given = parser.parse_args(words)
    head = [
        "members", "core s a record", "days, 1 core", f"days, {given.cores} cores", "pixels", "steps", "petaflop",
        f"GPU minutes at {given.teraflops:g} teraflops", "GB on disk",
    ]  # fmt: skip
    rows = [line(folder, given.records, given.teraflops, given.cores) for folder in given.sets]
    if given.network:
        shape, networks = (3, given.size, given.size), (workload.network(name, 0, given.size) for name in given.network)
        paper = on_paper(operations(networks, shape), shape, given.steps, given.records, given.teraflops)
        rows.append(f"| {', '.join(given.network)} | not run | - | - | {paper} |")
    shown = "\n".join([f"| {' | '.join(head)} |", "|---" * len(head) + "|", *rows]) + "\n"
    print(f"{given.records} records\n\n{shown}")
    return shown


if __name__ == "__main__":
    main()
