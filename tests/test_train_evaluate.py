"""`train evaluate`: what it counts, what it says of masked gradients, and what it refuses."""

import json
import shutil
import sys
import time
from pathlib import Path

import attack_world
import chromium
import pytest
import torch
import train_world
from attack_world import here
from test_train_run import refused
from torch import nn

from interp_plugins.attacks import FGSM, PGD
from interp_plugins.cli.train import masking
from interp_plugins.cli.train.answers import Answers
from interp_plugins.cli.train.attacks import Spec
from interp_plugins.cli.train.judges import Judge
from interp_plugins.report.results import Results
from interp_plugins.sources import images, models

KINDS = ("clean", "fgsm", "pgd", "pgd-l2", "autoattack")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A world with a run of two epochs in `done`; tests leave both as they are."""
    world = train_world.build(tmp_path_factory.mktemp("world"))
    here(train_world.words(world, world / "done", objective="fgsm"))
    return world


def words(world: Path, *more: str, attack: str = "clean,fgsm:8/255", **options: object) -> list[str]:
    """The words of `train evaluate`."""
    chosen = {"run": world / "done", "data": world / "others.npz", "attack": attack, **options}
    given = ["train", "evaluate"]
    for name, value in chosen.items():
        given += [f"--{name}", str(value)]
    return [*given, *more]


def found(capsys: pytest.CaptureFixture[str], given: list[str]) -> Results:
    """What the command finds."""
    capsys.readouterr()
    here([*given, "--json"])
    return Results.model_validate_json(capsys.readouterr().out)


def test_it_counts_what_a_loop_counts(world: Path, capsys: pytest.CaptureFixture[str]):
    attack = "clean,fgsm:8/255,pgd:8/255:4,pgd-l2:0.5:4"
    results = found(capsys, words(world, attack=attack, seed=3))
    data = images.load(world / "others.npz")
    clean, labels = data.tensor(range(len(data))).float() / 255, data.labels
    network = models.load(f"{world}/nets.py:net@{world}/done/model.safetensors").module
    linf = PGD(epsilon=8 / 255, step_size=5 / 255, steps=4, random_start=True)
    l2 = PGD(epsilon=0.5, step_size=0.3125, steps=4, random_start=True, norm="l2")
    ids = list(range(len(data)))
    expected = (
        clean,
        FGSM(epsilon=8 / 255)(network, clean, labels),
        linf(network, clean, labels, seed=3, ids=ids),
        l2(network, clean, labels, seed=3, ids=ids),
    )
    for name, moved in zip(attack.split(","), expected, strict=True):
        with torch.no_grad():
            right = int((network(moved).argmax(1) == labels).sum())
        row = results.row(f"done/{name}/top-1")
        assert (row.numerator, row.denominator) == (right, 40)


def test_among_more_answers_the_true_class_is_counted(world: Path, capsys: pytest.CaptureFixture[str]):
    results = found(capsys, words(world, top="4,1,2", attack="clean"))
    data = images.load(world / "others.npz")
    with torch.no_grad():
        network = models.load(f"{world}/nets.py:net@{world}/done/model.safetensors").module
        order = network(data.tensor(range(len(data))).float() / 255).argsort(1, descending=True)
    places = (order == data.labels[:, None]).long().argmax(1)
    counts = {top: results.row(f"done/clean/top-{top}").numerator for top in (1, 2, 4)}
    assert counts == {top: int((places < top).sum()) for top in (1, 2, 4)}


def test_several_networks_stand_side_by_side(world: Path, capsys: pytest.CaptureFixture[str]):
    capsys.readouterr()
    here(words(world, "--model", f"{world}/nets.py:net", "--model", f"{world}/nets.py:net"))
    head, clean, attacked, *_ = capsys.readouterr().out.splitlines()
    assert head.split() == ["net", "(1)", "net", "(2)", "done"]
    assert clean.startswith("clean  ")
    assert attacked.startswith("FGSM, Linf 8/255  ")
    assert attacked.count(" of 40)") == 3


def test_a_cell_holds_the_share_its_interval_and_its_counts(world: Path, capsys: pytest.CaptureFixture[str]):
    row = found(capsys, words(world, limit=20)).row("done/clean/top-1")
    here(words(world, limit=20))
    cell = f"{100 * row.value:.1f} % [{100 * row.low:.1f}, {100 * row.high:.1f}] ({row.numerator} of 20)"
    assert cell in capsys.readouterr().out


def test_a_page_and_results_lie_in_the_folder(world: Path, tmp_path: Path):
    here(words(world, out=tmp_path / "out"))
    settings = json.loads((tmp_path / "out" / "results.json").read_text())["settings"]
    assert settings["attacks"] == {"clean": "clean", "fgsm:8/255": "FGSM, Linf 8/255"}
    assert chromium.console(tmp_path / "out" / "index.html", tmp_path) == []


def test_killed_and_typed_again_it_finds_the_same(world: Path, tmp_path: Path):
    given = words(world, attack="clean,pgd:8/255:400", out=tmp_path / "out")
    process = attack_world.start(given)
    while not list((tmp_path / "out").glob("state/*.safetensors")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.002)
    process.kill()
    process.communicate()
    assert not (tmp_path / "out" / "results.json").exists()
    here(given, words(world, attack="clean,pgd:8/255:400", out=tmp_path / "undisturbed"))
    assert (tmp_path / "out" / "results.json").read_text() == (tmp_path / "undisturbed" / "results.json").read_text()
    assert not list((tmp_path / "out" / "state").iterdir())


def test_what_is_judged_is_not_judged_again(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    judged, judge = [], Answers._judged

    def interrupted(self: Answers, network: nn.Module, attack: Judge, places: list[int]) -> torch.Tensor:
        judged.append(len(places))
        if len(judged) == 2:
            raise KeyboardInterrupt
        return judge(self, network, attack, places)

    monkeypatch.setattr(Answers, "_judged", interrupted)
    said = refused(capsys, words(world, out=tmp_path / "out"), code=4)
    assert said == "interp-plugins: interrupted; what is judged is kept; type the same command again"
    (kept,) = (tmp_path / "out" / "state").iterdir()
    here(words(world, out=tmp_path / "out"))
    assert len(judged) == 3  # FGSM's alone
    here(words(world, out=tmp_path / "out"))
    assert len(judged) == 5  # nothing is kept of what is done with
    kept.write_bytes(b"damaged")
    here(words(world, out=tmp_path / "out"))
    assert len(judged) == 7
    assert json.loads((tmp_path / "out" / "results.json").read_text())["rows"]


@pytest.mark.parametrize("change", [{"top": "1,2"}, {"limit": 20}, {"attack": "fgsm:4/255"}, {"data": "images.npz"}])
def test_what_another_command_has_judged_is_not_taken(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, object]
):
    monkeypatch.setattr(Answers, "clear", lambda self: None)
    given = {"attack": "fgsm:8/255", "out": tmp_path / "out"}
    other = given | change | ({"data": world / "images.npz"} if "data" in change else {})
    here(words(world, **given), words(world, **other))
    assert len(list((tmp_path / "out" / "state").iterdir())) == 2


@pytest.mark.slow
def test_autoattack_is_torchattacks_own(world: Path, capsys: pytest.CaptureFixture[str]):
    torchattacks = pytest.importorskip("torchattacks")
    given = words(world, attack="pgd:8/255:20,autoattack:8/255", limit=8, autoattack="rand")
    results = found(capsys, given)
    data = images.load(world / "others.npz")
    clean, labels = data.tensor(range(8)).float() / 255, data.labels[:8]
    network = models.load(f"{world}/nets.py:net@{world}/done/model.safetensors").module
    moved = torchattacks.AutoAttack(network, eps=8 / 255, version="rand", n_classes=4, seed=0)(clean, labels)
    right = int((network(moved).argmax(1) == labels).sum())
    assert results.row("done/autoattack:8/255/top-1").numerator == right
    assert "torchattacks" in results.versions
    here(given)
    assert "AutoAttack saw 8 images; 500 or more are advised" in capsys.readouterr().out


def test_without_torchattacks_the_way_to_it_is_said(
    world: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setitem(sys.modules, "torchattacks", None)
    monkeypatch.setattr("interp_plugins.hosts.Host.is_present", lambda _self: False)
    said = refused(capsys, words(world, attack="autoattack:8/255"), code=3)
    assert said.startswith("interp-plugins: torchattacks is needed for torchattacks.AutoAttack: pip")


def right(*counts: int, images: int = 200) -> dict[str, torch.Tensor]:
    """Flags of images, the first so many of which are read rightly under fgsm, pgd:8/255:10, :20 and autoattack."""
    names = ("fgsm:8/255", "pgd:8/255:10", "pgd:8/255:20", "autoattack:8/255")
    return {name: torch.arange(images) < count for name, count in zip(names, counts, strict=True)}


def signs(flags: dict[str, torch.Tensor]) -> list[str]:
    """What is said of them."""
    return list(masking.signs({name: Spec.read(name, KINDS) for name in flags}, flags))


def test_attacks_in_order_are_no_sign_of_masked_gradients():
    assert signs(right(150, 60, 58, 55)) == []


def test_a_network_that_withstands_nothing_is_no_sign_of_masked_gradients():
    assert signs(right(10, 0, 0, 0)) == []


def test_one_step_that_breaks_more_than_many_is_a_sign():
    assert signs(right(100, 120, 100, 100)) == [
        "FGSM, Linf 8/255 breaks 20 images more than PGD of 10 steps, Linf 8/255, though it should be weaker: the "
        "gradient is masked.",
        "PGD of 20 steps, Linf 8/255 breaks 20 images more than PGD of 10 steps, Linf 8/255: add steps until nothing "
        "changes.",
        "AutoAttack, Linf 8/255 breaks 20 images more than PGD of 10 steps, Linf 8/255: the gradient misleads, so "
        "trust AutoAttack's number.",
    ]


def test_a_difference_that_chance_makes_is_no_sign():
    flags = right(100, 100, 100, 100)
    flags["fgsm:8/255"] = (torch.arange(200) < 130) & (torch.arange(200) >= 36)  # 36 and 30 of them differ
    assert signs({name: flags[name] for name in ("fgsm:8/255", "pgd:8/255:10")}) == []


def test_attacks_of_other_balls_are_not_compared():
    typed = ("clean", "fgsm:8/255", "fgsm:4/255", "pgd:8/255", "pgd-l2:0.5")
    assert masking.pairs({name: Spec.read(name, KINDS) for name in typed}) == [("fgsm:8/255", "pgd:8/255")]


def test_what_was_compared_is_said_below_the_table(world: Path, capsys: pytest.CaptureFixture[str]):
    capsys.readouterr()
    here(words(world, attack="fgsm:8/255,pgd:8/255:10"))
    assert capsys.readouterr().out.splitlines()[-1] == "no sign of masked gradients in 1 comparison of attacks."


def test_a_masked_gradient_is_found(world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "masked.py").write_text('''
import torch
from torch import nn

class Masked(nn.Module):
    """Away from grey levels its gradient points the wrong way, so that only the first step is led well."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([-1.0, 1.0]))

    def forward(self, images):
        bright = images.mean((1, 2, 3))
        off = (images * 255 - (images * 255).round()).abs().amax((1, 2, 3)) > 1e-3
        seen = torch.where(off, 2 * bright.detach() - bright, bright) - 0.5
        return seen[:, None] * self.weight * 50
