"""`interp-plugins plugins`: what there is, where it comes from, and what is wrong with what does not work."""

import json
from collections.abc import Sequence
from typing import Annotated, Final

import typer

from interp_plugins.registry import Line, lines

WRONG: Final = ("failed", "duplicate", "unknown kind")
TITLES: Final = ("METHOD", "KIND", "HOST", "STATUS", "FROM")


def plugins(
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON array, one object a line of the list.")] = False,
    failed: Annotated[bool, typer.Option("--failed", help="Show only what went wrong.")] = False,
) -> None:
    """List the methods, where each comes from, and what is wrong with those that do not work.

    The exit code is 0 whatever the list says. INTERP_PLUGINS=a,b allows only these outside plugins (empty: none), and
    INTERP_PLUGINS_TRACE=1 prints every call of a plugin on stderr.
    """
    shown = [line for line in lines() if line.status in WRONG or not failed]
    if as_json:
        typer.echo(json.dumps([line.as_json() for line in shown], indent=2))
    elif shown:
        typer.echo("\n".join(_table(shown)))
    else:
        typer.echo("nothing went wrong")


def _table(shown: Sequence[Line]) -> list[str]:
    """Align the columns; under the table stands a sentence for each line that is not ready."""
    rows = [TITLES, *((line.name, line.kind, line.host or "-", line.status, _origin(line)) for line in shown)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(TITLES))]
    table = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    reasons = [f"{line.name} ({line.host or line.plugin}): {line.reason}" for line in shown if line.reason]
    return [*table, "", *reasons] if reasons else table


def _origin(line: Line) -> str:
    return f"{line.distribution} {line.version}".strip() or "-"
