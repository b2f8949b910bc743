"""Write installed-looking plugins into a folder, and ask fresh interpreters about them."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ONE_METHOD = """
from interp_plugins import Method, hookimpl

@hookimpl
def interp_methods():
    yield Method(name="{name}", kind="attack", target="math:prod", summary="for a test")
"""


def add_plugin(
    folder: Path, module: str, code: str, *, entry: str | None = None, distribution: str | None = None
) -> None:
    """Put one module, and the metadata that a package installer would write for it, into a folder."""
    (folder / f"{module}.py").write_text(code)
    distribution = distribution or module
    metadata = folder / f"{distribution.replace('-', '_')}-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[interp_plugins]\n{entry or module} = {module}\n")


def fresh(code: str, *folders: Path, **environment: str) -> str:
    """Run code in a fresh interpreter that sees the folders as well, and return what it printed."""
    return _run(["-c", code], folders, environment, check=True).stdout


def command(words: str, *folders: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m interp_plugins` with these words in a fresh interpreter."""
    return _run(["-m", "interp_plugins", *words.split()], folders, environment, check=False)


def listed(*folders: Path, **environment: str) -> dict[str, dict[str, Any]]:
    """What `plugins --json` says, by the name of the plugin and the method's name."""
    found = json.loads(command("plugins --json", *folders, **environment).stdout)
    return {f"{line['plugin']}:{line['name']}" if line["kind"] != "plugin" else line["plugin"]: line for line in found}


def _run(
    words: list[str], folders: tuple[Path, ...], environment: dict[str, str], check: bool
) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("INTERP_PLUGINS")}
    path = os.pathsep.join(map(str, folders))
    done = subprocess.run(
        [sys.executable, *words],
        capture_output=True,
        text=True,
        env={**inherited, "PYTHONPATH": path, **environment},
    )
    if check and done.returncode:
        raise AssertionError(done.stderr)
    return done
