"""`interp-plugins neurons detect`: can attacked images be told by what the units say of them?"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from torch import Tensor

    from interp_plugins.cli.neurons.surveyed import Surveyed
    from interp_plugins.neurons.detection import ConflictDetector, Fitted
    from interp_plugins.report.results import Row
    from interp_plugins.store.sets import AdversarialSet

SCORES: tuple[Literal["conflict", "distance"], ...] = ("conflict", "distance")


def detect(
    survey: Annotated[Path, typer.Option(help="Folder that neurons run made.")],
    adversarial: Annotated[
        list[Path] | None, typer.Option(help="A set made by attack run; repeat it.  [default: the survey's]")
    ] = None,
    layer: Annotated[
        str | None, typer.Option(help="Whose units; one of the survey's.  [default: the last maps]")
    ] = None,
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

    from interp_plugins.cli.attack import stored
    from interp_plugins.cli.neurons.surveyed import Surveyed
    from interp_plugins.neurons.detection import ConflictDetector
    from interp_plugins.report import adversarial as told
    from interp_plugins.report.results import Input, Results

    found = Surveyed.open(survey)
    sets = [stored.finished(folder) for folder in adversarial] if adversarial else [found.set]
    names = [folder.name for folder in adversarial] if adversarial else [Path(found.set.folder).name]
    rows: list[Row] = []
    for name, target_set in zip(names, sets, strict=True):
        for score in SCORES:
            detector = ConflictDetector(units=units, score=score, false_alarms=false_alarms)
            rows += _rows(f"{score}/{name}", found, target_set, detector, found.layer(layer), images)
    manifest = found.folder.manifest
    results = Results(
        command=("interp-plugins", "neurons", "detect"),
        settings={
            "model": manifest.model.name,
            "layer": found.layer(layer),
            "units": units,
            "false alarms": false_alarms,
            "pictures": images,
            "sets": [*names],
        },
        versions={
            "python": platform.python_version(),
            **{name: version(name) for name in ("interp-plugins", "torch", "torchmetrics", "numpy")},
        },
        seed=0,
        inputs=(
            Input(name=f"weights of {manifest.model.name}", sha256=manifest.model.sha256),
            *(Input(name=f"set {n}", sha256=str(s.manifest.digest)) for n, s in zip(names, sets, strict=True)),
        ),
        rows=tuple(rows),
    )
    if out is not None:
        results.write(out)
    typer.echo(results.to_json().rstrip() if json else "\n".join(told.lines(results.rows)))


def _rows(
    name: str, found: "Surveyed", target_set: "AdversarialSet", detector: "ConflictDetector", layer: str, most: int
) -> "Iterator[Row]":
    import torch

    from interp_plugins.cli.attack import stored
    from interp_plugins.neurons.separation import separation
    from interp_plugins.report.results import Row, rate
    from interp_plugins.store.dataset import AdversarialImages
    from interp_plugins.store.images import places

    manifest = target_set.manifest
    clean = stored.clean_images(manifest, None, None)
    numbers = range(min(most, len(manifest.data.ids)))
    where = places(manifest.data, clean)
    known, asked = numbers[: len(numbers) // 2], numbers[len(numbers) // 2 :]
    batches = [
        (found.put(clean.tensor([where[i] for i in some])), clean.labels[[where[i] for i in some]].to(found.device))
        for some in (known[at : at + 64] for at in range(0, len(known), 64))
    ]
    about = {"histograms": found.histograms(layer), "similarity": found.similarity}
    fitted = detector.fit(found.network, layer, batches, **(about if detector.score == "conflict" else {}))
    ours = _scores(found, detector, fitted, layer, [clean.tensor([where[i]])[0] for i in asked])
    records, each = AdversarialImages(target_set), manifest.targets
    attacked = [records[i * each + j] for i in asked for j in range(each)]
    theirs = _scores(found, detector, fitted, layer, [record.adversarial for record in attacked])
    apart = separation(ours, theirs, torch.arange(len(asked)).repeat_interleave(each))
    method = f"of {apart.clean} clean and {apart.attacked} attacked images, {apart.undefined} have no score; "
    for what, share in (("auroc", apart.auroc), ("false alarms where 95 % are caught", apart.fpr_at_95)):
        note = method + "95 % interval by drawing pictures"
        low, high = min(share.low, share.value), max(share.high, share.value)
        yield Row(name=f"{name}/{what}", value=share.value, low=low, high=high, method=note)
    for what, scores in (("caught at the threshold", theirs), ("false alarms at the threshold", ours)):
        yield rate(f"{name}/{what}", int((scores > fitted.threshold).sum()), len(scores), of="images")


def _scores(
    found: "Surveyed", detector: "ConflictDetector", fitted: "Fitted", layer: str, pictures: "list[Tensor]"
) -> "Tensor":
    import torch

    parts = [torch.stack(pictures[at : at + 64]) for at in range(0, len(pictures), 64)]
    return torch.cat([detector.scores(found.network, layer, found.put(part), fitted).cpu() for part in parts])
