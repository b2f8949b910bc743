"""`interp-plugins train evaluate`: how often networks are right, on clean and on attacked images."""

from pathlib import Path
from typing import Annotated

import typer


def evaluate(
    data: Annotated[str, typer.Option(help="Images: a folder of class folders or with labels.csv, CIFAR-10, an .npz.")],
    model: Annotated[
        list[str] | None, typer.Option(help="A network, KIND:NAME[@FILE][?size=...] or FILE.py:factory[@FILE]; repeat.")
    ] = None,
    run: Annotated[list[Path] | None, typer.Option(help="The network of a finished training run; repeat it.")] = None,
    attack: Annotated[
        str,
        typer.Option(
            help="Some of clean, fgsm:8/255, pgd:8/255[:STEPS], pgd-l2:0.5[:STEPS], autoattack:8/255, "
            "autoattack-l2:0.5, with commas between."
        ),
    ] = "clean,fgsm:8/255,pgd:8/255:20",
    top: Annotated[str, typer.Option(help="Among how many answers the true class counts as found.")] = "1",
    size: Annotated[int | None, typer.Option(min=1, help="Cut images to squares of this side.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Judge by the first so many images only.")] = None,
    autoattack: Annotated[str, typer.Option(help="AutoAttack's version: standard, plus or rand.")] = "standard",
    seed: Annotated[int, typer.Option(min=0, help="Of random starts.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    out: Annotated[Path | None, typer.Option(help="Folder for results.json and a page.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print results.json instead of the table.")] = False,
) -> None:
    """Count how often networks are right, clean and under attacks, with 95 % intervals, all on the same images.

    Says, too, where an attack that should be the weaker one breaks more: then gradients are masked, and what a network
    seems to withstand it may not. Killed with --out, the same command goes on where it was.
    """
    given = dict(locals())
    from interp_plugins.cli.train.asked import Judgement
    from interp_plugins.cli.train.judging import judge

    judge(Judgement(**{name: value for name, value in given.items() if value is not None}))
