"""`interp-plugins dissect convert`: a folder of images and masks as a Broden directory."""

from pathlib import Path
from typing import Annotated

import typer


def convert(
    data: Annotated[Path, typer.Option(help="A folder of images/, masks/ and labels.csv.")],
    out: Annotated[Path, typer.Option(help="The Broden directory, a new folder.")],
    size: Annotated[int, typer.Option(min=2, help="Height and width of the images; masks have half.")] = 224,
    categories: Annotated[str | None, typer.Option(help="NAME,NAME of those wanted.  [default: all]")] = None,
    min_images: Annotated[int, typer.Option(min=1, help="Leave out concepts in fewer images; Broden: 10.")] = 1,
    min_coverage: Annotated[
        float, typer.Option(min=0, help="Leave out concepts that cover fewer images in all; Broden: 0.5.")
    ] = 0.0,
    processes: Annotated[str, typer.Option(help="How many processes read and write; auto: one a core.")] = "auto",
) -> None:
    """Write images and masks in the layout of Broden, cut to one size, for this package and for others.

    dissect run reads the folder as it is, too; what is converted once is decoded faster.
    """
    from interp_plugins.cli.dissect.reading import counted, some, workers_for
    from interp_plugins.sources.importing import write_masks

    workers = workers_for(processes)
    with counted("writing images") as watch:
        written = write_masks(
            data,
            out,
            size=size,
            categories=categories.split(",") if categories else None,
            min_frequency=min_images,
            min_coverage=min_coverage,
            workers=workers,
            watch=watch,
        )
    typer.echo(f"{written.folder}: {some(written.images, 'image')} with {some(len(written.concepts), 'concept')}")
    if written.unlabelled:
        typer.echo(f"left out {some(written.unlabelled, 'image')} without labels")
    if written.rare:
        typer.echo(f"left out as too rare: {', '.join(concept.name for concept in written.rare)}")
