"""`interp-plugins attack export`: a set in another form."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

FORMATS = ("png", "webdataset", "parquet")


def export(
    folder: Annotated[Path, typer.Argument(metavar="SET", help="Folder of the set.")],
    out: Annotated[Path, typer.Option(help="Where it goes: a new or empty folder.")],
    format: Annotated[str, typer.Option(help="png, webdataset or parquet.")] = "png",
) -> None:
    """Write a finished set as PNGs in class folders with a labels.csv, as webdataset's tars, or as parquet tables.

    The pixels are the same in every form, and all labels, targets and flags go with them.
    """
    from interp_plugins.cli.attack import stored
    from interp_plugins.foundation.check import one_of
    from interp_plugins.store.export import EXPORTS

    one_of("--format", format, FORMATS)
    found = stored.finished(folder)
    records = len(found.manifest.data.ids) * found.manifest.targets
    console = Console(stderr=True)
    columns = (TextColumn("exporting"), BarColumn(), TextColumn("{task.completed}/{task.total}"), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        bar = progress.add_task("exporting", total=records)
        EXPORTS[format](found, out, lambda done: progress.advance(bar, done))
    typer.echo(f"{records} images are in {out}")
