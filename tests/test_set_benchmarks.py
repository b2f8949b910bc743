"""The benchmarks of sets run small, and the projection counts as one does by hand."""

import json
from pathlib import Path

import pytest
import stored_world


def test_the_projection_multiplies_what_the_set_itself_took(tmp_path: Path):
    from benchmarks import projection

    there = stored_world.world(tmp_path)
    made = stored_world.write(there)
    runs = [{"seconds": 6.0, "processes": 2, "records": 4}, {"seconds": 16.0, "processes": 1, "records": 10}]
    (made.folder / "run.json").write_text(json.dumps({"runs": runs}))
    # (6 x 2 + 16) / 14 = 2 core seconds a record; two networks of one 12 x 5 matrix: 2 x 2 x 60 operations a pass
    assert projection.core_seconds(made.folder) == 2
    assert projection.operations(there.modules(), made.manifest.shape) == 240
    row = projection.line(made.folder, records=86_400, teraflops=1e-6, cores=4)
    passes = 240 * 3 * 3 * 86_400
    paper = f"8 x 8 | 3 | {passes / 1e15:.1f} | {passes / 1e6 / 60:.1f} | 0.0"
    assert row == f"| first, second | 2.00 | 2.0 | 0.50 | {paper} |"


@pytest.mark.slow
def test_cost_and_reading_are_measured_small(tmp_path: Path):
    pytest.importorskip("torchvision")
    from benchmarks import store

    told: list[str] = []
    work = store.Work(tmp_path, ("squeezenet1_1",), count=4, targets=2, steps=1, size=32)
    work.write(4)
    cost = store.cost(work, 1, lambda number, name: told.append(name))
    assert "not run" not in cost
    assert cost.count("\n| ") == 3
    reading = store.reading(tmp_path, 20, 16, 1, lambda number, name: told.append(name))
    assert reading.count("| 1.0 |") == 2  # PNGs against PNGs
    assert "verify" in told


def test_the_set_that_is_only_read_holds_what_it_says(tmp_path: Path):
    from benchmarks.store import noise_set

    made = noise_set(tmp_path / "set", 20, 8)
    assert made.finished(deep=True) == list(range(made.manifest.shards))
    assert sum(len(made.read(number).ids) for number in made.finished()) == 2
