"""Bad input is met at the door with one sentence: what was expected, what came, and the way out.

Images are float tensors of shape (n, c, h, w) in [0, 1]. Hosts' users trip over rounding, so values up to `SLACK`
outside are clamped; anything further out, and anything that is not a number, is refused rather than repaired.
"""

from typing import Any

import torch
from torch import Tensor

SLACK = 1e-5
CHANNELS = (1, 3, 4)


def images(images: Any, name: str = "images") -> Tensor:
    """Check a batch of images and return it, detached, with rounding slack clamped away.

    Args:
        images: What should be a float tensor of shape (n, c, h, w), n >= 1, in [0, 1].
        name: What the message calls it.

    Raises:
        TypeError: It is no tensor, or not of a floating dtype.
        ValueError: Its shape, its range or its values are wrong.
    """
    if not isinstance(images, Tensor):
        raise TypeError(f"expected {name} as a torch tensor, got {type(images).__name__}")
    shape = tuple(images.shape)
    if not images.is_floating_point():
        raise TypeError(f"expected {name} of a floating dtype in [0, 1], got {images.dtype}; divide by 255 first")
    if images.ndim != 4:
        raise ValueError(f"expected {name} of shape (n, channels, height, width), got {shape}")
    if images.numel() == 0:
        raise ValueError(f"expected at least one image in {name}, got shape {shape}")
    if shape[1] not in CHANNELS and shape[3] in CHANNELS:
        raise ValueError(
            f"expected {name} of shape (n, channels, height, width), got {shape}, which looks like channels last; "
            "use .permute(0, 3, 1, 2)"
        )
    checked: Tensor = images.detach()
    low, high = (float(value) for value in torch.aminmax(checked))
    if not (low >= -SLACK and high <= 1 + SLACK):
        _refuse_values(checked, low, high, name)
    return checked if low >= 0 and high <= 1 else checked.clamp(0, 1)


def _refuse_values(images: Tensor, low: float, high: float, name: str) -> None:
    bad = (~images.isfinite()).flatten(1).any(1)
    if bad.any():
        rows = bad.nonzero().flatten().tolist()
        raise ValueError(
            f"expected finite {name}, got NaN or infinity in {_some(rows, 'row')}; look at how they were read"
        )
    cure = "divide by 255" if low >= 0 and 1.5 < high <= 255 else "undo the normalisation: it belongs inside the model"
    raise ValueError(f"expected {name} in [0, 1], got values from {low:.4g} to {high:.4g}; {cure}")


def levels(images: Any, shape: tuple[int, ...] | None = None, name: str = "images") -> Tensor:
    """Check a batch of images in grey levels: uint8 of shape (n, c, h, w), n >= 1, or of the very shape that is given.

    Raises:
        TypeError: It is no tensor, or not of uint8.
        ValueError: Its shape is wrong.
    """
    if not isinstance(images, Tensor):
        raise TypeError(f"expected {name} as a torch tensor, got {type(images).__name__}")
    if images.dtype != torch.uint8:
        raise TypeError(f"expected {name} in grey levels, torch.uint8, got {images.dtype}; make them with to_bytes")
    found = tuple(images.shape)
    if images.ndim != 4 or images.numel() == 0 or (shape is not None and found != shape):
        raise ValueError(f"expected {name} of shape {shape or '(n, channels, height, width)'}, got {found}")
    return images.detach()


def labels(labels: Any, n: int, classes: int | None = None, name: str = "labels") -> Tensor:
    """Check class indices of shape (n,) in [0, classes) and return them as int64.

    Raises:
        TypeError: They are no integer tensor.
        ValueError: Their shape or their range is wrong.
    """
    if not isinstance(labels, Tensor):
        raise TypeError(f"expected {name} as a torch tensor, got {type(labels).__name__}")
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise TypeError(
            f"expected {name} of an integer dtype, got {labels.dtype}; one-hot rows become labels by .argmax(1)"
        )
    if labels.shape != (n,):
        raise ValueError(f"expected {name} of shape ({n},), got {tuple(labels.shape)}")
    checked: Tensor = labels.detach().long()
    class_range(checked, classes, name)
    return checked


def class_range(labels: Tensor, classes: int | None, name: str) -> None:
    """Check that every class index of any shape is in [0, classes); with `classes=None` only that none is negative."""
    low, high = (int(value) for value in torch.aminmax(labels))
    if low < 0 or (classes is not None and high >= classes):
        bound = f"0 to {classes - 1}" if classes is not None else "0 upwards"
        raise ValueError(f"expected {name} from {bound}, got {low if low < 0 else high}")


