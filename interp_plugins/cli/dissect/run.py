"""`interp-plugins dissect run`: which concept each unit of a network points at, clean and attacked."""

from pathlib import Path
from typing import Annotated

import typer


def run(
    model: Annotated[str, typer.Option(help="The network, KIND:NAME[@FILE][?size=...] or FILE.py:factory.")],
    data: Annotated[str, typer.Option(help="A Broden directory, or a folder of images/, masks/ and labels.csv.")],
    out: Annotated[Path, typer.Option(help="Folder of the dissection.")],
    layers: Annotated[str, typer.Option(help="NAME,NAME, as in named_modules(); auto is that of the last maps.")] = (
        "auto"
    ),
    attack: Annotated[
        str | None, typer.Option(help="fgsm:8/255, pgd:8/255[:STEPS], or set:DIR; without it, clean images alone.")
    ] = None,
    threshold: Annotated[str, typer.Option(help="Of attacked images: recompute, or that of the clean ones.")] = (
        "recompute"
    ),
    union: Annotated[str, typer.Option(help="Which lit pixels count: category (the paper's), lite or plain.")] = (
        "category"
    ),
    quantile: Annotated[str, typer.Option(help="exact, or netdissect: what the authors' code reads off.")] = "exact",
    categories: Annotated[str | None, typer.Option(help="NAME,NAME of those asked about.  [default: all]")] = None,
    share: Annotated[float, typer.Option(help="Of a unit's places, how many may lie above its threshold.")] = 0.005,
    detector: Annotated[float, typer.Option(help="A unit with a larger IoU detects its concept.")] = 0.04,
    permutations: Annotated[int, typer.Option(min=0, help="How often labels are exchanged to see what chance is.")] = (
        20
    ),
    draws: Annotated[int, typer.Option(min=0, help="Draws of images that tell whether a drop is real.")] = 500,
    seed: Annotated[int, typer.Option(help="Of permutations and draws.")] = 0,
    size: Annotated[int | None, typer.Option(min=1, help="Bring images to squares of this side.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Take the first so many images only.")] = None,
    sheet: Annotated[int, typer.Option(min=0, help="Units of each layer whose images are drawn.")] = 6,
    tile: Annotated[
        int | None, typer.Option(help="Rows a network call, a power of two.  [default: 8 on a CPU, 64 on a GPU]")
    ] = None,
    processes: Annotated[str, typer.Option(help="How many processes; auto: one a core, or one a GPU.")] = "auto",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the dissection that lies in the folder.")] = (
        False
    ),
    json: Annotated[bool, typer.Option("--json", help="Print results.json instead of a summary.")] = False,
    worker: Annotated[str | None, typer.Option("--worker", hidden=True, help="Started by a parent.")] = None,
) -> None:
    """Find the concept that each unit points at, on clean images and on attacked ones, and what the attack takes.

    Writes results.json, a page with figures, a table of units, and what dissect show draws from. Killed at any moment,
    the command goes on with --resume.
    """
    given = dict(locals())
    from interp_plugins.cli.dissect.measuring import measure
    from interp_plugins.cli.dissect.request import Request

    measure(Request(**given))
