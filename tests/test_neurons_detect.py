"""`neurons detect`: the numbers are those of the detector and of `separation`, and sentences for what does not fit."""

import shutil
from pathlib import Path
from typing import Literal

import neurons_world
import numpy as np
import pytest
import torch
from attack_world import here
from attack_world import words as attack_words
from neurons_world import ATTACKED, pixels, printed, refused
from torch import Tensor

from interp_plugins.cli.neurons import detect
from interp_plugins.cli.neurons.surveyed import Surveyed
from interp_plugins.neurons.detection import ConflictDetector
from interp_plugins.neurons.separation import Separation, separation
from interp_plugins.report.results import Results
from interp_plugins.store.sets import AdversarialSet

UNITS, ALARMS, EACH = 3, 0.25, 2
NAMES = (
    "auroc",
    "false alarms where 95 % are caught",
    "caught at the threshold",
    "false alarms at the threshold",
)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A world with a finished survey in `done`; tests leave both as they are."""
    return neurons_world.surveyed(tmp_path_factory.mktemp("world"))


def words(survey: Path, *more: object) -> list[str]:
    given = ["neurons", "detect", "--survey", survey, "--units", UNITS, "--false-alarms", ALARMS, *more]
    return [*map(str, given)]


def told(capsys: pytest.CaptureFixture[str], given: list[str]) -> Results:
    """What the command prints with --json."""
    return Results.model_validate_json(printed(capsys, [*given, "--json"]))


def by_hand(
    world: Path, score: Literal["conflict", "distance"], adversarial: str = "set", images: int = ATTACKED
) -> tuple[Separation, int, int]:
    """The separation, and the alarms among attacked and clean images, from the arrays and shards themselves."""
    found, half = Surveyed.open(world / "done"), images // 2
    stored, labels = pixels(world)
    clean = torch.from_numpy(stored.transpose(0, 3, 1, 2).copy()).float() / 255
    detector = ConflictDetector(units=UNITS, score=score, false_alarms=ALARMS)
    known = {"histograms": found.histograms("norm"), "similarity": found.similarity} if score == "conflict" else {}
    batch = (clean[:half], torch.from_numpy(labels[:half]))
    fitted = detector.fit(found.network, "norm", [batch], **known)
    opened = AdversarialSet.open(world / adversarial)
    shards = [opened.read(number).images for number in range(opened.manifest.shards)]
    attacked = torch.cat(shards)[half:images].flatten(0, 1).float() / 255

    def scores(some: Tensor) -> Tensor:
        return detector.scores(found.network, "norm", some, fitted)

    ours, theirs = scores(clean[half:images]), scores(attacked)
    apart = separation(ours, theirs, torch.arange(images - half).repeat_interleave(len(theirs) // len(ours)))
    return apart, int((theirs > fitted.threshold).sum()), int((ours > fitted.threshold).sum())


@pytest.mark.parametrize("score", detect.SCORES)
def test_the_numbers_are_those_of_separation_called_by_hand(
    world: Path, capsys: pytest.CaptureFixture[str], score: Literal["conflict", "distance"]
):
    results = told(capsys, words(world / "done"))
    expected, caught, alarms = by_hand(world, score)
    auroc, false_alarms, at_threshold, clean = (results.row(f"{score}/set/{name}") for name in NAMES)
    assert (auroc.value, auroc.low, auroc.high) == (expected.auroc.value, expected.auroc.low, expected.auroc.high)
    assert false_alarms.value == expected.fpr_at_95.value
    assert (at_threshold.numerator, at_threshold.denominator) == (caught, ATTACKED // 2 * EACH)
    assert (clean.numerator, clean.denominator) == (alarms, ATTACKED // 2)
    assert f"{expected.clean} clean and {expected.attacked} attacked images" in auroc.method


def test_the_batches_change_nothing(world: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    whole = told(capsys, words(world / "done"))
    monkeypatch.setattr(detect, "BATCH", 5)
    assert told(capsys, words(world / "done")) == whole


def test_fewer_pictures_may_be_asked_for(world: Path, capsys: pytest.CaptureFixture[str]):
    results = told(capsys, words(world / "done", "--images", 20))
    assert results.row("distance/set/auroc").value == by_hand(world, "distance", images=20)[0].auroc.value
    assert results.row("distance/set/caught at the threshold").denominator == 10 * EACH


def test_several_sets_are_told_apart_by_name(world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    here(attack_words(world, tmp_path / "set", targets="random:1", limit=20))
    results = told(capsys, words(world / "done", "--adversarial", world / "set", "--adversarial", tmp_path / "set"))
    assert results.settings["sets"] == ["set", "set (2)"]
    assert [row.name for row in results.rows] == [
        f"{score}/{name}/{what}" for name in ("set", "set (2)") for score in detect.SCORES for what in NAMES
    ]
    shutil.copytree(tmp_path / "set", world / "second", dirs_exist_ok=True)
    for score in detect.SCORES:
        for name, folder, images in (("set", "set", ATTACKED), ("set (2)", "second", 20)):
            found = results.row(f"{score}/{name}/auroc")
            assert found.value == by_hand(world, score, folder, images)[0].auroc.value


def test_the_result_says_what_it_was_made_from(world: Path, capsys: pytest.CaptureFixture[str]):
    results, found = told(capsys, words(world / "done")), Surveyed.open(world / "done").folder.manifest
    assert results.settings | {"survey": None} == {
        "model": "first",
        "layer": "norm",
        "units": UNITS,
        "false alarms": ALARMS,
        "pictures": 200,
        "sets": ["set"],
        "survey": None,
    }
    assert results.settings["survey"] == found.settings
    assert found.attacked is not None
    assert [each.sha256 for each in results.inputs] == [found.model.sha256, found.real.sha256, found.attacked.sha256]


def test_results_json_is_written_beside_the_summary(world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    said = printed(capsys, words(world / "done", "--out", tmp_path / "results.json")).splitlines()
    results = Results.read(tmp_path / "results.json")
    assert results == told(capsys, words(world / "done"))
    assert len(said) == len(results.rows) == 8
    auroc = results.row("conflict/set/auroc")
    assert said[0].split() == ["conflict/set/auroc", f"{auroc.value:g}", f"[{auroc.low:g},", f"{auroc.high:g}]"]


def test_a_survey_of_real_images_alone_needs_a_set(world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    here(neurons_world.words(world, tmp_path / "real", adversarial=None))
    assert refused(capsys, words(tmp_path / "real")).endswith(
        "was made of real images alone; name one with --adversarial"
    )
    results = told(capsys, words(tmp_path / "real", "--adversarial", world / "set"))
    assert results.rows == told(capsys, words(world / "done")).rows


SAYS: dict[str, tuple[list[str], str]] = {
    "layer": (["--layer", "frist"], "expected a layer that was measured, first, norm, got 'frist'"),
    "units": (["--units", "7"], "expected --units from 1 to 6, those of layer 'norm', got 7"),
    "few pictures": (
        ["--false-alarms", "0.05"],
        "expected at least 19 clean images with a score for false_alarms=0.05, got 12; give more of them",
    ),
    "false alarms": (["--false-alarms", "2"], "expected false_alarms in (0, 1), got 2.0"),
    "no set": (["--adversarial", "nowhere"], "no adversarial set at nowhere: it has no manifest.json"),
    "out": (["--out", "no/where.json"], "No such file or directory: "),
}


@pytest.mark.parametrize("case", SAYS)
def test_what_does_not_fit_is_told_in_a_sentence(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], case: str
):
    monkeypatch.chdir(tmp_path)
    given, sentence = SAYS[case]
    assert sentence in refused(capsys, words(world / "done", *given))


def test_a_set_of_images_that_the_network_cannot_take_is_refused(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "nets.py").write_text((world / "nets.py").read_text().replace("6 * 64", "6 * 16"))
    here(attack_words(tmp_path, tmp_path / "small", data=world / "images.npz", size=4, limit=4))
    said = refused(capsys, words(world / "done", "--adversarial", tmp_path / "small"))
    assert f"expected images of (3, 8, 8), as the survey's are, got (3, 4, 4) in {tmp_path / 'small'}" in said


def test_a_set_of_more_classes_is_refused(world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "nets.py").write_text((world / "nets.py").read_text().replace("CLASSES = 6", "CLASSES = 7"))
    np.savez(tmp_path / "images.npz", images=pixels(world)[0][:4], labels=np.array([0, 1, 2, 6]))
    here(attack_words(tmp_path, tmp_path / "more"))
    said = refused(capsys, words(world / "done", "--adversarial", tmp_path / "more"))
    assert f"expected labels of the images of {tmp_path / 'more'} from 0 to 5, got 6" in said


def test_an_unfinished_survey_says_how_to_go_on(world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    shutil.copytree(world / "done", tmp_path / "done")
    (tmp_path / "done" / "neurons.safetensors").unlink()
    assert "is not finished; type the command that began it again" in refused(capsys, words(tmp_path / "done"))


def test_one_score_alone_is_computed_on_request(world: Path, capsys: pytest.CaptureFixture[str]):
    results = told(capsys, words(world / "done", "--score", "conflict"))
    assert [row.name for row in results.rows] == [f"conflict/set/{name}" for name in NAMES]
    assert "expected --score to be one of" in refused(capsys, words(world / "done", "--score", "loudness"))
