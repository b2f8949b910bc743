"""Attack several real networks at once, and ask one that was not attacked.

    python -m benchmarks.ensembles --member nets.py:first --member nets.py:second --heldout nets.py:third \
        --data FOLDER --images 200 --targets least-likely:9 --out result.json

Writes the numbers to `result.json`, every attack that missed a member to `result.missed.csv`, and prints both as
Markdown. Images are attacked and judged in parts of one tile, each part by one process with one thread, so that neither
their number nor the number of processes enters the result.
"""

import argparse
import csv
import hashlib
import multiprocessing
import platform
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from torch import Tensor, nn

from benchmarks import tables
from interp_plugins.attacks import EnsembleOptimization
from interp_plugins.attacks.targets import parse
from interp_plugins.foundation.prepare import Prepared, judge, prepare
from interp_plugins.foundation.tiles import fill, spans
from interp_plugins.report.results import Input, Results, Row, rate
from interp_plugins.sources import models
from interp_plugins.sources.images import ImageSet, load

PART = 8  # images: one tile of the attack on a CPU


@dataclass(frozen=True)
class Study:
    """What decides the numbers."""

    members: tuple[str, ...]  # model specs of the attacked networks
    heldout: str  # of the network that is only asked
    data: str
    images: int  # the first so many
    size: int | None  # the side images are cut to, None: as they are
    targets: str
    steps: int
    balance: bool
    seed: int

    def method(self) -> EnsembleOptimization:
        """Return the attack: the package's defaults but for the two settings that are compared."""
        return EnsembleOptimization(steps=self.steps, balance=self.balance, tile=PART)

    def image_set(self) -> ImageSet:
        """Return the images."""
        return load(self.data, self.size)


@dataclass(frozen=True)
class Part:
    """What came of n images with t targets each, for k members; the held-out network is column k of what was said."""

    targets: NDArray[np.int64]  # (n, t)
    fooled: NDArray[np.bool_]  # (n, t, k), as the attack reports it
    clean: NDArray[np.int64]  # (n, k + 1), what each network says of the clean images
    says: NDArray[np.int64]  # (n, t, k + 1), of the adversarial images
    rounded: NDArray[np.int64]  # (n, t, k + 1), of the adversarial images rounded to 256 levels
    rmse: NDArray[np.float32]  # (n, t), in grey levels
    linf: NDArray[np.float32]  # (n, t), in grey levels
    steps: NDArray[np.int64]  # (n, t)
    norms: NDArray[np.float32]  # (n, t, k)


class Worker:
    """A process's own networks, prepared once, and its images."""

    here: "Worker"

    def __init__(self, study: Study) -> None:
        torch.set_num_threads(1)
        self.study, self.images = study, study.image_set()
        self.networks = [models.load(spec).module for spec in (*study.members, study.heldout)]
        example = self.images.tensor([0]).float() / 255
        self.members: list[Prepared] = [prepare(network, example) for network in self.networks[:-1]]

    def attack(self, chosen: range) -> Part:
        """Attack some of the images and ask every network."""
        clean = self.images.tensor(chosen).float() / 255
        found = self.study.method().run(
            self.members,
            clean,
            parse(self.study.targets),
            labels=self.images.labels[list(chosen)],
            seed=self.study.seed,
            ids=[self.images.ids[i] for i in chosen],
        )
        return Part(
            found.targets.numpy(),
            found.fooled.numpy(),
            ask(self.networks, clean),
            ask(self.networks, found.images),
            ask(self.networks, (found.images * 255).round() / 255),
            found.rmse.numpy(),
            found.linf.numpy() * 255,
            found.steps.numpy(),
            found.gradient_norms.numpy(),
        )


def ask(networks: Sequence[nn.Module], pictures: Tensor) -> NDArray[np.int64]:
    """Return the classes that the networks name: (..., c, h, w) to (..., networks)."""
    flat = pictures.flatten(0, -4)
    said = [
        torch.stack([judge(network, fill(flat[span], PART)).argmax(1) for network in networks], 1)[
            : span.stop - span.start
        ]
        for span in spans(len(flat), PART)
    ]
    return np.asarray(torch.cat(said).unflatten(0, pictures.shape[:-3]).numpy())


def _begin(study: Study) -> None:
    Worker.here = Worker(study)


def _attack(chosen: range) -> Part:
    return Worker.here.attack(chosen)


def run(study: Study, processes: int) -> Part:
    """Attack all images of the study; the parts come back in the images' order."""
    chosen = [range(at, min(at + PART, study.images)) for at in range(0, study.images, PART)]
    parts: dict[int, Part] = {}
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context, initializer=_begin, initargs=(study,)) as pool:
        futures = {pool.submit(_attack, some): number for number, some in enumerate(chosen)}
        done = as_completed(futures)
        for future in track(done, "attacking", len(futures), console=Console(stderr=True)):
            parts[futures[future]] = future.result()
    ordered = [asdict(parts[number]) for number in range(len(chosen))]
    return Part(**{name: np.concatenate([part[name] for part in ordered]) for name in ordered[0]})


