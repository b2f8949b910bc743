"""Plugins for torchattacks and ART: attack an ensemble, and see whether what the neurons mean survives.

Importing this package loads no torch and no host; each name is fetched when it is first used.

Example:
    >>> import interp_plugins
    >>> [method.name for method in interp_plugins.methods(kind="attack", host="art")]
    ['EnsembleOptimization']
    >>> interp_plugins.get("PGD").__module__
    'interp_plugins.attacks.gradient'
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from interp_plugins.hookspecs import hookimpl as hookimpl
    from interp_plugins.namespaces import install as install
    from interp_plugins.namespaces import uninstall as uninstall
    from interp_plugins.registry import Method as Method
    from interp_plugins.registry import get as get
    from interp_plugins.registry import methods as methods

    __version__: str

__all__ = ["Method", "__version__", "get", "hookimpl", "install", "methods", "uninstall"]

_HOMES = {"Method": "registry", "get": "registry", "methods": "registry", "hookimpl": "hookspecs",
          "install": "namespaces", "uninstall": "namespaces"}  # fmt: skip


def __getattr__(name: str) -> Any:
    """Fetch a public name from its module (PEP 562), or the version from the installed distribution."""
    if name == "__version__":
        from importlib.metadata import version

        value: Any = version("interp-plugins")
    elif name in _HOMES:
        from importlib import import_module

        value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
