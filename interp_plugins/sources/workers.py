"""Reading in other processes, ahead of who waits for it."""

from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

import torch
from torch.utils.data import DataLoader, Dataset

from interp_plugins.foundation.processor import cores

T = TypeVar("T")


def each(work: Callable[[int], T], count: int, workers: int) -> Iterator[T]:
    """work(0), work(1), ... in this order, done a little ahead.

    Args:
        work: Reads one of something; a method or a function of a module, so that it can be sent.
        count: How many there are.
        workers: How many processes work, at most one a core; 0 works here, when it is needed.

    Raises:
        OSError, ValueError: What `work` raised.
    """
    workers = min(workers, cores())
    loader = DataLoader(
        _Work(work, count), batch_size=None, num_workers=workers, collate_fn=_unchanged,
        generator=torch.Generator(),  # a loader draws its workers' seed, by default from everybody's randomness
    )  # fmt: skip
    for result, fault in loader:
        if fault is not None:
            raise fault
        yield result


class _Work(Dataset[tuple[Any, Exception | None]], Generic[T]):
    """A fault is sent as it is: torch's own way puts a traceback into its sentence."""

    def __init__(self, work: Callable[[int], T], count: int) -> None:
        self._work, self._count = work, count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, number: int) -> tuple[T | None, Exception | None]:
        try:
            return self._work(number), None
        except (OSError, ValueError) as fault:
            return None, fault


def _unchanged(pair: Any) -> Any:
    return pair
