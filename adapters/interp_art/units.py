"""The host's arrays and the core's images: shapes, ranges, places of the channels."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from art.config import ART_NUMPY_DTYPE
from art.estimators.classification import EnsembleClassifier, PyTorchClassifier
from art.utils import check_and_transform_label_format
from torch import Tensor

from interp_plugins.foundation.check import SLACK

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Units:
    """The host's arrays, of any shape and range, and the core's images, (n, c, h, w) in [0, 1].

    Channels go first, and an input that is no image becomes one of a single line; a range other than [0, 1] is scaled.

    Args:
        low: Least value of a feature.
        span: Length of the range, above 0.
        shape: Shape of one input of the estimator.
        channels_first: Whether that is (c, h, w) rather than (h, w, c).
    """

    low: float
    span: float
    shape: tuple[int, ...]
    channels_first: bool

    @classmethod
    def of(cls, estimator: PyTorchClassifier | EnsembleClassifier) -> "Units":
        """The units of an estimator.

        Raises:
            ValueError: Where `clip_values` is missing, or differs from feature to feature.
        """
        clip = estimator.clip_values
        if clip is None:
            raise ValueError(
                "expected an estimator with clip_values, got None: the attack needs the range of the pixels"
            )
        if np.asarray(clip).ndim > 1:
            raise ValueError(
                "expected one range for all features, got clip_values with arrays: scale the features alike"
            )
        low, high = (float(value) for value in clip)
        return cls(low, high - low, tuple(estimator.input_shape), bool(estimator.channels_first))

    @property
    def high(self) -> float:
        """Greatest value of a feature."""
        return self.low + self.span

    @property
    def trivial(self) -> bool:
        """Whether the host's arrays are the core's images as they stand."""
        return self.unscaled and self.channels_first and len(self.shape) == 3

    @property
    def unscaled(self) -> bool:
        """Whether the range is [0, 1]."""
        return (self.low, self.span) == (0.0, 1.0)

    def images(self, x: Array) -> Tensor:
        """The core's images of a host's float32 array."""
        x = x if self.unscaled else (x - np.float32(self.low)) / np.float32(self.span)
        return self.turn(torch.from_numpy(x))

    def inputs(self, images: Tensor) -> Tensor:
        """What the estimator takes, of the core's images; differentiable."""
        return self.turn_back(images if self.unscaled else images * self.span + self.low)

    def array(self, images: Tensor) -> Array:
        """The host's float32 array of the core's images."""
        x: Array = self.inputs(images.detach().float()).contiguous().cpu().numpy()
        return x

    def turn(self, x: Tensor) -> Tensor:
        """A tensor of the host's shape in the core's, (n, c, h, w)."""
        if len(self.shape) != 3:
            return x.reshape(len(x), 1, 1, -1)
        return x if self.channels_first else x.permute(0, 3, 1, 2)

    def turn_back(self, images: Tensor) -> Tensor:
        """A tensor of the core's shape in the host's."""
        if len(self.shape) != 3:
            return images.reshape(len(images), *self.shape)
        return images if self.channels_first else images.permute(0, 2, 3, 1)

    def gradient(self, gradient: Array, images: Tensor) -> Tensor:
        """A gradient w.r.t. the host's array as one w.r.t. the core's images."""
        return self.turn(torch.from_numpy(gradient.astype(np.float32)).to(images.device)) * self.span

    def checked(self, x: Array) -> Array:
        """A float32 copy of the host's inputs.

        Raises:
            TypeError: Where x is no array.
            ValueError: Where its shape is not the estimator's, or its values are outside `clip_values`.
        """
        if not isinstance(x, np.ndarray):
            raise TypeError(f"expected x as a numpy array, got {type(x).__name__}: ART's attacks take and give arrays")
        self.check(x.shape, *((float(x.min()), float(x.max())) if x.size else (0.0, 0.0)))
        return np.array(x, dtype=ART_NUMPY_DTYPE, order="C")

    def check(self, shape: tuple[int, ...], least: float, greatest: float) -> None:
        """Check the shape of the host's inputs, and that their values lie inside `clip_values`.

        Raises:
            ValueError: Where they do not.
        """
        if shape[1:] != self.shape or not shape[0]:
            raise ValueError(f"expected x of shape (n, {', '.join(map(str, self.shape))}) with n above 0, got {shape}")
        slack = SLACK * self.span
        if least < self.low - slack or greatest > self.high + slack:
            raise ValueError(
                f"expected x inside the estimator's clip_values ({self.low:g}, {self.high:g}), got values from "
                f"{least:.4g} to {greatest:.4g}: scale x, or give the estimator the clip_values of its data"
            )

    def mask(self, mask: Array | None, x: Array) -> Tensor | None:
        """Where the core's images of x may change: 1 there and 0 elsewhere; None for everywhere.

        Raises:
            ValueError: Where the mask does not broadcast to x.
        """
        if mask is None:
            return None
        try:
            whole = np.broadcast_to(np.asarray(mask) != 0, x.shape)
        except ValueError:
            raise ValueError(f"expected a mask that broadcasts to x of shape {x.shape}, got {np.shape(mask)}") from None
        return self.turn(torch.from_numpy(whole.astype(ART_NUMPY_DTYPE)))

    def result(self, adversarial: Tensor, images: Tensor, x: Array) -> Array:
        """The host's array of what the core made of `images`, themselves made of x.

        What did not move is given back as it came: scaling to [0, 1] and back would round it.
        """
        moved: Array = self.turn_back(adversarial != images).numpy()
        return np.where(moved, np.clip(self.array(adversarial), self.low, self.high), x)


def class_indices(y: Array, n: int, classes: int) -> Tensor:
    """Class indices (n,) of the host's labels, one-hot (n, classes) or indices.

    Raises:
        ValueError: Where they have neither shape.
    """
    y = np.asarray(y)
    if len(y) != n or (y.ndim == 2 and y.shape[1] not in (1, classes)):
        raise ValueError(f"expected y of shape ({n},) or ({n}, {classes}), got {y.shape}")
    indices = check_and_transform_label_format(y, classes, return_one_hot=False)
    return torch.from_numpy(indices.reshape(-1).astype(np.int64))
