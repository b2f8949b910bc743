"""`interp-plugins attack verify`: measure a set again, and compare."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from pydantic import JsonValue

    from interp_plugins.report.results import Results
    from interp_plugins.sources.models import LoadedModel
    from interp_plugins.store.sets import AdversarialSet
    from interp_plugins.store.verify import Verification


def verify(
    folder: Annotated[Path, typer.Argument(metavar="SET", help="Folder of the set.")],
    model: Annotated[
        list[str] | None, typer.Option(help="A network that was not attacked, to be asked as well; repeat it.")
    ] = None,
    data: Annotated[str | None, typer.Option(help="Where the clean images lie now, if they were moved.")] = None,
    labels: Annotated[str | None, typer.Option(help="Where their table of labels lies now.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print results.json instead of a table.")] = False,
) -> None:
    """Show every stored image to the networks again, measure every change, and compare with what the set says.

    Numbers come from the bytes on the disk and from no stored flag; only what was before rounding is on record alone.
    The exit code is 1 if anything in the set, its images or its networks is not as it was.
    """
    from interp_plugins.cli.attack import stored
    from interp_plugins.report import adversarial
    from interp_plugins.sources import weights
    from interp_plugins.store.verify import verify as measure

    found = stored.finished(folder)
    clean = stored.clean_images(found.manifest, data, labels)
    networks = stored.networks(found.manifest, model or (), stored.device(found.manifest))
    k = len(found.manifest.members)
    console = Console(stderr=True)
    columns = (TextColumn("verifying"), BarColumn(), TextColumn("{task.completed}/{task.total}"), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        bar = progress.add_task("verifying", total=len(found.manifest.data.ids))
        outcome = measure(
            found,
            [network.module for network in networks[:k]],
            clean,
            heldout=[network.module for network in networks[k:]],
            weights=[weights.digest(network.module) for network in networks[:k]],
            watch=lambda done: progress.advance(bar, done),
        )
    results = _results(found, networks, outcome)
    typer.echo(results.to_json().rstrip() if json else "\n".join(adversarial.lines(results.rows)))
    for sentence in outcome.disagreements:
        typer.echo(f"differs: {sentence}", err=True)
    if outcome.disagreeing:
        more = outcome.disagreeing - len(outcome.disagreements)
        typer.echo(_verdict(found, outcome.disagreeing, more), err=True)
        raise typer.Exit(1)
    if not json:
        records = outcome.targets.numel()
        typer.echo(f"\nAll {records} images are what the set says of them. Set digest {outcome.digest}")


def _verdict(found: "AdversarialSet", count: int, more: int) -> str:
    layout, unseen = found.manifest.layout, f" ({more} of them not shown)" if more else ""
    differences = f"{count} difference{'s' * (count > 1)}{unseen}"
    return (
        f"{found.folder} is not what it says of itself: {differences}. It was made with torch {layout.torch} on "
        f"{layout.processor}; elsewhere a verdict on the edge may come out otherwise"
    )


def _results(found: "AdversarialSet", networks: "list[LoadedModel]", outcome: "Verification") -> "Results":
    import hashlib
    import platform
    from importlib.metadata import version

    import torch

    from interp_plugins.cli.attack import stored
    from interp_plugins.report import adversarial
    from interp_plugins.report.results import Input, Results, Row
    from interp_plugins.sources import weights

    manifest = found.manifest
    names = stored.names(manifest, networks[len(manifest.members) :])
    images = hashlib.sha256("".join(manifest.data.sha256s).encode()).hexdigest()
    differences = Row(
        name="differences", value=outcome.disagreeing, method="statements of the set that the measurement contradicts"
    )
    settings: dict[str, JsonValue] = {
        "method": manifest.method,
        **manifest.settings,
        "members": [*names[: len(manifest.members)]],
        "held out": [*names[len(manifest.members) :]],
        "images": len(manifest.data.ids),
        "size": manifest.data.size,
        "tile": manifest.layout.tile,
        "precision": manifest.layout.precision,
    }
    inputs = [
        Input(name=f"weights of {name}", sha256=weights.digest(network.module))
        for name, network in zip(names, networks, strict=True)
    ]
    inputs.append(Input(name="images", sha256=images))
    if outcome.digest is not None:
        inputs.append(Input(name="set", sha256=outcome.digest))
    return Results(
        command=("interp-plugins", "attack", "verify"),
        settings=settings,
        versions={
            "python": platform.python_version(),
            "processor features used": torch.backends.cpu.get_cpu_capability(),
            **{name: version(name) for name in ("interp-plugins", "torch", "numpy")},
        },
        seed=manifest.seed,
        inputs=tuple(inputs),
        rows=(*adversarial.rows(names, outcome), differences),
    )
