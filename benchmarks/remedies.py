"""What each remedy does to networks of one kind: accuracy, attacks withstood, and whether units keep their meaning.

    python -m benchmarks remedies --data CIFAR10 --segmentation BRODEN --out FOLDER [--seeds 3 --only pgd --step train]

`benchmarks/networks.py:small_resnet` is trained with each objective and seed, and every network is then asked the same.
The steps, each of which `--step` chooses:

- train: `interp-plugins train run` on images that the seed draws, the same for all objectives.
- set: an adversarial set for each seed, made once of the standard network, and of `--beside` networks.
- judge: clean, FGSM and PGD of 20 steps, on the first 1,000 test images.
- neurons: LC, CS and r on training images and on that set, as all networks of the seed see it.
- dissect: detectors on masks, as they are and under FGSM.
- autoattack: of the first `--autoattack-seeds` seeds, on 500 test images. It takes longest.

Each command is a process of its own with one thread. Kill it at any moment and type the same again: what is finished is
skipped, and what was begun goes on. Behind it all stand FOLDER/remedies.json and the table of what there is.
"""

import argparse
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console

from benchmarks import tables
from benchmarks.errands import Job, Worker, begun_otherwise
from benchmarks.remedied import gathered

OBJECTIVES = ("standard", "fgsm", "consistent", "uda", "pgd")
STEPS = ("train", "set", "judge", "neurons", "dissect", "autoattack")
COMPARING = ("consistent", "uda")  # what a layer sees in clean and in attacked images
NETWORK = f"{Path(__file__).with_name('networks.py')}:small_resnet"
LAYER = "layer3"  # the last maps of that network
HELD_OUT, JUDGED, AUTOATTACKED = 1000, 1000, 500


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All that decides the numbers."""

    data: str
    segmentation: str | None = None
    beside: tuple[str, ...] = ()
    seeds: int = 3
    images: int = 10_000
    epochs: int = 10
    epsilon: str = "4/255"
    weight: float = 10.0  # of the mean over features; at 0.1 and 1/3 the terms are lost beside the cross-entropy
    pictures: int = 200
    real: int = 10_000
    autoattack_seeds: int = 1


def jobs(plan: Plan, out: Path) -> list[Job]:
    """Every command of a plan, seed by seed, step by step; what others need stands before them."""
    found: list[Job] = []
    for seed in range(plan.seeds):
        trained = {name: _training(plan, out, name, seed) for name in OBJECTIVES}
        attacked = _set(plan, out, trained["standard"], seed)
        found += [*trained.values(), attacked]
        unasked = {"dissect"} if not plan.segmentation else set()
        if seed >= plan.autoattack_seeds:
            unasked.add("autoattack")
        for step in [step for step in STEPS[2:] if step not in unasked]:
            found += [_question(plan, step, job, attacked) for job in trained.values()]
    return found


def _training(plan: Plan, out: Path, objective: str, seed: int) -> Job:
    attack = {"standard": ()}.get(objective, ("--attack", f"fgsm:{plan.epsilon}"))
    if objective == "pgd":
        attack = ("--attack", f"pgd:{plan.epsilon}:7")
    weight = ("--weight", f"{plan.weight:g}") if objective in COMPARING else ()
    words = ("--objective", objective, *attack, *weight, "--limit", str(plan.images), "--epochs", str(plan.epochs))
    words += ("--held-out", str(HELD_OUT), "--seed", str(seed), "--resume")
    folder = out / "train" / f"{objective}_{seed}"
    return Job(folder, ("train", "run", "--model", NETWORK, *_data(plan, folder), *words), "model.safetensors")


def _set(plan: Plan, out: Path, standard: Job, seed: int) -> Job:
    models = [word for model in (_model(standard), *plan.beside) for word in ("--model", model)]
    words = ("--limit", str(plan.pictures), "--targets", "least-likely:9", "--processes", "1", "--resume")
    folder = out / "set" / str(seed)
    return Job(folder, ("attack", "run", *models, *_data(plan, folder), *words), needs=(standard,))


def _question(plan: Plan, step: str, trained: Job, attacked: Job) -> Job:
    """What is asked of a network after training."""
    folder, work = trained.out.parents[1] / step / trained.out.name, ("--processes", "1", "--resume")
    if step in ("judge", "autoattack"):
        known = f"clean,fgsm:{plan.epsilon},pgd:{plan.epsilon}:20"
        attack, limit = (known, JUDGED) if step == "judge" else (f"autoattack:{plan.epsilon}", AUTOATTACKED)
        words = ("--run", str(trained.out), *_data(plan, folder), "--limit", str(limit), "--attack", attack)
        return Job(folder, ("train", "evaluate", *words), needs=(trained,))
    if step == "neurons":
        words = (*_data(plan, folder), "--split", "train", "--limit", str(plan.real))
        words += ("--adversarial", str(attacked.out))
        return Job(folder, ("neurons", "run", "--model", _model(trained), *words, *work), needs=(trained, attacked))
    words = ("--data", str(plan.segmentation), "--out", str(folder), "--size", "32", "--layers", LAYER)
    words += ("--attack", f"fgsm:{plan.epsilon}", *work)
    return Job(folder, ("dissect", "run", "--model", _model(trained), *words), needs=(trained,))


def _data(plan: Plan, folder: Path) -> tuple[str, ...]:
    return "--data", plan.data, "--out", str(folder)


def _model(trained: Job) -> str:
    return f"{NETWORK}@{trained.out / trained.done}"


def main(words: Sequence[str] | None = None) -> str:
    """Do what is asked for and not done yet, gather what there is, and print it as a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks remedies", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--data", type=os.path.abspath, required=True, help="folder of CIFAR-10")
    parser.add_argument("--segmentation", type=os.path.abspath, help="in Broden's layout; without it no dissection")
    parser.add_argument("--beside", action="append", default=[], help="a network that the sets fool, too; repeat it")
    parser.add_argument("--seeds", type=int, default=Plan.seeds)
    parser.add_argument("--images", type=int, default=Plan.images, help="to train on")
    parser.add_argument("--epochs", type=int, default=Plan.epochs)
    parser.add_argument("--epsilon", default=Plan.epsilon, help="radius of all attacks but the sets', Linf")
    parser.add_argument("--weight", type=float, default=Plan.weight, help="of what consistent and uda add to the loss")
    parser.add_argument("--pictures", type=int, default=Plan.pictures, help="test images of a set, each 9 times")
    parser.add_argument("--real", type=int, default=Plan.real, help="training images that units are measured on")
    parser.add_argument("--autoattack-seeds", type=int, default=Plan.autoattack_seeds)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", action="append", choices=OBJECTIVES, help="repeat; all without it")
    parser.add_argument("--step", action="append", choices=STEPS, help="repeat; all without it")
    parser.add_argument("--workers", type=int, default=1, help="commands at a time")
    given = vars(parser.parse_args(words))
    out, only, steps, workers = (given.pop(name) for name in ("out", "only", "step", "workers"))
    plan = Plan(**given | {"beside": tuple(given["beside"])})
    out = out.absolute()
    every = jobs(plan, out)
    if others := [str(job) for job in every if begun_otherwise(job)]:
        raise SystemExit(f"{out} holds {', '.join(others)}, begun with other options; give them, or another folder")
    chosen = [
        job for job in every
        if job.out.parent.name in (steps or STEPS)
        and (job.out.parent.name == "set" or job.out.name.rpartition("_")[0] in (only or OBJECTIVES))
    ]  # fmt: skip
    try:
        problems = Worker(Console(stderr=True)).run_all(chosen, workers)
    except KeyboardInterrupt:
        raise SystemExit("interrupted; type the same again to go on") from None
    found = gathered(out, OBJECTIVES, asdict(plan))
    shown = ""
    if found.rows:
        found.write(out / "remedies.json")
        shown = tables.remedies([found])
        print(shown)
    if problems:
        raise SystemExit("\n".join(problems))
    return shown


if __name__ == "__main__":
    main()
