"""`additional_forward_args`: what a model takes besides images, while it is measured.

The core calls a model with images alone. A hook hands it the rest, also where the core runs a copy of the model.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn


@contextmanager
def given(model: nn.Module, additional_forward_args: Any, row: int | None = None) -> Iterator[None]:
    """Call the model with these arguments after its images, as long as the body runs.

    Args:
        model: The network; the hook is gone when the block ends.
        additional_forward_args: One, or a tuple of them; None for none.
        row: The image whose row of each tensor is meant, repeated for as many images as a call has; None where the
            arguments are the same for all images.

    Raises:
        ValueError: There is a tensor with rows, and no row is named.
    """
    extra = as_tuple(additional_forward_args)
    for tensor in with_rows(extra):
        if row is None:
            raise ValueError(
                "expected additional_forward_args that are the same for all images, got a tensor of shape "
                f"{tuple(tensor.shape)}, which has rows; let a module of your own hand it to the model"
            )
        if row >= len(tensor):
            raise ValueError(
                "expected additional_forward_args with one row for each image, got a tensor of shape "
                f"{tuple(tensor.shape)} for image {row}"
            )

    def append(_module: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        return (*arguments, *(_own(each, row, len(arguments[0])) for each in extra))

    with model.register_forward_pre_hook(append):
        yield


def as_tuple(additional_forward_args: Any) -> tuple[Any, ...]:
    """The arguments as a tuple, empty for None."""
    if additional_forward_args is None:
        return ()
    return additional_forward_args if isinstance(additional_forward_args, tuple) else (additional_forward_args,)


def with_rows(extra: tuple[Any, ...]) -> list[Tensor]:
    """Those of the arguments that are tensors with rows, one for each image, as everywhere in Captum."""
    return [each for each in extra if isinstance(each, Tensor) and each.ndim > 0]


def _own(argument: Any, row: int | None, count: int) -> Any:
    if row is None or not isinstance(argument, Tensor) or argument.ndim == 0:
        return argument
    return argument[row : row + 1].expand(count, *argument.shape[1:])
