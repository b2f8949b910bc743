"""CPU seconds of a step of adversarial training: this package's, other libraries', and the passes it cannot avoid.

    python -m benchmarks training [--batch 8 --steps 20 --rounds 3] [--only pgd] [--peers FOLDER] [--out FOLDER]

    pgd          a step on images that PGD in L2 attacked (Madry et al.)
    consistent   a step on clean and FGSM's images with the distance of their features (Dong et al.)
    adapt        what CORAL and the difference of means add to a step
    memory       peak memory of the first two, beside the same by hand; Linux only

All train a ResNet-18 for CIFAR-10 with random weights on smooth noise, each way its own copy. Times are CPU times of
one thread in interleaved rounds; quote the ratios. FOLDER of --peers holds a git checkout named robustness. Half
precision runs where the processor multiplies bf16 by itself.
"""

import argparse
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from statistics import median

import torch
from rich.console import Console

from benchmarks import attack_memory, tables
from benchmarks import training_peers as peers
from benchmarks.measure import Job, Timing, interleave
from benchmarks.training_peers import Step, Subject, subject
from interp_plugins.attacks import FGSM, PGD
from interp_plugins.foundation.precision import Precision, has_native_bf16
from interp_plugins.report.results import Results, Row
from interp_plugins.training import (
    MADRY,
    ConsistentLoss,
    Coral,
    MeanDifference,
    Mixed,
    SharedFGSM,
    Term,
    Trainer,
)
from interp_plugins.training.evaluation import Attack

FEATURES = "net.avgpool"
WIDTH = 512  # of its output
REPEATS = 20  # of the adapting losses alone, which are quick
CONSISTENT = Term(name="consistent", layer=FEATURES, loss=ConsistentLoss(), weight=peers.BETA, shape="flat")
CORAL = Term(name="CORAL", layer=FEATURES, loss=Coral(), weight=1 / 3, shape="flat")
MEANS = Term(name="means", layer=FEATURES, loss=MeanDifference(), weight=1 / 3, shape="flat")
SHARED = SharedFGSM(epsilon=peers.FGSM_EPSILON, label="true")  # the true label, as the peers take


@dataclass(frozen=True)
class Way:
    """A way to take a step, and how its network lies in memory."""

    make: Callable[[Subject], Step]
    channels_last: bool = False

    def job(self, batch: int, steps: int) -> Job:
        """The step as a job; the network is made when it is first called, untimed where rounds warm up."""
        made: list[Step] = []

        def run() -> None:
            if not made:
                made.append(self.make(subject(batch, steps, channels_last=self.channels_last)))
            made[0]()

        return run


@dataclass(frozen=True)
class Comparison:
    """Ways to do one thing; the others are held against the floor, and ours against the others."""

    ways: Mapping[str, Way]
    floor: str
    ours: tuple[str, ...]


def trained(trainer: Trainer, attack: Callable[[int], Attack]) -> Callable[[Subject], Step]:
    """A run of one batch with our trainer; the attack is made for so many steps."""

    def make(given: Subject) -> Step:
        given.network.train()
        batches = [(given.images, given.labels)]
        if "bf16" in (trainer.precision, getattr(attack(1), "precision", "")) and not has_native_bf16(
            given.images.device
        ):
            raise NotImplementedError("this processor has no bf16 of its own")
        return lambda: list(trainer(given.network, given.optimizer, batches, attack=attack(given.steps)))

    return make


def pgd(precision: Precision) -> Callable[[int], Attack]:
    """Our PGD of so many steps; it calls the network with 8 images, the others with a batch."""
    return lambda steps: PGD(epsilon=peers.EPSILON, step_size=peers.LENGTH, steps=steps, norm="l2", precision=precision)


