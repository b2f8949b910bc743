"""The benchmark of remedies: which commands it runs in which order, that it goes on, and the table it makes of them."""

import json
import os
import re
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from interp_plugins.report.results import Input, Results, Row, rate

ROOT = Path(__file__).resolve().parents[1]
# stands in for a command: its words are the file that finishes it, a code to end with, and seconds to work
FAKE = """
import pathlib, sys, time
out, code, seconds = pathlib.Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
print("working", flush=True)
time.sleep(seconds)
if not code:
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(str(len(list(out.parents[1].glob("*/results.json")))))
sys.exit(code)
"""


@pytest.fixture(autouse=True)
def benchmarks_are_found(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(ROOT)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch):
    """Commands that only write a file."""
    from benchmarks import errands

    monkeypatch.setattr(errands, "COMMAND", (sys.executable, "-c", FAKE))


def errand(out: Path, code: int = 0, seconds: float = 0, needs: tuple[Any, ...] = ()):
    from benchmarks.errands import Job

    return Job(out, (str(out / "results.json"), str(code), str(seconds)), needs=needs)


def worker():
    from benchmarks.errands import Worker

    return Worker(Console(stderr=True))


def planned(out: Path, **settings: Any):
    from benchmarks.remedies import Plan, jobs

    return {str(job): job for job in jobs(Plan(data="CIFAR", **{"segmentation": "BRODEN", **settings}), out)}


