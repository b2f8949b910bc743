"""The benchmark of the start-up runs and divides the right things; how fast it is, no test asserts."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

FILE = Path(__file__).resolve().parents[1] / "benchmarks" / "startup.py"


@pytest.fixture
def startup() -> ModuleType:
    spec = importlib.util.spec_from_file_location("startup_benchmark", FILE)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_ratio_is_that_of_each_round_and_the_first_round_is_dropped(
    startup: ModuleType, monkeypatch: pytest.MonkeyPatch
):
    yardsticks = iter([1.0, 2.0, 4.0])
    monkeypatch.setattr(startup, "cpu_seconds", lambda words: next(yardsticks) if words == startup.YARDSTICK else 8.0)
    assert startup.ratios(2) == {name: [4.0, 2.0] for name in ("--help", "--version", "plugins")}


def test_the_cpu_time_is_that_of_the_process_that_was_started(startup: ModuleType):
    assert startup.cpu_seconds(["-c", "sum(range(10**7))"]) > startup.cpu_seconds(["-c", ""])


def test_the_benchmark_prints_a_line_for_each_command(startup: ModuleType, capsys: pytest.CaptureFixture[str]):
    startup.main(["1"])
    assert [line.split()[1] for line in capsys.readouterr().out.splitlines()[1:]] == ["--help", "--version", "plugins"]
