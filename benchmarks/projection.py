"""What half a million adversarial images would cost: at the rate of a set that was made here, and on a GPU on paper.

    python -m benchmarks.projection SET [SET ...] [--records 500000] [--teraflops 300]

The rate of a processor is that of the set's own run.json: core seconds a record, everything included. A GPU's time is a
floor, not a measurement: the floating-point operations of the members' forward passes, counted by torch, times three
for a gradient, times the steps, at a sustained speed that is assumed (300 teraflops is what bf16 convolutions reach on
a current data-centre GPU; --teraflops names another).
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from interp_plugins.sources import models
from interp_plugins.store.manifest import Manifest
from interp_plugins.store.sets import AdversarialSet

DAY = 24 * 3600


def core_seconds(folder: Path) -> float:
    """Seconds of one core for a record, over all the runs that made the set."""
    runs = json.loads((folder / "run.json").read_text(encoding="utf-8"))["runs"]
    return float(sum(run["seconds"] * run["processes"] for run in runs) / sum(run["records"] for run in runs))


def operations(manifest: Manifest) -> int:
    """Floating-point operations of one forward pass of all members for one image."""
    image, total = torch.zeros(1, *manifest.shape), 0
    for member in manifest.members:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            models.load(member.spec).module(image)
        total += counter.get_total_flops()
    return total


def line(folder: Path, records: int, teraflops: float, cores: int) -> str:
    """The row of one set."""
    manifest = AdversarialSet.open(folder).manifest
    seconds, forward = core_seconds(folder), operations(manifest)
    passes = forward * 3 * int(str(manifest.settings["steps"])) * records
    c, h, w = manifest.shape
    cells = [
        ", ".join(member.name for member in manifest.members),
        f"{w} x {h}",
        f"{seconds:.2f}",
        f"{seconds * records / DAY:.1f}",
        f"{seconds * records / DAY / cores:.2f}",
        f"{passes / 1e15:.1f}",
        f"{passes / (teraflops * 1e12) / 60:.1f}",
        f"{c * h * w * records / 1e9:.1f}",
    ]
    return f"| {' | '.join(cells)} |"


def main(words: Sequence[str] | None = None) -> str:
    """Print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.projection", description=(__doc__ or "").split("\n\n")[0]
    )
    parser.add_argument("sets", type=Path, nargs="+", metavar="SET", help="a finished set")
    parser.add_argument("--records", type=int, default=500_000)
    parser.add_argument("--teraflops", type=float, default=300, help="sustained, of the GPU on paper")
    parser.add_argument("--cores", type=int, default=64, help="of the larger machine")
    given = parser.parse_args(words)
    head = [
        "members", "pixels", "core s a record", "days, 1 core", f"days, {given.cores} cores", "petaflop in all",
        f"GPU minutes at {given.teraflops:g} teraflops", "GB on disk",
    ]  # fmt: skip
    rows = [line(folder, given.records, given.teraflops, given.cores) for folder in given.sets]
    shown = "\n".join([f"| {' | '.join(head)} |", "|---" * len(head) + "|", *rows]) + "\n"
    print(f"{given.records} records\n\n{shown}")
    return shown


if __name__ == "__main__":
    main()