def results(file: Path, rows: tuple[Row, ...], **inputs: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Results(
        command=("interp-plugins",),
        settings={},
        versions={"torch": "2"},
        seed=0,
        inputs=tuple(Input(name=f"weights of {name}", sha256=digest * 64) for name, digest in inputs.items()),
        rows=rows,
    ).write(file)


def test_a_seed_is_done_with_all_objectives_before_the_next_begins(tmp_path: Path):
    from benchmarks.remedies import OBJECTIVES

    names = list(planned(tmp_path, seeds=2))
    assert names[:6] == [*(f"train {name}_0" for name in OBJECTIVES), "set 0"]
    assert max(place for place, name in enumerate(names) if name.endswith("0")) < names.index("train standard_1")


def test_what_a_command_needs_stands_before_it(tmp_path: Path):
    order = list(planned(tmp_path).values())
    assert all(order.index(need) < place for place, job in enumerate(order) for need in job.needs)


def test_networks_of_a_seed_differ_in_objective_and_attack_alone(tmp_path: Path):
    found = planned(tmp_path)
    told = {}
    for name in ("standard", "fgsm", "consistent", "pgd"):
        words = list(found[f"train {name}_1"].words)
        told[name] = words[words.index("--objective") + 1 : words.index("--limit")]
        del words[words.index("--objective") : words.index("--limit")]
        assert [word.replace(name, "NAME") for word in words] == [
            word.replace("uda", "NAME") for word in _without_attack(found["train uda_1"].words)
        ]
    assert told == {
        "standard": ["standard"],
        "fgsm": ["fgsm", "--attack", "fgsm:4/255"],
        "consistent": ["consistent", "--attack", "fgsm:4/255", "--weight", "10"],
        "pgd": ["pgd", "--attack", "pgd:4/255:7"],
    }


def _without_attack(words: tuple[str, ...]) -> list[str]:
    return [*words[: words.index("--objective")], *words[words.index("--limit") :]]


def after(option: str, words: tuple[str, ...]) -> list[str]:
    """What follows an option, each time it is given."""
    return [words[place + 1] for place, word in enumerate(words) if word == option]


def test_all_networks_of_a_seed_see_one_set_of_the_standard_network(tmp_path: Path):
    found = planned(tmp_path, beside=("other.py:net",))
    standard, other = after("--model", found["set 2"].words)
    assert standard.endswith(f"@{tmp_path}/train/standard_2/model.safetensors")
    assert other == "other.py:net"
    seeing = [job.words for name, job in found.items() if name.startswith("neurons") and name.endswith("_2")]
    assert [after("--adversarial", words) for words in seeing] == [[f"{tmp_path}/set/2"]] * 5


def test_every_word_is_an_option_of_its_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    from interp_plugins.cli import main

    for name, job in planned(tmp_path, seeds=1).items():
        assert main([*job.words[:2], "--help"]) == 0
        known = set(re.findall(r"--[a-z-]+", capsys.readouterr().out))
        assert {word for word in job.words if word.startswith("--")} <= known, name


def test_autoattack_is_left_to_the_first_seeds_and_masks_may_be_missing(tmp_path: Path):
    steps = [name.split(maxsplit=1) for name in planned(tmp_path, segmentation=None, autoattack_seeds=2)]
    assert {network[-1] for step, network in steps if step == "autoattack"} == {"0", "1"}
    assert "dissect" not in dict(steps)


def test_a_command_runs_after_those_it_needs_and_once(tmp_path: Path, fake: None):
    first = errand(tmp_path / "step" / "first", seconds=0.3)
    second = errand(tmp_path / "step" / "second", needs=(first,))
    assert worker().run_all([first, second], 2) == []
    assert (second.out / "results.json").read_text() == "1"  # it saw the first one's
    began = (first.out / "results.json").stat().st_mtime_ns
    assert worker().run_all([first, second], 2) == []
    assert (first.out / "results.json").stat().st_mtime_ns == began


def test_a_failure_says_where_to_look_and_stops_only_what_needs_it(tmp_path: Path, fake: None):
    broken = errand(tmp_path / "train" / "broken", code=3)
    others = [errand(tmp_path / "judge" / "broken", needs=(broken,)), errand(tmp_path / "train" / "whole")]
    log = tmp_path / "train" / "broken.log"
    assert worker().run_all([broken, *others], 1) == [
        f"train broken: ended with code 3; see {log}", "judge broken: needs train broken first"
    ]  # fmt: skip
    assert log.read_text() == "working\n"
    assert others[1].finished


def test_an_interruption_ends_the_commands_that_run(tmp_path: Path, fake: None):
    running, jobs = worker(), [errand(tmp_path / "train" / name, seconds=60) for name in ("one", "two")]

    def stop() -> None:
        while not running.running:
            time.sleep(0.01)

        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=stop).start()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        running.run_all(jobs, 1)
    assert time.monotonic() - began < 30
    assert not (tmp_path / "train" / "two.log").exists()


def test_a_folder_of_other_options_is_refused(tmp_path: Path):
    from benchmarks.remedies import main

    job = planned(tmp_path, seeds=1)["train fgsm_0"]
    job.out.parent.mkdir(parents=True)
    job.note.write_text(json.dumps(job.words))
    words = ["--data", "CIFAR", "--out", str(tmp_path), "--seeds", "1", "--step", "judge", "--only", "uda"]
    with pytest.raises(SystemExit, match=r"holds train fgsm_0, begun with other options; give them, or another folder"):
        main(words)


