"""The same work in two processes that share what they find by gloo."""

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import distributed, multiprocessing

# forked of one process that has what most of the time goes into, and has not run a thread yet
PRELOADED = [
    "torch._dynamo",
    "torchmetrics",
    "pytest",
    "hypothesis",
    "interp_plugins.training",
    "interp_plugins.testing",
]


def free_port() -> str:
    """A port of this machine that nothing listens at."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


def run(work: Callable[..., Any], folder: Path, *arguments: Any) -> list[Any]:
    """What `work(rank, *arguments)`, a function of a module, returns in each; tensors and plain values."""
    multiprocessing.set_forkserver_preload(PRELOADED)
    given = (work, str(folder), free_port(), arguments)
    multiprocessing.start_processes(_one, given, 2, start_method="forkserver")
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


def _one(rank: int, work: Callable[..., Any], folder: str, port: str, arguments: tuple[Any, ...]) -> None:
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", rank=rank, world_size=2)
    torch.save(work(rank, *arguments), Path(folder) / f"{rank}.pt")
    distributed.destroy_process_group()
