"""`interp-plugins doctor`: look at this machine, and say of everything that is not right how to repair it.

Torch, torchvision and the hosts are imported in fresh processes with a time limit, all at once, so that one that is
broken, or never comes back, is a line like any other.
"""

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Final

import typer

from interp_plugins.cli import machine, offers
from interp_plugins.cli.machine import Finding
from interp_plugins.hosts import HOSTS, TORCHATTACKS

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


def examine() -> Iterator[Finding]:
    """Yield the findings in the order in which they are printed."""
    programs = {"torch": machine.TORCH_FACTS, "methods": offers.FETCH_ALL}
    programs |= {name: f"import {name}" for name in ("torchvision", *HOSTS) if find_spec(name) is not None}
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        probes = dict(zip(programs, pool.map(machine.probe, programs.values()), strict=True))
    yield machine.python()
    yield from machine.torch(probes["torch"])
    yield machine.torchvision(probes.get("torchvision"))
    for host in HOSTS.values():
        yield offers.host_framework(host, probes.get(host.name))
    if TORCHATTACKS.is_present():
        yield offers.requests_pin(machine.installed_version("requests"))
    yield machine.wordnet(os.environ)
    yield machine.disk(Path.cwd())
    yield from offers.broken_plugins()
    yield from offers.broken_methods(probes["methods"])
