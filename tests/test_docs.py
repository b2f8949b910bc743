"""The docs say what is there: a page for each method, quotations that exist, README's sessions as they are printed."""

import ast
import doctest
import importlib
import re
from pathlib import Path
from typing import Any

import pytest

import interp_plugins
from interp_plugins.cli import COMMANDS

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(page for page in DOCS.rglob("*.md") if "_build" not in page.parts and "api" not in page.parts)
TYPED = sorted([*PAGES, *ROOT.glob("*.md")])
# plugins of others have their own docs
OWN = ("interp_plugins.", "interp_torchattacks.", "interp_art.", "interp_captum.")

HOST = re.compile(r"^(?:>>>|\.\.\.)\s+(?:import|from)\s+interp_(torchattacks|art|captum)\b", re.MULTILINE)


def records() -> list[interp_plugins.Method]:
    """The records of this distribution."""
    return [method for method in interp_plugins.methods() if method.target.startswith(OWN)]


def sessions(text: str) -> list[str]:
    """The fenced Python blocks of a page that show a session."""
    return [block for block in re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL) if ">>>" in block]


def examples() -> list[tuple[str, str, str]]:
    """Module, name and docstring of whatever shows a session in the source.

    Read from the syntax tree: doctest's own finder passes by functions that the shape checker has wrapped.
    """
    found: list[tuple[str, str, str]] = []
    for folder in (ROOT, ROOT / "adapters"):
        for file in sorted(folder.glob("interp_*/**/*.py")):
            module = ".".join(file.relative_to(folder).with_suffix("").parts).removesuffix(".__init__")
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ">>>" in (
                    ast.get_docstring(node) or ""
                ):
                    found.append((module, getattr(node, "name", module), ast.get_docstring(node) or ""))
    return found


def failures(session: str, known: dict[str, Any] | None = None) -> str:
    """What a session printed otherwise than it says; empty when all is as said."""
    found: list[str] = []
    example = doctest.DocTestParser().get_doctest(session, dict(known or {}), "session", None, 0)
    doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE).run(example, out=found.append)
    return "".join(found)


README = sessions((ROOT / "README.md").read_text(encoding="utf-8"))


def test_every_record_has_a_reference_page_and_every_page_a_record():
    assert {page.stem for page in (DOCS / "reference").glob("*.md")} == {method.name.lower() for method in records()}


@pytest.mark.parametrize("name", sorted({method.name for method in records()}))
def test_a_reference_page_is_headed_by_the_name_of_its_method(name: str):
    heading = (DOCS / "reference" / f"{name.lower()}.md").read_text(encoding="utf-8").splitlines()[0]
    assert heading.replace("`", "") == f"# {name}"


@pytest.mark.parametrize("name", sorted({method.name for method in records()}))
def test_a_reference_page_names_the_paper_of_its_method(name: str):
    page = (DOCS / "reference" / f"{name.lower()}.md").read_text(encoding="utf-8")
    papers = {method.paper for method in records() if method.name == name and method.paper}
    assert [paper for paper in papers if paper.removeprefix("arXiv:") not in page] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(DOCS).as_posix())
def test_a_page_quotes_files_that_exist(page: Path):
    quoted = re.findall(r"\{(?:literalinclude|include|image|figure)\}\s+(\S+)", page.read_text(encoding="utf-8"))
    assert [target for target in quoted if not (page.parent / target).is_file()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(DOCS).as_posix())
def test_a_page_quotes_between_marks_that_exist(page: Path):
    quotations = re.findall(r"\{literalinclude\}\s+(\S+)\n((?::.*\n)*)", page.read_text(encoding="utf-8"))
    missing = [
        (target, mark)
        for target, options in quotations
        for mark in re.findall(r':(?:start-after|end-before): "?([^"\n]+)"?', options)
        if mark not in (page.parent / target).read_text(encoding="utf-8")
    ]
    assert missing == []


@pytest.mark.parametrize("page", TYPED, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_a_page_tells_to_type_what_exists(page: Path):
    text = page.read_text(encoding="utf-8")
    code = "\n".join(
        block or word for block, word in re.findall(r"^```(?:sh|console)\n(.*?)^```|`([^`\n]+)`", text, re.M | re.S)
    )
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert set(re.findall(r"^\$? ?make ([a-z]+)", code, re.MULTILINE)) <= set(targets)
    assert set(re.findall(r"^\$? ?interp-plugins ([a-z]+)", code, re.MULTILINE)) <= set(COMMANDS)


def test_recipes_show_no_python_but_quotations():
    written = [page.name for page in (DOCS / "recipes").glob("*.md") if "```python" in page.read_text(encoding="utf-8")]
    assert written == []


@pytest.mark.parametrize("host", ["torchattacks", "art", "captum"])
def test_the_readme_shows_a_session_for_the_host(host: str):
    assert [session for session in README if host in HOST.findall(session)]


@pytest.mark.parametrize("session", README, ids=lambda session: session.splitlines()[0].removeprefix(">>> "))
def test_a_session_of_the_readme_prints_what_it_says(session: str):
    for host in HOST.findall(session):
        pytest.importorskip(host)
    if said := failures(session):
        pytest.fail(said)


@pytest.mark.parametrize(
    ("module", "name", "session"), [pytest.param(*case, id=".".join(case[:2])) for case in examples()]
)
def test_an_example_in_the_source_prints_what_it_says(module: str, name: str, session: str):
    if module.startswith("interp_") and not module.startswith("interp_plugins"):
        pytest.importorskip(module.partition(".")[0].removeprefix("interp_"))
    if said := failures(session, vars(importlib.import_module(module))):
        pytest.fail(said)


def test_a_session_that_prints_something_else_is_found_out():
    (session,) = sessions("text\n```python\n>>> 1 + 1\n3\n```\n")
    assert "Expected:\n    3\nGot:\n    2" in failures(session)