def differ(targets: Tensor, labels: Tensor) -> None:
    """Check that no target of shape (n, t) is the label of its image, labels being (n,)."""
    same = (targets == labels[:, None]).nonzero()
    if len(same):
        row, column = same[0].tolist()
        raise ValueError(
            f"expected targets other than the label, got target {int(labels[row])} for image {row} whose label it is "
            f"(target number {column}); choose targets with LeastLikely, or leave that image out"
        )


def logits(logits: Any, n: int, name: str = "the classifier") -> Tensor:
    """Check what a classifier returned for n images: finite logits of shape (n, classes), no probabilities.

    Raises:
        TypeError: It is no tensor.
        ValueError: Its shape is wrong, it is not finite, or its rows are probabilities.
    """
    if not isinstance(logits, Tensor):
        raise TypeError(f"expected logits of shape ({n}, classes) from {name}, got {type(logits).__name__}")
    if logits.ndim != 2 or logits.shape[0] != n or logits.shape[1] < 2:
        raise ValueError(f"expected logits of shape ({n}, classes) from {name}, got {tuple(logits.shape)}")
    values = logits.detach().float()
    if not values.isfinite().all():
        raise ValueError(
            f"expected finite logits from {name}, got NaN or infinity; check its weights and its precision"
        )
    if _are_probabilities(values, max(1e-4, torch.finfo(logits.dtype).eps if logits.is_floating_point() else 0)):
        raise ValueError(
            f"expected logits from {name}, got probabilities (rows in [0, 1] that sum to 1); drop its softmax"
        )
    return logits


def _are_probabilities(values: Tensor, tolerance: float) -> bool:
    """Whether rows (n, classes) can be nothing else: all in [0, 1], all with the sum 1, and not by accident.

    A softmax gives values between 0 and 1, and other ones for another row. So rows of nothing but zeros and ones prove
    nothing, and two classes are believed only if two rows differ: of two logits such as 0.25 and 0.75, or of the same
    image repeated, the sum may be 1 by accident.
    """
    if not (((values >= 0) & (values <= 1)).all() and (values.sum(1) - 1).abs().max() < tolerance):
        return False
    telling = values[((values > 0) & (values < 1)).any(1)]
    return len(telling.unique(dim=0)) >= (2 if values.shape[1] == 2 else 1)


def same_classes(counts: list[int]) -> int:
    """Check that all members of an ensemble know the same number of classes, and return it."""
    if len(set(counts)) > 1:
        raise ValueError(f"expected members with one number of classes, got {counts}; choose networks of one label set")
    return counts[0]


def finite_rows(values: Tensor, name: str) -> None:
    """Check that each row of values (n, ...) is finite; nothing is repaired in silence."""
    if values.sum().isfinite():  # then all of them are, and one pass over them was enough
        return
    bad = (~values.isfinite()).flatten(1).any(1).nonzero().flatten().tolist()
    if bad:
        raise ValueError(
            f"expected finite {name}, got NaN or infinity in {_some(bad, 'row')} of a tile; try precision 'fp32'"
        )


def broadcasts(values: Tensor, images: Tensor, name: str) -> Tensor:
    """Check that a tensor broadcasts to the images' shape, and return it so."""
    try:
        return values.to(images).expand_as(images)
    except RuntimeError:
        raise ValueError(
            f"expected a {name} that broadcasts to {tuple(images.shape)}, got {tuple(values.shape)}"
        ) from None


def positive(**values: float) -> None:
    """Check that each value is a finite number above zero; the message names the first that is not."""
    for name, value in values.items():
        if not 0 < value < float("inf"):
            raise ValueError(f"expected {name} above 0, got {value}")


def one_of(name: str, value: object, choices: tuple[object, ...]) -> None:
    """Check that a setting is one of its choices."""
    if value not in choices:
        raise ValueError(f"expected {name} to be one of {', '.join(map(repr, choices))}, got {value!r}")


def _some(rows: list[int], noun: str, most: int = 5) -> str:
    shown = ", ".join(map(str, rows[:most]))
    return f"{noun}{'s' if len(rows) > 1 else ''} {shown}{', …' if len(rows) > most else ''}"
