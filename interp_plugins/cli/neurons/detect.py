"""`interp-plugins neurons detect`: can attacked images be told by what the units say of them?"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from torch import Tensor

    from interp_plugins.cli.neurons.surveyed import Surveyed
    from interp_plugins.neurons.detection import ConflictDetector
    from interp_plugins.report.results import Row
    from interp_plugins.store.sets import AdversarialSet

BATCH = 64  # images at once
SCORES = ("conflict", "distance")


def detect(
    survey: Annotated[Path, typer.Option(help="Folder that neurons run made.")],
    adversarial: Annotated[
        list[Path] | None, typer.Option(help="A set made by attack run; repeat it.  [default: the survey's]")
    ] = None,
    layer: Annotated[
        str | None, typer.Option(help="Whose units; one of the survey's.  [default: the last maps]")
    ] = None,
    score: Annotated[
        str, typer.Option(help="conflict, distance, or both; distance needs images of each class.")
    ] = "both",
    units: Annotated[int, typer.Option(min=1, help="How many influential units are asked about an image.")] = 10,
    false_alarms: Annotated[float, typer.Option(help="Share of clean images that may raise the alarm.")] = 0.05,
    images: Annotated[int, typer.Option(min=2, help="Pictures of a set; the first half is fitted to.")] = 200,
    out: Annotated[Path | None, typer.Option(help="Also write results.json there.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print results.json instead of a summary.")] = False,
) -> None:
    """Score clean and attacked images by the conflict of their units and by their distance from the class they claim.

    The threshold is fitted on the clean half of a set's pictures; the other half, clean and attacked, tells how often
    it is right. Whoever knows the detector can attack it as well: a good number here is no proof of safety.
    """
    import platform
    from importlib.metadata import version

    from interp_plugins.cli.neurons.surveyed import Surveyed
    from interp_plugins.foundation import check
    from interp_plugins.neurons.detection import ConflictDetector
    from interp_plugins.report import adversarial as told
    from interp_plugins.report.results import Input, Results

    check.one_of("--score", score, (*SCORES, "both"))
    found = Surveyed.open(survey)
    name = found.layer(layer, units)
    sets = _sets(found, adversarial or [])
    rows: list[Row] = []
    for each, target_set in sets.items():
        for asked in SCORES if score == "both" else (score,):
            detector = ConflictDetector(units=units, score=asked, false_alarms=false_alarms)  # type: ignore[arg-type]
            rows += _rows(f"{asked}/{each}", found, target_set, detector, name, images)
    manifest = found.folder.manifest
    results = Results(
        command=("interp-plugins", "neurons", "detect"),
        settings={
            "model": manifest.model.name,
            "layer": name,
            "units": units,
            "false alarms": false_alarms,
            "pictures": images,
            "sets": [*sets],
            "survey": manifest.settings,
        },
        versions={
            "python": platform.python_version(),
            **{package: version(package) for package in ("interp-plugins", "torch", "torchmetrics", "numpy")},
        },
        seed=0,
        inputs=(
            Input(name=f"weights of {manifest.model.name}", sha256=manifest.model.sha256),
            Input(name="real images", sha256=manifest.real.sha256),
            *(Input(name=f"set {each}", sha256=str(some.manifest.digest)) for each, some in sets.items()),
        ),
        rows=tuple(rows),
    )
    if out is not None:
        results.write(out)
    typer.echo(results.to_json().rstrip() if json else "\n".join(told.lines(results.rows)))


def _sets(found: "Surveyed", folders: list[Path]) -> "dict[str, AdversarialSet]":
    """The sets by the names of their folders, no two alike; each has images that the network can take.

    Raises:
        ValueError: The images of a set are of another shape, or of classes that the network does not know.
    """
    from torch import tensor

    from interp_plugins.cli.attack import stored
    from interp_plugins.foundation import check

    sets: dict[str, AdversarialSet] = {}
    for one in [stored.finished(folder) for folder in folders] or [found.adversarial]:
        if one.manifest.shape != found.shape:
            raise ValueError(
                f"expected images of {found.shape}, as the survey's are, got {one.manifest.shape} in {one.folder}"
            )
        numbers = tensor(one.manifest.data.numbers)
        check.class_range(numbers, len(found.folder.manifest.classes), f"labels of the images of {one.folder}")
        name, number = one.folder.absolute().name, 2
        while name in sets:
            name, number = f"{one.folder.absolute().name} ({number})", number + 1
        sets[name] = one
    return sets


def _rows(
    name: str, found: "Surveyed", target_set: "AdversarialSet", detector: "ConflictDetector", layer: str, most: int
) -> "Iterator[Row]":
    import torch

    from interp_plugins.cli.neurons.surveyed import originals
    from interp_plugins.neurons.separation import separation
    from interp_plugins.report.results import Row, rate
    from interp_plugins.store.dataset import AdversarialImages

    numbers = range(min(most, len(target_set.manifest.data.ids)))
    clean, places = originals(target_set, numbers)
    known, asked = places[: len(numbers) // 2], places[len(numbers) // 2 :]
    batches = [
        (found.put(clean.tensor(some)), clean.labels[some].to(found.device))
        for some in (known[at : at + BATCH] for at in range(0, len(known), BATCH))
    ]
    about = {"histograms": found.histograms(layer), "similarity": found.similarity}
    about = {what: table.to(found.device) for what, table in about.items()}
    fitted = detector.fit(found.network, layer, batches, **(about if detector.score == "conflict" else {}))
    records, each = AdversarialImages(target_set), target_set.manifest.targets
    attacked = range(len(known) * each, len(numbers) * each)

    def scores(pictures: "Callable[[int], Tensor]", whose: "Sequence[int]") -> "Tensor":
        parts = (torch.stack([pictures(i) for i in whose[at : at + BATCH]]) for at in range(0, len(whose), BATCH))
        return torch.cat([detector.scores(found.network, layer, found.put(part), fitted).cpu() for part in parts])

    ours = scores(lambda place: clean[place][0], asked)
    theirs = scores(lambda record: records[record].adversarial, attacked)
    apart = separation(ours, theirs, torch.arange(len(asked)).repeat_interleave(each))
    method = (
        f"of {apart.clean} clean and {apart.attacked} attacked images; {apart.undefined} more have no score; "
        "95 % interval by drawing pictures"
    )
    for what, share in (("auroc", apart.auroc), ("false alarms where 95 % are caught", apart.fpr_at_95)):
        low, high = min(share.low, share.value), max(share.high, share.value)
        yield Row(name=f"{name}/{what}", value=share.value, low=low, high=high, method=method)
    for what, some in (("caught at the threshold", theirs), ("false alarms at the threshold", ours)):
        yield rate(f"{name}/{what}", int((some > float(fitted.threshold)).sum()), len(some), of="images")
