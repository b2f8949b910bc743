"""The study's numbers as rows of results.json.

Each rate is given twice: over all images, and over those that every attacked network names rightly before the attack,
because an image that is misread anyway proves nothing.
"""

import dataclasses
import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

import numpy as np
import torch
from numpy.typing import NDArray

from interp_plugins.demo.remedies import RATIOS, Pupil
from interp_plugins.demo.study import Outcome
from interp_plugins.report import dissection, survey
from interp_plugins.report.results import Input, Results, Row, rate

POPULATIONS = ("all images", "right when clean")
SURVEYED = (survey.EVERYWHERE, "r1/all", "r2/all")  # what is told of the units of one network
CATEGORIES = ("color", "object", "part", "scene", "texture")  # of a dissection all of them together are told
Flags = NDArray[np.bool_]


def results(outcome: Outcome) -> Results:
    """Return the content of results.json."""
    return Results(
        command=("interp-plugins", "demo", "--seed", str(outcome.settings.seed)),
        settings={
            **dataclasses.asdict(outcome.settings),
            "depths": list(outcome.settings.depths),
            "threads a process": outcome.threads,
            "set": outcome.digest,
        },
        versions=_versions(),
        seed=outcome.settings.seed,
        inputs=tuple(Input(name=name, sha256=digest) for name, digest in outcome.inputs),
        rows=tuple(rows(outcome).values()),
    )


def rows(outcome: Outcome) -> dict[str, Row]:
    """Return every number by its name, such as "success/depth 8/all images"."""
    found = [
        rate(f"accuracy/{network.name}", network.right, outcome.settings.held_out, of="held-out images")
        for network in outcome.networks
    ]
    found += [row for population in POPULATIONS for row in _attack_rates(outcome, population)]
    for quantile, name in ((0.5, "median"), (0.9, "90th percentile")):
        for measure, values in (("rmse", outcome.rmse), ("linf", outcome.linf)):
            method = f"{name} over adversarial images of the change, in grey levels of 255"
            found.append(Row(name=f"{measure}/{name}", value=float(np.quantile(values, quantile)), method=method))
    asked = len(outcome.survey.layers) - 1
    found += [row for row in survey.rows(outcome.survey, asked) if row.name.endswith(SURVEYED)]
    found += [row for row in dissection.rows(outcome.dissection) if row.name.rpartition("/")[2] not in CATEGORIES]
    found += [row for pupil in outcome.pupils for row in _lesson_rows(pupil)]
    core = outcome.hosts[0].sha256
    for host in outcome.hosts[1:]:
        if host.sha256 is not None:
            method = "1 if the float32 bytes of the adversarial images equal the core's, else 0"
            found.append(Row(name=f"same bits/{host.host}", value=float(host.sha256 == core), method=method))
    return {row.name: row for row in found}


def _lesson_rows(pupil: Pupil) -> Iterator[Row]:
    for name, accuracy in (("clean", pupil.clean), ("attacked", pupil.adversarial)):
        yield rate(f"{pupil.remedy}/accuracy/{name}", accuracy.correct, accuracy.images, of="held-out images")
    for name, mean in pupil.means.items():
        of = "attacked images" if name in RATIOS else "units"
        yield survey.mean_row(f"{pupil.remedy}/{name}", mean, of=of)
    for name, detectors, concepts in zip(("clean", "attacked"), pupil.detectors, pupil.unique, strict=True):
        yield Row(
            name=f"{pupil.remedy}/detectors/{name}", value=float(detectors), method="units with an IoU above 0.04"
        )
        yield Row(name=f"{pupil.remedy}/unique detectors/{name}", value=float(concepts), method="their concepts")


def _attack_rates(outcome: Outcome, population: str) -> list[Row]:
    images = outcome.right_when_clean if population == "right when clean" else np.ones(len(outcome.images), bool)
    truth = outcome.labels
    witness_clean = outcome.clean_says[:, -1].argmax(1)
    witness, control = outcome.says[:, :, -1].argmax(2), outcome.control_says.argmax(2)
    flags: dict[str, Flags] = {
        f"success/{network.name}": outcome.fooled[:, :, k] for k, network in enumerate(outcome.networks[:-1])
    }
    flags |= {
        "success/all of them": outcome.all_fooled,
        "before rounding/all of them": np.asarray(outcome.fooled_before.all(2)),
        "transfer/says the target": witness == outcome.targets,
        "transfer/does not say the truth": witness != truth[:, None],
        "mirrored change/says the target": control == outcome.targets,
        "mirrored change/does not say the truth": control != truth[:, None],
        "clean/does not say the truth": witness_clean != truth,
    }
    return [
        rate(f"{name}/{population}", int(flag[images].sum()), int(flag[images].size), of=_counted(flag))
        for name, flag in flags.items()
    ]


def _counted(flag: Flags) -> str:
    return "images" if flag.ndim == 1 else "image and target pairs"


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "processor features used": torch.backends.cpu.get_cpu_capability()}
    for name in ("interp-plugins", "torch", "numpy", "torchattacks", "adversarial-robustness-toolbox"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
