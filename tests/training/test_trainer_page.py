import re
import runpy
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "training" / "trainer.md"


def test_the_python_of_the_page_on_the_trainer_runs(tmp_path, capsys):
    (tmp_path / "page.py").write_text("".join(re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)))
    runpy.run_path(str(tmp_path / "page.py"))
    first, second, probed = capsys.readouterr().out.splitlines()
    assert re.match(r"epoch 1, classify \d\.\d+, consistent \d\.\d+, total \d\.\d+, clean .* of 16\), adv", first)
    assert second.startswith("epoch 2, ")
    assert re.search(r"total \d\.\d+, LC 0\.\d+$", probed)
