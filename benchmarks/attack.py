"""CPU seconds an adversarial image: this package's ensemble attack, other libraries, and the bare network passes.

    python -m benchmarks attack [--images 8 --targets 4 --steps 10 --rounds 3] [--peers FOLDER]

Three networks with random weights at 224 pixels, the same images, targets and number of steps for all. Times are CPU
times of one thread in interleaved rounds; quote the ratios. Networks are made ready before the clock starts, for us and
for the others, as for a set of many images. FOLDER holds a git checkout named TransferAttack.
"""

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median

import torch
import torch.nn.functional as F
from rich.console import Console
from torch import Tensor, nn

from benchmarks import peers, workload
from benchmarks.measure import Job, Timing, interleave
from interp_plugins.attacks import EnsembleOptimization, LeastLikely
from interp_plugins.attacks.targets import mean_probabilities
from interp_plugins.foundation.precision import Precision, has_native_bf16
from interp_plugins.foundation.prepare import Prepared, prepare

OURS = "interp-plugins"
PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16")


@dataclass(frozen=True)
class Work:
    """The networks, our copies of them in each precision, n images, t targets each, and the rows a network call."""

    networks: list[nn.Module]
    copies: dict[Precision, list[Prepared]]
    images: Tensor  # (n, 3, size, size)
    targets: Tensor  # (n, t)
    rows: int

    def jobs(self, steps: int) -> dict[str, Job]:
        """Every variant as a job that returns adversarial images (n * t, 3, size, size)."""
        ensemble = workload.MeanLogits(self.networks).eval()
        t = self.targets.shape[1]
        pairs, wanted = self.images.repeat_interleave(t, 0), self.targets.flatten()
        jobs: dict[str, Job] = {}
        for precision, members in self.copies.items():
            attack = EnsembleOptimization(steps=steps, epsilon=peers.EPSILON, tile=self.rows, precision=precision)
            jobs[f"{OURS} {precision}"] = partial(_ours, attack, members, self.images, self.targets)
        for name, peer in (("floor", peers.floor), *peers.PEERS.items()):
            jobs[name] = partial(peers.in_batches, peer, ensemble, pairs, wanted, steps, self.rows)
        return jobs


def _ours(attack: EnsembleOptimization, members: list[Prepared], images: Tensor, targets: Tensor) -> Tensor:
    if attack.precision == "bf16" and not has_native_bf16(images.device):
        raise NotImplementedError("this processor has no bf16 of its own")
    return attack(members, images, targets).flatten(0, 1)


def load(networks: Sequence[str], images: int, targets: int, size: int, rows: int) -> Work:
    """Make the work: the targets are the least likely classes, as in the attack's own default."""
    members = [workload.network(name, seed, size) for seed, name in enumerate(networks)]
    x = workload.pictures(images, size)
    probabilities = mean_probabilities(members, x)
    wanted = LeastLikely(targets)(probabilities, probabilities.argmax(1), range(images))
    copies = {precision: [prepare(member, x, precision) for member in members] for precision in PRECISIONS}
    return Work(members, copies, x, wanted, rows)


def reached(work: Work, adversarial: Tensor) -> float:
    """The loss on the targets, mean over members and adversarial images."""
    wanted = work.targets.flatten()
    with torch.no_grad():
        losses = [
            F.cross_entropy(net(x), y, reduction="sum").item()
            for net in work.networks
            for x, y in zip(adversarial.split(work.rows), wanted.split(work.rows), strict=True)
        ]
    return sum(losses) / (len(work.networks) * len(wanted))


def table(work: Work, timing: Timing) -> str:
    """Markdown: seconds an image, ours / variant in either precision, variant / floor, loss and largest change."""
    ours = [name for name in (f"{OURS} {precision}" for precision in PRECISIONS) if name in timing.seconds]
    head = ["", "CPU s an image", "/ floor", *(f"{name} / this" for name in ours), "loss", "largest change"]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    pairs = work.images.repeat_interleave(work.targets.shape[1], 0)
    for name, seconds in timing.seconds.items():
        found = timing.results[name]
        quality = ["-", "-"]
        if name != "floor":
            quality = [f"{reached(work, found):.3f}", f"{(found - pairs).abs().max() * 255:.1f}"]
        ratios = [_ratio(timing, name, "floor"), *(_ratio(timing, own, name) for own in ours)]
        lines.append(f"| {' | '.join([name, f'{median(seconds) / len(pairs):.2f}', *ratios, *quality])} |")
    width = len(head) - 1
    lines += [f"| {name} | not run: {problem} |{' |' * (width - 1)}" for name, problem in timing.problems.items()]
    return "\n".join(lines) + "\n"


def _ratio(timing: Timing, variant: str, other: str) -> str:
    if variant == other:
        return "1"
    low, high = timing.spread(variant, other)
    return f"{timing.ratio(variant, other):.2f} ({low:.2f} to {high:.2f})"


def _chosen(jobs: dict[str, Job], only: Sequence[str]) -> dict[str, Job]:
    """Ours, the floor, and of the others those whose names hold one of the words; without words all."""
    always = (OURS, "floor")
    return {n: job for n, job in jobs.items() if not only or n.startswith(always) or any(word in n for word in only)}


def main(words: Sequence[str] | None = None) -> str:
    """Time everything and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks attack", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--targets", type=int, default=4, help="an image")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=8, help="images a network call, for all")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--network", action="append", metavar="NAME", help="a torchvision network; repeat")
    parser.add_argument("--only", action="append", default=[], metavar="WORD", help="peers whose names hold it; repeat")
    parser.add_argument("--peers", default="", help="folder that holds the checkout TransferAttack")
    given = parser.parse_args(words)
    if given.peers:
        os.environ["INTERP_PEERS"] = given.peers
    torch.set_num_threads(1)
    work = load(given.network or workload.NETWORKS, given.images, given.targets, given.size, given.rows)
    console = Console(stderr=True)
    timing = interleave(
        _chosen(work.jobs(given.steps), given.only),
        given.rounds,
        warm=_chosen(work.jobs(1), given.only),
        watch=lambda number, name: console.print(f"round {number} of {given.rounds}: {name}"),
    )
    shown = table(work, timing)
    print(
        f"{given.images} images of {given.size} pixels, {given.targets} targets each, {given.steps} steps, "
        f"{given.rows} rows a call, {given.rounds} rounds; torch {torch.__version__}, "
        f"{torch.backends.cpu.get_cpu_capability()}: median of the ratios (smallest to largest)\n\n{shown}"
    )
    return shown


if __name__ == "__main__":
    main()