''')
    import numpy as np

    rng = np.random.default_rng(0)
    labels = np.arange(100) % 2
    pixels = (np.where(labels, 134, 121)[:, None, None, None] + rng.integers(-1, 2, (100, 8, 8, 3))).astype(np.uint8)
    np.savez(tmp_path / "grey.npz", images=pixels, labels=labels)
    here(["train", "evaluate", "--model", f"{tmp_path}/masked.py:Masked", "--data", str(tmp_path / "grey.npz"),
          "--attack", "fgsm:8/255,pgd:8/255:10"])  # fmt: skip
    assert "though it should be weaker: the gradient is masked." in capsys.readouterr().out.splitlines()[-1]


SAYS = {
    "attack": ({"attack": "deepfool"}, "expected --attack as clean, fgsm:8/255, pgd:8/255[:10], pgd-l2:0.5[:10], "),
    "clean": ({"attack": "clean:8/255"}, "got 'clean:8/255'"),
    "steps": ({"attack": "autoattack:8/255:5"}, "got 'autoattack:8/255:5'"),
    "top": ({"top": "0"}, "expected --top as numbers above 0 with commas between, such as 1,5, got '0'"),
    "many": ({"top": "1,5"}, "expected --top of at most 4, the classes that net knows, got 5"),
    "limit": ({"limit": 41}, "expected --limit of at most 40, the images in "),
    "version": ({"autoattack": "best"}, "expected --autoattack to be one of 'standard', 'plus', 'rand', got 'best'"),
    "no run": ({"run": "nowhere"}, "no training run at nowhere; make one with interp-plugins train run"),
    "size": ({"size": 4}, "net does not take images of (3, 4, 4) ("),
    "no data": ({"data": "nowhere"}, "no images at nowhere"),
}


@pytest.mark.parametrize("case", SAYS)
def test_bad_input_is_told_in_a_sentence(world: Path, capsys: pytest.CaptureFixture[str], case: str):
    options, sentence = SAYS[case]
    assert sentence in refused(capsys, words(world, **options))


def test_without_a_network_there_is_nothing_to_judge(world: Path, capsys: pytest.CaptureFixture[str]):
    said = refused(capsys, ["train", "evaluate", "--data", str(world / "others.npz")])
    assert said.endswith("expected a network, as --model or as --run, got none")


def test_labels_that_a_network_does_not_know_are_refused(world: Path, capsys: pytest.CaptureFixture[str]):
    given = ["train", "evaluate", "--data", str(world / "others.npz"), "--model", f"{world}/nets.py:few"]
    assert "expected labels from 0 to 1, the classes that few knows, got 3" in refused(capsys, given)


def test_autoattack_of_few_classes_is_refused(world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    import numpy as np

    pytest.importorskip("torchattacks")
    held = np.load(world / "others.npz")
    np.savez(tmp_path / "two.npz", images=held["images"], labels=held["labels"] % 2)
    given = ["train", "evaluate", "--data", str(tmp_path / "two.npz"), "--model", f"{world}/nets.py:few", "--attack",
             "autoattack:8/255"]  # fmt: skip
    assert "expected a network of at least 4 classes for AutoAttack" in refused(capsys, given)


def test_a_run_that_is_not_finished_is_refused(world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "training.json").write_bytes((world / "done" / "training.json").read_bytes())
    said = refused(capsys, words(world, run=tmp_path / "begun"))
    assert said.endswith("begun is not finished; type the command that began it again, with --resume")


def test_a_run_whose_factory_lies_elsewhere_is_said(world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    moved = shutil.copytree(world / "done", tmp_path / "moved")
    manifest = moved / "training.json"
    manifest.write_text(manifest.read_text().replace(f"{world}/nets.py", "elsewhere/nets.py"))
    said = refused(capsys, words(world, run=moved))
    assert "no model file elsewhere/nets.py (from " in said
    assert said.endswith("; the network is named as it was typed, so type this where the training run was made")


def test_the_network_is_in_eval_mode_while_it_is_judged(world: Path, tmp_path: Path):
    (tmp_path / "strict.py").write_text(
        train_world.NETS
        + """
class Strict(Net):
    def forward(self, images):
        assert not self.training
        return super().forward(images)
"""
    )
    here(["train", "evaluate", "--data", str(world / "others.npz"), "--model", f"{tmp_path}/strict.py:Strict"])
