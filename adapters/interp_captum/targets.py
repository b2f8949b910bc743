"""`target` as Captum takes it: one class for all images, or one for each."""

from collections.abc import Sequence

import torch
from torch import Tensor

from interp_plugins.foundation import check


def classes_for(target: int | Sequence[int] | Tensor, images: Tensor) -> Tensor:
    """One class an image, int64 (n,), on the images' device.

    Args:
        target: One class for all, or one for each.
        images: (n, ...).

    Raises:
        TypeError: They are no integers.
        ValueError: There is another number of them, or a negative one.
    """
    labels = torch.as_tensor(target, device=images.device)
    labels = labels.reshape(1).expand(len(images)) if labels.numel() == 1 else labels
    return check.labels(labels, len(images), name="target")
