"""The numbers' file: intervals against published values, an oracle and laws; the file against crashes and strangers."""

import json
import os
from math import sqrt
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interp_plugins.report.results import Input, Results, Row, rate, schema

SCHEMA_FILE = Path(__file__).parents[2] / "docs" / "results.schema.json"


def wilson_by_bisection(k, n, z=1.959963984540054):
    """The two true rates q whose distance from k / n is exactly z of their own standard errors."""
    p = k / n

    def edge(inside, outside):
        for _ in range(200):
            q = (inside + outside) / 2
            if abs(p - q) <= z * sqrt(q * (1 - q) / n):
                inside = q
            else:
                outside = q
        return inside

    return edge(p, 0.0), edge(p, 1.0)


def results(**changes):
    fields = {
        "command": ("interp-plugins", "demo"),
        "settings": {"steps": 20, "members": [8, 14]},
        "versions": {"torch": "2.11"},
        "seed": 3,
        "inputs": (Input(name="images", sha256="0" * 64),),
        "rows": (rate("fooled", 9, 10), Row(name="rmse", value=2.5, method="median")),
    }
    return Results(**(fields | changes))


@pytest.mark.parametrize(
    ("k", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_the_interval_is_the_one_newcombe_printed_in_1998(k, n, low, high):
    row = rate("r", k, n)
    assert (round(row.low, 4), round(row.high, 4)) == (low, high)


@given(st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(1, max(1, n - 1)), st.just(max(2, n)))))
def test_the_interval_solves_the_equation_it_comes_from(counts):
    row = rate("r", *counts)
    assert (row.low, row.high) == pytest.approx(wilson_by_bisection(*counts), abs=1e-9)


@given(st.integers(1, 10**7).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_interval_holds_the_value_and_stays_in_the_box(counts):
    row = rate("r", *counts)
    assert 0 <= row.low <= row.value <= row.high <= 1


@given(st.integers(1, 10**7))
def test_nothing_and_everything_have_one_exact_end_and_one_open(n):
    nothing, everything = rate("r", 0, n), rate("r", n, n)
    assert (nothing.low, everything.high) == (0, 1)
    assert nothing.high > 0
    assert everything.low < 1


@given(st.integers(1, 1000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_interval_of_the_opposite_is_the_mirror_image(counts):
    k, n = counts
    row, opposite = rate("r", k, n), rate("r", n - k, n)
    assert (1 - row.high, 1 - row.low) == pytest.approx((opposite.low, opposite.high), abs=1e-12)


def test_a_rate_of_nothing_has_no_value_and_no_knowledge():
    row = rate("r", 0, 0)
    assert (row.value, row.low, row.high) == (None, 0, 1)


@pytest.mark.parametrize(("k", "n"), [(-1, 3), (4, 3)])
def test_impossible_counts_are_refused(k, n):
    with pytest.raises(ValueError, match=f"0 <= numerator <= denominator, got {k} of {n}"):
        rate("r", k, n)


def test_what_is_counted_goes_into_the_method():
    assert rate("r", 1, 2, of="images").method == "count of images, Wilson 95 % interval"


def test_written_results_come_back_equal(tmp_path):
    results().write(tmp_path / "results.json")
    assert Results.read(tmp_path / "results.json") == results()


def test_equal_results_are_equal_bytes():
    swapped = {"members": [8, 14], "steps": 20}
    assert results().to_json() == results(settings=swapped).to_json()


def test_a_failed_write_leaves_the_old_file_and_no_rubbish(tmp_path, monkeypatch):
    path = tmp_path / "results.json"
    results().write(path)
    before = path.read_bytes()

    def full(*_):
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space left"):
        results(seed=4).write(path)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["results.json"]


def test_the_file_can_be_read_by_whom_the_umask_allows(tmp_path):
    old = os.umask(0o022)
    try:
        results().write(tmp_path / "results.json")
    finally:
        os.umask(old)
    assert (tmp_path / "results.json").stat().st_mode & 0o777 == 0o644


def test_a_file_of_another_schema_version_is_refused_by_name(tmp_path):
    path = tmp_path / "results.json"
    path.write_text(json.dumps(json.loads(results().to_json()) | {"schema_version": 2}))
    with pytest.raises(ValueError, match=r"expected a results.json of schema version 1 at .*results.json"):
        Results.read(path)


def test_a_field_that_nobody_knows_is_refused(tmp_path):
    path = tmp_path / "results.json"
    path.write_text(json.dumps(json.loads(results().to_json()) | {"host": "me"}))
    with pytest.raises(ValueError, match="host"):
        Results.read(path)


def test_not_a_number_is_no_result():
    with pytest.raises(ValueError, match="finite"):
        Row(name="rmse", value=float("nan"), method="median")


def test_two_rows_of_one_name_are_refused():
    with pytest.raises(ValueError, match="every row to have a name of its own, got 'fooled' twice"):
        results(rows=(rate("fooled", 1, 2), rate("fooled", 2, 2)))


def test_a_value_outside_its_interval_is_refused():
    with pytest.raises(ValueError, match="expected low <= value <= high in row 'r'"):
        Row(name="r", value=0.9, low=0.1, high=0.5, method="count")


def test_one_count_without_the_other_is_refused():
    with pytest.raises(ValueError, match="expected both counts and both bounds or neither in row 'r'"):
        Row(name="r", value=0.9, numerator=9, method="count")


def test_only_a_rate_of_nothing_has_no_value():
    with pytest.raises(ValueError, match="expected a value in row 'r'"):
        Row(name="r", value=None, method="median")


def test_a_row_is_found_by_its_name():
    assert results().row("rmse").value == 2.5


def test_a_row_that_is_not_there_is_a_key_error():
    with pytest.raises(KeyError, match="linf"):
        results().row("linf")


def test_the_published_schema_is_the_one_the_program_writes():
    assert json.loads(SCHEMA_FILE.read_text()) == schema()
