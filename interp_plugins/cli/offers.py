"""What `doctor` asks of the hosts and the plugins: are they there, do they import, and what did they do to requests."""

import json
from collections.abc import Iterator
from typing import Final

from interp_plugins.cli.machine import Finding, Probe, Status
from interp_plugins.hosts import TORCHATTACKS, Host, pip_line
from interp_plugins.loader import OURS
from interp_plugins.registry import lines

FETCH_ALL: Final = """
import json
from interp_plugins.hosts import fetch
from interp_plugins.registry import lines
wrong = {}
for line in lines():
    if line.status == "ready":
        try:
            fetch(line.method)
        except Exception as error:
            wrong[f"{line.name} ({line.host or line.plugin})"] = [line.distribution, f"{type(error).__name__}: {error}"]
print(json.dumps(wrong))
"""


def host_framework(host: Host, found: Probe | None) -> Finding:
    """Say whether a host is there and whether it imports; only importing it can tell."""
    if found is None or not host.is_present():
        return Finding(host.name, "note", "not installed", host.how_to_get())
    version = host.installed_version()
    if found.complaint:
        again = pip_line(f'install --force-reinstall --no-deps "{host.distribution}{host.version}"')
        return Finding(host.name, "failure", f"{version} is installed but broken: {found.complaint}", again)
    return Finding(host.name, "fine", f"{version}, imports")


def requests_pin(version: str | None) -> Finding:
    """Judge what torchattacks' pin has done to requests; torchattacks itself never imports it."""
    if version is not None and version.startswith("2.25."):
        alone = pip_line(f"install --no-deps '{TORCHATTACKS.distribution}{TORCHATTACKS.version}'")
        newer = pip_line("install --upgrade requests urllib3 idna")
        return Finding(
            "requests",
            "warning",
            f"{version}, years old and with known holes, because torchattacks pins it",
            f"{alone}, then {newer}; what pip says about the pin is harmless",
        )
    if version is None:
        return Finding("requests", "fine", "not installed; torchattacks asks for it and never uses it")
    return Finding("requests", "fine", f"{version}, newer than torchattacks asks for; harmless, it never uses it")


def broken_plugins() -> Iterator[Finding]:
    """Repeat what the list of plugins has to complain about, with what to do about it."""
    wrong = [line for line in lines() if line.status in ("failed", "duplicate", "unknown kind")]
    for line in wrong:
        status: Status = "failure" if line.status == "failed" else "warning"
        fix = _without(line.distribution) if line.distribution else "correct or unset INTERP_PLUGINS"
        yield Finding(f"plugin {line.name}", status, f"{line.status}: {line.reason}", fix)
    if not wrong:
        yield Finding("plugins", "fine", f"{sum(line.method is not None for line in lines())} methods are offered")


def broken_methods(found: Probe) -> Iterator[Finding]:
    """Name the methods that are offered and yet cannot be imported."""
    if found.complaint:
        yield Finding(
            "methods", "failure", f"cannot be imported: {found.complaint}", "repair what is named above first"
        )
        return
    wrong = json.loads(found.output.splitlines()[-1])
    by_cause: dict[tuple[str, str], list[str]] = {}
    for label, (distribution, message) in wrong.items():
        by_cause.setdefault((distribution, message), []).append(label)
    for (distribution, message), labels in by_cause.items():
        named = ", ".join(labels)
        yield Finding(f"methods {named}", "failure", f"cannot be imported: {message}", _without(distribution))
    if not wrong:
        yield Finding("methods", "fine", "all that are ready can be imported")


def _without(distribution: str) -> str:
    """Say how to go on without a distribution's plugins, or how to repair ours."""
    if distribution == OURS:
        return "repair what is named above first, else " + pip_line(f"install --force-reinstall --no-deps {OURS}")
    return f"{pip_line(f'uninstall {distribution}')}, or tell its authors; INTERP_PLUGINS= leaves outside plugins out"
