"""`attack run`: what it makes, what it refuses, and that neither batches nor processes change a bit."""

import io
import json
import os
import shlex
from collections.abc import Callable, Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import attack_world
import numpy as np
import pytest
import torch
from attack_world import bits, finished, here, words
from rich.console import Console

from interp_plugins.attacks import EnsembleOptimization
from interp_plugins.cli import launching, main
from interp_plugins.cli.attack import making, progress
from interp_plugins.cli.attack.request import Request
from interp_plugins.foundation.distributed import Place
from interp_plugins.report.results import Results
from interp_plugins.store.generate import Generator
from interp_plugins.store.sets import AdversarialSet


@pytest.fixture
def world(tmp_path: Path) -> Path:
    return attack_world.build(tmp_path)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished set in a world of its own; tests leave it as it is."""
    world = attack_world.build(tmp_path_factory.mktemp("world"))
    here(words(world, world / "set"))
    return world


def refused(capsys: pytest.CaptureFixture[str], given: list[str], code: int = 2) -> str:
    """The one sentence with which the command refuses."""
    assert main(given) == code
    said = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("running the code in")]
    assert len(said) == 1, said
    return said[0]


def test_a_run_leaves_a_sealed_set_of_every_image_and_target(done: Path):
    found = AdversarialSet.open(done / "set")
    assert found.missing(deep=True) == []
    assert (found.manifest.shards, found.manifest.targets, len(found.manifest.data.ids)) == (8, 4, 16)
    assert found.manifest.digest == found.digest()


def test_the_manifest_names_the_data_absolutely_and_the_models_as_typed(done: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(done)
    given = words(Path("."), done / "relative", limit=2)
    here(given)
    manifest = AdversarialSet.open(done / "relative").manifest
    assert manifest.data.spec == str(done / "images.npz")
    assert [(member.name, member.spec) for member in manifest.members] == [
        ("first", "./nets.py:first"),
        ("second", "./nets.py:second"),
    ]


def test_two_networks_of_one_name_are_told_apart(world: Path):
    given = words(world, world / "set", "--model", f"{world}/nets.py:first", limit=2)
    here(given)
    names = [member.name for member in AdversarialSet.open(world / "set").manifest.members]
    assert names == ["first (1)", "second", "first (3)"]


def test_the_summary_ends_with_the_command_that_measures_again(world: Path, capsys: pytest.CaptureFixture[str]):
    here(words(world, world / "set", limit=2))
    said = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in said[:3]] == ["first", "second", "all members at once"]
    assert said[-1] == f"Measure it again: interp-plugins attack verify {world / 'set'}"


def test_the_results_count_what_the_flags_say(world: Path, capsys: pytest.CaptureFixture[str]):
    capsys.readouterr()
    here(words(world, world / "set", "--json"))
    found = Results.model_validate_json(capsys.readouterr().out)
    made = AdversarialSet.open(world / "set")
    shards = [made.read(number) for number in range(made.manifest.shards)]
    fooled = torch.cat([shard.fooled for shard in shards])
    before = torch.cat([shard.fooled_before for shard in shards])
    expected = {
        "success/first": fooled[..., 0],
        "success/second": fooled[..., 1],
        "success/all members at once": fooled.all(2),
        "before rounding/first": before[..., 0],
        "before rounding/second": before[..., 1],
        "before rounding/all members at once": before.all(2),
    }
    counts = {row.name: (row.numerator, row.denominator) for row in found.rows}
    assert counts == {name: (int(flags.sum()), 16 * 4) for name, flags in expected.items()}
    assert found.settings["set"] == made.manifest.digest
    assert found == Results.read(world / "set" / "results.json")
    assert 0 < counts["success/all members at once"][0] < 16 * 4


def test_run_json_notes_each_run_and_decides_nothing(world: Path):
    out = world / "set"
    here(words(world, out))
    made = bits(out)
    here(words(world, out, "--resume", batch_size=64))
    runs = json.loads((out / "run.json").read_text())["runs"]
    assert [(run["records"], run["processes"], run["batch_size"]) for run in runs] == [(64, 1, None), (0, 1, 64)]
    assert bits(out) == made


@pytest.mark.parametrize("batch", [8, 64])
def test_the_batch_size_changes_no_bit(done: Path, world: Path, batch: int):
    here(words(world, world / "set", batch_size=batch))
    assert bits(world / "set") == bits(done / "set")


def test_two_nodes_that_share_a_folder_make_the_same_bits(done: Path, world: Path, monkeypatch: pytest.MonkeyPatch):
    out = world / "set"
    for rank in range(2):
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("WORLD_SIZE", "2")
        here(words(world, out))
        assert (AdversarialSet.open(out).manifest.digest is None) == (rank == 0)  # the last one seals
    assert bits(out) == bits(done / "set")


def test_one_of_two_nodes_makes_only_its_share(world: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    here(words(world, world / "set"))
    assert AdversarialSet.open(world / "set").finished() == list(range(0, 8, 2))


@pytest.mark.slow
@pytest.mark.parametrize(("processes", "batch"), [(2, 8), (4, 64)])
def test_neither_processes_nor_batches_change_a_bit(done: Path, world: Path, processes: int, batch: int):
    said = attack_world.run(words(world, world / "set", processes=processes, batch_size=batch))
    assert bits(world / "set") == bits(done / "set")
    assert said.splitlines()[-1].startswith("Measure it again")
    assert json.loads((world / "set" / "run.json").read_text())["runs"][0]["processes"] == processes


@pytest.mark.slow
def test_two_nodes_at_the_same_time_wait_for_the_first_and_end_with_one_summary(done: Path, world: Path):
    given = words(world, world / "set")
    second = attack_world.start(given, RANK="1", WORLD_SIZE="2")  # before there is a set
    first = attack_world.start(given, RANK="0", WORLD_SIZE="2")
    said = [process.communicate(timeout=120) for process in (first, second)]
    assert [process.returncode for process in (first, second)] == [0, 0], said
    assert sum("Measure it again" in out for out, _ in said) == 1
    assert bits(world / "set") == bits(done / "set")


@pytest.mark.slow
def test_the_command_runs_under_torchrun(done: Path, world: Path):
    import subprocess
    import sys

    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    given = [*torchrun, "-m", "interp_plugins", *words(world, world / "set", processes=7)]
    ended = subprocess.run(given, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("Measure it again") == 1
    assert bits(world / "set") == bits(done / "set")


def test_a_folder_that_holds_a_set_needs_resume(done: Path, capsys: pytest.CaptureFixture[str]):
    said = refused(capsys, words(done, done / "set"))
    assert said.endswith("set holds a set already; add --resume to go on with it, or name another folder")


def test_another_run_is_refused_and_what_differs_is_listed(done: Path, capsys: pytest.CaptureFixture[str]):
    said = refused(capsys, words(done, done / "set", "--resume", steps=6, seed=9, tile=16))
    for difference in ("steps: 5 in the set, 6 asked for", "seed: 0 in the set, 9 asked for", "tile: 8 in the set, 16"):
        assert difference in said


def test_images_that_changed_are_named(world: Path, capsys: pytest.CaptureFixture[str]):
    here(words(world, world / "set", limit=4))
    with np.load(world / "images.npz") as file:
        pictures, labels = file["images"], file["labels"]
    pictures[2, 0, 0, 0] ^= 1
    np.savez(world / "images.npz", images=pictures, labels=labels)
    said = refused(capsys, words(world, world / "set", "--resume", limit=4))
    assert "images: 1 of 4 have other bytes ('images/00002')" in said


def test_weights_that_changed_are_told_by_the_member_they_belong_to(world: Path, capsys: pytest.CaptureFixture[str]):
    here(words(world, world / "set", limit=4))
    nets = world / "nets.py"
    nets.write_text(nets.read_text().replace("Net(2)", "Net(3)"))
    said = refused(capsys, words(world, world / "set", "--resume", limit=4))
    assert "member 2: weights" in said
    assert "member 1" not in said


def test_a_later_process_compares_what_it_has_with_the_set(
    done: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert "steps: 5 in the set, 6 asked for" in refused(capsys, words(done, done / "set", steps=6))
    assert "images: 16 in the set, 3 asked for" in refused(capsys, words(done, done / "set", limit=3))


def test_a_process_that_waits_in_vain_says_for_whom(
    world: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(making, "PATIENCE", 0.0)
    said = refused(capsys, words(world, world / "set"))
    assert "expected the process of rank 0 to begin a set in" in said
    assert "within 0 seconds" in said


def test_broken_shards_are_named_and_made_again_and_the_others_are_kept(
    done: Path, world: Path, capsys: pytest.CaptureFixture[str]
):
    out = world / "set"
    here(words(world, out))
    whole, before = bits(out), finished(out)
    cut, altered = out / "shards" / "00003.safetensors", out / "shards" / "00006.safetensors"
    cut.write_bytes(cut.read_bytes()[:-5])
    altered.write_bytes(altered.read_bytes()[:-1] + bytes([altered.read_bytes()[-1] ^ 1]))
    capsys.readouterr()
    here(words(world, out, "--resume"))
    said = [line for line in capsys.readouterr().err.splitlines() if line.endswith("it is made again")]
    assert ["00003.safetensors" in said[0], "00006.safetensors" in said[1], len(said)] == [True, True, 2]
    assert bits(out) == whole == bits(done / "set")
    changed = {name for name, when in finished(out).items() if when != before[name]}
    assert {Path(name).stem for name in changed} == {"00003", "00006"}


class Stop:
    """In place of a generator's `make`: an interruption after so many shards."""

    def __init__(self, after: int, error: type[BaseException] = KeyboardInterrupt) -> None:
        self.after, self.error, self.make = after, error, Generator.make

    def __call__(self, generator: Generator, numbers: Any, watch: Any) -> None:
        self.make(generator, list(numbers)[: self.after], watch)
        raise self.error


