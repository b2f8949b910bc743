"""`dissect run`: what it finds, what it refuses, and that neither processes nor interruptions change it."""

import csv
import io
import json
import shlex
from pathlib import Path
from typing import Any

import attack_world
import chromium
import dissect_world
import numpy as np
import pytest
import torch
from attack_world import here
from attack_world import run as run_alone
from dissect_world import IMAGES, bits, rows, words
from neurons_world import printed
from PIL import Image

from interp_plugins.attacks import PredictedLabelFGSM
from interp_plugins.cli import main, working
from interp_plugins.cli.dissect import ahead, inputs
from interp_plugins.cli.dissect.attacks import Spec
from interp_plugins.cli.dissect.looking import Looking
from interp_plugins.cli.dissect.tallying import Tallying
from interp_plugins.dissection.dissection import NetworkDissection
from interp_plugins.foundation.distributed import Place
from interp_plugins.report.results import Results
from interp_plugins.sources import models
from interp_plugins.sources.labelled import open_labelled
from interp_plugins.store import work
from interp_plugins.store.dissections import DissectionFolder
from interp_plugins.store.work import Progress


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A world with a finished dissection in `done`; tests leave both as they are."""
    world = dissect_world.build(tmp_path_factory.mktemp("world"))
    here(words(world, world / "done", sheet=2))
    return world


def refused(capsys: pytest.CaptureFixture[str], given: list[str], code: int = 2) -> str:
    """The one sentence with which the command refuses."""
    capsys.readouterr()
    assert main(given) == code
    said = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("running the code in")]
    assert len(said) == 1, said
    return said[0]


def test_it_finds_what_the_dissection_in_memory_finds(world: Path):
    images, model = open_labelled(world / "broden"), models.load(f"{world}/nets.py:first").module
    step = PredictedLabelFGSM(epsilon=8 / 255)
    method = NetworkDissection(share=0.05, permutations=3, draws=20)
    expected = method(model, ["first"], images, lambda clean, _numbers: step(model, clean))["first"]
    found = DissectionFolder.open(world / "done")
    for kind, aligned in (("clean", expected.clean), ("attacked", expected.attacked)):
        assert aligned is not None
        held = found.tensors(f"{kind}/first/{name}" for name in ("threshold", "intersection", "active", "iou"))
        threshold, intersection, active, iou = held.values()
        assert torch.equal(threshold, aligned.thresholds.value)
        assert torch.equal(intersection, aligned.overlap.intersection)
        assert torch.equal(active, aligned.overlap.active)
        assert torch.equal(iou, aligned.labels.iou)
    assert expected.drop is not None
    assert rows(world / "done")["drop/first/all"]["low"] == float(expected.drop.detectors.difference.low) / 6


def test_the_top_images_are_those_with_the_largest_maxima(world: Path):
    images, model = open_labelled(world / "broden"), models.load(f"{world}/nets.py:first").module
    with torch.no_grad():
        maxima = model.first(images.tensor(range(IMAGES)).float() / 255).amax((2, 3))
    tops = DissectionFolder.open(world / "done").tensors(["clean/first/tops"])["clean/first/tops"]
    torch.testing.assert_close(maxima.gather(0, tops.T), maxima.topk(16, 0).values)


def test_the_table_holds_every_unit_with_its_label_on_both_kinds_of_images(world: Path):
    table = list(csv.DictReader(io.StringIO((world / "done" / "units.csv").read_text())))
    assert [(row["layer"], row["unit"]) for row in table] == [("first", str(unit)) for unit in range(6)]
    assert {"label", "iou", "label attacked", "iou attacked"} <= set(table[0])


def test_the_summary_is_the_table_with_what_chance_gives_and_where_to_look(
    world: Path, capsys: pytest.CaptureFixture[str]
):
    said = printed(capsys, words(world, world / "done", "--resume", sheet=2)).splitlines()
    assert said[0] == "Units with a label above IoU 0.04, each counted once; union rule 'category'."
    assert said[1].split() == ["layer", "images", "color", "object", "scene", "all", "different", "labels"]
    assert [line.split()[:2] for line in said[2:6]] == [
        ["first", "clean"], ["95", "%"], ["first", "attacked"], ["95", "%"]
    ]  # fmt: skip
    assert said[6].startswith("first: ")
    assert said[6].split(" under attack, ")[0].endswith(" percentage points")
    assert said[-1] == f"Look at it: {world / 'done' / 'index.html'}"


def test_a_finished_dissection_keeps_no_unfinished_work_and_resuming_tells_it_again(
    world: Path, capsys: pytest.CaptureFixture[str]
):
    assert list((world / "done" / "state").iterdir()) == []
    before = (world / "done" / "dissection.safetensors").stat().st_mtime_ns
    said = printed(capsys, words(world, world / "done", "--resume", "--json", sheet=2))
    assert Results.model_validate_json(said) == Results.read(world / "done" / "results.json")
    assert (world / "done" / "dissection.safetensors").stat().st_mtime_ns == before


def test_the_page_opens_without_a_word_in_the_console(world: Path, tmp_path: Path):
    assert chromium.console(world / "done" / "index.html", tmp_path) == []


def test_every_figure_of_the_page_lies_beside_it(world: Path):
    assert {path.name for path in (world / "done").glob("*.png")} >= {"where-do-units-of-first-look.png"}


def test_without_an_attack_it_dissects_clean_images_alone(world: Path, tmp_path: Path):
    here(words(world, tmp_path / "out", attack=None, permutations=0, draws=0))
    assert {name.split("/")[3] for name in rows(tmp_path / "out") if name.startswith("ratio/")} == {
        "color", "object", "scene", "all",
    }  # fmt: skip
    assert not [name for name in rows(tmp_path / "out") if "attacked" in name or "chance" in name]


def test_thresholds_kept_from_clean_images_hold_for_attacked_ones(world: Path, tmp_path: Path):
    here(words(world, tmp_path / "out", threshold="clean"))
    found = bits(tmp_path / "out")
    assert found["attacked/first/threshold"] == found["clean/first/threshold"]
    assert found["attacked/first/intersection"] != bits(world / "done")["attacked/first/intersection"]


def test_counting_twice_where_memory_is_short_finds_the_same(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(inputs, "MOST", 0)
    here(words(world, tmp_path / "out"))
    assert list(DissectionFolder.open(tmp_path / "out").manifest.shards) == ["coarse", "fine", "tally"]
    assert bits(tmp_path / "out") == bits(world / "done")


@pytest.mark.parametrize("most", [inputs.MOST, 0])
def test_images_that_other_processes_decode_ahead_are_the_same(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int
):
    asked: list[torch.device] = []
    monkeypatch.setattr(inputs, "MOST", most)
    monkeypatch.setattr(ahead, "workers_on", lambda device: asked.append(device) or 2)
    here(words(world, tmp_path / "out"))
    assert len(asked) == (1 if most else 3)  # for each phase with the network
    assert bits(tmp_path / "out") == bits(world / "done")


def test_several_layers_and_the_last_maps_come_from_one_pass(world: Path, tmp_path: Path):
    here(words(world, tmp_path / "out", layers="first,norm", permutations=1))
    here(words(world, tmp_path / "auto", layers="auto", permutations=1))
    found, auto = bits(tmp_path / "out"), bits(tmp_path / "auto")
    assert DissectionFolder.open(tmp_path / "auto").manifest.layers == ("norm",)
    assert found["attacked/norm/intersection"] == auto["attacked/norm/intersection"]
    assert found["clean/first/intersection"] == bits(world / "done")["clean/first/intersection"]


def test_a_stored_set_is_what_is_dissected(world: Path, tmp_path: Path):
    data = {"data": world / "broden" / "images", "labels": world / "labels.csv"}
    here(attack_world.words(world, tmp_path / "set", targets="least-likely:2", **data))
    here(words(world, tmp_path / "out", attack=f"set:{tmp_path / 'set'}"))
    from interp_plugins.store.dataset import AdversarialImages
    from interp_plugins.store.sets import AdversarialSet

    records = AdversarialImages(AdversarialSet.open(tmp_path / "set"))
    images, model = open_labelled(world / "broden"), models.load(f"{world}/nets.py:first").module
    place = {name.removesuffix(".png"): 2 * index for index, name in enumerate(records.ids)}
    attacked = torch.stack([records[place[name.removesuffix(".png")]].adversarial for name in images.ids]).float() / 255
    with torch.no_grad():
        highest = model.first(attacked).amax((0, 2, 3))
    found = torch.tensor(bits(tmp_path / "out")["attacked/first/highest"])
    torch.testing.assert_close(found, highest)


class Stop:
    """In place of `Progress.add`: an interruption after so many shards."""

    def __init__(self, after: int) -> None:
        self.after, self.add = after, Progress.add

    def __call__(self, progress: Progress, shard: int, last: bool) -> None:
        self.add(progress, shard, last)
        self.after -= 1
        if self.after == 0:
            raise KeyboardInterrupt


@pytest.mark.parametrize("after", [2, 3, 5])
def test_an_interruption_keeps_what_is_finished_and_prints_the_command_that_goes_on(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], after: int
):
    monkeypatch.setattr(work, "PATIENCE", 0)  # every shard is written at once
    with monkeypatch.context() as patched:
        stop = Stop(after)
        patched.setattr(Progress, "add", lambda self, shard, last: stop(self, shard, last))
        said = refused(capsys, words(world, tmp_path / "out"), code=4)
    assert f"interrupted; {after} of 6 shards are finished and kept; go on with: interp-plugins dissect run " in said
    looked: list[int] = []
    for kind in (Looking, Tallying):
        look = kind.look
        monkeypatch.setattr(kind, "look", lambda self, shard, look=look: (looked.append(shard), look(self, shard)))
    assert main(shlex.split(said.partition("go on with: interp-plugins ")[2])) == 0
    assert len(looked) == 6 - after
    assert bits(tmp_path / "out") == bits(world / "done")
    assert rows(tmp_path / "out") == rows(world / "done")


@pytest.mark.slow
def test_two_processes_find_what_one_finds(world: Path, tmp_path: Path):
    run_alone(words(world, tmp_path / "out", processes=2))
    assert bits(tmp_path / "out") == bits(world / "done")
    assert rows(tmp_path / "out") == rows(world / "done")


@pytest.mark.parametrize("most", [inputs.MOST, 0])
def test_several_ranks_and_one_without_shards_change_nothing(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int
):
    def in_turn(_given: Any, folder: DissectionFolder, phase: Any, start: Any, device: torch.device, _w: Any) -> None:
        for rank in (4, 0, 2, 1, 3):  # five for three shards
            working.share(folder, phase, Place(rank, 5), start, device)

    monkeypatch.setattr(working, "do", in_turn)
    monkeypatch.setattr(inputs, "MOST", most)
    here(words(world, tmp_path / "out"))
    assert bits(tmp_path / "out") == bits(world / "done")
    assert rows(tmp_path / "out") == rows(world / "done")


def test_a_folder_that_holds_a_dissection_needs_resume(world: Path, capsys: pytest.CaptureFixture[str]):
    said = refused(capsys, words(world, world / "done"))
    assert said.endswith("done holds a dissection already; add --resume to go on with it, or name another folder")


def test_another_dissection_is_refused_and_what_differs_is_listed(world: Path, capsys: pytest.CaptureFixture[str]):
    given = words(world, world / "done", "--resume", model=f"{world}/nets.py:second", limit=100, attack="fgsm:4/255")
    said = refused(capsys, given)
    for difference in ("data count: 150 there, 100 asked for", 'attack: "fgsm:8/255" there, "fgsm:4/255" asked for',
                       "model sha256: ", "shards tally: 3 there, 2 asked for"):  # fmt: skip
        assert difference in said


def test_another_label_makes_another_dissection(world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    import shutil

    data = shutil.copytree(world / "broden", tmp_path / "broden")
    here(words(world, tmp_path / "out", data=data, permutations=1))
    mask = next((data / "images").rglob("*_object.png"))
    with Image.open(mask) as image:
        pixels = np.array(image)
    Image.fromarray(np.where(pixels == 3, 4, pixels)).save(mask)
    said = refused(capsys, words(world, tmp_path / "out", "--resume", data=data, permutations=1))
    assert "data sha256: " in said


def test_dead_and_saturated_units_are_said_and_have_no_label(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    given = words(world, tmp_path / "out", model=f"{world}/odd.py:Stuck", layers="stuck", sheet=3)
    said = printed(capsys, given)
    assert "stuck, clean images: 3 units are dead or saturated and have no label." in said
    assert bits(tmp_path / "out")["clean/stuck/concept"][:3] == [0, 0, 0]
    assert "2 saturated at 6, 1 dead at 0" in (tmp_path / "out" / "index.html").read_text()


def test_an_activation_in_place_changes_nothing(world: Path, tmp_path: Path):
    here(words(world, tmp_path / "out", model=f"{world}/odd.py:InPlace", permutations=1))
    assert min(bits(tmp_path / "out")["clean/first/highest"]) == min(bits(world / "done")["clean/first/highest"])


SAYS = {
    "idle": ({"model": "odd.py:Odd", "layers": "idle"}, "layer 'idle' did not run; layers that did: "),
    "tuple": ({"model": "odd.py:Odd", "layers": "twins"}, "expected a tensor from layer 'twins', got tuple"),
    "no map": ({"layers": "head"}, "expected maps (8, units, height, width) from layer 'head', got (8, 6)"),
    "unknown": ({"layers": "frist"}, "expected a layer of the model, got 'frist'; the nearest is 'first'"),
    "empty": ({"layers": "first,"}, "expected --layers as names with commas between, got 'first,'"),
    "twice": ({"layers": "first,first"}, "expected the names of different layers, got 'first,first'"),
    "chance": ({"model": "odd.py:Chance"}, "expected a model that answers an image in one way, got two answers from"),
    "size": ({"size": 4}, "first does not take images of (3, 4, 4) ("),
    "category": ({"categories": "color,smell"}, "smell"),
    "no data": ({"data": "nowhere"}, "no folder "),
    "share": ({"share": 0.00001}, "expected a share of at least one position, got 1e-05 of 9600"),
    "union": ({"union": "cup"}, "expected --union to be one of 'category', 'lite', 'plain', got 'cup'"),
    "quantile": ({"quantile": "about"}, "expected --quantile to be one of 'exact', 'netdissect', got 'about'"),
    "threshold": ({"threshold": "old"}, "expected --threshold to be one of 'recompute', 'clean', got 'old'"),
    "detector": ({"detector": 1.5}, "expected --detector from 0 to below 1, got 1.5"),
    "tile": ({"tile": 3}, "power of two from 1 to 256, got 3"),
    "processes": ({"processes": "many"}, "expected --processes auto or a number of at least 1, got 'many'"),
    "attack": ({"attack": "deepfool:1"}, "expected --attack fgsm:8/255, pgd:8/255, pgd:8/255:20 or set:FOLDER, got "),
    "radius": ({"attack": "fgsm:8"}, "with a radius above 0 and up to 1, got 'fgsm:8'"),
    "fraction": ({"attack": "fgsm:8/x"}, "expected --attack as a number or a fraction such as 8/255, got '8/x'"),
    "steps": ({"attack": "pgd:8/255:0"}, "got 'pgd:8/255:0'"),
    "no set": ({"attack": "set:nowhere"}, "no adversarial set at "),
    "few": ({"limit": 1}, "expected at least 2 images to draw from, got 1; take more, or --draws 0"),
}  # fmt: skip


@pytest.mark.parametrize("case", SAYS)
def test_bad_input_is_told_in_a_sentence(world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], case: str):
    options, sentence = SAYS[case]
    files = {name: f"{world}/{value}" for name, value in options.items() if name in ("model", "data")}
    assert sentence in refused(capsys, words(world, tmp_path / "out", **(options | files)))
    assert not (tmp_path / "out" / "dissection.json").exists()


def test_a_nan_is_named_by_layer_unit_and_image(world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    images = open_labelled(world / "broden")
    white = (images.tensor(range(IMAGES))[:, 0, 0, 0] == 255).nonzero()
    said = refused(capsys, words(world, tmp_path / "out", attack=None, model=f"{world}/odd.py:Odd", layers="spoil"))
    place = int(white[0])
    assert said.endswith(f"layer 'spoil': expected maps without NaN or infinity, got nan in unit 0, image {place}")


def test_an_index_that_points_outside_the_folder_is_refused(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    import shutil

    data = shutil.copytree(world / "broden", tmp_path / "broden")
    table = (data / "index.csv").read_text()
    (data / "index.csv").write_text(table.replace("pictures/003.png", "../../003.png", 1))
    assert "../../003.png" in refused(capsys, words(world, tmp_path / "out", data=data))


def test_a_set_of_other_images_is_refused(world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    here(attack_world.words(world, tmp_path / "set", targets="least-likely:2", limit=8))
    said = refused(capsys, words(world, tmp_path / "out", attack=f"set:{tmp_path / 'set'}"))
    assert "expected each of the 150 dissected images in the set" in said
    assert "150 are not, or are other files there, the first 'pictures/000.png'; make a set of all of them" in said


@pytest.mark.parametrize(("text", "words"), [
    ("fgsm:8/255", "FGSM, epsilon = 8/255, away from the predicted class"),
    ("pgd:0.01", "PGD of 10 steps, epsilon = 2.55/255, away from the predicted class"),
    ("pgd:8/255:20", "PGD of 20 steps, epsilon = 8/255, away from the predicted class"),
    ("set:folder", "a stored set"),
])  # fmt: skip
def test_an_attack_is_told_with_its_radius(text: str, words: str):
    assert str(Spec.read(text)) == words


@pytest.mark.real
@pytest.mark.slow
def test_a_real_network_on_real_masks_loses_units_under_attack(data_folder: Path, tmp_path: Path):
    here(["dissect", "run", "--model", f"{data_folder}/nets.py:imagenet_squeezenet1_0", "--layers", "net.features.12",
          "--data", f"{data_folder}/segmentation/broden_micro_224", "--attack", "fgsm:8/255", "--out",
          str(tmp_path / "out"), "--limit", "100", "--permutations", "2", "--processes", "1"])  # fmt: skip
    found = rows(tmp_path / "out")
    clean, attacked = (found[f"ratio/net.features.12/{kind}/all"]["numerator"] for kind in ("clean", "attacked"))
    assert 0 < attacked < clean
    assert found["chance/net.features.12/clean/all"]["numerator"] < clean
    assert json.loads((tmp_path / "out" / "results.json").read_text())["settings"]["union"] == "category"
