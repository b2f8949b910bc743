"""Every example runs, small, and every recipe page quotes its example and shows no other Python."""

import functools
import importlib.util
import re
import shlex
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from stored_world import world
from torch import nn

from interp_plugins.cli import main
from interp_plugins.demo import study
from interp_plugins.store.sets import AdversarialSet
from interp_plugins.testing import toy_classifier

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
RECIPES = sorted((ROOT / "docs" / "recipes").glob("*.md"))
SMALL = ["--images", "2", "--size", "16", "--targets", "2", "--steps", "8", "--training", "32"]

QUOTED = re.compile(r"^:::\{literalinclude\} \.\./\.\./examples/(\S+)\n((?::.*\n)*)", re.MULTILINE)
MARK = re.compile(r'^:(?:start-after|end-before): "(.+)"$', re.MULTILINE)


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return imported("attack_an_ensemble", monkeypatch)


@pytest.fixture
def keeper(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return imported("make_an_adversarial_set", monkeypatch)


def imported(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script, as if it were imported."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "examples" / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module


@pytest.mark.filterwarnings("ignore")  # of the hosts
def test_an_ensemble_is_attacked_alike_through_every_host(example: ModuleType, capsys: pytest.CaptureFixture[str]):
    for host in ("torchattacks", "art"):
        pytest.importorskip(host)
    result = example.main(SMALL)
    assert result.same_bits == {"torchattacks": True, "ART": True}
    assert "torchattacks gives the same bits\nART gives the same bits\n" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_defaults_give_what_the_recipe_says(example: ModuleType):
    example.main([])


def test_the_networks_the_set_and_the_held_out_network_are_counted(
    example: ModuleType, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(example, "through_torchattacks", lambda members, x, y, steps: missing())
    monkeypatch.setattr(example, "through_art", lambda members, x, y, steps: missing())
    result = example.main(SMALL)
    assert list(result.rows) == ["depth 4", "depth 8", "all of them at once", "depth 12, not attacked"]
    assert {row.denominator for row in result.rows.values()} == {4}


def test_a_host_that_is_missing_is_left_out_and_said(
    example: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(example, "through_torchattacks", lambda members, x, y, steps: missing())
    monkeypatch.setattr(example, "through_art", lambda members, x, y, steps: missing())
    assert example.main(SMALL).same_bits == {}
    assert "ART is left out: not here" in capsys.readouterr().out


def missing() -> None:
    """What happens where a host is not installed."""
    raise ImportError("not here")


@pytest.mark.filterwarnings("ignore")
def test_other_bits_from_a_host_stop_the_script(example: ModuleType, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(example, "through_torchattacks", lambda members, x, y, steps: x)
    monkeypatch.setattr(example, "through_art", lambda members, x, y, steps: missing())
    with pytest.raises(AssertionError, match="other bits than the core"):
        example.main(SMALL)


def test_models_without_data_are_refused(example: ModuleType, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        example.main(["--model", "nets.py:first"])
    assert "--model and --data go together" in capsys.readouterr().err


@pytest.mark.real
@pytest.mark.filterwarnings("ignore")
def test_real_networks_and_images_go_in_by_flags(example: ModuleType, data_folder: Path):
    nets = data_folder / "nets.py"
    words = ["--model", f"{nets}:imagenet_mobilenet_v1_025", "--heldout", f"{nets}:imagenet_mobilenet_v1_050"]
    words += ["--data", str(data_folder / "imagenet" / "nips17_299_jpeg"), "--size", "128"]
    result = example.main([*words, "--images", "2", "--targets", "2", "--steps", "2"])
    assert list(result.rows) == [
        "imagenet_mobilenet_v1_025", "all of them at once", "imagenet_mobilenet_v1_050, not attacked"
    ]  # fmt: skip


def test_a_set_is_what_it_says_and_an_altered_byte_is_noticed(keeper: ModuleType, capsys: pytest.CaptureFixture[str]):
    result = keeper.main(SMALL)
    assert result.wrong == ()
    assert result.wrong_in_the_copy[0].startswith("shard 00000.safetensors: ")
    assert result.rows["success/all members at once/all images"].denominator == 4
    assert "4 pairs read back" in capsys.readouterr().out


def test_a_set_that_the_recipe_leaves_is_verified_by_the_command(keeper: ModuleType, tmp_path: Path):
    there = world(tmp_path)
    words = [*(word for spec in there.specs for word in ("--model", spec)), "--data", str(tmp_path / "photos.npz")]
    keeper.main([*words, "--out", str(there.set), "--size", "8", "--images", "3", "--targets", "2"])
    assert len(AdversarialSet.open(there.set).manifest.data.ids) == 3
    assert main(["attack", "verify", str(there.set)]) == 0


@pytest.mark.slow
def test_the_defaults_keep_a_set_as_the_recipe_says(keeper: ModuleType):
    keeper.main([])


@pytest.mark.slow
def test_the_commands_of_the_recipe_work(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    small = {"training": 32, "held_out": 16, "attacked": 4, "targets": 2, "width": 4, "epochs": 1, "steps": 1}
    monkeypatch.setattr(study, "Settings", functools.partial(study.Settings, **small, size=32, compared=1))
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs" / "recipes" / "make_an_adversarial_set.md").read_text(encoding="utf-8")
    commands = re.findall(r"^interp-plugins (.+)$", page, re.MULTILINE)
    assert len(commands) == 5
    for words in map(shlex.split, commands):
        one = ["--processes", "1"] * (words[0] == "demo" or words[1] == "run")
        assert main([*words, *one]) == 0, words
    assert len(list((tmp_path / "pngs").rglob("*.png"))) == 40


@pytest.mark.parametrize("page", RECIPES, ids=lambda page: page.stem)
def test_a_recipe_quotes_an_example(page: Path):
    assert quoted(page)


@pytest.mark.parametrize("page", RECIPES, ids=lambda page: page.stem)
def test_a_recipe_shows_no_python_of_its_own(page: Path):
    assert re.findall(r"```\s*\{?(?:python|code-block)", page.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("page", RECIPES, ids=lambda page: page.stem)
def test_what_a_recipe_quotes_begins_and_ends_at_marks_that_the_example_has_once(page: Path):
    for name, options in QUOTED.findall(page.read_text(encoding="utf-8")):
        script = (ROOT / "examples" / name).read_text(encoding="utf-8").splitlines()
        for mark in MARK.findall(options):
            assert [line.strip() for line in script].count(mark) == 1, mark


@pytest.mark.parametrize("script", EXAMPLES, ids=lambda script: script.stem)
def test_every_example_has_a_recipe(script: Path):
    assert script.name in set().union(*map(quoted, RECIPES))


def quoted(page: Path) -> set[str]:
    """The examples that a page quotes."""
    return {name for name, _ in QUOTED.findall(page.read_text(encoding="utf-8"))}


def test_neurons_are_measured_and_a_decision_is_traced(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    asked = imported("neurons_under_attack", monkeypatch)
    words = ["--training", "64", "--images", "48", "--attacked", "6", "--targets", "2", "--size", "16", "--steps", "10"]
    result = asked.main([*words, "--out", str(tmp_path)])
    assert len(result.survey.records.labels) == 12
    assert list(result.survey.layers)[-1] == result.trace.layer == "features"
    printed = capsys.readouterr().out
    assert f"r1 {result.survey.ratios.r1.nanmean():.2f}, " in printed
    assert all(f"  unit {unit.number}: " in printed for unit in result.trace.attacked.units)
    assert all((tmp_path / name).read_bytes().startswith(b"\x89PNG") for name in ("trace.png", "ratios.png"))


DISSECTED = ["--training", "32", "--images", "48", "--size", "32"]


def test_a_layer_is_dissected_clean_and_attacked(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    found = imported("dissect_a_layer", monkeypatch).main(DISSECTED)
    _bar, head, columns, clean, chance, attacked, *_ = capsys.readouterr().out.splitlines()
    assert head == "features.5: 64 units, 48 images, 18 concepts, epsilon 16/255"
    assert columns.split() == ["color", "object", "part", "scene", "texture", "all", "concepts"]
    for words, side in ((clean.split(), found.clean), (attacked.split(), found.attacked)):
        assert [int(word) for word in words[1:6]] == side.labels.by_category.tolist(), words[0]
        assert [int(word) for word in words[6:]] == [int(side.labels.detectors.sum()), side.labels.unique], words[0]
    assert chance.startswith("  by chance")


def test_own_masks_are_written_and_dissected(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    found = imported("dissect_on_my_own_masks", monkeypatch).main(DISSECTED)
    printed = capsys.readouterr().out
    assert printed.splitlines()[1].startswith("48 images, 72 concepts, 64 units of features.5")
    assert f"{int(found.labels.detectors.sum())} units detect one of {found.labels.unique} concepts; " in printed
    concept, unit = divmod(int(found.overlap.iou.t().argmax()), len(found.labels.iou))
    assert f" IoU {found.overlap.iou[unit, concept]:.3f} with unit {unit}, " in printed


@pytest.mark.parametrize("name", ["dissect_a_layer", "dissect_on_my_own_masks"])
def test_a_network_to_dissect_wants_labelled_images(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    with pytest.raises(SystemExit):
        imported(name, monkeypatch).main(["--model", "nets.py:first"])
    assert "--model and --data go together" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dissect_a_layer", "dissect_on_my_own_masks"])
def test_the_defaults_of_a_dissection_give_what_the_recipe_says(name: str, monkeypatch: pytest.MonkeyPatch):
    imported(name, monkeypatch).main([])


def test_a_network_that_learned_nothing_can_be_dissected(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    imported("dissect_a_layer", monkeypatch).main([*DISSECTED, "--epochs", "0", "--out", str(tmp_path)])
    assert "training" not in capsys.readouterr().out
    assert (tmp_path / "concepts.png").read_bytes().startswith(b"\x89PNG")


TRAINED = ["--training", "64", "--images", "32", "--epochs", "1"]
SPLIT = ["--training", "24", "--images", "12", "--size", "16", "--epochs", "1"]


def test_the_consistent_loss_is_trained_beside_two_other_ways(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    recipe = imported("train_with_the_consistent_loss", monkeypatch)
    found = recipe.main([*TRAINED, "--out", str(tmp_path)])
    assert list(found.rates) == list(found.moved) == ["standard", "attacked too", "consistent"]
    assert {row.denominator for rows in found.rates.values() for row in rows.values()} == {32}
    printed = capsys.readouterr().out
    assert all(f" {value:.4f}\n" in printed for value in found.moved.values())
    assert (tmp_path / "trained.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", ["train_with_the_consistent_loss", "adapt_clean_and_adversarial_features"])
def test_a_training_takes_images_of_yours(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    generator = np.random.default_rng(0)
    pixels, labels = generator.integers(0, 256, (36, 16, 16, 3), np.uint8), np.arange(36) % 3
    np.savez(tmp_path / "photos.npz", images=pixels, labels=labels)
    found = imported(name, monkeypatch).main([*SPLIT, "--data", str(tmp_path / "photos.npz")])
    assert {row.denominator for rows in found.rates.values() for row in rows.values()} == {12}


def test_the_consistent_loss_takes_a_network_of_yours(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    file = tmp_path / "nets.py"
    file.write_text(
        "from interp_plugins import testing\n\ndef mine():\n    return testing.toy_classifier(classes=16)\n"
    )
    recipe = imported("train_with_the_consistent_loss", monkeypatch)
    assert set(recipe.main([*TRAINED, "--model", f"{file}:mine", "--layer", "3"]).moved) == set(recipe.ways("3", 1.0))
    with pytest.raises(SystemExit):
        recipe.main(["--model", f"{file}:mine"])
    assert "--model and --layer go together" in capsys.readouterr().err


def test_features_are_adapted_in_three_ways_and_without(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    found = imported("adapt_clean_and_adversarial_features", monkeypatch).main([*TRAINED, "--out", str(tmp_path)])
    assert list(found.gaps) == ["no adaptation", "CORAL", "means", "both"]
    printed = capsys.readouterr().out
    for gap in found.gaps.values():
        assert f"{gap.coral:>9.4f}{gap.means:>9.4f}  {gap.told.value:.2f} [" in printed
    assert (tmp_path / "adapted.png").read_bytes().startswith(b"\x89PNG")


def test_features_that_lie_apart_are_told_apart_and_others_are_not(monkeypatch: pytest.MonkeyPatch):
    recipe = imported("adapt_clean_and_adversarial_features", monkeypatch)
    clean, other = torch.randn(2, 400, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert recipe.told(clean, clean + torch.tensor([9.0, 0, 0, 0, 0])).value == 1
    assert recipe.told(clean, other).low < 0.5 < recipe.told(clean, other).high


def test_networks_are_checked_for_masked_gradients(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    found = imported("is_my_robust_model_masking_gradients", monkeypatch).main([*TRAINED, "--epochs", "2"])
    assert list(found) == ["standard", "trained with PGD", "masked"]
    printed = capsys.readouterr().out
    for name, one in found.items():
        assert f"{name}: {'suspicious' if one.suspicions else 'nothing suspicious'}\n" in printed
        assert all(f"  {sentence}\n" in printed for sentence in one.suspicions)


def test_a_network_that_hides_its_gradient_is_as_good_on_clean_images_and_suspected(monkeypatch: pytest.MonkeyPatch):
    recipe = imported("is_my_robust_model_masking_gradients", monkeypatch)
    honest, other = (linear(seed) for seed in (0, 1))
    x = torch.rand(64, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    labels = honest(x).argmax(1)
    tried = recipe.attacks(other, 8 / 255)
    plain, masked = (recipe.check(network, x, labels, tried) for network in (honest, recipe.Masked(honest)))
    assert plain.suspicions == ()
    assert masked.rows["clean"] == plain.rows["clean"]
    assert masked.rows["no gradient"].value > 0.5
    assert any("the gradient is exactly 0" in sentence for sentence in masked.suspicions)
    assert any("whatever the change" in sentence for sentence in masked.suspicions)


def linear(seed: int) -> nn.Module:
    """A linear classifier with large logits."""
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Flatten(), nn.Linear(48, 4))
    nn.init.normal_(network[1].weight, std=3)
    return network.eval()


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"FGSM": 5}, "FGSM fools it on 5 images on which PGD-20 does not"),
        ({"random points": 3}, "random points fools it on 3 images on which PGD-20 does not"),
        ({"PGD-50": 6}, "PGD-50 fools it on 6 images on which PGD-20 does not: PGD-20 overstates"),
        ({"AutoAttack": 6}, "AutoAttack fools it on 6 images on which PGD-20 does not: PGD-20 overstates"),
        ({"PGD without bound": 94}, "6 images are read rightly whatever the change"),
        ({"no gradient": 97}, "on 3 images the gradient is exactly 0"),
    ],
)
def test_what_an_honest_network_would_not_show_is_said(
    changed: dict[str, int], sentence: str, monkeypatch: pytest.MonkeyPatch
):
    recipe = imported("is_my_robust_model_masking_gradients", monkeypatch)
    names = ("random points", "FGSM", "other network's PGD", "PGD-20", "PGD-50", "PGD without bound", "no gradient")
    wrong = dict.fromkeys(names, 0) | {"PGD without bound": 100, "no gradient": 100} | changed
    (said,) = recipe.suspicions({name: torch.arange(100) >= count for name, count in wrong.items()})
    assert said.startswith(sentence)


@pytest.mark.filterwarnings("ignore")  # of torchattacks
def test_autoattack_is_asked_as_well(monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("torchattacks")
    recipe = imported("is_my_robust_model_masking_gradients", monkeypatch)
    x = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    network = toy_classifier(classes=10).eval()
    labels = network(x).argmax(1)
    moved = recipe.autoattack(64 / 255)(network, x, labels)
    assert (moved - x).abs().max() <= 64 / 255 + 1e-6
    assert not recipe.correct(network, moved, labels).all()


def test_a_network_of_yours_is_checked_with_another_of_yours(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    there = world(tmp_path)
    recipe = imported("is_my_robust_model_masking_gradients", monkeypatch)
    words = ["--model", there.specs[0], "--surrogate", there.specs[1], "--data", str(tmp_path / "photos.npz")]
    assert len(recipe.main([*words, "--images", "4", "--size", "8"])) == 1
    with pytest.raises(SystemExit):
        recipe.main(words[:2])
    assert "--model, --surrogate and --data go together" in capsys.readouterr().err
