"""Sphinx: pages in MyST Markdown, the API read from the source without importing it (no PyTorch, no host)."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

project = "interp-plugins"
author = copyright = "The interp-plugins developers"
release = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]

extensions = ["myst_parser", "sphinx.ext.napoleon", "autoapi.extension"]
exclude_patterns = ["_build"]
default_role = "code"  # docstrings write `name` with one backtick
highlight_language = "none"
html_theme = "furo"
html_title = f"interp-plugins {release}"

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

autoapi_dirs = [str(ROOT / "interp_plugins"), *(str(folder) for folder in sorted((ROOT / "adapters").glob("interp_*")))]
autoapi_root = "api"
autoapi_add_toctree_entry = False
autoapi_member_order = "bysource"
autoapi_options = ["members", "undoc-members", "special-members", "show-inheritance"]
autoapi_python_class_content = "class"
napoleon_numpy_docstring = False
napoleon_use_ivar = True  # fields that a class describes are not described twice

ALIGNED = re.compile(r"\A |\S {2,}\S|[├└]")  # indented, in columns, or a tree


def keep_aligned(app, what, name, obj, options, lines):
    """Show a module's equations and outlines as they are typed; its prose flows."""
    if what not in {"module", "package"}:
        return
    shown = []
    for paragraph in "\n".join(lines).split("\n\n"):
        if ALIGNED.search(paragraph):
            shown += ["::", "", *(f"    {line}" for line in paragraph.splitlines()), ""]
        else:
            shown += [*paragraph.splitlines(), ""]
    lines[:] = shown


def choose(app, what, name, obj, skip, options):
    """Show a method's settings and its call; leave out other special methods and bare constants."""
    own = name.rpartition(".")[2]
    if own.startswith("__"):
        return own != "__call__"
    return skip or (what == "data" and not obj.docstring)


def setup(app):
    app.connect("autoapi-skip-member", choose)
    app.connect("autodoc-process-docstring", keep_aligned)