def test_an_interruption_says_how_to_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from benchmarks import errands, remedies

    def interrupted(*_given: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(errands.Worker, "run_all", interrupted)
    with pytest.raises(SystemExit, match="interrupted; type the same again to go on"):
        remedies.main(["--data", "CIFAR", "--out", str(tmp_path)])


def test_the_mean_over_seeds_lies_between_the_smallest_and_the_largest():
    from benchmarks.remedied import pooled

    row = pooled("pgd/r1", [Row(name="r1/all", value=value, method="mean") for value in (1.5, 1.0, 2.0)])
    assert row == Row(
        name="pgd/r1", value=1.5, low=1.0, high=2.0, method="mean of 3 networks, smallest to largest; each: mean"
    )


def test_rates_of_seeds_count_all_images_together():
    from benchmarks.remedied import pooled

    row = pooled("pgd/clean", [rate("a", 5, 10), rate("b", 8, 10)])
    assert (row.value, row.numerator, row.denominator, row.low, row.high) == (0.65, 13, 20, 0.5, 0.8)


def test_one_network_keeps_the_interval_of_its_command():
    from benchmarks.remedied import pooled

    alone = rate("pgd_0/autoattack:4/255/top-1", 215, 500)
    assert pooled("pgd/AutoAttack", [alone]) == alone.model_copy(update={"name": "pgd/AutoAttack"})


def test_what_no_network_has_is_undefined():
    from benchmarks.remedied import pooled

    none = Row(name="r1", value=None, numerator=0, denominator=0, method="mean")
    assert pooled("pgd/r1", [none, none]).value is None
    assert pooled("pgd/r1", [none, Row(name="r1", value=2, method="mean")]).value == 2


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    """A folder in which two objectives are judged, and one has its detectors."""
    for network, clean, digest in (("standard_0", 700, "a"), ("standard_1", 740, "b"), ("pgd_0", 600, "c")):
        rates = [rate(f"{network}/{attack}/top-1", clean // part, 1000) for attack, part in
                 (("clean", 1), ("fgsm:4/255", 2), ("pgd:4/255:20", 4))]  # fmt: skip
        results(tmp_path / "judge" / network / "results.json", tuple(rates), **{network: digest})
    rows = []
    for images in ("clean", "attacked"):
        rows += [rate(f"{kind}/layer3/{images}/all", 8, 64) for kind in ("ratio", "chance")]
        rows += [Row(name=f"{kind}/layer3/{images}", value=3, method="labels") for kind in ("unique", "chance unique")]
    results(tmp_path / "dissect" / "pgd_0" / "results.json", tuple(rows))
    return tmp_path


def gathered(folder: Path) -> Results:
    from benchmarks.remedied import gathered

    plan = {"data": "/secret/CIFAR", "beside": ["/secret/nets.py:net"], "seeds": 2, "epsilon": "4/255"}
    return gathered(folder, ("standard", "uda", "pgd"), plan)


def test_what_there_is_becomes_a_table_with_a_column_for_each_objective(finished: Path):
    from benchmarks.tables import remedies

    assert remedies([gathered(finished)]).splitlines()[:6] == [
        "|  | standard | uda | pgd |",
        "|---|---|---|---|",
        "| clean | 72.0 % (1,440/2,000), 70.0 to 74.0 | not run | 60.0 % (600/1,000), 56.9 to 63.0 |",
        "| FGSM | 36.0 % (720/2,000), 35.0 to 37.0 | not run | 30.0 % (300/1,000), 27.2 to 32.9 |",
        "| PGD-20 | 18.0 % (360/2,000), 17.5 to 18.5 | not run | 15.0 % (150/1,000), 12.9 to 17.3 |",
        "| detectors, clean | not run | not run | 12.5 % (8/64), 6.5 to 22.8 |",
    ]


def test_a_page_gets_the_table_at_its_mark(finished: Path):
    from benchmarks.tables import remedies, renew

    found = gathered(finished)
    found.write(finished / "remedies.json")
    (finished / "page.md").write_text("Before\n<!-- remedies: remedies.json -->\nold\n<!-- end -->\nAfter\n")
    assert renew(finished / "page.md") == (
        f"Before\n<!-- remedies: remedies.json -->\n{remedies([found])}<!-- end -->\nAfter\n"
    )


def test_the_result_names_every_judged_network_and_no_folder(finished: Path):
    found = gathered(finished)
    assert {each.name: each.sha256[0] for each in found.inputs} == {
        "weights of standard_0": "a", "weights of standard_1": "b", "weights of pgd_0": "c"
    }  # fmt: skip
    assert found.settings["sets fool, too"] == ["nets.py:net"]
    assert not re.search("secret", found.to_json())
