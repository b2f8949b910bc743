"""The example that trains beside ART's own trainer runs, small."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

FILE = Path(__file__).resolve().parents[2] / "examples" / "adversarially_train_with_art.py"
SMALL = ["--training", "32", "--held-out", "16", "--size", "32", "--warm-up", "1", "--epochs", "1", "--steps", "1"]

pytestmark = pytest.mark.filterwarnings("ignore")  # of the host


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location(FILE.stem, FILE)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module


def test_our_trainers_train_beside_arts_own(example: ModuleType, capsys: pytest.CaptureFixture[str]):
    result = example.main(SMALL)
    assert list(result.clean) == list(result.attacked) == list(result.seconds)
    lines = capsys.readouterr().out.splitlines()
    assert [line[:20].strip() for line in lines] == [
        "not trained on", "ART's Madry, PGD", "consistent, PGD", "consistent, FGSM", "CORAL and MMD, FGSM"
    ]  # fmt: skip
    assert all(row.denominator == 16 for rows in (result.clean, result.attacked) for row in rows.values())
