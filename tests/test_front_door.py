"""The front door: its names, that it is light, and that importing it changes no host."""

import re

import pytest
from outsiders import command, fresh

import interp_plugins
from interp_plugins.cli import COMMANDS, GROUPS

HEAVY = ("torch", "numpy", "pydantic", "networkx", "torchattacks", "art", "captum", "torchvision", "matplotlib")


def loaded_by(code: str) -> set[str]:
    """Which of the heavy packages a fresh interpreter has loaded after running the code."""
    return set(fresh(f"{code}\nimport sys\nprint(*(name for name in {HEAVY} if name in sys.modules))").split())


@pytest.mark.parametrize(
    "code",
    [
        "import interp_plugins",
        "import interp_plugins; interp_plugins.methods()",
        "import interp_plugins; interp_plugins.install, interp_plugins.uninstall, interp_plugins.__version__",
        "import interp_torchattacks, interp_art, interp_captum",
        "from interp_plugins.cli import main; assert main(['--help']) == 0",
        "from interp_plugins.cli import main; assert main(['--version']) == 0",
        "from interp_plugins.cli import main; assert main(['attack', '--help']) == 0",
        "from interp_plugins.cli import main; assert main(['plugins']) == 0",
        "from interp_plugins.cli import main; assert main(['plugins', '--json', '--failed']) == 0",
    ],
)
def test_the_light_part_loads_nothing_heavy(code: str):
    assert loaded_by(f"import contextlib, io\nwith contextlib.redirect_stdout(io.StringIO()):\n    {code}") == set()


def test_the_test_of_lightness_can_fail():
    assert "numpy" in loaded_by("import interp_plugins, numpy")


def test_everything_public_can_be_fetched():
    assert [name for name in interp_plugins.__all__ if getattr(interp_plugins, name) is None] == []


def test_the_public_names_are_the_promised_ones():
    assert interp_plugins.__all__ == ["Method", "__version__", "get", "hookimpl", "install", "methods", "uninstall"]


def test_the_public_names_are_offered_for_completion():
    assert set(interp_plugins.__all__) <= set(dir(interp_plugins))


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'interp_plugins' has no attribute 'method'"):
        interp_plugins.method  # noqa: B018


def test_the_command_without_words_prints_its_help():
    done = command("")
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "Usage: interp-plugins [OPTIONS] COMMAND [ARGS]...")


def test_the_command_prints_the_installed_version():
    assert command("--version").stdout == f"interp-plugins {interp_plugins.__version__}\n"


@pytest.mark.parametrize("name", GROUPS)
def test_every_group_that_help_lists_lists_its_commands(name: str):
    said = command(f"{name} --help").stdout
    assert said.splitlines()[0] == f"Usage: interp-plugins {name} [OPTIONS] COMMAND [ARGS]..."
    assert re.findall(r"^  (\S+)", said.partition("Commands:\n")[2], re.MULTILINE) == list(GROUPS[name])


@pytest.mark.parametrize(
    "name",
    [
        *(name for name in COMMANDS if name not in GROUPS),
        *(f"{group} {name}" for group in GROUPS for name in GROUPS[group]),
    ],
)
def test_every_command_that_help_lists_has_help_of_its_own(name: str):
    done = command(f"{name} --help")
    assert done.returncode == 0
    assert done.stdout.startswith(f"Usage: interp-plugins {name} [OPTIONS]")


def test_a_misspelt_command_is_one_sentence_that_suggests_the_nearest():
    done = command("plugin")
    assert done.returncode == 2
    assert done.stderr == (
        "interp-plugins: No such command 'plugin'. Did you mean 'plugins'? (see interp-plugins --help)\n"
    )


def test_a_misspelt_command_of_a_group_is_one_sentence_that_suggests_the_nearest():
    done = command("attack rum")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith("interp-plugins: No such command 'rum'. Did you mean 'run'?")


def test_a_misspelt_option_is_one_sentence():
    done = command("plugins --jsno")
    assert done.returncode == 2
    assert done.stderr.startswith("interp-plugins: No such option: --jsno")
    assert done.stderr.count("\n") == 1


# A command that ends as told, in the place of a real one: what the frame makes of it.
ENDS = """
import sys, types, typer
from interp_plugins import cli, errors

def broken() -> None:
    '''Raise.'''
    raise {raised}

sys.modules["interp_plugins.cli.broken"] = types.SimpleNamespace(broken=broken)
cli.COMMANDS["broken"] = "Raise."
sys.stdout = sys.stderr = sys.{stream}
print("code", cli.main({words}))
"""


@pytest.mark.parametrize(
    ("raised", "code", "sentence"),
    [
        ("ValueError('expected one, got two')", 2, "interp-plugins: expected one, got two"),
        ("TypeError('expected\\n  a tensor')", 2, "interp-plugins: expected a tensor"),
        ("errors.UnknownMethod('no such method')", 2, "interp-plugins: no such method"),
        ("FileNotFoundError(2, 'No such file', 'x.png')", 2, "interp-plugins: [Errno 2] No such file: 'x.png'"),
        ("errors.HostMissing('art is needed')", 3, "interp-plugins: art is needed"),
        ("errors.BrokenPlugin('it broke')", 3, "interp-plugins: it broke"),
        ("KeyboardInterrupt", 4, "interp-plugins: interrupted"),
        ("typer.Exit(1)", 1, None),
        ("OSError(28, 'No space left', 'x')", 1, "interp-plugins: [Errno 28] No space left: 'x'"),
        ("MemoryError('one tile is too much')", 1, "interp-plugins: one tile is too much"),
    ],
)
def test_how_a_command_ends_decides_the_exit_code_and_the_sentence(raised: str, code: int, sentence: str | None):
    said = fresh(ENDS.format(stream="stdout", raised=raised, words=["broken"])).splitlines()
    assert said == [*([sentence] if sentence else []), f"code {code}"]


def test_a_fault_of_ours_keeps_its_traceback():
    with pytest.raises(AssertionError, match=r"(?s)Traceback.*ZeroDivisionError: ours"):
        fresh(ENDS.format(stream="stderr", raised="ZeroDivisionError('ours')", words=["broken"]))


def test_the_traceback_of_a_users_mistake_is_shown_when_asked_for():
    said = fresh(ENDS.format(stream="stdout", raised="ValueError('expected one')", words=["--traceback", "broken"]))
    assert said.startswith("Traceback")
    assert said.endswith("interp-plugins: expected one\ncode 2\n")
