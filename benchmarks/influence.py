"""What the prediction differences of all units of ResNet-18's layer4 cost for one image, beside Captum's.

    python -m benchmarks influence [--size 224] [--rows 8] [--rounds 1]

Captum's LayerFeatureAblation gets one mask a channel and as many rows a call as ours. The network is torchvision's with
random weights. CPU times of one thread in interleaved rounds; quote the ratios, which should be at least 5. Every
number is compared. Without Captum its row says why it did not run. A smaller image warms all up.
"""

import argparse
from collections.abc import Sequence
from importlib import import_module
from statistics import median
from typing import Any

import torch
from rich.console import Console
from torch import Tensor

from benchmarks import workload
from benchmarks.measure import Job, Timing, interleave
from interp_plugins.neurons.influence import NeuronInfluence

LAYER = "net.layer4"
WARM = 32  # pixels
OURS, BEST, ESTIMATE, CAPTUM = "interp-plugins", "the 32 that the estimate chooses", "the estimate alone", "Captum"


def jobs(image: Tensor, rows: int) -> dict[str, Job]:
    """The ways to the differences (1, units) of one image's largest logit."""
    model = workload.network("resnet18", 0, image.shape[-1])
    model.requires_grad_(False)
    with torch.no_grad():
        target = model(image).argmax(1)
    every, best = (NeuronInfluence(score="logit", preselect=some, tile=rows) for some in (None, 32))
    return {
        OURS: lambda: every(model, LAYER, image, target).differences,
        BEST: lambda: best(model, LAYER, image, target).differences,
        ESTIMATE: lambda: every.estimate(model, LAYER, image, target),
        CAPTUM: lambda: _captum(model, image, target, rows),
    }


def _captum(model: Any, image: Tensor, target: Tensor, rows: int) -> Tensor:
    layer = model.get_submodule(LAYER)
    kept: list[Tensor] = []
    handle = layer.register_forward_hook(lambda module, inputs, output: kept.append(output.detach()))
    with torch.no_grad():
        model(image)
    handle.remove()
    mask = torch.arange(kept[0].shape[1]).view(1, -1, 1, 1).expand_as(kept[0])
    ablation = import_module("captum.attr").LayerFeatureAblation(model, layer)
    found: Tensor = ablation.attribute(image, target=target, layer_mask=mask, perturbations_per_eval=rows)
    return found[:, :, 0, 0].double()


def table(timing: Timing) -> str:
    """Markdown: seconds, this / ours with the spread over the rounds, and the largest difference from our numbers."""
    lines = ["|  | CPU s | this / ours | largest difference, of the largest influence |", "|---|---|---|---|"]
    ours = timing.results[OURS]
    for name, seconds in timing.seconds.items():
        low, high = timing.spread(name, OURS)
        far = (timing.results[name] - ours).nan_to_num().abs().max() / ours.abs().max()
        ratio = f"{timing.ratio(name, OURS):.3g} ({low:.3g} to {high:.3g})"
        lines.append(f"| {name} | {median(seconds):.3g} | {ratio} | {float(far):.1g} |")
    lines += [f"| {name} | not run: {problem} | | |" for name, problem in timing.problems.items()]
    return "\n".join(lines) + "\n"


def main(words: Sequence[str] | None = None) -> str:
    """Time everything, print the table and return it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks influence", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--rows", type=int, default=8, help="rows a network call, for all")
    parser.add_argument("--rounds", type=int, default=1)
    given = parser.parse_args(words)
    torch.set_num_threads(1)
    console = Console(stderr=True)
    timing = interleave(
        jobs(workload.pictures(1, given.size), given.rows),
        given.rounds,
        warm=jobs(workload.pictures(1, WARM), given.rows),
        watch=lambda number, name: console.print(f"round {number} of {given.rounds}: {name}"),
    )
    shown = table(timing)
    print(f"one image of {given.size} pixels, {given.rows} rows a call, {given.rounds} rounds, one thread\n\n{shown}")
    return shown


if __name__ == "__main__":
    main()
