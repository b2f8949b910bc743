"""The command `interp-plugins`; the same as `python -m interp_plugins`.

How a command is added: write `interp_plugins/cli/NAME.py` with a function `NAME(...)` whose parameters are typer
options and whose docstring is the command's help, and add one line to `COMMANDS` below. A dash in the command's name is
an underscore in the module's and the function's. The module is imported only when its command is typed, so that
`--help` and `--version` stay quick whatever the commands need.

A group of commands is a folder `interp_plugins/cli/GROUP/`, a line in `COMMANDS` and a dictionary of lines in `GROUPS`;
its commands are written as any other, in `interp_plugins/cli/GROUP/NAME.py`.

A command returns nothing when all went well, and otherwise raises. `typer.Exit(code)` ends it with that code; for the
other exceptions the table below holds. What a user got wrong is one sentence on stderr and never a traceback
(`interp-plugins --traceback NAME ...` shows it after all); what is left over is our own fault and keeps its traceback.

====  ===============================  =================================================================
code  meaning                          raised as
====  ===============================  =================================================================
0     fine
1     the run failed                   MemoryError, any other OSError; `typer.Exit(1)`, or, with its
                                       traceback, any exception that is not in this table
2     wrong usage or bad input         ValueError, TypeError, UnknownMethod, DuplicateMethod,
                                       LayerNotReached, FileNotFoundError and their like, typer's errors
3     the environment is not right     HostMissing, BrokenPlugin
4     interrupted, and can be resumed  KeyboardInterrupt
====  ===============================  =================================================================
"""

import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Annotated, Any

import typer

from interp_plugins.errors import BrokenPlugin, HostMissing, InterpError

COMMANDS = {
    "demo": "Attack networks trained on a small drawn world; write one page.",
    "plugins": "List the methods, where they come from, and what is wrong.",
    "doctor": "Check this machine and say how to repair what is not right.",
    "attack": "Make, check, export and show adversarial sets.",
    "neurons": "Measure what a network's neurons mean, and whether they still do under attack.",
    "dissect": "Find the concepts that a network's units point at, and what an attack takes of them.",
    "train": "Train networks on clean and attacked images, and judge what came out.",
}

GROUPS = {
    "attack": {
        "run": "Attack images, and keep the result as a set that can be resumed and verified.",
        "verify": "Measure a set again from its bytes, and compare with what it says.",
        "export": "Write a set as PNGs, webdataset's tars or parquet tables.",
        "show": "Draw one image of a set, its change, and what the networks say.",
    },
    "neurons": {
        "run": "Measure every unit of a network on real and on attacked images.",
        "trace": "Draw which units carried the decision about an image, and what they stand for.",
        "detect": "Tell attacked images from clean ones by what the units say of them.",
    },
    "dissect": {
        "run": "Find the concept that each unit points at, on clean and on attacked images.",
        "show": "Draw the images that excite a unit most, and the region it lights in each.",
        "check": "Read every file of labelled images, and name each fault.",
        "convert": "Write images and masks in the layout of Broden.",
    },
    "train": {
        "run": "Train a network on clean and attacked images, and keep the best one.",
        "evaluate": "Count what networks withstand: FGSM, PGD, AutoAttack.",
    },
}

FAILED = 1
USAGE = 2
ENVIRONMENT = 3
INTERRUPTED = 4
TYPERS_INTERRUPT = 130  # typer turns a KeyboardInterrupt into this code before we see it
BAD_INPUT = (ValueError, TypeError, InterpError, FileNotFoundError, FileExistsError, NotADirectoryError,
             IsADirectoryError, PermissionError)  # fmt: skip


def main(words: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Args:
        words: the arguments without the program's name; those of this process by default.
    """
    words = list(sys.argv[1:] if words is None else words) or ["--help"]
    try:
        command = typer.main.get_command(_application(_wanted(words)))
        code = command.main(words, prog_name="interp-plugins", standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        code = TYPERS_INTERRUPT
    except typer.TyperException as error:
        return _complain(f"{error.format_message()} (see interp-plugins --help)", USAGE)
    except (HostMissing, BrokenPlugin) as error:
        return _complain(error, ENVIRONMENT, words)
    except BAD_INPUT as error:
        return _complain(error, USAGE, words)
    except (OSError, MemoryError) as error:
        return _complain(error, FAILED, words)
    if code == TYPERS_INTERRUPT:
        return _complain("interrupted", INTERRUPTED)
    return code if isinstance(code, int) else 0


def _wanted(words: Sequence[str]) -> tuple[str, ...]:
    """The command that is typed, with its group: the first words that are no options (none of theirs take a value)."""
    plain = [word for word in words if not word.startswith("-")]
    return tuple(plain[: 2 if plain and plain[0] in GROUPS else 1])


def _application(wanted: tuple[str, ...]) -> typer.Typer:
    """The typer application in which only the wanted command is real; the others are a name and a line of help."""
    # typer imports pydantic to make a bool of a `--help` that was not typed, unless it is told what that means.
    no_help: dict[str, object] = {"help": False}
    defaults = {name: no_help | dict.fromkeys(GROUPS.get(name, ()), no_help) for name in COMMANDS}
    application = _typer("interp-plugins", context_settings={"default_map": no_help | defaults})
    application.callback()(_options)
    for name, line in COMMANDS.items():
        if name in GROUPS:
            group = _typer(name, help=line)
            group.callback()(_no_options)
            _add(group, (name,), GROUPS[name], wanted)
            application.add_typer(group)
        else:
            _add(application, (), {name: line}, wanted)
    return application


def _typer(name: str, **settings: Any) -> typer.Typer:
    # Without rich's markup the help is plain text, and printing it does not import rich.
    return typer.Typer(name=name, add_completion=False, rich_markup_mode=None, **settings)


def _add(application: typer.Typer, above: tuple[str, ...], lines: dict[str, str], wanted: tuple[str, ...]) -> None:
    for name, line in lines.items():
        path = (*above, name)
        application.command(name, short_help=line)(_function(path) if path == wanted else _not_wanted)


def _function(path: tuple[str, ...]) -> Callable[..., None]:
    names = [name.replace("-", "_") for name in path]
    function: Callable[..., None] = getattr(import_module(".".join(("interp_plugins.cli", *names))), names[-1])
    return function


def _no_options() -> None:
    """Stand above the commands of a group, which has no options of its own."""


def _not_wanted() -> None:
    """Stand for a command whose module is not imported this time."""


def _say_version(asked: bool) -> bool:
    if asked:
        from interp_plugins import __version__

        typer.echo(f"interp-plugins {__version__}")
        raise typer.Exit
    return asked


def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Print the version and stop.")
    ] = False,
    traceback: Annotated[bool, typer.Option("--traceback", help="Show where an error came from.")] = False,
) -> None:
    """Does what a vision network's neurons mean survive an attack?

    Exit codes: 0 fine, 1 the run failed, 2 wrong usage or bad input, 3 the environment is not right, 4 interrupted.
    """


def _complain(problem: Exception | str, code: int, words: Sequence[str] = ()) -> int:
    """Put one sentence on stderr, after the traceback where `--traceback` stands before the command."""
    before_command = words[: words.index(_wanted(words)[0])] if _wanted(words) else []
    if isinstance(problem, Exception) and "--traceback" in before_command:
        from traceback import print_exception

        print_exception(problem)
    sentence = " ".join(str(problem).split()) or type(problem).__name__
    typer.echo(f"interp-plugins: {sentence}", err=True)
    return code
