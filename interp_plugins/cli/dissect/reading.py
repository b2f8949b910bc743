"""Go over labelled images: how many processes decode them, and a bar that says how far they are."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from interp_plugins.cli.launching import processes_for


def workers_for(processes: str) -> int:
    """How many processes read beside this one; none where one was asked for.

    Raises:
        ValueError: It is neither auto nor a number of at least 1.
    """
    count = processes_for(processes, torch.device("cpu"))
    return 0 if count == 1 else count


@contextmanager
def counted(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar while the body runs, for what is told how much of how much is done; none where there is no terminal."""
    console = Console(stderr=True)
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        bar = progress.add_task("", total=None)
        yield lambda done, of: progress.update(bar, completed=done, total=of)


def some(count: int, noun: str) -> str:
    """A number of things, as people say it."""
    return f"{count} {noun}{'s' * (count != 1)}"
