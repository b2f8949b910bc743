import math
import re
import runpy
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "training" / "objectives.md"


def test_the_python_of_the_page_on_objectives_runs(tmp_path, capsys):
    (tmp_path / "page.py").write_text("".join(re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)))
    runpy.run_path(str(tmp_path / "page.py"))
    distances, domains, begin, end = capsys.readouterr().out.splitlines()
    before, after = (float(number) for number in re.findall(r"\d\.\d+", distances))
    assert after < before
    assert all(float(number) > 0 for number in re.findall(r"\d\.\d+", domains))
    assert begin == f"margin {math.log(2):.4f}"
    assert float(end.split()[1]) < math.log(2)