def test_an_interruption_keeps_what_is_finished_and_prints_the_command_that_goes_on(
    done: Path, world: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    out = world / "set"
    with monkeypatch.context() as patched:
        stop = Stop(after=3)
        patched.setattr(Generator, "make", lambda self, numbers, watch: stop(self, numbers, watch))
        said = refused(capsys, words(world, out), code=4)
    assert "interrupted; 3 of 8 shards are finished and kept; go on with: interp-plugins attack run " in said
    before = finished(out)
    assert main(shlex.split(said.partition("go on with: interp-plugins ")[2])) == 0
    assert {name: finished(out)[name] for name in before} == before
    assert bits(out) == bits(done / "set")


def test_an_interruption_before_the_set_was_begun_says_so(
    world: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def stop(*anything: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(making, "begin", stop)
    said = refused(capsys, words(world, world / "set"), code=4)
    assert said == "interp-plugins: interrupted before the set was begun; type the same command again"


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"targets": "likely:3"}, "expected targets as least-likely:K, random:K or fixed:CLASS,CLASS, got 'likely:3'"),
        ({"step_size": "5/"}, "expected --step-size as a number or a fraction such as 8/255, got '5/'"),
        ({"epsilon": "8/0"}, "expected --epsilon as a number or a fraction such as 8/255, got '8/0'"),
        ({"limit": 17}, "expected --limit of at most 16, the images in "),
        ({"processes": "many"}, "expected --processes auto or a number of at least 1, got 'many'"),
        ({"processes": "0"}, "expected --processes auto or a number of at least 1, got '0'"),
        ({"device": "tpu"}, "expected --device auto, cpu or cuda, got 'tpu'"),
        ({"fusion": "sum"}, "expected fusion "),
        ({"data": "nowhere"}, "no images at nowhere"),
    ],
)
def test_an_option_that_makes_no_sense_is_one_sentence(
    done: Path, capsys: pytest.CaptureFixture[str], unchecked: None, options: dict[str, object], sentence: str
):
    assert sentence in refused(capsys, words(done, done / "new", **options))
    assert not (done / "new").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_a_sentence(done: Path, capsys: pytest.CaptureFixture[str]):
    said = refused(capsys, words(done, done / "new", device="cuda"))
    assert "expected a GPU for --device cuda, torch finds none; interp-plugins doctor says why" in said


