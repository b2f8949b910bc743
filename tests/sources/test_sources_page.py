import re
import runpy
from pathlib import Path

import numpy as np
from PIL import Image

PAGE = Path(__file__).parents[2] / "docs" / "sources.md"


def test_the_python_of_the_page_on_sources_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("photos/n02084071/7.png", "photos/n02084071/8.png", "cifar10/test_00.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (1280, 800)).save(tmp_path / name)
    np.save(tmp_path / "cifar10" / "labels.npy", np.zeros(51_000, np.int64))
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (tmp_path / "page.py").write_text("".join(blocks))
    runpy.run_path("page.py")
    assert capsys.readouterr().out.startswith("scenes/0/7 ")
    assert {"broden_scenes", "cifar10_test.npz"} <= {path.name for path in tmp_path.iterdir()}
