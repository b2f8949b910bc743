"""Find the plugins, load each by itself, and keep what went wrong with each.

pluggy's own loader stops at the first plugin that raises and drops the second of two that share a name without a word.
Here the distributions are taken in a fixed order (ours first, then by name), what the user did not allow is never
imported, and whatever a plugin does wrong costs only that plugin.

Two environment variables are read:

- `INTERP_PLUGINS`: the entry points that may be loaded, comma-separated. Empty means none. What this distribution
  brings itself is always loaded.
- `INTERP_PLUGINS_TRACE=1`: each call of a hook is a line on stderr.
"""

import os
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib import import_module, metadata
from itertools import chain
from time import perf_counter
from types import ModuleType
from typing import Final, Literal, cast

import pluggy

from interp_plugins import hookspecs
from interp_plugins.hookspecs import GROUP, Method

ALLOWED: Final = "INTERP_PLUGINS"
TRACE: Final = "INTERP_PLUGINS_TRACE"
OURS: Final = "interp-plugins"


@dataclass(frozen=True, kw_only=True)
class Plugin:
    """One entry point, and what came of loading it.

    Args:
        name: the entry point's name.
        distribution: the distribution that brings it, "" when none does.
        version: that distribution's version.
        status: "loaded", or why there are no methods.
        reason: one line, "" when loaded.
        methods: the records it yields.
    """

    name: str
    distribution: str
    version: str
    status: Literal["loaded", "failed", "blocked", "duplicate"] = "loaded"
    reason: str = ""
    methods: tuple[Method, ...] = ()


def discover() -> tuple[Plugin, ...]:
    """Load every plugin that is installed and allowed, ours first; nothing that they raise comes through."""
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(hookspecs)
    plugins = {"catalogue": _load(manager, "catalogue", OURS, _our_version(), _our_catalogue)}
    rejected: list[Plugin] = []
    allowed = _allowed()
    for distribution, version, point in _entry_points():
        here = partial(Plugin, name=point.name, distribution=distribution, version=version)
        if point.name in plugins:
            first = plugins[point.name].distribution
            reason = f"{first} and {distribution} both bring an entry point {point.name!r}; that of {first} is used"
            rejected.append(here(status="duplicate", reason=reason))
        elif distribution != OURS and allowed is not None and point.name not in allowed:
            plugins[point.name] = here(status="blocked", reason=f"not named in {ALLOWED}")
        else:
            plugins[point.name] = _load(manager, point.name, distribution, version, point.load)
    for name in sorted((allowed or set()) - set(plugins)):
        reason = f"{ALLOWED} names it, but nothing that is installed brings an entry point {name!r}"
        rejected.append(Plugin(name=name, distribution="", version="", status="failed", reason=reason))
    return (*plugins.values(), *rejected)


def _load(
    manager: pluggy.PluginManager, name: str, distribution: str, version: str, load: Callable[[], object]
) -> Plugin:
    """Import one plugin, register it, and ask it for its records."""
    try:
        plugin = load()
        manager.register(plugin, name=name)
        manager.check_pending()  # else a misspelt hook would pass for one that is not meant for us
        records = _records(manager, plugin, f"{name} ({distribution} {version})")
    except (Exception, SystemExit) as error:
        if manager.get_plugin(name) is not None:
            manager.unregister(name=name)  # else its pending hook would condemn the plugins that follow
        reason = " ".join("".join(traceback.format_exception_only(error)).split())
        return Plugin(name=name, distribution=distribution, version=version, status="failed", reason=reason)
    return Plugin(name=name, distribution=distribution, version=version, methods=records)


def _records(manager: pluggy.PluginManager, plugin: object, label: str) -> tuple[Method, ...]:
    """Call this plugin's implementations of the hook, and no other's."""
    hook: pluggy.HookCaller = manager.hook.interp_methods
    implementations: list[pluggy.HookImpl] = [one for one in hook.get_hookimpls() if one.plugin is plugin]
    if not implementations:
        raise TypeError("expected a function interp_methods marked with interp_plugins.hookimpl, found none")
    began = perf_counter()
    records = tuple(chain.from_iterable(cast(Iterable[Method], one.function()) for one in implementations))
    for record in records:
        if not isinstance(record, Method):
            raise TypeError(f"expected interp_methods to yield Method records, got {record!r}")
    if os.environ.get(TRACE) == "1":
        names = ", ".join(record.name for record in records)
        sys.stderr.write(f"interp_methods() of {label}: {names} in {1e3 * (perf_counter() - began):.1f} ms\n")
    return records


def _entry_points() -> Iterator[tuple[str, str, metadata.EntryPoint]]:
    """Yield (distribution, version, entry point) in order; of one distribution found twice, the one Python imports."""
    found: dict[str, tuple[str, metadata.EntryPoints]] = {}
    for distribution in metadata.distributions():
        points = distribution.entry_points.select(group=GROUP)
        if points and "Name" in distribution.metadata:  # without a name it is the rest of an interrupted removal
            name = re.sub(r"[-_.]+", "-", distribution.metadata["Name"]).lower()
            found.setdefault(name, (distribution.version, points))
    for name in sorted(found, key=lambda name: (name != OURS, name)):
        version, points = found[name]
        for point in sorted(points, key=lambda point: point.name):
            yield name, version, point


def _allowed() -> set[str] | None:
    """The names in the allow-list, or None when there is no list."""
    words = os.environ.get(ALLOWED)
    return None if words is None else {word.strip() for word in words.split(",")} - {""}


def _our_catalogue() -> ModuleType:
    return import_module("interp_plugins.catalogue")


def _our_version() -> str:
    try:
        return metadata.version(OURS)
    except metadata.PackageNotFoundError:  # run from a source tree that was never installed
        return ""
