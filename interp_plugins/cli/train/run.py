"""`interp-plugins train run`: train a network on clean and attacked images."""

from pathlib import Path
from typing import Annotated

import typer


def run(
    model: Annotated[str, typer.Option(help="FILE.py:factory, built anew; with @FILE its weights are the beginning.")],
    data: Annotated[str, typer.Option(help="Images: a folder of class folders or with labels.csv, CIFAR-10, an .npz.")],
    objective: Annotated[str, typer.Option(help="standard, fgsm, consistent, coral, mmd, uda, pgd or trades.")],
    out: Annotated[Path, typer.Option(help="Folder of the run.")],
    attack: Annotated[
        str | None,
        typer.Option(
            help="fgsm:8/255, shared-fgsm:8/255, [feature-]pgd:8/255[:STEPS] or [feature-]pgd-l2:0.5[:STEPS].  "
            "[default: the objective's]"
        ),
    ] = None,
    layer: Annotated[str, typer.Option(help="Compared by consistent, coral, mmd, uda; auto: the last maps.")] = "auto",
    weight: Annotated[
        float | None, typer.Option(help="Of what a layer adds, or trades' beta.  [default: the objective's]")
    ] = None,
    epochs: Annotated[int, typer.Option(min=1, help="How often each image is seen.")] = 10,
    batch_size: Annotated[int, typer.Option(min=1, help="Images of a step.")] = 128,
    lr: Annotated[float, typer.Option(help="Learning rate, at its highest.")] = 0.1,
    momentum: Annotated[float, typer.Option(help="Of SGD.")] = 0.9,
    weight_decay: Annotated[float, typer.Option(help="Of SGD.")] = 5e-4,
    schedule: Annotated[str, typer.Option(help="Of the learning rate: onecycle, cosine or constant.")] = "onecycle",
    augment: Annotated[bool, typer.Option(help="Mirror images, and move them by up to 4 pixels.")] = True,
    held_out: Annotated[
        str, typer.Option(help="A number of images of --data, or other data; auto: a tenth, at most 1,000.")
    ] = "auto",
    size: Annotated[int | None, typer.Option(min=1, help="Cut images to squares of this side.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Train on so many images, drawn by --seed.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the network, of which images, of all chance.")] = 0,
    precision: Annotated[str, typer.Option(help="Of the forward pass: fp32, bf16 or fp16.")] = "fp32",
    attack_precision: Annotated[str, typer.Option(help="Of the attack: fp32 or bf16.")] = "fp32",
    clip: Annotated[float | None, typer.Option(help="Cut gradients to this length.")] = None,
    ema: Annotated[
        float | None, typer.Option(help="Judge and keep a moving average of the weights, of this decay.")
    ] = (None),
    watch: Annotated[bool, typer.Option("--watch", help="Warn of catastrophic overfitting, by PGD of 20 steps.")] = (
        False
    ),
    save_every: Annotated[
        int | None, typer.Option(min=1, help="Steps between checkpoints.  [default: one after each epoch]")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run that lies in the folder.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print results.json instead of a summary.")] = False,
) -> None:
    """Train a network on clean and attacked images; the best one on held-out images is kept.

    Writes model.safetensors, results.json with every epoch, and a page with curves. Killed at any moment, the command
    goes on with --resume and, on a CPU, ends with the same bits. It also runs under torchrun.
    """
    given = dict(locals())
    from interp_plugins.cli.train.request import Request
    from interp_plugins.cli.train.training import train

    train(Request(**given))
