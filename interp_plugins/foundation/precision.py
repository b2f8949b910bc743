"""Precision of jobs that search. Jobs that measure stay in fp32.

bf16 halves the bytes and, where the processor multiplies it natively, more than halves the time; a search tolerates
it because its result is judged by the original network in fp32. It is never chosen by itself: a set of images must
not depend on which processor happened to make it.
"""

from typing import Literal

import torch

Precision = Literal["fp32", "bf16"]
PRECISIONS = ("fp32", "bf16")


def dtype(precision: Precision) -> torch.dtype | None:
    """The dtype a prepared copy is cast to; None leaves the model's own."""
    return torch.bfloat16 if precision == "bf16" else None


def has_native_bf16(device: torch.device) -> bool:
    """Whether the processor multiplies bf16 by itself, so that bf16 is faster and not only smaller."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return any(torch.cpu.get_capabilities().get(name, False) for name in ("avx512_bf16", "amx_bf16"))
