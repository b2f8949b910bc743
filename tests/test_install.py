"""Adding our classes to a host's namespace: only when asked, only names that are new, and undone again."""

import sys
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import pytest
from outsiders import fresh

import interp_plugins
from interp_plugins import hosts, namespaces
from interp_plugins.errors import DuplicateMethod, HostMissing, UnknownMethod


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """A stand-in for torchattacks, so that the rules are tested where no host is installed."""
    module = ModuleType("torchattacks")
    module.__all__ = ["PGD"]  # type: ignore[attr-defined]
    module.__spec__ = ModuleSpec("torchattacks", loader=None)
    classes = {"EnsembleOptimization": type("EnsembleOptimization", (), {}), "PredictedLabelFGSM": type("B", (), {})}
    monkeypatch.setitem(sys.modules, "torchattacks", module)
    monkeypatch.setattr(hosts.Host, "installed_version", lambda self: "3.5.1")
    monkeypatch.setattr(namespaces, "get", lambda name, host: classes[name])
    yield module
    interp_plugins.uninstall()


def test_installing_adds_our_names_and_lengthens_all(host: ModuleType):
    interp_plugins.install("torchattacks")
    assert host.EnsembleOptimization.__name__ == "EnsembleOptimization"
    assert host.__all__ == ["PGD", "EnsembleOptimization", "PredictedLabelFGSM"]


def test_installing_says_what_it_added(host: ModuleType):
    installed = interp_plugins.install("torchattacks")
    assert installed.names == ("torchattacks.EnsembleOptimization", "torchattacks.PredictedLabelFGSM")
    assert repr(installed).startswith("<installed: torchattacks.EnsembleOptimization, ")


def test_installing_twice_changes_nothing_more(host: ModuleType):
    interp_plugins.install("torchattacks")
    before = dict(vars(host)), list(host.__all__)
    assert interp_plugins.install("torchattacks").names == ()
    assert (dict(vars(host)), host.__all__) == before


def test_installing_again_repairs_what_a_reload_forgot(host: ModuleType):
    interp_plugins.install("torchattacks")
    host.__all__ = ["PGD"]  # type: ignore[attr-defined]
    interp_plugins.install("torchattacks")
    assert "EnsembleOptimization" in host.__all__


def test_uninstalling_leaves_the_host_as_it_was(host: ModuleType):
    before = dict(vars(host)), list(host.__all__)
    interp_plugins.install("torchattacks")
    interp_plugins.uninstall("torchattacks")
    assert (dict(vars(host)), host.__all__) == before


def test_uninstalling_without_a_name_takes_all_away(host: ModuleType):
    interp_plugins.install("torchattacks")
    interp_plugins.uninstall()
    assert not hasattr(host, "EnsembleOptimization")


def test_uninstalling_leaves_alone_what_somebody_else_put_there(host: ModuleType):
    interp_plugins.install("torchattacks")
    host.EnsembleOptimization = "theirs"  # type: ignore[attr-defined]
    interp_plugins.uninstall("torchattacks")
    assert host.EnsembleOptimization == "theirs"


def test_as_a_context_manager_it_undoes_itself_also_after_an_error(host: ModuleType):
    with pytest.raises(AttributeError, match="no attribute 'NoSuchAttack'"), interp_plugins.install("torchattacks"):
        host.EnsembleOptimization().NoSuchAttack  # noqa: B018
    assert not hasattr(host, "EnsembleOptimization")


def test_an_inner_context_leaves_what_an_outer_call_installed(host: ModuleType):
    interp_plugins.install("torchattacks")
    with interp_plugins.install("torchattacks"):
        pass
    assert hasattr(host, "EnsembleOptimization")


def test_a_name_that_the_host_uses_for_something_else_is_refused_and_nothing_is_added(host: ModuleType):
    host.PredictedLabelFGSM = "theirs"  # type: ignore[attr-defined]
    with pytest.raises(DuplicateMethod, match="torchattacks has another PredictedLabelFGSM already"):
        interp_plugins.install("torchattacks")
    assert not hasattr(host, "EnsembleOptimization")


def test_an_unknown_host_is_answered_with_the_nearest():
    with pytest.raises(
        UnknownMethod, match="expected a host out of art, captum, torchattacks, got 'torchatacks'; did you mean"
    ):
        interp_plugins.install("torchatacks")


def test_installing_into_no_host_is_refused():
    with pytest.raises(ValueError, match="expected at least one host out of art, captum, torchattacks, got none"):
        interp_plugins.install()


