"""How often a network is right on held-out images, clean and attacked.

The network is in eval mode and given back as found. With several processes each counts its own images and the counts
are added, so that no image may be at two of them: `DistributedSampler` repeats images to make all shares alike and is
refused; `Subset(images, Place.here().share(len(images)))` does not.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, distributed, nn
from torch.utils.data import DataLoader, DistributedSampler

from interp_plugins.foundation import check
from interp_plugins.foundation.borrow import borrow
from interp_plugins.training.reports import Accuracy

Attack = Callable[[nn.Module, Tensor, Tensor], Tensor]
Batches = Iterable[Any]  # of (images, labels); what else a batch holds, such as indices, is not looked at


def accuracies(model: nn.Module, batches: Batches, attacks: Sequence[Attack | None]) -> list[Accuracy]:
    """The share of images whose class the network says under each attack, in one pass over the images.

    Args:
        model: From images in [0, 1] to logits; given back as found.
        batches: Images and labels, of this process.
        attacks: Each called with the model, images and labels; None: the images are judged as they are.

    Returns:
        An accuracy an attack, with the counts of all processes together.

    Raises:
        TypeError: A wrong dtype.
        ValueError: There are no images, a sampler repeats some, or a wrong shape, range or label.
    """
    check_exact(batches)
    device, dtype = placed(model)
    counts = torch.zeros(len(attacks) + 1, dtype=torch.long, device=device)
    with borrow(model):
        for batch in batches:
            images, labels = pair(batch, device, dtype)
            rights = [right(model, images, labels, attack) for attack in attacks]
            counts += torch.stack([*rights, counts.new_tensor(len(images))])
    if several():
        distributed.all_reduce(counts)
    *correct, seen = counts.tolist()
    if seen == 0:
        raise ValueError("expected at least one held-out batch, got none; a loader is gone through again each epoch")
    return [Accuracy(count, seen) for count in correct]


def right(
    model: nn.Module, images: Float[Tensor, "n c h w"], labels: Int[Tensor, " n"], attack: Attack | None
) -> Int[Tensor, ""]:
    """How many of n images are read correctly once attacked; the model is in eval mode."""
    if attack is not None:
        images = attacked(attack, model, images, labels)
    with torch.no_grad():
        logits = check.logits(model(images), len(images))
        return (logits.argmax(1) == check.labels(labels, len(images), logits.shape[1])).sum()


def attacked(attack: Attack, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """What an attack makes of images (n, c, h, w), checked and without a graph.

    Raises:
        TypeError: It is no tensor, or not of a floating dtype.
        ValueError: Its shape, range or values are wrong.
    """
    found = check.images(attack(model, images, labels), "attacked images")
    if found.shape != images.shape:
        raise ValueError(f"expected attacked images of shape {tuple(images.shape)}, got {tuple(found.shape)}")
    return found.to(images)


def pair(batch: object, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Images and labels of a batch, checked, where the network is; grey levels in uint8 become [0, 1].

    Raises:
        TypeError: It does not begin with two tensors of the right dtypes.
        ValueError: A wrong shape, range or label.
    """
    if not isinstance(batch, tuple | list) or len(batch) < 2:
        raise TypeError(f"expected batches (images, labels, ...), got {type(batch).__name__}")
    levels = isinstance(batch[0], Tensor) and batch[0].dtype == torch.uint8
    images = (check.levels if levels else check.images)(batch[0]).to(device, dtype, non_blocking=True)
    images = images / 255 if levels else images
    return images, check.labels(batch[1], len(images)).to(device, non_blocking=True)


def placed(model: nn.Module) -> tuple[torch.device, torch.dtype]:
    """Where a network is, and in which precision.

    Raises:
        ValueError: It has no parameters.
    """
    for parameter in model.parameters():
        return parameter.device, parameter.dtype
    raise ValueError("expected a network with parameters, got one without any")


def check_exact(batches: Batches) -> None:
    """Refuse a loader whose sampler shows some images twice."""
    sampler = batches.sampler if isinstance(batches, DataLoader) else None
    if isinstance(sampler, DistributedSampler) and sampler.total_size > len(sampler.dataset):  # type: ignore[arg-type]
        raise ValueError(
            f"expected each held-out image once, got a DistributedSampler that shows {sampler.total_size} of "
            f"{len(sampler.dataset)}; "  # type: ignore[arg-type]
            "use Subset(images, Place.here().share(len(images)))"
        )


def several() -> bool:
    """Whether there are other processes to count with."""
    return distributed.is_available() and distributed.is_initialized()
