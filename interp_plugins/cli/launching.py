"""How many processes a machine has work for, and how they are started: by torchrun's own launcher.

On Linux they are forked of one process that has imported what the command needs. That is most of the time that small
work takes, and their memory of it is shared.
"""

import logging
import multiprocessing
import os
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import forkserver
from tempfile import TemporaryDirectory
from types import FrameType
from uuid import uuid4

import torch
import typer
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from interp_plugins.foundation.distributed import Place
from interp_plugins.foundation.processor import cores


def device_for(asked: str, place: Place) -> torch.device:
    """The device of one process; with several GPUs, each process of a machine has its own.

    Raises:
        ValueError: It is neither auto, cpu nor cuda, or there is no GPU.
    """
    if asked not in ("auto", "cpu", "cuda"):
        raise ValueError(f"expected --device auto, cpu or cuda, got {asked!r}")
    gpus = torch.cuda.device_count() if asked != "cpu" else 0
    if asked == "cuda" and not gpus:
        raise ValueError("expected a GPU for --device cuda, torch finds none; interp-plugins doctor says why")
    return torch.device("cuda", place.local % gpus) if gpus else torch.device("cpu")


def processes_for(asked: str, device: torch.device) -> int:
    """How many processes fill the machine, or as many as were asked for.

    Raises:
        ValueError: It is neither auto nor a number of at least 1.
    """
    if asked == "auto":
        return torch.cuda.device_count() if device.type == "cuda" else cores()
    if not asked.isdecimal() or int(asked) < 1:
        raise ValueError(f"expected --processes auto or a number of at least 1, got {asked!r}")
    return int(asked)


def launch(words: Sequence[str], count: int) -> None:
    """Run the command of these words in `count` processes and wait for them all.

    Raises:
        KeyboardInterrupt: This process was told to stop, or one of them was stopped or killed; the others were ended.
        typer.Exit: One of them failed and has said why; the code is its own.
    """
    for name in list(logging.root.manager.loggerDict):
        if name.startswith("torch.distributed.elastic"):  # each of them has a level of its own
            logging.getLogger(name).setLevel(logging.CRITICAL)  # what it would tell, we tell ourselves
    os.environ["OMP_NUM_THREADS"] = "1"
    multiprocessing.set_forkserver_preload([name for name in sys.modules if name.startswith("interp_plugins.")])
    with TemporaryDirectory() as logs:
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=count,
            run_id=uuid4().hex,
            rdzv_backend="c10d",
            rdzv_endpoint="localhost:0",
            local_addr="localhost",
            max_restarts=0,
            start_method="forkserver" if sys.platform == "linux" else "spawn",
            logs_specs=DefaultLogsSpecs(log_dir=logs),
        )
        try:
            elastic_launch(config, work)(*words)
        except SignalException as error:
            raise KeyboardInterrupt from error
        except ChildFailedError as error:
            rank, failure = error.get_first_failure()
            if failure.exitcode in (1, 2, 3):
                raise typer.Exit(failure.exitcode) from error
            how = f"was killed by signal {-failure.exitcode}" if failure.exitcode < 0 else "was stopped"
            raise KeyboardInterrupt(f"process {rank} of {count} {how}") from error
        finally:
            _end_forkserver()


def work(*words: str) -> None:
    """What each process does: the command of these words, and its exit code.

    Raises:
        SystemExit: The code is not 0.
    """
    from interp_plugins.cli import main

    try:
        code = main(words)
    except Exception:  # the launcher would keep it to itself
        traceback.print_exc()
        code = 1
    if code:
        sys.exit(code)


def _end_forkserver() -> None:
    """Wait for the end of the process that the others were forked of; it would outlive the command by a moment."""
    getattr(forkserver._forkserver, "_stop", lambda: None)()  # has no public name


@contextmanager
def termination_interrupts() -> Iterator[None]:
    """Inside, SIGTERM is what Ctrl-C is; afterwards both are as before, whatever a launcher has made of them."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)}
    signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
