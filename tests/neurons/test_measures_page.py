import re
import runpy
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "measures.md"


def test_the_python_of_the_page_on_measures_runs(tmp_path, capsys):
    (tmp_path / "page.py").write_text("".join(re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)))
    runpy.run_path(str(tmp_path / "page.py"))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("LC tensor([0.8033, 0.5677]")  # the papers' small tree
    assert lines[1].endswith("of tensor([2, 2])")
    assert lines[-1] == "r_1, r_2 of 36 attacked images"