def test_installing_into_a_missing_host_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(hosts.Host, "is_present", lambda self: False)
    with pytest.raises(
        HostMissing, match=r"art is needed to install methods in it: pip install \"interp-plugins\[art\]"
    ):
        interp_plugins.install("art")


# In a fresh interpreter the host is hidden as if it had never been installed.
HIDE = """
import sys
from importlib import metadata

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "{module}":
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Hidden())
found = metadata.version
def version(name):
    if name == "{distribution}":
        raise metadata.PackageNotFoundError(name)
    return found(name)
metadata.version = version
"""

FETCH = """
try:
    from {package} import EnsembleOptimization
except ImportError as error:
    print(type(error).__name__, error.name, "|", error)
"""


@pytest.mark.parametrize(
    ("module", "distribution", "line"),
    [
        ("art", "adversarial-robustness-toolbox", 'pip install "interp-plugins[art]"'),
        ("captum", "captum", 'pip install "interp-plugins[captum]"'),
        ("torchattacks", "torchattacks", 'pip install "interp-plugins[torchattacks]"'),
    ],
)
def test_a_class_whose_host_is_missing_says_what_to_type(module: str, distribution: str, line: str):
    package = f"interp_{module}"
    said = fresh(HIDE.format(module=module, distribution=distribution) + FETCH.format(package=package))
    assert said.startswith(f"HostMissing {module} | {module} is needed for {package}.EnsembleOptimization: {line}")


def test_for_torchattacks_the_cure_of_its_pin_is_mentioned():
    said = fresh(
        HIDE.format(module="torchattacks", distribution="torchattacks") + FETCH.format(package="interp_torchattacks")
    )
    assert 'pip install --no-deps "torchattacks>=3.5.1"' in said


@pytest.mark.parametrize("line", ["raise ImportError('libfoo.so is missing')", "import no_such_module"])
def test_a_host_that_is_there_but_broken_is_not_called_missing(tmp_path: Path, line: str):
    package = tmp_path / "torchattacks"
    package.mkdir()
    (package / "__init__.py").write_text(line)
    metadata = tmp_path / "torchattacks-3.5.1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: torchattacks\nVersion: 3.5.1\n")
    said = fresh(FETCH.format(package="interp_torchattacks"), tmp_path)
    assert said.startswith(
        ("ImportError None | libfoo.so is missing", "ModuleNotFoundError no_such_module | No module")
    )


def test_an_adapter_has_no_names_but_its_own():
    import interp_art

    with pytest.raises(AttributeError, match="module 'interp_art' has no attribute 'Ensemble'"):
        interp_art.Ensemble  # noqa: B018


def test_inside_a_pipx_environment_the_line_is_pipxs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    prefix = tmp_path / "interp-plugins"
    prefix.mkdir()
    (prefix / "pipx_metadata.json").write_text("{}")
    monkeypatch.setattr(sys, "prefix", str(prefix))
    assert hosts.ART.how_to_get() == 'pipx inject interp-plugins "adversarial-robustness-toolbox>=1.20"'
    assert 'pipx runpip interp-plugins install --no-deps "torchattacks>=3.5.1"' in hosts.TORCHATTACKS.how_to_get()


def test_another_projects_package_of_a_hosts_name_is_not_taken_for_it(tmp_path: Path):
    (tmp_path / "art.py").write_text("")
    hidden = HIDE.format(module="nothing", distribution="adversarial-robustness-toolbox")
    assert fresh(hidden + "from interp_plugins.hosts import ART\nprint(ART.is_present())", tmp_path) == "False\n"


@pytest.mark.host
@pytest.mark.parametrize(
    ("host", "place", "module"),
    [
        ("torchattacks", "torchattacks", "interp_torchattacks.attacks"),
        ("art", "art.attacks.evasion", "interp_art.attacks"),
        ("captum", "captum.robust", "interp_captum.perturbations"),
    ],
)
def test_the_real_host_finds_our_class_by_its_name(host: str, place: str, module: str):
    pytest.importorskip(host)
    code = (
        f"import importlib, interp_plugins\nplace = importlib.import_module({place!r})\n"
        f"with interp_plugins.install({host!r}):\n    print(place.EnsembleOptimization.__module__)\n"
        "print(hasattr(place, 'EnsembleOptimization'))"
    )
    assert fresh(code).split() == [module, "False"]
