import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_the_python_of_the_page_on_exemplars_runs_and_both_ways_find_the_same(tmp_path, capsys):
    page = (ROOT / "docs" / "exemplars.md").read_text(encoding="utf-8")
    (tmp_path / "page.py").write_text("".join(re.findall(r"```python\n(.*?)```", page, re.DOTALL)))
    told = runpy.run_path(str(tmp_path / "page.py"))
    first = told["found"]["0"]
    assert capsys.readouterr().out.startswith(f"0 {first.ids[0].tolist()} 256\n")
    # the one-call way works on a channels-last copy, whose last bits differ
    same = (told["exemplars"]["0"].values - first.values).abs().max()
    assert float(same) < 1e-4


def test_the_benchmark_of_exemplars_runs_small_and_says_which_peer_is_missing(monkeypatch, tmp_path):
    pytest.importorskip("torchvision")
    monkeypatch.syspath_prepend(ROOT)
    monkeypatch.setenv("INTERP_PEERS", str(tmp_path))
    from benchmarks.exemplars import main

    shown = main(["--images", "1", "--rows", "1", "--size", "64", "--samples", "300", "--units", "9", "--rounds", "1"])
    for name in ("interp-plugins |", "bare forward |", "interp-plugins, batches of 50 |"):
        assert f"\n| {name}" in f"\n{shown}"
    assert "| dissect, one pass | not run: FileNotFoundError: no checkout of dissect" in shown