def test_the_words_of_a_request_leave_out_what_is_as_by_default():
    request = Request(model=["a.py:f", "b.py:g"], data="d d", out=Path("o"), steps=3, balance=True)
    typed = "--model a.py:f --model b.py:g --data 'd d' --out o --steps 3 --balance"
    assert request.words() == shlex.split(typed)
    assert request.to_resume() == f"interp-plugins attack run {typed} --resume"


def test_the_defaults_of_the_command_are_those_of_the_attack():
    request, attack = Request(model=["m"], data="d", out=Path("o")), EnsembleOptimization()
    assert request.method(8) == EnsembleOptimization(tile=8)
    assert attack.tile is None


def test_the_command_and_the_request_have_the_same_options_with_the_same_defaults():
    from inspect import Parameter, signature

    from interp_plugins.cli.attack.run import run

    typed = {name: option.default for name, option in signature(run).parameters.items()}
    known = {field.name: field.default for field in fields(Request)}
    assert {n: None if d is Parameter.empty else d for n, d in typed.items()} == {
        n: None if d is MISSING else d for n, d in known.items()
    }


def test_auto_is_a_process_for_each_core_that_may_be_used(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 3, 5}, raising=False)
    assert launching.processes_for("auto", torch.device("cpu")) == 3


def test_auto_is_a_process_for_each_gpu_and_each_has_its_own(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert launching.processes_for("auto", torch.device("cuda", 0)) == 4
    assert launching.device_for("auto", Place(rank=6, world=8, local=2)) == torch.device("cuda", 2)
    assert launching.device_for("cpu", Place()) == torch.device("cpu")


def test_the_bar_counts_finished_shards_and_those_under_way(done: Path, tmp_path: Path):
    here(words(done, tmp_path / "set", limit=6))
    made = AdversarialSet.open(tmp_path / "set")
    for number in (1, 2):
        (tmp_path / "set" / "shards" / f"{number:05d}.json").unlink()
    folder = tmp_path / "set" / progress.FOLDER
    folder.mkdir()
    (folder / "0-of-2").write_text("1 5")
    (folder / "1-of-2").write_text("0 8")  # finished since
    (folder / "0-of-3").write_text("2 3")  # of an earlier run
    assert progress.records_done(made, 2) == 8 + 5


def test_the_bar_is_shown_on_a_terminal_only(done: Path):
    made = AdversarialSet.open(done / "set")
    for terminal in (True, False):
        said = io.StringIO()
        with progress.shown(made, 1, Console(file=said, force_terminal=terminal)):
            pass
        assert ("64/64" in said.getvalue()) is terminal


def test_the_end_is_claimed_by_one(tmp_path: Path):
    (tmp_path / progress.FOLDER).mkdir()
    assert [progress.claim_the_end(tmp_path) for _ in range(3)] == [True, False, False]
    assert list(tmp_path.iterdir()) == []


def test_a_worker_whose_parent_has_died_stops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    tell = progress.Tell(tmp_path, Place(), orphan_stops=True)
    tell(0, 1)
    monkeypatch.setattr(os, "getppid", lambda: 1)
    with pytest.raises(KeyboardInterrupt):
        tell(0, 2)
    progress.Tell(tmp_path, Place(), orphan_stops=False)(0, 2)


def broken(_words: Sequence[str]) -> int:
    raise RuntimeError("a fault of ours")


@pytest.mark.parametrize("given", [broken, lambda _words: 2])
def test_a_process_among_several_ends_with_the_code_and_keeps_the_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], given: Callable[[Sequence[str]], int]
):
    monkeypatch.setattr("interp_plugins.cli.main", given)
    with pytest.raises(SystemExit) as ended:
        launching.work("attack", "run")
    assert ended.value.code == (1 if given is broken else 2)
    assert ("RuntimeError: a fault of ours" in capsys.readouterr().err) == (given is broken)
