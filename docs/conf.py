"""Sphinx: pages in MyST Markdown, the API read from the source without importing it (no PyTorch, no host)."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

project = "interp-plugins"
author = "The interp-plugins developers"
release = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]

extensions = ["myst_parser", "sphinx.ext.napoleon", "autoapi.extension"]
exclude_patterns = ["_build"]
default_role = "code"  # docstrings write `name` with one backtick
html_theme = "furo"
html_title = f"interp-plugins {release}"

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

autoapi_dirs = [str(ROOT / "interp_plugins"), *(str(folder) for folder in sorted((ROOT / "adapters").glob("interp_*")))]
autoapi_root = "api"
autoapi_add_toctree_entry = False
autoapi_member_order = "bysource"
autoapi_options = ["members", "show-inheritance"]
autoapi_python_class_content = "class"
napoleon_numpy_docstring = False


def show_plainly(app, what, name, obj, options, lines):
    """Keep what follows a module's first paragraph as it is typed: equations and outlines are plain text there."""
    if what not in {"module", "package"} or "" not in lines:
        return
    first = lines.index("")
    rest = lines[first + 1 :]
    if any(rest):
        lines[first:] = ["", ".. code-block:: text", "", *(f"   {line}" for line in rest), ""]


def setup(app):
    app.connect("autodoc-process-docstring", show_plainly)
