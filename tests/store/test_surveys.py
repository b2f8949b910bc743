"""Surveys on disk: pieces of several processes are one pass, and what is damaged or elsewhere is named."""

import json
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torchmetrics import Metric

from interp_plugins.neurons.centres import ClassCentres, class_centres
from interp_plugins.neurons.distance import DistanceRatios
from interp_plugins.neurons.exemplars import Exemplars, NeuronExemplars
from interp_plugins.neurons.passes import Answers
from interp_plugins.store import work as stored_work
from interp_plugins.store.manifest import Member
from interp_plugins.store.surveys import SurveyFolder, SurveyManifest
from interp_plugins.store.work import Progress, Used

SHARDS, EACH = 5, 8


def manifest(**changed: Any) -> SurveyManifest:
    member = Member(name="net", spec="nets.py:net", sha256="a" * 64)
    given: dict[str, Any] = {
        "model": member,
        "real": Used(spec="/photos", count=40, sha256="b" * 64),
        "attacked": None,
        "classes": ("cat", "dog", "car"),
        "layers": ("conv", "last"),
        "settings": {"k": 3, "sigma": 2.0},
        "shards": {"real": SHARDS},
        "versions": {"torch": "2"},
    }
    return SurveyManifest(**given | changed)


def stream() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Of forty images: scores with ties, representations, labels, logits."""
    generator = torch.Generator().manual_seed(0)
    scores = torch.randint(0, 9, (40, 4), generator=generator).float()
    return scores, torch.rand(40, 6, generator=generator), torch.arange(40) % 3, torch.randn(40, 3, generator=generator)


def metrics() -> dict[str, Metric]:
    _, far, labels, _ = stream()
    ratios = DistanceRatios(class_centres(far, labels, 3))
    return {"top": NeuronExemplars(["conv"], 3), "centres": ClassCentres(3, 6), "says": Answers(), "r": ratios}


def see(found: dict[str, Metric], rows: torch.Tensor) -> None:
    """Look at some of the images; each was attacked once."""
    scores, far, labels, logits = (part[rows] for part in stream())
    found["top"].update({"conv": scores}, rows)
    found["centres"].update(far, labels)
    found["says"].update(logits, rows)
    found["r"].update(far, labels, far[:, None] + 1, ((labels + 1) % 3)[:, None], rows[:, None])


def work(folder: SurveyFolder, shards: list[int], rank: int, *, dies: bool = False) -> None:
    found = metrics()
    progress = Progress(folder, "real", rank, found)
    for shard in shards:
        see(found, torch.arange(shard * EACH, (shard + 1) * EACH))
        progress.add(shard, last=not dies and shard == shards[-1])


@pytest.fixture
def folder(tmp_path: Path) -> SurveyFolder:
    return SurveyFolder.create(tmp_path / "survey", manifest())


@pytest.mark.parametrize("shares", [[[0, 1, 2, 3, 4]], [[0, 2, 4], [1, 3]], [[3], [0], [4], [2], [1]]])
def test_what_several_processes_saw_is_what_one_pass_sees(folder: SurveyFolder, shares: list[list[int]]):
    for rank, shards in enumerate(shares):
        work(folder, shards, rank)
    whole = metrics()
    see(whole, torch.arange(40))
    expected = {name: metric.compute() for name, metric in whole.items()}
    found = folder.computed("real", metrics())
    top, best = found["top"]["conv"], expected["top"]["conv"]
    assert (top.ids.tolist(), top.values.tolist(), top.images, top.dead.tolist()) == (
        best.ids.tolist(), best.values.tolist(), 40, best.dead.tolist()
    )  # fmt: skip
    assert torch.equal(found["says"], expected["says"])
    assert torch.equal(found["centres"].counts, expected["centres"].counts)
    torch.testing.assert_close(found["centres"].means, expected["centres"].means, rtol=1e-12, atol=0)
    for name in ("r1", "r2"):
        ours, one = (getattr(each["r"], name) for each in (found, expected))
        torch.testing.assert_close(ours, one, rtol=1e-12, atol=0)


def test_the_others_do_what_a_killed_process_had_not_written(folder: SurveyFolder, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(stored_work, "PATIENCE", 10**9)  # the first shard is written, the next ones wait
    work(folder, [0, 2, 4], 0, dies=True)
    assert (folder.done("real"), folder.missing("real")) == ({0}, [1, 2, 3, 4])
    work(folder, folder.missing("real"), 0)
    assert folder.missing("real") == []
    whole = metrics()
    see(whole, torch.arange(40))
    assert torch.equal(folder.computed("real", metrics())["says"], whole["says"].compute())


def test_a_process_takes_no_name_that_is_taken(folder: SurveyFolder):
    work(folder, [0], 1)
    work(folder, [1], 1)
    assert [path.name for path in sorted((folder.folder / "state").iterdir())] == [
        "real-0-1.safetensors",
        "real-1-1.safetensors",
    ]


OTHERS = [b"", b"noise", safetensors.torch.save({}), safetensors.torch.save({}, {"done": "x"})]


@pytest.mark.parametrize("content", OTHERS)
def test_a_damaged_piece_is_named(folder: SurveyFolder, content: bytes):
    (folder.folder / "state" / "real-0-0.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match=r"real-0-0\.safetensors is damaged .*delete it, its part of the work is done"):
        folder.done("real")


def test_a_piece_that_was_cut_is_named(folder: SurveyFolder):
    work(folder, [0, 1], 0)
    path = folder.folder / "state" / "real-0-0.safetensors"
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(ValueError, match="is damaged"):
        folder.missing("real")


def test_a_piece_that_is_a_link_is_refused(folder: SurveyFolder, tmp_path: Path):
    (tmp_path / "elsewhere").write_bytes(safetensors.torch.save({}, {"done": "[0]"}))
    (folder.folder / "state" / "real-0-0.safetensors").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="got a link to elsewhere"):
        folder.done("real")


def result() -> dict[str, dict[str, Exemplars]]:
    values, ids = torch.tensor([[3.0, 1.0]]), torch.tensor([[7, 4]])
    return {"real": {"conv": Exemplars("conv", values, ids, 40, torch.tensor([False]))}}


def test_a_result_is_read_back_as_it_was_written(folder: SurveyFolder):
    folder.write(result(), {"labels": torch.arange(3)})
    again = SurveyFolder.open(folder.folder)
    found = again.exemplars("real", "conv")
    assert again.finished
    assert (found.layer, found.images, found.values.tolist(), found.ids.tolist(), found.dead.tolist()) == (
        "conv", 40, [[3.0, 1.0]], [[7, 4]], [False]
    )  # fmt: skip
    assert again.tensors(["labels"])["labels"].tolist() == [0, 1, 2]
    assert again.manifest == manifest()


def test_a_layer_that_was_not_measured_names_those_that_were(folder: SurveyFolder):
    folder.write(result(), {})
    with pytest.raises(ValueError, match="layers that were measured: conv, last"):
        folder.exemplars("real", "fc")


def test_an_unfinished_survey_has_no_result(folder: SurveyFolder):
    with pytest.raises(ValueError, match=r"survey is not finished; type the command .* with --resume"):
        folder.exemplars("real", "conv")


def test_a_damaged_result_is_named(folder: SurveyFolder):
    (folder.folder / "neurons.safetensors").write_bytes(b"noise")
    with pytest.raises(ValueError, match=r"neurons\.safetensors: "):
        folder.tensors(["labels"])


def test_a_result_of_other_shapes_is_refused(folder: SurveyFolder):
    wrong = result()
    wrong["real"]["conv"].dead = torch.tensor([False, True])
    folder.write(wrong, {})
    with pytest.raises(ValueError, match=r"expected the top images of 'conv' in .*, got something else"):
        folder.exemplars("real", "conv")


def test_a_result_that_is_a_link_is_refused(folder: SurveyFolder, tmp_path: Path):
    (tmp_path / "elsewhere").write_bytes(safetensors.torch.save({}))
    (folder.folder / "neurons.safetensors").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="got a link to elsewhere"):
        folder.tensors([])


def test_clearing_leaves_the_result(folder: SurveyFolder):
    work(folder, [0], 0)
    folder.write(result(), {})
    (folder.folder / "state" / ".real-0-0.safetensors.x1").write_bytes(b"what a killed process was writing")
    folder.clear()
    assert list((folder.folder / "state").iterdir()) == []
    assert folder.finished


def test_no_survey_and_no_manifest_are_told_apart(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"no survey at .*; make one with interp-plugins neurons run"):
        SurveyFolder.open(tmp_path)
    (tmp_path / "survey.json").write_text(json.dumps({"kind": "other"}))
    with pytest.raises(ValueError, match=r"expected a survey, version 1, at .*survey\.json"):
        SurveyFolder.open(tmp_path)


def test_what_differs_is_said_by_name_and_versions_do_not_count():
    used = Used(spec="/photos", count=41, sha256="c" * 64)
    other = manifest(real=used, settings={"k": 3, "sigma": 1.5, "tile": 8}, versions={"torch": "3"})
    assert manifest().differences(other) == [
        "sigma: 2.0 there, 1.5 asked for",
        "real count: 40 there, 41 asked for",
        f'real sha256: "{"b" * 56}... there, "{"c" * 56}... asked for',
        "tile: null there, 8 asked for",
    ]
    assert manifest().differences(manifest(versions={})) == []
