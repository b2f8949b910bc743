"""`interp-plugins attack run`: attack images, and keep the result."""

from pathlib import Path
from typing import Annotated

import typer


def run(
    model: Annotated[
        list[str], typer.Option(help="A network to attack, KIND:NAME[@FILE][?size=...] or FILE.py:factory; repeat it.")
    ],
    data: Annotated[str, typer.Option(help="Images: a folder of class folders or with labels.csv, CIFAR-10, an .npz.")],
    out: Annotated[Path, typer.Option(help="Folder of the set.")],
    size: Annotated[int | None, typer.Option(min=1, help="Cut images to squares of this side.")] = None,
    labels: Annotated[str | None, typer.Option(help="A table of labels that does not lie beside the images.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Attack the first so many images only.")] = None,
    targets: Annotated[
        str, typer.Option(help="Classes to be taken for: least-likely:K, random:K or fixed:CLASS,CLASS.")
    ] = "least-likely:10",
    steps: Annotated[int, typer.Option(min=1, help="Steps of the optimiser.")] = 20,
    step_size: Annotated[str, typer.Option(help="Length of a step, in pixels from 0 to 1.")] = "5/255",
    fusion: Annotated[str, typer.Option(help="What is averaged over the networks: loss, prob or logit.")] = "loss",
    balance: Annotated[bool, typer.Option("--balance", help="Bring the networks' gradients to one length.")] = False,
    distance_weight: Annotated[float, typer.Option(min=0, help="Weight of the change's length in the loss.")] = 1e-3,
    epsilon: Annotated[str | None, typer.Option(help="Largest change, such as 8/255.  [default: no limit]")] = None,
    norm: Annotated[str, typer.Option(help="How the largest change is measured: linf or l2.")] = "linf",
    seed: Annotated[int, typer.Option(min=0, help="Of random targets.")] = 0,
    refine: Annotated[int, typer.Option(min=0, help="Rounds of repair where rounding to bytes undid an attack.")] = 0,
    tile: Annotated[
        int | None, typer.Option(help="Rows a network call, a power of two.  [default: 8 on a CPU, 64 on a GPU]")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Images held at once, in whole tiles; changes no bit.  [default: a tile]")
    ] = None,
    processes: Annotated[str, typer.Option(help="How many processes; auto: one a core, or one a GPU.")] = "auto",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    precision: Annotated[str, typer.Option(help="Of the search, fp32 or bf16; judged is in fp32.")] = "fp32",
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the set that lies in the folder.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print results.json instead of a summary.")] = False,
    worker: Annotated[bool, typer.Option("--worker", hidden=True, help="Started by a parent.")] = False,
) -> None:
    """Attack images so that several networks at once take them for other classes, and keep the result as a set.

    Each image of the set was read back from the disk and shown to the networks. Killed at any moment, the command
    goes on with --resume, with any number of processes, and ends with the same bytes. It also runs under torchrun.
    """
    given = dict(locals())
    from interp_plugins.cli.attack.making import make
    from interp_plugins.cli.attack.request import Request

    make(Request(**given))