def comparisons() -> dict[str, Comparison]:
    """What is compared, by its name on the command line."""
    both = Mixed(alpha=peers.ALPHA)
    shared = partial(Trainer, epochs=1, classify=both, attack_mode="train")
    consistent = Trainer(epochs=1, classify=both, terms=(CONSISTENT,))
    return {
        "pgd": Comparison(
            {
                "interp-plugins fp32": Way(trained(Trainer(epochs=1, classify=MADRY), pgd("fp32"))),
                "interp-plugins bf16": Way(trained(Trainer(epochs=1, classify=MADRY), pgd("bf16"))),
                "floor": Way(peers.pgd_floor),
                "torchattacks PGDL2, and a step": Way(peers.pgd_torchattacks),
                "robustness, last iterate": Way(partial(peers.pgd_robustness, use_best=False)),
                "robustness, best iterate": Way(partial(peers.pgd_robustness, use_best=True)),
                "ART MadryPGD": Way(partial(peers.pgd_art, trainer="AdversarialTrainerMadryPGD")),
                "ART TRADES": Way(partial(peers.pgd_art, trainer="AdversarialTrainerTRADESPyTorch")),
                "ART AdversarialTrainer": Way(partial(peers.pgd_art, trainer="AdversarialTrainer")),
                "foolbox L2PGD, and a step": Way(peers.pgd_foolbox),
                "textbook loop": Way(peers.pgd_textbook),
            },
            floor="floor",
            ours=("interp-plugins fp32", "interp-plugins bf16"),
        ),
        "consistent": Comparison(
            {
                "interp-plugins SharedFGSM": Way(trained(shared(terms=(CONSISTENT,)), lambda _: SHARED)),
                "the same, channels last": Way(
                    trained(shared(terms=(CONSISTENT,)), lambda _: SHARED), channels_last=True
                ),
                "the same, in bf16": Way(
                    trained(shared(terms=(CONSISTENT,), precision="bf16"), lambda _: SHARED), channels_last=True
                ),
                "interp-plugins FGSM": Way(trained(consistent, lambda _: FGSM(epsilon=peers.FGSM_EPSILON))),
                "floor": Way(peers.consistent_floor),
                "torchattacks FGSM, and the loss by hand": Way(peers.consistent_torchattacks),
                "ART FastGradientMethod, and the loss by hand": Way(peers.consistent_art),
                "textbook": Way(peers.consistent_textbook),
            },
            floor="floor",
            ours=("interp-plugins SharedFGSM", "the same, channels last", "the same, in bf16"),
        ),
        "adapt": Comparison(
            {
                "a step without them": Way(trained(shared(), lambda _: SHARED)),
                "a step with CORAL and means": Way(trained(shared(terms=(CORAL, MEANS)), lambda _: SHARED)),
                "CORAL and means alone": Way(adapting),
            },
            floor="a step without them",
            ours=(),
        ),
        "memory": Comparison(
            {
                "PGD by hand": Way(peers.pgd_floor),
                "PGD, interp-plugins": Way(trained(Trainer(epochs=1, classify=MADRY), pgd("fp32"))),
                "consistent by hand": Way(peers.consistent_floor),
                "consistent, interp-plugins": Way(trained(shared(terms=(CONSISTENT,)), lambda _: SHARED)),
            },
            floor="PGD by hand",
            ours=("PGD, interp-plugins", "consistent, interp-plugins"),
        ),
    }


def adapting(given: Subject) -> Step:
    """Both losses forward and backward on features of the layer's width, `REPEATS` times."""
    generator = torch.Generator().manual_seed(0)
    features = torch.rand(2 * len(given.images), WIDTH, generator=generator).requires_grad_()
    coral, means = Coral(), MeanDifference()

    def step() -> None:
        for _ in range(REPEATS):
            sides = features.chunk(2)
            torch.autograd.grad(coral(*sides) + means(*sides), features)

    return step


