"""A bar over all epochs of a training run, with its rate and the time that is left."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from interp_plugins.cli.train.batches import Told
from interp_plugins.foundation.distributed import Place


class Bar:
    """How far a run is.

    Args:
        progress: Draws it.
        epochs: How many there are.
        images: Of each.
    """

    def __init__(self, progress: Progress, epochs: int, images: int) -> None:
        self._progress, self._epochs, self._images = progress, epochs, images
        self._task = progress.add_task("", total=epochs * images)

    def begin(self, epoch: int) -> None:
        """An epoch begins, from 1."""
        said = f"epoch {min(epoch, self._epochs)} of {self._epochs}"
        self._progress.update(self._task, description=said, completed=(epoch - 1) * self._images)

    def add(self, images: int) -> None:
        """So many images more are done with."""
        self._progress.advance(self._task, images)


@contextmanager
def shown(epochs: int, loader: Told, console: Console, place: Place) -> Iterator[Bar]:
    """The bar of the first process while the body runs; nothing is drawn where the console is no terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(), _Rate(), TimeRemainingColumn())
    hidden = place.rank > 0 or not console.is_terminal
    with Progress(*columns, console=console, disable=hidden, speed_estimate_period=60) as progress:
        bar = Bar(progress, epochs, len(loader) * (loader.batch_size or 1) * place.world)
        loader.tell = lambda images: bar.add(images * place.world)  # the others are as far
        yield bar


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text("" if task.speed is None else f"{task.speed:.0f} images/s")