def rows(names: Sequence[str], truth: NDArray[np.int64], found: Part) -> list[Row]:
    """Return the numbers: rates over all images and over those all members had right, then sizes of the change.

    Args:
        names: Of the members, then of the held-out network.
        truth: The labels, (n,).
        found: What came of the attack.
    """
    members, wanted = len(names) - 1, found.targets[:, :, None]
    flags: dict[str, NDArray[np.bool_]] = {
        f"success/{name}": found.fooled[:, :, k] for k, name in enumerate(names[:-1])
    }
    flags |= {
        "success/each member": found.fooled,
        "success/all members at once": np.asarray(found.fooled.all(2)),
        "transfer/says the target": found.says[:, :, -1] == found.targets,
        "transfer/does not say the truth": found.says[:, :, -1] != truth[:, None],
        "rounded/each member": found.rounded[:, :, :members] == wanted,
        "rounded/all members at once": np.asarray((found.rounded[:, :, :members] == wanted).all(2)),
        "rounded/transfer, says the target": found.rounded[:, :, -1] == found.targets,
        "clean/the held-out network does not say the truth": found.clean[:, -1] != truth,
    }
    right = (found.clean[:, :-1] == truth[:, None]).all(1)
    units = ("images", "(image, target)", "(image, target, member)")
    out = [
        rate(f"accuracy/{name}", int((found.clean[:, k] == truth).sum()), len(truth), of="images")
        for k, name in enumerate(names)
    ]
    for name, flag in flags.items():
        for population, some in (("all images", np.ones(len(truth), bool)), ("right when clean", right)):
            picked = flag[some]
            out.append(rate(f"{name}/{population}", int(picked.sum()), picked.size, of=units[flag.ndim - 1]))
    for measure, values in (("rmse", found.rmse), ("linf", found.linf), ("step kept", found.steps)):
        for quantile, word in ((0.5, "median"), (0.9, "90th percentile"), (1.0, "largest")):
            method = f"{word} over (image, target); changes in grey levels of 255"
            out.append(Row(name=f"{measure}/{word}", value=float(np.quantile(values, quantile)), method=method))
    for k, name in enumerate(names[:-1]):
        method = "L2 norm of the member's share of the gradient, mean over steps and (image, target)"
        out.append(Row(name=f"gradient norm/{name}", value=float(found.norms[:, :, k].mean()), method=method))
    return out


def write_missed(file: Path, names: Sequence[str], ids: Sequence[str], found: Part) -> int:
    """Write a line for each (image, target, member) that was not fooled; return how many there are."""
    missed = np.argwhere(~found.fooled)
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(("id", "target", "member", "says"))
        for i, t, k in missed:
            writer.writerow((ids[i], found.targets[i, t], names[k], found.says[i, t, k]))
    return len(missed)


def _digest(tensors: Sequence[Tensor]) -> str:
    found = hashlib.sha256()
    for tensor in tensors:
        found.update(tensor.contiguous().numpy().tobytes())
    return found.hexdigest()


def _inputs(study: Study, chosen: ImageSet) -> list[Input]:
    networks = [models.load(spec) for spec in (*study.members, study.heldout)]
    pictures = [chosen.tensor([i]) for i in range(study.images)]
    return [
        *(Input(name=f"weights of {n.name}", sha256=_digest(list(n.module.state_dict().values()))) for n in networks),
        Input(name="images", sha256=_digest([*pictures, chosen.labels[: study.images]])),
    ]


def _settings(study: Study) -> dict[str, object]:
    """Return what decides the numbers, with names of networks and data but not their folders."""
    where = {"members": [_short(spec) for spec in study.members], "heldout": _short(study.heldout)}
    return {**asdict(study), **where, "data": Path(study.data).name, "attack": asdict(study.method())}


def _short(spec: str) -> str:
    return spec.rpartition("/")[2]


def main(words: Sequence[str] | None = None) -> Results:
    """Run the study, write its files and print its tables."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.ensembles", description=(__doc__ or "").split("\n\n")[0]
    )
    parser.add_argument("--member", action="append", required=True, metavar="SPEC", help="a network to attack; repeat")
    parser.add_argument("--heldout", required=True, metavar="SPEC", help="a network that is only asked")
    parser.add_argument("--data", required=True, help="CIFAR-10, a folder of class folders or with labels.csv, an .npz")
    parser.add_argument("--images", type=int, default=200, help="how many, from the first on")
    parser.add_argument("--size", type=int, help="cut images to squares of this side")
    parser.add_argument("--targets", default="least-likely:10", help="least-likely:K, random:K or fixed:CLASS,CLASS")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--balance", action="store_true", help="bring the members' gradients to one length")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=1, help="one thread each; the numbers stay the same")
    parser.add_argument("--out", type=Path, required=True, help="where results go, a .json")
    given = parser.parse_args(words)
    study = Study(
        members=tuple(given.member),
        heldout=given.heldout,
        data=given.data,
        images=given.images,
        size=given.size,
        targets=given.targets,
        steps=given.steps,
        balance=given.balance,
        seed=given.seed,
    )
    chosen = study.image_set()
    if not 1 <= study.images <= len(chosen):
        parser.error(f"expected --images from 1 to {len(chosen)}, got {study.images}")
    found = run(study, given.processes)
    names = [models.load(spec).name for spec in (*study.members, study.heldout)]
    results = Results.model_validate(
        {
            "command": ("benchmarks.ensembles",),
            "settings": _settings(study),
            "versions": {
                "python": platform.python_version(),
                "processor features used": torch.backends.cpu.get_cpu_capability(),
                **{name: version(name) for name in ("interp-plugins", "torch", "numpy")},
            },
            "seed": study.seed,
            "inputs": _inputs(study, chosen),
            "rows": rows(names, chosen.labels[: study.images].numpy(), found),
        }
    )
    given.out.parent.mkdir(parents=True, exist_ok=True)
    results.write(given.out)
    missed = given.out.with_suffix(".missed.csv")
    write_missed(missed, names, chosen.ids, found)
    print(tables.one(results), tables.missed(missed), sep="\n")
    return results


if __name__ == "__main__":
    main()
