"""The end of a run: the set is sealed, run.json notes how it went, and the numbers are told.

They come from the flags that were stored when the images were read back; `attack verify` measures all of it again.
"""

import hashlib
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import typer

from interp_plugins.cli.noting import Clock
from interp_plugins.report.results import Input, Results, Row, rate
from interp_plugins.store.lines import flags
from interp_plugins.store.manifest import Manifest
from interp_plugins.store.sets import AdversarialSet

ALL = "all members at once"


@dataclass(frozen=True)
class Run:
    """What is worth noting of a run and decides nothing."""

    world: int
    batch_size: int | None
    records: int  # that were missing when it began
    clock: Clock

    @classmethod
    def begin(cls, target_set: AdversarialSet, world: int, batch_size: int | None) -> "Run":
        """A run that begins now."""
        manifest = target_set.manifest
        missing = sum(len(manifest.span(number)) for number in target_set.missing()) * manifest.targets
        return cls(world, batch_size, missing, Clock())

    def note(self, folder: Path) -> None:
        """Add this run to run.json, after those that were there before."""
        what = {"processes": self.world, "batch_size": self.batch_size}
        self.clock.note(folder, what, ("records", self.records))


def finish(target_set: AdversarialSet, run: Run, as_json: bool) -> None:
    """Seal the set, note the run, write results.json, and print it or a few lines."""
    digest = target_set.seal()
    run.note(target_set.folder)
    found = results(target_set, digest)
    found.write(target_set.folder / "results.json")
    if as_json:
        typer.echo(found.to_json(), nl=False)
        return
    for name in [*(member.name for member in target_set.manifest.members), ALL]:
        before, after = found.row(f"before rounding/{name}"), found.row(f"success/{name}")
        typer.echo(
            f"{name}: {after.numerator} of {after.denominator} attacks succeed ({before.numerator} before rounding)"
        )
    typer.echo(f"set {digest}")
    typer.echo(f"Measure it again: {shlex.join(['interp-plugins', 'attack', 'verify', str(target_set.folder)])}")


def results(target_set: AdversarialSet, digest: str) -> Results:
    """Success of each member and of all at once, before rounding and of the bytes in the files."""
    manifest = target_set.manifest
    return Results(
        command=("interp-plugins", "attack", "run"),
        settings={
            "method": manifest.method,
            **manifest.settings,
            "members": [member.name for member in manifest.members],
            "images": len(manifest.data.ids),
            "size": manifest.data.size,
            "tile": manifest.layout.tile,
            "precision": manifest.layout.precision,
            "set": digest,
        },
        versions=manifest.versions,
        seed=manifest.seed,
        inputs=(
            *(Input(name=f"weights of {member.name}", sha256=member.sha256) for member in manifest.members),
            Input(name="images", sha256=hashlib.sha256("".join(manifest.data.sha256s).encode()).hexdigest()),
        ),
        rows=tuple(_rows(target_set, manifest)),
    )


def _rows(target_set: AdversarialSet, manifest: Manifest) -> Iterator[Row]:
    names = [*(member.name for member in manifest.members), ALL]
    found = [target_set.line(number) for number in range(manifest.shards)]
    for table, cells in (
        ("before rounding", [line.fooled_before for line in found]),
        ("success", [line.fooled for line in found]),
    ):
        fooled = torch.cat([flags(cell) for cell in cells])
        columns = [*fooled.unbind(2), fooled.all(2)]
        for name, column in zip(names, columns, strict=True):
            yield rate(f"{table}/{name}", int(column.sum()), column.numel(), of="(image, target)")
