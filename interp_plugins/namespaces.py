"""Add our classes to a host's own namespace, for code that looks attacks up by name, and take them away again.

Neither torchattacks nor ART nor Captum has a registry. `install("torchattacks")` sets attributes on its module (and
lengthens its `__all__`), so that `getattr(torchattacks, "EnsembleOptimization")` works; a class keeps its own
`__module__`, so that its pickles load without `install`. Nothing happens on import, and only names that are new to the
host are added. Type checkers do not see names that are added this way; code that can, should import from the adapter
package instead.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType, TracebackType

from interp_plugins.errors import DuplicateMethod, HostMissing, UnknownMethod
from interp_plugins.hosts import HOSTS, Host
from interp_plugins.registry import get, methods, suggestion


@dataclass(frozen=True)
class _Addition:
    """One class on one module, and what it takes to undo it."""

    host: str
    module: ModuleType
    name: str
    value: object

    def make(self) -> None:
        setattr(self.module, self.name, self.value)
        exported = getattr(self.module, "__all__", None)
        if isinstance(exported, list) and self.name not in exported:
            exported.append(self.name)

    def undo(self) -> None:
        if getattr(self.module, self.name, None) is self.value:
            delattr(self.module, self.name)
        exported = getattr(self.module, "__all__", None)
        if isinstance(exported, list) and self.name in exported:
            exported.remove(self.name)


_additions: list[_Addition] = []


class Installed:
    """What one call of `install` added. As a context manager it takes just that away on leaving."""

    def __init__(self, additions: Sequence[_Addition]) -> None:
        self._additions = tuple(additions)

    @property
    def names(self) -> tuple[str, ...]:
        """The names that were added, each with its module."""
        return tuple(f"{addition.module.__name__}.{addition.name}" for addition in self._additions)

    def __repr__(self) -> str:
        return f"<installed: {', '.join(self.names) or 'nothing new'}>"

    def __enter__(self) -> "Installed":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _undo(self._additions)


def install(*hosts: str) -> Installed:
    """Add our classes for these hosts to the hosts' namespaces; all of them or, when one is refused, none.

    A second call adds nothing. The result is also a context manager:

        with interp_plugins.install("torchattacks"):
            attack = getattr(torchattacks, "EnsembleOptimization")

    Args:
        hosts: names of host frameworks, such as "torchattacks" and "art".

    Raises:
        UnknownMethod: when a host is not one we know.
        HostMissing: when a host is not installed; the message says what to type.
        DuplicateMethod: when the host has another object of that name.
        BrokenPlugin: when a class cannot be imported.
    """
    wanted = [addition for host in _known(hosts) for addition in _wanted(host)]
    new = [addition for addition in wanted if addition not in _additions]
    for addition in wanted:  # also those made before: reloading the host's module forgets its `__all__`
        addition.make()
    _additions.extend(new)
    return Installed(new)


def uninstall(*hosts: str) -> None:
    """Take our classes off these hosts' namespaces, or off all of them when none is named.

    Raises:
        UnknownMethod: when a host is not one we know.
    """
    names = {host.name for host in _known(hosts)} if hosts else set(HOSTS)
    _undo([addition for addition in _additions if addition.host in names])


def _known(hosts: Sequence[str]) -> list[Host]:
    if not hosts:
        raise ValueError(f"expected at least one host out of {', '.join(HOSTS)}, got none")
    for name in hosts:
        if name not in HOSTS:
            near = suggestion(name, HOSTS)
            raise UnknownMethod(f"expected a host out of {', '.join(HOSTS)}, got {name!r}{near}")
    return [HOSTS[name] for name in hosts]


def _wanted(host: Host) -> list[_Addition]:
    """What is to stand on the host's modules; refuses before anything is changed."""
    if not host.is_present():
        raise HostMissing(f"{host.name} is needed to install methods in it: {host.how_to_get()}", name=host.name)
    wanted = []
    for method in methods(host=host.name):
        if (place := host.namespaces.get(method.kind)) is None:
            continue
        module, value = import_module(place), get(method.name, host.name)
        if getattr(module, method.name, value) is not value:
            raise DuplicateMethod(
                f"{place} has another {method.name} already; use the one of {value.__module__} by importing it there"
            )
        wanted.append(_Addition(host.name, module, method.name, value))
    return wanted


def _undo(additions: Sequence[_Addition]) -> None:
    for addition in additions:
        addition.undo()
        if addition in _additions:
            _additions.remove(addition)
