import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_the_python_of_the_page_on_influence_runs(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs" / "influence.md").read_text(encoding="utf-8")
    (tmp_path / "page.py").write_text("".join(re.findall(r"```python\n(.*?)```", page, re.DOTALL)))
    runpy.run_path(str(tmp_path / "page.py"))
    lines = capsys.readouterr().out.splitlines()
    assert lines[2:4] == ["known [4, 4, 4, 4]", "estimates (4, 8)"]
    assert lines[5].startswith("units of both")
    assert (tmp_path / "trace.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_the_benchmark_of_influence_runs_small_and_compares_the_numbers(monkeypatch):
    pytest.importorskip("torchvision")
    pytest.importorskip("captum")
    monkeypatch.syspath_prepend(ROOT)
    from benchmarks.influence import main

    shown = main(["--size", "32", "--rows", "64"])
    far = float(re.search(r"\| Captum \|.*\| (\S+) \|", shown)[1])
    assert far < 1e-3
