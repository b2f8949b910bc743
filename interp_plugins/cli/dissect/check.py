"""`interp-plugins dissect check`: look at every file of labelled images, and name each fault."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from interp_plugins.cli import USAGE

if TYPE_CHECKING:
    from interp_plugins.sources.faults import Examined


def check(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A Broden directory, or images/, masks/, labels.csv.")],
    processes: Annotated[str, typer.Option(help="How many processes decode; auto: one a core.")] = "auto",
    json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Read every table, image and mask, and print each fault on a line of its own.

    The exit code is 2 if there is a fault. Otherwise what is there is summed up.
    """
    from interp_plugins.cli.dissect.reading import counted, some, workers_for
    from interp_plugins.sources.faults import examine

    workers = workers_for(processes)
    with counted("looking at images") as watch:
        found = examine(folder, workers=workers, watch=watch)
    typer.echo(_as_json(folder, found) if json else "\n".join((*found.faults, *_summary(found))))
    if found.faults:
        typer.echo(f"{folder} has {some(len(found.faults), 'fault')}", err=True)
        raise typer.Exit(USAGE)


def _summary(found: "Examined") -> list[str]:
    from interp_plugins.cli.dissect.reading import some

    if found.faults:
        return []
    width = max(len(category.name) for category in found.categories)
    return [
        some(found.images, "image") + (f", {found.unlabelled} without labels" if found.unlabelled else ""),
        *(
            f"{category.name:{width}}  {some(category.found, 'concept')}"
            + (f" of {category.listed}" if category.found < category.listed else "")
            + f" in {some(category.images, 'image')}"
            for category in found.categories
        ),
    ]


def _as_json(folder: Path, found: "Examined") -> str:
    from dataclasses import asdict
    from json import dumps

    return dumps({"folder": str(folder), **asdict(found)}, indent=2)
