"""`neurons trace`: the picture, the same trace as `neurons.trace` finds, and sentences for what does not fit."""

import json
import shutil
from pathlib import Path
from typing import Any

import neurons_world
import numpy as np
import pytest
import torch
from attack_world import here
from attack_world import words as attack_words
from neurons_world import pixels, printed, refused
from PIL import Image

from interp_plugins.cli.neurons import trace
from interp_plugins.cli.neurons.surveyed import Surveyed
from interp_plugins.neurons.trace import DecisionTrace, Share, Trace
from interp_plugins.store.sets import AdversarialSet

UNITS = 3


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A world with a finished survey in `done`; tests leave both as they are."""
    return neurons_world.surveyed(tmp_path_factory.mktemp("world"))


@pytest.fixture
def copy(world: Path, tmp_path: Path) -> Path:
    """A survey that a test may break."""
    return Path(shutil.copytree(world / "done", tmp_path / "done"))


def words(survey: Path, image: object, *more: object) -> list[str]:
    return ["neurons", "trace", str(image), "--survey", str(survey), "--units", str(UNITS), *map(str, more)]


def told(capsys: pytest.CaptureFixture[str], given: list[str]) -> Any:
    """What the command prints with --json."""
    return json.loads(printed(capsys, [*given, "--json"]))


def by_hand(world: Path, index: int, target: int | None, layer: str = "norm") -> Trace:
    """The trace from the arrays and the shards themselves."""
    found, adversarial = Surveyed.open(world / "done"), AdversarialSet.open(world / "set")
    clean = torch.from_numpy(pixels(world)[0][index].transpose(2, 0, 1).copy()).float() / 255
    shard, row = divmod(index, adversarial.manifest.images_per_shard)
    attacked = None if target is None else adversarial.read(shard).images[row, target].float() / 255
    return DecisionTrace(units=UNITS)(
        found.network, layer, found.histograms(layer), found.similarity, clean, attacked
    )  # fmt: skip


def numbers(decision: dict[str, Any]) -> list[Any]:
    return [
        [(each["label"], each["share"]) for each in decision["says"]],
        [(unit["number"], unit["influence"], unit["shared"], unit["conflict"]) for unit in decision["units"]],
        [[(each["label"], each["share"]) for each in unit["meaning"]] for unit in decision["units"]],
    ]


def same(found: dict[str, Any], expected: Trace) -> bool:
    decisions = [found["trace"]["clean"], found["trace"]["attacked"]]
    assert [*map(numbers, decisions[: len(expected.decisions)])] == [
        [
            [*map(tuple, decision.says)],
            [(unit.number, unit.influence, unit.shared, unit.conflict) for unit in decision.units],
            [[*map(tuple, unit.meaning)] for unit in decision.units],
        ]
        for decision in expected.decisions
    ]
    return found["trace"]["layer"] == expected.layer and (decisions[1] is None) == (expected.attacked is None)


@pytest.mark.parametrize("target", [0, 1])
def test_an_image_of_the_set_is_traced_with_what_the_attack_made_of_it(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], target: int
):
    given = words(world / "done", "images/00013", "--target", target, "--out", tmp_path / "t.png")
    found = told(capsys, given)
    assert same(found, by_hand(world, 13, target))
    manifest = AdversarialSet.open(world / "set").manifest
    line = AdversarialSet.open(world / "set").line(13 // manifest.images_per_shard)
    assert (found["truth"], found["target"]) == (
        int(pixels(world)[1][13]),
        line.targets[13 % manifest.images_per_shard][target],
    )


def test_a_real_image_that_was_not_attacked_is_traced_alone(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    found = told(capsys, words(world / "done", "images/00030", "--out", tmp_path / "t.png"))
    assert same(found, by_hand(world, 30, None))
    assert (found["truth"], found["target"]) == (int(pixels(world)[1][30]), None)


def test_an_image_in_a_file_is_traced_alone_and_its_class_is_not_known(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    Image.fromarray(pixels(world)[0][7]).save(tmp_path / "seven.png")
    found = told(capsys, words(world / "done", tmp_path / "seven.png", "--out", tmp_path / "t.png"))
    assert same(found, by_hand(world, 7, None))
    assert (found["truth"], found["target"]) == (None, None)


def test_another_layer_may_be_asked_for(world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    given = words(world / "done", "images/00003", "--layer", "first", "--out", tmp_path / "t.png")
    assert same(told(capsys, given), by_hand(world, 3, 0, "first"))


def test_the_summary_tells_the_trace_in_words(world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    said = printed(capsys, words(world / "done", "images/00003", "--out", tmp_path / "t.png"))
    title, clean, *units, last = said.splitlines()
    expected = by_hand(world, 3, 0)
    assert title.startswith(f"images/00003 ({pixels(world)[1][3]}), aimed at ")
    decision, first = expected.clean, expected.clean.units[0]
    assert clean == (
        f"clean: {decision.predicted} ({decision.confidence:.0%}); conflict of its units {decision.conflict:.2f}"
    )
    assert units[UNITS].startswith(f"attacked: {expected.decisions[1].predicted} (")
    assert units[0].split()[:4] == [
        "unit",
        str(first.number),
        f"{first.influence:+.3f}",
        "in" if first.shared else "alone",
    ]
    assert units[0].endswith(", ".join(f"{label} {share:.0%}" for label, share in first.meaning))
    assert last == f"Look at it: {tmp_path / 't.png'}"


def test_the_picture_is_a_png_and_twice_as_wide_with_an_attack(world: Path, tmp_path: Path):
    for image in ("images/00003", "images/00030"):
        here(words(world / "done", image, "--out", tmp_path / f"{image[-2:]}.png"))
    with Image.open(tmp_path / "03.png") as both, Image.open(tmp_path / "30.png") as alone:
        assert both.format == alone.format == "PNG"
        assert both.width > 2 * alone.width - 100


def test_the_picture_is_called_after_the_image_and_the_target(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(pixels(world)[0][7]).save(tmp_path / "seven.png")
    for given in (["images/00003", "--target", "1"], ["images/00030"], ["seven.png"], [tmp_path / "seven.png"]):
        here(words(world / "done", *given))
    inside = f"trace_{tmp_path.as_posix().strip('/').replace('/', '_')}_seven.png"
    names = {"trace_images_00003_1.png", "trace_images_00030.png", "trace_seven.png", inside}
    assert {file.name for file in tmp_path.iterdir()} == {"seven.png", *names}


def test_a_survey_of_real_images_alone_can_be_traced(world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    here(neurons_world.words(world, tmp_path / "real", adversarial=None))
    assert same(
        told(capsys, words(tmp_path / "real", "images/00003", "--out", tmp_path / "t.png")), by_hand(world, 3, None)
    )


def test_what_nothing_is_known_of_is_null_because_json_has_no_nan():
    assert trace._plain((float("nan"), 0.5, None, (Share(1, 0.25),))) == [
        None,
        0.5,
        None,
        [{"label": 1, "share": 0.25}],
    ]


SAYS: dict[str, tuple[list[str], str]] = {
    "id": (["image/00030"], "no image 'image/00030' in the survey, and no such file; did you mean 'images/00030'?"),
    "folder": (["."], "no image '.' in the survey, and no such file; did you mean "),
    "layer": (["images/00003", "--layer", "frist"], "expected a layer that was measured, first, norm, got 'frist'"),
    "target": (["images/00003", "--target", "2"], "expected --target from 0 to 1, got 2"),
    "target of a real image": (
        ["images/00030", "--target", "1"],
        "expected --target with an image of the survey's adversarial set alone, got it with images/00030",
    ),
    "units": (["images/00003", "--units", "7"], "expected --units from 1 to 6, those of layer 'norm', got 7"),
    "out": (["images/00003", "--out", "no/where.png"], "No such file or directory: "),
}


@pytest.mark.parametrize("case", SAYS)
def test_what_does_not_fit_is_told_in_a_sentence(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], case: str
):
    monkeypatch.chdir(tmp_path)
    given, sentence = SAYS[case]
    assert sentence in refused(capsys, words(world / "done", *given))
    assert not list(tmp_path.iterdir())


def test_a_file_of_another_size_is_refused(world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    Image.new("RGB", (9, 8)).save(tmp_path / "wide.png")
    said = refused(capsys, words(world / "done", tmp_path / "wide.png"))
    assert f"expected an image of (3, 8, 8), as the survey's are, got (3, 8, 9) in {tmp_path / 'wide.png'}" in said


def test_a_folder_without_a_survey_says_what_makes_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert refused(capsys, words(tmp_path, "images/00003")).endswith("make one with interp-plugins neurons run")


def test_an_unfinished_survey_says_how_to_go_on(copy: Path, capsys: pytest.CaptureFixture[str]):
    (copy / "neurons.safetensors").unlink()
    assert "is not finished; type the command that began it again" in refused(capsys, words(copy, "images/00003"))


def change(survey: Path, *path: str, to: object) -> None:
    """Write another value into survey.json."""
    manifest = json.loads((survey / "survey.json").read_text())
    inner = manifest
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = to
    (survey / "survey.json").write_text(json.dumps(manifest))


def test_weights_that_changed_since_are_refused(world: Path, copy: Path, capsys: pytest.CaptureFixture[str]):
    change(copy, "model", "spec", to=f"{world}/nets.py:second")
    said = refused(capsys, words(copy, "images/00003"))
    assert "expected the weights " in said
    assert said.endswith("bring them back, or make another survey")


def test_a_network_named_from_elsewhere_says_where_to_type(copy: Path, capsys: pytest.CaptureFixture[str]):
    change(copy, "model", "spec", to="nowhere.py:first")
    said = refused(capsys, words(copy, "images/00003"))
    assert "no model file nowhere.py" in said
    assert said.endswith("so type this where the survey was made")


def test_real_images_that_are_gone_or_others_are_refused(
    world: Path, copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    change(copy, "attacked", to=None)
    change(copy, "real", "spec", to=str(tmp_path / "images.npz"))
    assert f"no images at {tmp_path / 'images.npz'}, where they lay when " in refused(
        capsys, words(copy, "images/00003")
    )
    stored, labels = pixels(world)
    np.savez(tmp_path / "images.npz", images=stored, labels=(labels + 1) % 6)
    assert "expected the 48 images that " in refused(capsys, words(copy, "images/00003"))


def test_a_set_that_is_gone_or_another_is_refused(
    world: Path, copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    change(copy, "attacked", "spec", to=str(tmp_path / "set"))
    said = refused(capsys, words(copy, "images/00003"))
    assert f"no adversarial set at {tmp_path / 'set'}" in said
    assert said.endswith("bring it back, or make another survey")
    here(attack_words(world, tmp_path / "set", limit=4))
    assert "expected the set " in refused(capsys, words(copy, "images/00003"))


def test_a_clean_image_that_changed_since_it_was_attacked_is_refused(
    world: Path, copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    stored, labels = pixels(world)
    np.savez(tmp_path / "images.npz", images=stored, labels=labels)
    here(attack_words(world, tmp_path / "set", data=tmp_path / "images.npz", limit=4))
    change(copy, "attacked", "spec", to=str(tmp_path / "set"))
    digest = AdversarialSet.open(tmp_path / "set").manifest.digest
    change(copy, "attacked", "sha256", to=digest)
    stored[3] ^= 1
    np.savez(tmp_path / "images.npz", images=stored, labels=labels)
    assert "got another 'images/00003'; bring it back" in refused(capsys, words(copy, "images/00003"))
    (tmp_path / "images.npz").unlink()
    said = refused(capsys, words(copy, "images/00003"))
    assert f"no images at {tmp_path / 'images.npz'}, where they lay when {tmp_path / 'set'} was made" in said
