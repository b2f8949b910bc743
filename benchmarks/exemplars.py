"""What the top images of every channel cost: the maxima in the hooks, and the k largest of a stream.

    python -m benchmarks exemplars [--images 16 --rows 8 --samples 20000 --rounds 3] [--peers FOLDER]

Two tables. *Maxima*: every convolution of torchvision's ResNet-18 (random weights) at 224 pixels, against the bare
forward pass in the same memory format, and against dissect's one-pass and its per-layer way (channels first, as its
users run it). *Top*: the top 1 % of samples x 4,800 random scores in batches of 50 and of 500, against dissect's
RunningTopK. CPU times of one thread in interleaved rounds; quote the ratios. FOLDER holds a git checkout named dissect.
"""

import argparse
import os
from collections.abc import Sequence
from functools import partial
from statistics import median
from typing import Any

import torch
from rich.console import Console
from torch import Tensor, nn

from benchmarks import dissect_peer, workload
from benchmarks.measure import Job, Timing, interleave
from interp_plugins.foundation.measuring import conv_layers, for_measuring
from interp_plugins.foundation.running import TopK
from interp_plugins.neurons.activations import record_scores
from interp_plugins.neurons.exemplars import top_count

OURS, FLOOR, ONE_PASS, PER_LAYER = "interp-plugins", "bare forward", "dissect, one pass", "dissect, a pass a layer"
UNITS = 4800
BATCHES = (50, 500)


def maxima(images: Tensor, rows: int) -> dict[str, Job]:
    """The jobs that find each channel's maximum on each image; all but the floors return (n, channels)."""
    model = workload.network("resnet18", 0, images.shape[-1])
    model.requires_grad_(False)
    layers, quick = conv_layers(model), for_measuring(model, images)
    return {
        OURS: lambda: torch.cat(list(record_scores(quick, layers, images, tile=rows).values()), 1),
        FLOOR: partial(_forward, quick, images, rows),
        f"{FLOOR}, channels first": partial(_forward, model, images, rows),
        ONE_PASS: partial(_dissect_maxima, model, layers, images, rows, one_pass=True),
        PER_LAYER: partial(_dissect_maxima, model, layers, images, rows, one_pass=False),
    }


def top(scores: Tensor, batch: int) -> dict[str, Job]:
    """The jobs that find the top 1 % of each column of (n, u) and return the values, descending."""
    k, ids = top_count(len(scores)), torch.arange(len(scores))

    def ours() -> Tensor:
        kept = TopK(k)
        for some, numbers in zip(scores.split(batch), ids.split(batch), strict=True):
            kept.update(some, numbers)
        return kept.values

    def theirs() -> Tensor:
        kept = dissect_peer.module("runningstats").RunningTopK(k=k)
        for some in scores.split(batch):
            kept.add(some)
        values: Tensor = kept.result()[0]
        return values

    return {f"{OURS}, batches of {batch}": ours, f"dissect RunningTopK, batches of {batch}": theirs}


def table(timing: Timing, ours: str) -> str:
    """Markdown: seconds, ours / this with the spread over the rounds, and whether the numbers agree with ours."""
    lines = ["|  | CPU s | ours / this | same numbers |", "|---|---|---|---|"]
    for name, seconds in timing.seconds.items():
        low, high = timing.spread(ours, name)
        ratio = "1" if name == ours else f"{timing.ratio(ours, name):.3g} ({low:.3g} to {high:.3g})"
        lines.append(f"| {name} | {median(seconds):.3g} | {ratio} | {_agrees(timing.results, ours, name)} |")
    lines += [f"| {name} | not run: {problem} | | |" for name, problem in timing.problems.items()]
    return "\n".join(lines) + "\n"


def _agrees(results: dict[str, Any], ours: str, name: str) -> str:
    if name == ours or results[name] is None:
        return "-"
    return "yes" if torch.allclose(results[name], results[ours], rtol=1e-3, atol=1e-3) else "NO"


def _forward(model: nn.Module, images: Tensor, rows: int) -> None:
    with torch.no_grad():
        for some in images.split(rows):
            model(some)


def _dissect_maxima(model: nn.Module, layers: list[str], images: Tensor, rows: int, *, one_pass: bool) -> Tensor | None:
    tally, data = dissect_peer.module("tally"), torch.utils.data.TensorDataset(images)
    with dissect_peer.quietly():
        watched = dissect_peer.module("nethook").InstrumentedModel(model)
        watched.retain_layers(layers)

        def answers(chosen: list[str], some: Tensor) -> Tensor:
            with torch.no_grad():
                watched(some)
            return torch.cat([watched.retained_layer(layer).amax((2, 3)) for layer in chosen], 1)

        groups = [layers] if one_pass else [[layer] for layer in layers]
        try:
            found = [
                tally.tally_topk(partial(answers, group), data, batch_size=rows, k=len(images)) for group in groups
            ]
        finally:
            watched.close()
    values, ids = (torch.cat(parts) for parts in zip(*(one.result() for one in found), strict=True))
    return torch.empty_like(values).scatter_(1, ids, values).T  # back in the images' order


def main(words: Sequence[str] | None = None) -> str:
    """Time everything and print the tables."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks exemplars", description=(__doc__ or "").split("\n\n")[0]
    )
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--rows", type=int, default=8, help="images a network call, for all")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--samples", type=int, default=20_000, help="rows of the stream of scores")
    parser.add_argument("--units", type=int, default=UNITS, help="columns of the stream of scores")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--skip", action="append", default=[], metavar="WORD", help="ways whose names hold it; repeat")
    parser.add_argument("--peers", default="", help="folder that holds the checkout dissect")
    given = parser.parse_args(words)
    if given.peers:
        os.environ["INTERP_PEERS"] = given.peers
    torch.set_num_threads(1)
    console = Console(stderr=True)
    scores = torch.randn(given.samples, given.units, generator=torch.Generator().manual_seed(0))
    tasks = [maxima(workload.pictures(given.images, given.size), given.rows)]
    tasks += [top(scores, batch) for batch in BATCHES]
    shown = ""
    for jobs in tasks:
        chosen = {name: job for name, job in jobs.items() if not any(word in name for word in given.skip)}
        timing = interleave(
            chosen,
            given.rounds,
            watch=lambda number, name: console.print(f"round {number} of {given.rounds}: {name}"),
        )
        shown += table(timing, next(iter(jobs))) + "\n"
    machine = f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}"
    print(
        f"{given.images} images of {given.size} pixels, {given.rows} rows a call; {given.samples} x {given.units} "
        f"scores; {given.rounds} rounds; {machine}: median of the ratios (smallest to largest)\n\n{shown}"
    )
    return shown


if __name__ == "__main__":
    main()
