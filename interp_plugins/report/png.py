"""Images as PNG bytes, for pages that carry their pictures with them."""

from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

if TYPE_CHECKING:
    from torch import Tensor

# A byte image, (3, h, w), as everything in this package that shows a picture passes it on.
Bytes = NDArray[np.uint8]


def to_bytes(image: "Tensor") -> Bytes:
    """Round one image, (3, h, w) in [0, 1], to bytes."""
    return np.asarray((image.detach().clamp(0, 1) * 255).round().cpu().numpy().astype(np.uint8))


def difference(image: Bytes, changed: Bytes, gain: int) -> Bytes:
    """Return what was changed, times `gain`, around middle grey, so that untouched pixels are grey."""
    signed = (changed.astype(np.int16) - image.astype(np.int16)) * gain + 128
    return signed.clip(0, 255).astype(np.uint8)


def encode(image: Bytes) -> bytes:
    """Return the PNG file of a byte image, (3, h, w)."""
    file = BytesIO()
    Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0))).save(file, format="PNG", optimize=True)
    return file.getvalue()
