"""Thresholds of a stream of maps, ours and those of two libraries' sketches, and how wrong the rank is."""

from collections.abc import Iterator
from functools import partial
from math import floor
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks import dissect_peer, lite
from benchmarks.measure import Job, Timing
from interp_plugins.dissection.thresholds import UnitThresholds

SHARE, SIDE, BATCH = 0.005, 7, 64  # of all values above the threshold; of a map; images of an update
OURS, COPY = "interp-plugins", "one copy of the stream"


def stream(images: int, units: int) -> Tensor:
    """Maps (n, u, 7, 7), channels last, of units that answer later images more strongly: data sets are concatenated."""
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(images, SIDE, SIDE, units, generator=generator).relu_()
    values *= 1 + torch.linspace(0, 0.5, images)[:, None, None, None]
    return values.permute(0, 3, 1, 2)


def jobs(maps: Tensor) -> dict[str, Job]:
    """The jobs that find each unit's threshold; the copy finds none."""
    rows = maps.permute(0, 2, 3, 1).reshape(-1, maps.shape[1])
    return {
        OURS: partial(_ours, maps),
        COPY: partial(_copy, rows),
        "NetDissect-Lite QuantileVector": partial(_lite, rows),
        "dissect RunningQuantile": partial(_dissect, rows),
        "numpy.partition of all at once": lambda: _partition(rows),
    }


def table(timing: Timing, maps: Tensor) -> str:
    """Markdown: seconds, ours / this, copies of the stream, and the largest error of the rank."""
    lines = ["|  | CPU s | copies of the stream | ours / this | largest error of the rank |", "|---|---|---|---|---|"]
    for name, seconds in timing.seconds.items():
        found = timing.results[name]
        wrong = "-" if found is None else f"{rank_error(maps, found):.2%}"
        low, high = timing.spread(OURS, name)
        lines.append(
            f"| {name} | {np.median(seconds):.3g} | {timing.ratio(name, COPY):.3g} "
            f"| {timing.ratio(OURS, name):.3g} ({low:.3g} to {high:.3g}) | {wrong} |"
        )
    lines += [f"| {name} | not run: {problem} | | | |" for name, problem in timing.problems.items()]
    return "\n".join(lines) + "\n"


def rank_error(maps: Tensor, thresholds: Tensor) -> float:
    """By how much, of the wanted number, another number of values lies above a threshold; of all units the largest."""
    wanted = floor(SHARE * maps[:, 0].numel())
    above = (maps > thresholds[:, None, None]).sum((0, 2, 3))
    return float((above - wanted).abs().max()) / wanted


def _ours(maps: Tensor) -> Tensor:
    metric = UnitThresholds(maps[:, 0].numel(), SHARE)
    for first, some in zip(range(0, len(maps), BATCH), maps.split(BATCH), strict=True):
        metric.update(some, torch.arange(first, first + len(some)))
    return metric.compute().value


def _copy(rows: Tensor) -> None:
    for some in _batches(rows):
        some.clone()


def _lite(rows: Tensor) -> Tensor:
    with lite.module("util.vecquantile") as sketches:
        sketch: Any = sketches.QuantileVector(depth=rows.shape[1], seed=1)
        for some in _batches(rows):
            sketch.add(some.numpy())
        return torch.from_numpy(sketch.readout(1000)[:, 994])


def _dissect(rows: Tensor) -> Tensor:
    sketch = dissect_peer.module("runningstats").RunningQuantile(r=dissect_peer.SKETCH)
    for some in _batches(rows):
        sketch.add(some)
    found: Tensor = sketch.quantiles(1 - SHARE)
    return found


def _partition(rows: Tensor) -> Tensor:
    rank = len(rows) - 1 - floor(SHARE * len(rows))
    return torch.from_numpy(np.partition(rows.numpy().T, rank, axis=1)[:, rank])


def _batches(rows: Tensor) -> Iterator[Tensor]:
    yield from rows.split(BATCH * SIDE**2)
