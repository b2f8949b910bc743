"""`interp-plugins demo`: the whole idea on one page."""

from pathlib import Path
from time import monotonic
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn


def demo(
    out: Annotated[Path, typer.Option(help="Folder for the page and its files; made if it is missing.")] = Path("demo"),
    seed: Annotated[int, typer.Option(min=0, help="Another seed: another world, other networks.")] = 0,
    processes: Annotated[
        int, typer.Option(min=0, help="Processes to start, one thread each; 0: one a core. The numbers stay the same.")
    ] = 0,
    json: Annotated[bool, typer.Option("--json", help="Print results.json instead of a summary.")] = False,
) -> None:
    """Draw a small world, train four networks on it, attack three of them at once, and write one page about it.

    Nothing is downloaded. The adversarial images are kept as a set, which `interp-plugins attack verify` checks.
    The attack is also run through torchattacks and ART where they are installed.
    """
    import torch

    from interp_plugins.demo.folder import Folder
    from interp_plugins.demo.sections import commands
    from interp_plugins.demo.study import Settings, run
    from interp_plugins.demo.writing import write
    from interp_plugins.foundation.processor import cores

    torch.set_num_threads(1)  # the numbers are promised for one thread a process; speed comes from processes
    processes = processes or cores()
    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        tell = _Tell(progress)
        outcome = run(Settings(seed=seed), Folder(out), processes=processes, watch=tell)
    results = write(outcome, seconds=tell.seconds, processes=processes)
    if json:
        typer.echo(results.to_json(), nl=False)
        return
    fooled, carried = results.row("success/all of them/all images"), results.row("transfer/says the target/all images")
    typer.echo(f"{fooled.numerator} of {fooled.denominator} attacks fool the three attacked networks at once,")
    typer.echo(f"{carried.numerator} of {carried.denominator} also the fourth, which was not attacked.")
    typer.echo(f"Open {out / 'index.html'} in a browser. The numbers are in {out / 'results.json'}.")
    typer.echo("The adversarial images are kept. To measure them again, and to look at one:")
    typer.echo("\n".join(f"  {command}" for command in commands(outcome)))


class _Tell:
    """Moves a bar a part of the work, and notes how many seconds each part took until the next was told of."""

    def __init__(self, progress: Progress) -> None:
        self.seconds: dict[str, float] = {}
        self._progress = progress
        self._bars: dict[str, TaskID] = {}
        self._begun: dict[str, float] = {}

    def __call__(self, doing: str, share: float) -> None:
        if doing not in self._bars:
            self._bars[doing] = self._progress.add_task(doing, total=1.0)
            self._begun[doing] = monotonic()
        self._progress.update(self._bars[doing], completed=share)
        self.seconds[doing] = monotonic() - self._begun[doing]
