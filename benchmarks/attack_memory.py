"""Peak memory of the ensemble attack: of one network against three, and of few images against eight times as many.

    python -m benchmarks memory [--rows 4 --size 224]

Each figure comes from a fresh process with one thread: the most that was resident during the attack, less what was
resident before it. The networks and the copies to search with are there before, so what is left is graphs, pixels and
the optimiser's state. Images come and go in parts of two tiles. Linux only: the kernel keeps the figures.
"""

import argparse
import ctypes
import gc
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import torch
from rich.console import Console

from benchmarks import workload
from interp_plugins.attacks import EnsembleOptimization
from interp_plugins.foundation.prepare import prepare

LARGEST = "vgg11"  # of the three: its graph is the largest
M_MMAP_THRESHOLD = -3  # malloc.h: larger pieces are given back when they are freed
PARTS, MORE = 1, 8  # parts of two tiles in the short and in the long run


@dataclass(frozen=True)
class Job:
    """One figure: which networks, how many parts of two tiles, the rows of a tile, and the images' side."""

    networks: tuple[str, ...]
    parts: int
    rows: int
    size: int
    steps: int = 2  # memory is the same in each


def resident(name: str) -> float:
    """A figure of this process in MB: "VmRSS" is resident now, "VmHWM" was at most since it was last reset."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / 1024
    raise KeyError(name)


def count_what_is_in_use() -> None:
    """Have Linux's malloc give freed memory back, which it keeps in holes that grow by chance; to be asked first."""
    ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, 2**22)


def forget_peak() -> None:
    """Let "VmHWM" begin anew from what is in use now."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def measure(job: Job) -> float:
    """Peak MB of an attack above what the process held before it."""
    torch.set_num_threads(1)
    count_what_is_in_use()
    example = workload.pictures(1, job.size)
    members = [prepare(workload.network(name, seed, job.size), example) for seed, name in enumerate(job.networks)]
    attack = EnsembleOptimization(steps=job.steps, tile=job.rows)
    forget_peak()
    before = resident("VmRSS")
    for part in range(job.parts):
        images = workload.pictures(2 * job.rows, job.size, seed=part)
        attack(members, images, torch.arange(2 * job.rows) % 1000)
    return resident("VmHWM") - before


def fresh(job: Job) -> float:
    """`measure` in a process of its own."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(measure, job).result()


def difference(first: float, second: float) -> float:
    """By how many per cent the second is more than the first."""
    return 100 * (second - first) / first


def main(words: Sequence[str] | None = None) -> str:
    """Measure four runs and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks memory", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--rows", type=int, default=4, help="images a network call")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--largest", default=LARGEST, help="the network that is attacked alone")
    parser.add_argument("--network", action="append", metavar="NAME", help="a torchvision network of the three; repeat")
    given = parser.parse_args(words)
    three = tuple(given.network or workload.NETWORKS)
    console = Console(stderr=True)
    jobs = {
        f"{given.largest} alone": Job((given.largest,), PARTS, given.rows, given.size),
        f"{len(three)} networks": Job(three, PARTS, given.rows, given.size),
        f"{len(three)} networks, {MORE} times the images": Job(three, MORE, given.rows, given.size),
    }
    found = {}
    for name, job in jobs.items():
        console.print(f"measuring {name}")
        found[name] = fresh(job)
    alone, together, more = found.values()
    against = ["", f"{difference(alone, together):+.1f} % of {given.largest} alone",
               f"{difference(together, more):+.1f} % of the row above"]  # fmt: skip
    counts = [2 * job.rows * job.parts for job in jobs.values()]
    lines = ["| | images | peak MB | difference |", "|---|---|---|---|"]
    lines += [
        f"| {name} | {count} | {peak:.0f} | {word} |"
        for (name, peak), count, word in zip(found.items(), counts, against, strict=True)
    ]
    shown = "\n".join(lines) + "\n"
    print(f"tiles of {given.rows} images of {given.size} pixels\n\n{shown}")
    return shown


if __name__ == "__main__":
    main()
