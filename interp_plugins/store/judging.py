"""What networks say of stored pictures: the one place where bytes become a verdict.

Writing a set and verifying it use this function with the same tile, so their verdicts agree to the bit.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Int, UInt8
from torch import Tensor

from interp_plugins.foundation.borrow import borrow
from interp_plugins.foundation.prepare import device_of, judge
from interp_plugins.foundation.tiles import fill, spans


def says(classifiers: Sequence[object], images: UInt8[Tensor, "n c h w"], tile: int) -> Int[Tensor, "n k"]:
    """The class that each of k classifiers, as it was given, names for each image; on the CPU.

    Args:
        classifiers: Modules or callables from images in [0, 1] to logits, or what `prepare` made of them. Given back as
            found.
        images: Grey levels.
        tile: Rows a network call.
    """
    device = device_of(classifiers, images.device)
    verdicts = [torch.empty((0, len(classifiers)), dtype=torch.int64)]
    with borrow(*classifiers):
        for span in spans(len(images), tile):
            filled = fill(images[span].to(device), tile).float() / 255
            said = torch.stack([judge(classifier, filled).argmax(1) for classifier in classifiers], 1)
            verdicts.append(said[: span.stop - span.start].cpu())
    return torch.cat(verdicts)
