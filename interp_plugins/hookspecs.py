"""What a plugin must offer: one function, `interp_methods`, that yields one record for each method.

A record names things by strings, so that listing what there is imports nothing of it. Our own methods enter by the
same hook (`interp_plugins.catalogue`, and each adapter's `__init__`).
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import pluggy

GROUP: Final = "interp_plugins"  # the entry-point group, and the name of the pluggy project
SPEC_VERSION: Final = 1  # the newest form of a record that this version understands
KINDS: Final = ("attack", "detector", "measure", "picture", "trainer")

hookspec = pluggy.HookspecMarker(GROUP)
hookimpl = pluggy.HookimplMarker(GROUP)

_TARGET = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")


@dataclass(frozen=True, kw_only=True)
class Method:
    """One method: what it is called, what it is for, and where its class lives.

    A kind that this version does not know is no error: a newer plugin may offer what an older core can only list.

    Args:
        name: the name of the class, the same in the core and in every host.
        kind: "attack", "detector", "measure", "picture" or "trainer".
        target: where the class is, as "module:Class".
        summary: one line for the list.
        host: the framework that the class is written for, or None when it needs torch alone.
        paper: where the method was published, such as "arXiv:1412.6572".
        spec_version: the form of this record; 1 is the only one so far.

    Raises:
        TypeError: when a field is not of its type.
        ValueError: when a field does not have its form.
    """

    name: str
    kind: str
    target: str
    summary: str
    host: str | None = None
    paper: str | None = None
    spec_version: int = 1

    def __post_init__(self) -> None:
        """Refuse a record that could not be listed or fetched later."""
        for field in ("name", "kind", "target", "summary", "host", "paper"):
            value = getattr(self, field)
            if not (isinstance(value, str) or (value is None and field in ("host", "paper"))):
                raise TypeError(f"expected {field} of a method to be a string, got {value!r}")
        if not isinstance(self.spec_version, int) or self.spec_version < 1:
            raise TypeError(f"expected spec_version of a method to be a whole number from 1, got {self.spec_version!r}")
        if not self.name.isidentifier():
            raise ValueError(f"expected the name of a method to be the name of a class, got {self.name!r}")
        if not _TARGET.fullmatch(self.target):
            raise ValueError(f"expected the target of {self.name} as 'module:Class', got {self.target!r}")
        if not self.kind.strip() or (self.host is not None and not self.host.isidentifier()):
            raise ValueError(f"expected a kind, and as host an importable name or None, for {self.name}; "
                             f"got kind {self.kind!r}, host {self.host!r}")  # fmt: skip
        if not self.summary.strip() or "\n" in self.summary:
            raise ValueError(f"expected the summary of {self.name} to be one line, got {self.summary!r}")


@hookspec
def interp_methods() -> Iterable[Method]:  # type: ignore[empty-body]
    """Yield one record for each method that the plugin offers, without importing what the records name."""
