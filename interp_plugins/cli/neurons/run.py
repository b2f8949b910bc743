"""`interp-plugins neurons run`: measure every unit of a network on real and on attacked images."""

from pathlib import Path
from typing import Annotated

import typer


def run(
    model: Annotated[str, typer.Option(help="The network, KIND:NAME[@FILE][?size=...] or FILE.py:factory.")],
    data: Annotated[str, typer.Option(help="Real images: class folders, a folder with labels.csv, CIFAR-10, an .npz.")],
    out: Annotated[Path, typer.Option(help="Folder of the survey.")],
    adversarial: Annotated[Path | None, typer.Option(help="A set made by attack run; without it, real images.")] = None,
    layers: Annotated[str, typer.Option(help="Layers whose units are measured: auto, or NAME,NAME.")] = "auto",
    representation: Annotated[str, typer.Option(help="Layer of r1 and r2; auto is that of the last maps.")] = "auto",
    size: Annotated[int | None, typer.Option(min=1, help="Cut images to squares of this side.")] = None,
    labels: Annotated[str | None, typer.Option(help="A table of labels that does not lie beside the images.")] = None,
    split: Annotated[str | None, typer.Option(help="Of CIFAR-10: train or test.  [default: test]")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Look at the first so many real images only.")] = None,
    share: Annotated[float, typer.Option(help="Which share of all images are a unit's top images.")] = 0.01,
    reduction: Annotated[str, typer.Option(help="What stands for a unit's map: max or mean.")] = "max",
    taxonomy: Annotated[
        str, typer.Option(help="wordnet, none (all classes unlike), or a table of child,parent lines of class names.")
    ] = "wordnet",
    metric: Annotated[str, typer.Option(help="Ways in the taxonomy: shortest or 'minimal tree'.")] = "shortest",
    sigma: Annotated[float, typer.Option(help="How fast similarity falls along a way; unpublished.")] = 2.0,
    weighted: Annotated[bool, typer.Option("--weighted", help="Weigh classes by similarity in CS1 and CS2.")] = False,
    sheet: Annotated[int, typer.Option(min=0, help="Units whose top images are drawn.")] = 6,
    tile: Annotated[
        int | None, typer.Option(help="Rows a network call, a power of two.  [default: 8 on a CPU, 64 on a GPU]")
    ] = None,
    processes: Annotated[str, typer.Option(help="How many processes; auto: one a core, or one a GPU.")] = "auto",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the survey that lies in the folder.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print results.json instead of a summary.")] = False,
    worker: Annotated[str | None, typer.Option("--worker", hidden=True, help="Started by a parent.")] = None,
) -> None:
    """Find the top images of every unit, real and attacked, and measure whether it means the same in both.

    Writes results.json, a page with figures, and the top images that neurons trace and neurons detect use. Killed at
    any moment, the command goes on with --resume.
    """
    given = dict(locals())
    from interp_plugins.cli.neurons.measuring import measure
    from interp_plugins.cli.neurons.request import Request

    measure(Request(**given))
