"""The list of methods as a table and as JSON; in this process, on a list made up for it."""

import json

import pytest

from interp_plugins import Method, registry
from interp_plugins.cli import main
from interp_plugins.loader import Plugin


@pytest.fixture
def plugins(monkeypatch: pytest.MonkeyPatch) -> list[Plugin]:
    """A good plugin, one whose host is missing, a broken one and a blocked one."""
    good = Method(name="Good", kind="attack", target="a:Good", summary="it is good", paper="arXiv:1")
    lost = Method(name="Lost", kind="attack", target="a:Lost", summary="no host", host="no_host")
    made_up = [
        Plugin(name="one", distribution="one-dist", version="1.0", methods=(good, lost)),
        Plugin(name="two", distribution="two-dist", version="2.0", status="failed", reason="ValueError: no"),
        Plugin(
            name="three", distribution="three", version="3.0", status="blocked", reason="not named in INTERP_PLUGINS"
        ),
    ]
    monkeypatch.setattr(registry, "loaded", lambda: tuple(made_up))
    return made_up


@pytest.mark.usefixtures("plugins")
def test_the_table_has_a_row_for_each_method_and_then_for_each_plugin_without(capsys: pytest.CaptureFixture[str]):
    assert main(["plugins"]) == 0
    rows = capsys.readouterr().out.split("\n\n")[0].splitlines()
    assert [row.split() for row in rows] == [
        ["METHOD", "KIND", "HOST", "STATUS", "FROM"],
        ["Good", "attack", "-", "ready", "one-dist", "1.0"],
        ["Lost", "attack", "no_host", "host", "missing", "one-dist", "1.0"],
        ["two", "plugin", "-", "failed", "two-dist", "2.0"],
        ["three", "plugin", "-", "blocked", "three", "3.0"],
    ]


@pytest.mark.usefixtures("plugins")
def test_below_the_table_stands_the_reason_of_each_row_that_is_not_ready(capsys: pytest.CaptureFixture[str]):
    main(["plugins"])
    assert capsys.readouterr().out.split("\n\n")[1].splitlines() == [
        'Lost (no_host): pip install "no_host"',
        "two (two): ValueError: no",
        "three (three): not named in INTERP_PLUGINS",
    ]


@pytest.mark.usefixtures("plugins")
def test_only_what_went_wrong_is_shown_when_asked_for(capsys: pytest.CaptureFixture[str]):
    assert main(["plugins", "--failed", "--json"]) == 0
    assert [line["name"] for line in json.loads(capsys.readouterr().out)] == ["two"]


def test_that_nothing_went_wrong_is_said(plugins: list[Plugin], capsys: pytest.CaptureFixture[str]):
    del plugins[1:]
    assert main(["plugins", "--failed"]) == 0
    assert capsys.readouterr().out == "nothing went wrong\n"


@pytest.mark.usefixtures("plugins")
def test_a_line_of_the_json_is_one_flat_object(capsys: pytest.CaptureFixture[str]):
    main(["plugins", "--json"])
    assert json.loads(capsys.readouterr().out)[0] == {
        "name": "Good",
        "kind": "attack",
        "host": None,
        "status": "ready",
        "reason": "",
        "plugin": "one",
        "distribution": "one-dist",
        "version": "1.0",
        "summary": "it is good",
        "target": "a:Good",
        "paper": "arXiv:1",
    }