def timed(name: str, compared: Comparison, batch: int, steps: int, rounds: int) -> Timing:
    """Seconds of each way."""
    console = Console(stderr=True)
    timing = interleave(
        {way: each.job(batch, steps) for way, each in compared.ways.items()},
        rounds,
        watch=lambda number, way: console.print(f"{name}, round {number} of {rounds}: {way}"),
    )
    for way, each in compared.ways.items():
        if each.make is adapting:
            timing.seconds[way] = [seconds / REPEATS for seconds in timing.seconds[way]]
    return timing


def peak(way: str, batch: int, steps: int) -> float:
    """Peak MB of two steps above what the process held with its network; run it in a fresh process."""
    torch.set_num_threads(1)
    attack_memory.count_what_is_in_use()
    given = subject(batch, steps)
    step = comparisons()["memory"].ways[way].make(given)
    attack_memory.forget_peak()
    before = attack_memory.resident("VmRSS")
    step()
    step()  # now with the optimiser's state there
    return attack_memory.resident("VmHWM") - before


def remembered(compared: Comparison, batch: int, steps: int) -> Timing:
    """Peak MB of each way, once, in the place of seconds."""
    found = Timing()
    for way in compared.ways:
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            found.seconds[way] = [pool.submit(peak, way, batch, steps).result()]
    return found


def results(name: str, compared: Comparison, timing: Timing, settings: Mapping[str, int]) -> Results:
    """What was measured, as rows: the cost of each way, and the ratios that are asked for."""
    ran = list(timing.seconds)
    ours = [way for way in compared.ours if way in ran]
    ratios = [(way, compared.floor) for way in ran if way != compared.floor]
    ratios += [(own, way) for own in ours for way in ran if way not in (own, compared.floor)]
    what = "peak MB above the network" if name == "memory" else "CPU s a step"
    rows = [
        Row(name=way, value=median(costs), low=min(costs), high=max(costs), method=f"{what}, median of the rounds")
        for way, costs in timing.seconds.items()
    ]
    for way, other in ratios:
        low, high = timing.spread(way, other)
        rows.append(
            Row(name=f"{way} / {other}", value=timing.ratio(way, other), low=low, high=high,
                method="median of the rounds' ratios, smallest and largest")
        )  # fmt: skip
    return Results.model_validate(
        {
            "command": ("benchmarks.training", name),
            "settings": {**settings, "floor": compared.floor, "ours": ours, "cost": what, "not run": timing.problems},
            "versions": {
                "python": platform.python_version(),
                "processor features used": torch.backends.cpu.get_cpu_capability(),
                **{package: version(package) for package in ("interp-plugins", "torch")},
            },
            "seed": 0,
            "inputs": (),
            "rows": rows,
        }
    )


def main(words: Sequence[str] | None = None) -> str:
    """Measure what is asked for, and print a table of each."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks training", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=20, help="of PGD")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", action="append", choices=list(comparisons()), help="repeat; all without it")
    parser.add_argument("--peers", default="", help="folder that holds the checkout robustness")
    parser.add_argument("--out", type=Path, help="folder for training_pgd.json and so on; without it there are none")
    given = parser.parse_args(words)
    if given.peers:
        os.environ["INTERP_PEERS"] = given.peers
    torch.set_num_threads(1)
    shown = []
    for name, compared in comparisons().items():
        if given.only and name not in given.only:
            continue
        settings = {"batch": given.batch, "steps": given.steps, "rounds": given.rounds}
        if name == "memory":
            settings |= {"steps": 2, "rounds": 1}  # memory is the same in each
            timing = remembered(compared, given.batch, settings["steps"])
        else:
            timing = timed(name, compared, given.batch, given.steps, given.rounds)
        found = results(name, compared, timing, settings)
        if given.out:
            given.out.mkdir(parents=True, exist_ok=True)
            found.write(given.out / f"training_{name}.json")
        shown.append(f"{name}, batches of {given.batch}:\n\n{tables.costs([found])}")
    print("\n".join(shown))
    return "\n".join(shown)


if __name__ == "__main__":
    main()
