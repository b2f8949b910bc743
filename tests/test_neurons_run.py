"""`neurons run`: what it finds, what it refuses, and that neither processes nor interruptions change it."""

import csv
import io
import json
import shlex
from pathlib import Path
from typing import Any

import chromium
import neurons_world
import numpy as np
import pytest
import torch
from attack_world import here
from attack_world import run as run_alone
from attack_world import words as attack_words
from neurons_world import ATTACKED, IMAGES, bits, pixels, rows, words

from interp_plugins.cli import main, working
from interp_plugins.cli.neurons import inputs, passes
from interp_plugins.cli.neurons.request import Request
from interp_plugins.foundation.distributed import Place
from interp_plugins.report.results import Results
from interp_plugins.sources import images, models
from interp_plugins.store import work
from interp_plugins.store.surveys import SurveyFolder
from interp_plugins.store.work import Progress

REPRESENTATION = "norm"  # the last maps of the small network


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A world with a finished survey in `done`; tests leave both as they are."""
    world = neurons_world.build(tmp_path_factory.mktemp("world"))
    here(words(world, world / "done", sheet=2))
    return world


def refused(capsys: pytest.CaptureFixture[str], given: list[str], code: int = 2) -> str:
    """The one sentence with which the command refuses."""
    assert main(given) == code
    said = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("running the code in")]
    assert len(said) == 1, said
    return said[0]


def same(found: dict[str, Any], expected: dict[str, Any]) -> bool:
    """Whether two surveys have the same rows: counts to the bit, sums to their last bits."""
    assert {name: (row["numerator"], row["denominator"], row["method"]) for name, row in found.items()} == {
        name: (row["numerator"], row["denominator"], row["method"]) for name, row in expected.items()
    }
    values = [[row["value"] for row in each.values()] for each in (found, expected)]
    assert values[0] == pytest.approx(values[1], rel=1e-12, nan_ok=True)
    return True


def test_the_top_images_are_those_with_the_largest_maxima(world: Path):
    folder = SurveyFolder.open(world / "done")
    data, model = images.load(world / "images.npz"), models.load(f"{world}/nets.py:first").module
    with torch.no_grad():
        maxima = model.first(data.tensor(range(IMAGES)).float() / 255).amax((2, 3))
    found = folder.exemplars("real", "first")
    torch.testing.assert_close(found.values, maxima.topk(IMAGES // 4, 0).values.T, rtol=1e-4, atol=1e-5)
    assert (found.images, found.ids.shape) == (IMAGES, (6, IMAGES // 4))
    assert folder.exemplars("attacked", REPRESENTATION).images == 2 * ATTACKED


def test_accuracy_is_counted_over_all_images(world: Path):
    data, model = images.load(world / "images.npz"), models.load(f"{world}/nets.py:first").module
    with torch.no_grad():
        says = model(data.tensor(range(IMAGES)).float() / 255).argmax(1)
    row = rows(world / "done")["accuracy/real images"]
    assert (row["numerator"], row["denominator"]) == (int((says == data.labels).sum()), IMAGES)


def test_the_table_holds_every_unit_of_every_layer(world: Path):
    table = list(csv.DictReader(io.StringIO((world / "done" / "units.csv").read_text())))
    assert [(row["layer"], row["unit"]) for row in table] == [
        (layer, str(unit)) for layer in ("first", REPRESENTATION) for unit in range(6)
    ]
    mean = np.mean([float(row["cs2"]) for row in table if row["layer"] == "first"])
    assert mean == pytest.approx(rows(world / "done")["cs2/first"]["value"], abs=1e-5)


def test_a_finished_survey_keeps_no_unfinished_work_and_resuming_tells_it_again(
    world: Path, capsys: pytest.CaptureFixture[str]
):
    assert list((world / "done" / "state").iterdir()) == []
    before = (world / "done" / "neurons.safetensors").stat().st_mtime_ns
    capsys.readouterr()
    here(words(world, world / "done", "--resume", "--json"))
    assert Results.model_validate_json(capsys.readouterr().out) == Results.read(world / "done" / "results.json")
    assert (world / "done" / "neurons.safetensors").stat().st_mtime_ns == before


def test_the_summary_ends_with_where_to_look(world: Path, capsys: pytest.CaptureFixture[str]):
    capsys.readouterr()
    here(words(world, world / "done", "--resume"))
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("attacked images/says the target: 0.")
    assert said[-1] == f"Look at it: {world / 'done' / 'index.html'}"


def test_the_page_opens_without_a_word_in_the_console(world: Path, tmp_path: Path):
    assert chromium.console(world / "done" / "index.html", tmp_path) == []


def test_without_a_set_it_measures_real_images_alone(world: Path, tmp_path: Path):
    here(words(world, tmp_path / "out", adversarial=None, limit=40))
    assert {name.split("/")[0] for name in rows(tmp_path / "out")} == {"accuracy", "lc", "lc corrected", "ceiling"}


@pytest.mark.parametrize("adversarial", [True, False])
def test_one_top_image_a_unit_is_too_few_and_the_page_says_so(world: Path, tmp_path: Path, adversarial: bool):
    given = words(world, tmp_path / "out", share=0.001, limit=40, **({} if adversarial else {"adversarial": None}))
    here(given)
    assert "take more images, or a larger --share" in (tmp_path / "out" / "index.html").read_text()
    assert rows(tmp_path / "out")["lc corrected/all layers"]["value"] is None


def test_the_limit_holds_for_both_passes(world: Path, tmp_path: Path):
    few = tmp_path / "few.npz"
    stored, labels = pixels(world)
    np.savez(few, images=stored[:40], labels=labels[:40])
    here(attack_words(world, tmp_path / "set", data=few, targets="least-likely:2", limit=8))
    here(words(world, tmp_path / "whole", data=few, adversarial=tmp_path / "set", limit=16))
    np.savez(few, images=stored[:16], labels=labels[:16])
    here(words(world, tmp_path / "cut", data=few, adversarial=tmp_path / "set"))
    assert bits(tmp_path / "whole") == bits(tmp_path / "cut")
    assert same(rows(tmp_path / "whole"), rows(tmp_path / "cut"))


def test_a_set_of_other_images_than_the_real_ones_is_held_out(world: Path, tmp_path: Path):
    stored, labels = pixels(world)
    np.savez(tmp_path / "real.npz", images=stored[100:200], labels=labels[100:200])
    here(words(world, tmp_path / "out", data=tmp_path / "real.npz"))
    assert f"{2 * ATTACKED} attacked images" in rows(tmp_path / "out")["r1/all"]["method"]
    assert SurveyFolder.open(tmp_path / "out").manifest.real.count == 100


def test_the_representation_is_the_last_layer_wherever_it_was_named(world: Path, tmp_path: Path):
    given = words(world, tmp_path / "out", layers="norm,first", representation="norm", adversarial=None, limit=40)
    here(given)
    assert SurveyFolder.open(tmp_path / "out").manifest.layers == ("first", "norm")


class Stop:
    """In place of `Progress.add`: an interruption after so many shards."""

    def __init__(self, after: int) -> None:
        self.after, self.add = after, Progress.add

    def __call__(self, progress: Progress, shard: int, last: bool) -> None:
        self.add(progress, shard, last)
        self.after -= 1
        if self.after == 0:
            raise KeyboardInterrupt


@pytest.mark.parametrize("after", [2, 4])
def test_an_interruption_keeps_what_is_finished_and_prints_the_command_that_goes_on(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], after: int
):
    monkeypatch.setattr(work, "PATIENCE", 0)  # every shard is written at once
    with monkeypatch.context() as patched:
        stop = Stop(after)
        patched.setattr(Progress, "add", lambda self, shard, last: stop(self, shard, last))
        said = refused(capsys, words(world, tmp_path / "out", sheet=2), code=4)
    assert f"interrupted; {after} of 6 shards are finished and kept; go on with: interp-plugins neurons run " in said
    looked: list[int] = []
    for kind in (passes._Real, passes._Attacked):
        look = kind.look
        monkeypatch.setattr(kind, "look", lambda self, shard, look=look: (looked.append(shard), look(self, shard)))
    assert main(shlex.split(said.partition("go on with: interp-plugins ")[2])) == 0
    assert len(looked) == 6 - after
    assert bits(tmp_path / "out") == bits(world / "done")
    assert same(rows(tmp_path / "out"), rows(world / "done"))


def test_an_interruption_before_there_is_a_survey_says_to_type_it_again(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def stop(*_given: object, **_more: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(inputs, "load", stop)
    said = refused(capsys, words(world, tmp_path / "out"), code=4)
    assert said.endswith("interrupted before the survey was begun; type the same command again")


@pytest.mark.slow
def test_two_processes_find_what_one_finds(world: Path, tmp_path: Path):
    run_alone(words(world, tmp_path / "out", processes=2))
    assert bits(tmp_path / "out") == bits(world / "done")
    assert same(rows(tmp_path / "out"), rows(world / "done"))


def test_a_rank_without_shards_changes_nothing(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def in_turn(_given: Any, folder: SurveyFolder, phase: Any, start: Any, device: torch.device, _group: Any) -> None:
        for rank in (4, 0, 2, 1, 3):  # five for three shards
            working.share(folder, phase, Place(rank, 5), start, device)

    monkeypatch.setattr(working, "do", in_turn)
    here(words(world, tmp_path / "out"))
    assert bits(tmp_path / "out") == bits(world / "done")
    assert same(rows(tmp_path / "out"), rows(world / "done"))


def test_words_say_the_request_again():
    given = Request(model="m", data="d", out=Path("o"), limit=3, weighted=True, sigma=1.5)
    assert given.words() == ["--model", "m", "--data", "d", "--out", "o", "--limit", "3", "--sigma", "1.5",
                             "--weighted"]  # fmt: skip
    assert given.to_resume().endswith("--weighted --resume")


def test_a_folder_that_holds_a_survey_needs_resume(world: Path, capsys: pytest.CaptureFixture[str]):
    said = refused(capsys, words(world, world / "done"))
    assert said.endswith("done holds a survey already; add --resume to go on with it, or name another folder")


def test_another_survey_is_refused_and_what_differs_is_listed(world: Path, capsys: pytest.CaptureFixture[str]):
    given = words(world, world / "done", "--resume", "--weighted", model=f"{world}/nets.py:second", limit=100, sigma=3)
    said = refused(capsys, given)
    for difference in ("real count: 1100 there, 100 asked for", "sigma: 2.0 there, 3.0 asked for", "model sha256: ",
                       "weighted: false there, true asked for", "shards real: 3 there, 1 asked for"):  # fmt: skip
        assert difference in said


def test_damaged_unfinished_work_is_named(world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    given = words(world, tmp_path / "out", adversarial=None, limit=40)
    (tmp_path / "out" / "state").mkdir(parents=True)
    (tmp_path / "out" / "state" / "real-0-0.safetensors").write_bytes(b"short")
    assert "state/real-0-0.safetensors is damaged" in refused(capsys, given)


SAYS = {
    "idle": ({"model": "odd.py:Odd", "layers": "idle"}, "layer 'idle' did not run; layers that did: "),
    "tuple": ({"model": "odd.py:Odd", "layers": "twins"}, "expected a tensor from layer 'twins', got tuple"),
    "unknown": ({"layers": "frist"}, "expected a layer of the model, got 'frist'; the nearest is 'first'"),
    "empty": ({"layers": ""}, "expected --layers auto, or names with commas between, got ''"),
    "twice": ({"layers": "first,first"}, "expected the names of different layers, got ['first', 'first'"),
    "chance": ({"model": "odd.py:Chance"}, "expected a model that answers an image in one way, got two answers from"),
    "classes": ({"model": "odd.py:Few"}, "expected labels of the real images from 0 to 2, got 5"),
    "wnids": ({"taxonomy": "wordnet"}, "expected a wnid for each of 6 classes, the images name fewer"),
    "taxonomy": ({"taxonomy": "short.csv"}, "expected ids of the taxonomy, got '5'"),
    "columns": ({"taxonomy": "wide.csv"}, "wide.csv, got '0,a,b'"),
    "no table": ({"taxonomy": "none.csv"}, "none.csv"),
    "share": ({"share": 2}, "expected n of at least 1 and a share in (0, 1], got n=1100 and 2.0"),
    "limit": ({"limit": 5000}, "expected --limit of at most 1100"),
    "reduction": ({"reduction": "sum"}, "expected --reduction to be one of 'max', 'mean', got 'sum'"),
    "metric": ({"metric": "long"}, "expected --metric to be one of "),
    "tile": ({"tile": 3}, "power of two from 1 to 256, got 3"),
    "processes": ({"processes": "many"}, "expected --processes auto or a number of at least 1, got 'many'"),
    "part of the set": ({"limit": 10}, "expected all or none of the 24 images"),
    "split": ({"split": "train"}, "expected a split of CIFAR-10 alone, got 'train'"),
    "not a set": ({"adversarial": "."}, ""),
}


@pytest.mark.parametrize("case", SAYS)
def test_bad_input_is_told_in_a_sentence(world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], case: str):
    (world / "short.csv").write_text("".join(f"{label},root\n" for label in range(5)))
    (world / "wide.csv").write_text("0,a,b\n")
    options, sentence = SAYS[case]
    files = {name: f"{world}/{value}" for name, value in options.items()
             if name in ("model", "adversarial") or str(value).endswith(".csv")}  # fmt: skip
    assert sentence in refused(capsys, words(world, tmp_path / "out", **(options | files)))
    assert not (tmp_path / "out" / "neurons.safetensors").exists()


def test_a_nan_is_named_by_layer_unit_and_image(world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    first = int((pixels(world)[0][:, 0, 0, 0] == 255).nonzero()[0][0])
    said = refused(capsys, words(world, tmp_path / "out", model=f"{world}/odd.py:Odd", layers="spoil"))
    assert said.endswith(f"expected no NaN, got one in layer 'spoil', unit 0, image {first}")


@pytest.mark.parametrize(("changed", "sentence"), [
    ("images", "got 1 others of the same name, the first 'images/00003'; name the folder it was made from"),
    ("labels", "got 1 images of other classes, the first 'images/00003'; name the labels it was made with"),
])  # fmt: skip
def test_a_set_made_from_other_images_or_for_other_classes_is_refused(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], changed: str, sentence: str
):
    stored, labels = (each.copy() for each in pixels(world))
    stored[3] ^= changed == "images"
    labels[3] = (labels[3] + (changed == "labels")) % 6
    np.savez(tmp_path / "images.npz", images=stored, labels=labels)
    assert sentence in refused(capsys, words(world, tmp_path / "out", data=tmp_path / "images.npz"))


def test_a_set_of_another_size_is_refused(world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    said = refused(capsys, words(world, tmp_path / "out", model=f"{world}/odd.py:Pooled", size=4))
    assert "expected images of (3, 8, 8) as in" in said
    assert said.endswith("give the same --size")


def test_images_that_the_network_does_not_take_are_refused(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    said = refused(capsys, words(world, tmp_path / "out", size=4))
    assert "first does not take images of (3, 4, 4) (" in said
    assert said.endswith("cut them with --size")


def test_an_unfinished_set_says_how_to_finish_it(world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    here(attack_words(world, tmp_path / "set", limit=4))
    manifest = json.loads((tmp_path / "set" / "manifest.json").read_text())
    (tmp_path / "set" / "manifest.json").write_text(json.dumps(manifest | {"digest": None}))
    said = refused(capsys, words(world, tmp_path / "out", adversarial=tmp_path / "set"))
    assert "is not finished, 0 of" in said
    assert "type interp-plugins attack run" in said
