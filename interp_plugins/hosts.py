"""The host frameworks: is one installed, how does one get it, and how is a class fetched that needs it.

Nothing here imports a host to find out: `find_spec` and the installed distributions tell. Whether a host that is
present also works, only importing it can say, and that is `interp-plugins doctor`'s business.
"""

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from interp_plugins.errors import BrokenPlugin, HostMissing
from interp_plugins.hookspecs import Method


@dataclass(frozen=True, kw_only=True)
class Host:
    """A framework that methods can be written for.

    Args:
        name: the name it is imported by.
        distribution: the name it is installed by.
        version: the lower bound that is asked for when it is installed, such as ">=1.20".
        extra: whether `interp-plugins[name]` installs it.
        namespaces: for each kind of method, the module on which `install` sets our classes.
        remark: what else to know before installing it; "{no_deps}" stands for the line that installs it alone, and
            "{others}" for the one that installs what it then lacks.
    """

    name: str
    distribution: str
    version: str = ""
    extra: bool = False
    namespaces: Mapping[str, str] = field(default_factory=dict)
    remark: str = ""

    def is_present(self) -> bool:
        """Say whether both the package and its distribution are found; another project's package does not count."""
        return self.installed_version() is not None and find_spec(self.name) is not None

    def installed_version(self) -> str | None:
        """Return the distribution's version, or None when it is not installed."""
        try:
            return metadata.version(self.distribution)
        except metadata.PackageNotFoundError:
            return None

    def how_to_get(self) -> str:
        """Return the line to type, which inside a pipx environment is pipx's."""
        requirement = f'"{self.distribution}{self.version}"'
        if environment := pipx_environment():
            line = f"pipx inject {environment} {requirement}"
        else:
            line = f'pip install "interp-plugins[{self.name}]"' if self.extra else f"pip install {requirement}"
        return line + self.remark.format(
            others=pip_line("install scipy tqdm"), no_deps=pip_line(f"install --no-deps {requirement}")
        )


TORCHATTACKS: Final = Host(
    name="torchattacks",
    distribution="torchattacks",
    version=">=3.5.1",
    extra=True,
    namespaces={"attack": "torchattacks"},
    remark=", or, so that its pin of an old requests changes nothing: {others}, then {no_deps}",
)
ART: Final = Host(
    name="art",
    distribution="adversarial-robustness-toolbox",
    version=">=1.20",
    extra=True,
    namespaces={
        "attack": "art.attacks.evasion",
        "detector": "art.defences.detector.evasion",
        "trainer": "art.defences.trainer",
    },
)
CAPTUM: Final = Host(
    name="captum",
    distribution="captum",
    version=">=0.9",
    extra=True,
    namespaces={"attack": "captum.robust", "detector": "captum.metrics", "measure": "captum.metrics"},
)
HOSTS: Final = {host.name: host for host in (ART, CAPTUM, TORCHATTACKS)}


def host_called(name: str) -> Host:
    """Return the host of that name; one that only an outside plugin knows is taken to be installed by its own name."""
    return HOSTS.get(name) or Host(name=name, distribution=name)


def pipx_environment() -> str | None:
    """Return the name of the pipx environment that this Python belongs to, or None."""
    prefix = Path(sys.prefix)
    return prefix.name if (prefix / "pipx_metadata.json").is_file() else None


def pip_line(words: str) -> str:
    """Return the line that runs pip with these words in this environment."""
    environment = pipx_environment()
    return f"pipx runpip {environment} {words}" if environment else f"pip {words}"


def fetch(method: Method) -> Any:
    """Import the class that a record names.

    Raises:
        HostMissing: when its host is not installed. A host that is there but broken raises what it raises.
        BrokenPlugin: when the module has no such class.
    """
    module_name, _, class_name = method.target.partition(":")
    try:
        module = import_module(module_name)
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if method.host is None or missing != method.host or host_called(method.host).is_present():
            raise
        host = host_called(method.host)
        raise HostMissing(
            f"{host.name} is needed for {module_name.partition('.')[0]}.{class_name}: {host.how_to_get()}",
            name=host.name,
        ) from error
    try:
        return getattr(module, class_name)
    except AttributeError as error:
        raise BrokenPlugin(f"expected a class {class_name} in {module_name}, which has none") from error


def fetch_attribute(records: Iterable[Method], module_name: str, name: str) -> Any:
    """Answer a package's `__getattr__` from the records that it yields.

    Raises:
        AttributeError: when no record has that name.
        HostMissing: as `fetch`.
    """
    for method in records:
        if method.name == name:
            return fetch(method)
    raise AttributeError(f"module {module_name!r} has no attribute {name!r}")
