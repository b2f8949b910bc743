"""`interp-plugins doctor`: print what `interp_plugins.health` found, and of what is not right, how to repair it."""

import json
from dataclasses import asdict
from typing import Annotated, Final

import typer

from interp_plugins.health import examine

MARKS: Final = {"fine": "  ok", "note": "note", "warning": "warn", "failure": "FAIL"}


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON array, one object a finding.")] = False,
) -> None:
    """Check this machine and say how to repair what is not right.

    The exit code is 3 when something has to be repaired, and 0 when there are only notes and warnings.
    """
    findings = list(examine())
    if as_json:
        typer.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        for finding in findings:
            typer.echo(f"{MARKS[finding.status]}  {finding.subject}: {finding.message}")
            if finding.fix:
                typer.echo(f"      fix: {finding.fix}")
    if any(finding.status == "failure" for finding in findings):
        raise typer.Exit(3)
