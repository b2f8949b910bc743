"""What there is: list the methods, fetch one, and say of each line what is the matter with it."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from functools import cache
from typing import Any, Literal

from interp_plugins.errors import BrokenPlugin, HostMissing, UnknownMethod
from interp_plugins.hookspecs import KINDS, SPEC_VERSION, Method
from interp_plugins.hosts import HOSTS, fetch, host_called
from interp_plugins.loader import Plugin, discover

__all__ = ["Line", "Method", "get", "lines", "methods", "suggestion"]

_UPGRADE = "a newer interp-plugins may know it"

Status = Literal["ready", "host missing", "failed", "blocked", "duplicate", "unknown kind"]


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of the list: a method, or a plugin that brought none.

    Args:
        name: the method's name, or the entry point's where there is no method.
        kind: the method's kind, or "plugin" where there is no method.
        host: the framework it is for, or None.
        status: whether it can be used.
        reason: why not and what to do about it, "" when it is ready.
        plugin: the entry point's name.
        distribution: the distribution that brings it.
        version: that distribution's version.
        method: the record, or None where there is no method.
    """

    name: str
    kind: str
    host: str | None
    status: Status
    reason: str
    plugin: str
    distribution: str
    version: str
    method: Method | None

    def as_json(self) -> dict[str, Any]:
        """Return the line as one flat object of strings and nulls."""
        record = asdict(self.method) if self.method else {"summary": None, "target": None, "paper": None}
        own = {key: value for key, value in asdict(self).items() if key != "method"}
        return own | {key: record[key] for key in ("summary", "target", "paper")}


@cache
def loaded() -> tuple[Plugin, ...]:
    """The plugins of this process; they are looked for once."""
    return discover()


def lines() -> list[Line]:
    """Return the whole list: methods sorted by name and host, then the plugins that brought none."""
    claims: dict[tuple[str, str | None], tuple[Plugin, Method]] = {}
    found, without = [], []
    for plugin in loaded():
        origin = {"plugin": plugin.name, "distribution": plugin.distribution, "version": plugin.version}
        for method in plugin.methods:
            keeper, kept = claims.setdefault((method.name, method.host), (plugin, method))
            status, reason = _status(method) if kept is method else _duplicate(method, keeper, plugin)
            found.append(Line(name=method.name, kind=method.kind, host=method.host, status=status, reason=reason,
                              method=method, **origin))  # fmt: skip
        if plugin.status != "loaded":
            without.append(Line(name=plugin.name, kind="plugin", host=None, status=plugin.status,
                                reason=plugin.reason, method=None, **origin))  # fmt: skip
    return sorted(found, key=lambda line: (line.name, line.host or "")) + without


def methods(kind: str | None = None, host: str | None = None) -> list[Method]:
    """Return the records, sorted by name and then host (the core's first).

    Left out are those of a kind this version does not know, and the second of two that claim one name.
    A method whose host is not installed is listed; fetching it says how to get the host.

    Args:
        kind: "attack", "detector", "measure", "picture" or "trainer"; all kinds by default.
        host: the name of a framework, such as "art"; all of them, and the core, by default.

    Raises:
        UnknownMethod: when there is no such kind or host.
    """
    known = _usable()
    if kind is not None and kind not in KINDS:
        raise UnknownMethod(f"expected a kind out of {', '.join(KINDS)}, got {kind!r}{suggestion(kind, KINDS)}")
    _check_host(host, known)
    return [method for method in known if kind in (None, method.kind) and host in (None, method.host)]


def get(name: str, host: str | None = None) -> Any:
    """Return the class of a method.

    Args:
        name: the name of the class, such as "EnsembleOptimization".
        host: the framework it is to be for, such as "art"; without one the core's own, which needs torch alone.

    Raises:
        UnknownMethod: when there is no such method; the message suggests the nearest.
        HostMissing: when the host is not installed; the message says what to type.
        BrokenPlugin: when the class cannot be imported.
    """
    known = _usable()
    _check_host(host, known)
    method = next((method for method in known if (method.name, method.host) == (name, host)), None)
    if method is None:
        raise UnknownMethod(_unknown(name, host, known))
    try:
        return fetch(method)
    except (HostMissing, BrokenPlugin):
        raise
    except Exception as error:
        raise BrokenPlugin(
            f"{name} could not be imported from {method.target.partition(':')[0]} ({type(error).__name__}: {error}); "
            "`interp-plugins doctor` looks for the cause"
        ) from error


def suggestion(word: str, words: Iterable[str]) -> str:
    """Return "; did you mean ...?" with the nearest of the words, or "" when none is near."""
    by_lower_case = {known.lower(): known for known in words}
    nearest = get_close_matches(word.lower(), by_lower_case, n=1, cutoff=0.5)
    return f"; did you mean {by_lower_case[nearest[0]]!r}?" if nearest else ""


def _usable() -> list[Method]:
    return [line.method for line in lines() if line.method is not None and line.status in ("ready", "host missing")]


def _status(method: Method) -> tuple[Status, str]:
    if method.spec_version > SPEC_VERSION:
        return "failed", f"its record has form {method.spec_version}, this version knows {SPEC_VERSION}: {_UPGRADE}"
    if method.kind not in KINDS:
        return "unknown kind", f"this version knows {', '.join(KINDS)}: {_UPGRADE}"
    if method.host is not None and not (host := host_called(method.host)).is_present():
        return "host missing", host.how_to_get()
    return "ready", ""


def _duplicate(method: Method, keeper: Plugin, plugin: Plugin) -> tuple[Status, str]:
    label = method.name if method.host is None else f"{method.name} for {method.host}"
    return "duplicate", (f"{keeper.name} ({keeper.distribution}) and {plugin.name} ({plugin.distribution}) both bring "
                         f"{label}; that of {keeper.name} is used")  # fmt: skip


def _check_host(host: str | None, known: list[Method]) -> None:
    hosts = sorted({*HOSTS, *(method.host for method in known if method.host)})
    if host is not None and host not in hosts:
        raise UnknownMethod(f"expected a host out of {', '.join(hosts)}, got {host!r}{suggestion(host, hosts)}")


def _unknown(name: str, host: str | None, known: list[Method]) -> str:
    """Say that there is no such method, where else it exists, or which is the nearest, and what failed to load."""
    place = f"for {host}" if host else "in the core"
    elsewhere = [method.host for method in known if method.name == name]
    if elsewhere:
        calls = " or ".join(f"get({name!r}, host={other!r})" if other else f"get({name!r})" for other in elsewhere)
        return f"there is no method {name!r} {place}; there is {calls}"
    failed = [plugin.name for plugin in loaded() if plugin.status in ("failed", "blocked")]
    hint = f"; not loaded: {', '.join(failed)} (see `interp-plugins plugins`)" if failed else ""
    near = suggestion(name, [method.name for method in known if method.host == host])
    return f"there is no method {name!r} {place}{near}{hint}"
