"""A network as a command names it: loaded, tried on an image, and found again as it was."""

import io
from contextlib import nullcontext, redirect_stderr
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from interp_plugins.foundation.borrow import borrow
from interp_plugins.sources import models, weights
from interp_plugins.sources.models import LoadedModel
from interp_plugins.store.manifest import Member


def load(spec: str, device: torch.device, quiet: bool) -> LoadedModel:
    """Load a network.

    Args:
        spec: As it was typed.
        device: Where it goes.
        quiet: Leave out what loading says on stderr, because another process has said it.

    Raises:
        ValueError: The spec cannot be read, or the weights do not fit.
        FileNotFoundError: A file is not there.
    """
    with redirect_stderr(io.StringIO()) if quiet else nullcontext():
        return models.load(spec, device)


def check_takes(model: LoadedModel, example: Float[Tensor, "1 c h w"]) -> None:
    """Check that a network takes images such as this one.

    Raises:
        ValueError: It does not.
    """
    try:
        with borrow(model.module), torch.no_grad():
            model.module(example)
    except RuntimeError as error:
        raise ValueError(
            f"{model.name} does not take images of {tuple(example.shape[1:])} ({error}); cut them with --size"
        ) from error


def again(member: Member, device: torch.device, folder: Path, noun: str) -> LoadedModel:
    """Load the network with which something was made.

    Args:
        member: The network as it was then.
        device: Where it goes.
        folder: What was made, and lies there.
        noun: What that is.

    Raises:
        FileNotFoundError: The network's file is not there.
        ValueError: It is another now.
    """
    try:
        model = models.load(member.spec, device)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{error}; the network is named as it was typed, so type this where the {noun} was made"
        ) from error
    if (digest := weights.digest(model.module)) != member.sha256:
        raise ValueError(
            f"expected the weights {member.sha256[:12]} of {member.name} that {folder} was made with, got "
            f"{digest[:12]}; bring them back, or make another {noun}"
        )
    return model
