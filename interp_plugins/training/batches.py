"""Batches made fit for an objective: checked, in fp32 at least, and joined over processes where that is asked for.

Under autocast representations arrive in half precision. Their squares overflow there (fp16 ends at 65,504) and their
covariances lose their digits, so nothing is summed in less than fp32.

    rank 0: rows 0..2 ──┐                       ┌── gradient of rows 0..2, summed over ranks
    rank 1: rows 3..7 ──┴─► rows 0..7, on both ─┴── gradient of rows 3..7, summed over ranks

`gathered` hands the rows of all processes to each, and each computes the same value. Backwards the gradients of all
processes' values are summed, so that DistributedDataParallel, which averages gradients, arrives at the gradient of the
one value over the global batch.
"""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, distributed

from interp_plugins.foundation import check


def pair(
    clean: Float[Tensor, "n d"], adversarial: Float[Tensor, "m d"], *, least: int, across_ranks: bool
) -> tuple[Float[Tensor, "n d"], Float[Tensor, "m d"]]:
    """Check two batches of representations of one width and return them in fp32 at least.

    Args:
        clean: Of clean images.
        adversarial: Of attacked ones, maybe of another number.
        least: How many rows each has to have.
        across_ranks: Return the rows of all processes instead of this one's.

    Raises:
        TypeError: A dtype that is not floating.
        ValueError: A wrong shape, or too few rows.
    """
    for name, rows in (("clean", clean), ("adversarial", adversarial)):
        if rows.ndim != 2:
            raise ValueError(
                f"expected {name} representations of shape (n, d), got {tuple(rows.shape)}; "
                "pool maps with .mean((2, 3)), or flatten them with .flatten(1) where d x d still fits into memory"
            )
    if clean.shape[1] != adversarial.shape[1]:
        raise ValueError(
            f"expected representations of one width, got {clean.shape[1]} (clean) and {adversarial.shape[1]} "
            "(adversarial)"
        )
    clean, adversarial = at_least_fp32(clean), at_least_fp32(adversarial)
    if across_ranks:
        clean, adversarial = gathered(clean), gathered(adversarial)
    fewest = min(len(clean), len(adversarial))
    if fewest < least:
        raise ValueError(
            f"expected at least {least} clean and {least} adversarial representations, got {len(clean)} and "
            f"{len(adversarial)}; leave out a short last batch with drop_last=True in the DataLoader"
        )
    return clean, adversarial


def at_least_fp32(values: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Floating values in fp32, or in fp64 if they are.

    Raises:
        TypeError: They are no floating values.
    """
    if not values.is_floating_point():
        raise TypeError(f"expected values of a floating dtype, got {values.dtype}")
    return values if values.dtype == torch.float64 else values.float()


def no_autocast(values: Tensor) -> torch.autocast:
    """A context in which autocast leaves the values' products in their own precision."""
    return torch.autocast(values.device.type, enabled=False)


def labels(labels: Int[Tensor, " n"], n: int, classes: int) -> Int[Tensor, " n"]:
    """Check class indices of shape (n,); their range only on a CPU, as a look at a GPU's values would wait for it.

    Raises:
        TypeError: They are no integer tensor.
        ValueError: Their shape or, on a CPU, their range is wrong.
    """
    if labels.device.type == "cpu":
        return check.labels(labels, n, classes)
    if labels.is_floating_point() or labels.dtype == torch.bool:
        raise TypeError(f"expected labels of an integer dtype, got {labels.dtype}")
    if labels.shape != (n,):
        raise ValueError(f"expected labels of shape ({n},), got {tuple(labels.shape)}")
    return labels.long()


def gathered(rows: Tensor) -> Tensor:
    """The rows (n, ...) of all processes of the default group, in the order of ranks; a process alone keeps its own.

    Every process has to call it. They may have different numbers of rows, also none.
    """
    if not (distributed.is_available() and distributed.is_initialized()):
        return rows
    joined: Tensor = _Gather.apply(rows)
    return joined


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        size = torch.tensor([len(rows)], device=rows.device)
        sizes = [torch.empty_like(size) for _ in range(distributed.get_world_size())]
        distributed.all_gather(sizes, size)
        counts = [int(each) for each in sizes]
        filled = rows.new_zeros(max(counts), *rows.shape[1:])  # gloo and NCCL gather tensors of one shape
        filled[: len(rows)] = rows
        parts = [torch.empty_like(filled) for _ in counts]
        distributed.all_gather(parts, filled)
        start = sum(counts[: distributed.get_rank()])
        ctx.own = slice(start, start + len(rows))
        return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        gradient = gradient.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(gradient)
        own: Tensor = gradient[ctx.own]
        return own
