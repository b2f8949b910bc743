"""`train run`: what it trains, what it writes, what it refuses, and that an interruption changes nothing."""

import json
import shlex
from pathlib import Path

import chromium
import pytest
import torch
import train_world
from attack_world import here
from torch import nn
from train_world import bits, rows, words

from interp_plugins.attacks import PGD, FeaturePGD
from interp_plugins.cli import main
from interp_plugins.cli.train import inputs
from interp_plugins.cli.train.attacks import ONE_STEP, STEPPED, AnywhereInTheBall, Spec
from interp_plugins.cli.train.objectives import OBJECTIVES
from interp_plugins.cli.train.request import Request
from interp_plugins.foundation.distributed import Place
from interp_plugins.report.results import Results
from interp_plugins.sources import models
from interp_plugins.sources.augment import moved
from interp_plugins.store.checkpoints import CheckpointFolder
from interp_plugins.store.trainings import TrainingFolder
from interp_plugins.training import ConsistentLoss, Coral, MeanDifference, Mixed, SharedFGSM, Trades


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A world with a finished run in `done`; tests leave both as they are."""
    world = train_world.build(tmp_path_factory.mktemp("world"))
    here(words(world, world / "done"))
    return world


def refused(capsys: pytest.CaptureFixture[str], given: list[str], code: int = 2) -> str:
    """The one sentence with which the command refuses."""
    capsys.readouterr()
    assert main(given) == code
    said = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("running the code in")]
    assert len(said) == 1, said
    return said[0]


def loaded(world: Path, **options: object) -> inputs.Inputs:
    """What a request loads."""
    given = {"model": f"{world}/nets.py:net", "data": f"{world}/images.npz", "objective": "consistent",
             "out": world / "nowhere", **options}  # fmt: skip
    return inputs.load(Request(**given), torch.device("cpu"), Place())


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_objective_trains(world: Path, tmp_path: Path, objective: str):
    here(words(world, tmp_path / "out", objective=objective, epochs=1))
    found = rows(tmp_path / "out")
    assert found["kept/clean"]["denominator"] == 16
    assert ("kept/attacked" in found) == (objective != "standard")
    assert bits(tmp_path / "out") != bits(world / "done")


def test_a_network_learns(world: Path, tmp_path: Path):
    here(words(world, tmp_path / "out", "--no-augment", epochs=12, objective="fgsm"))
    assert rows(tmp_path / "out")["kept/clean"]["value"] > 0.6


def test_the_kept_network_is_loaded_by_the_spec_that_is_printed(world: Path, capsys: pytest.CaptureFixture[str]):
    capsys.readouterr()
    here(words(world, world / "done", "--resume"))
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("Name it: --model ")]
    network = models.load(line.removeprefix("Name it: --model ")).module
    assert {name: values.tolist() for name, values in network.state_dict().items()} == bits(world / "done")


def test_the_network_of_the_best_epoch_is_kept(world: Path, tmp_path: Path):
    here(words(world, tmp_path / "out", epochs=4, lr=0.5, schedule="constant"))
    best = CheckpointFolder(tmp_path / "out").read("best")
    kept = rows(tmp_path / "out")["kept/epoch"]["value"]
    scores = {
        epoch: sum(rows(tmp_path / "out")[f"epoch {epoch}/{side}"]["value"] for side in ("clean", "attacked"))
        for epoch in range(1, 5)
    }
    assert scores[kept] == max(scores.values())
    assert (tmp_path / "out" / "index.html").read_text().count(" (kept)") == 1
    assert best.tensors["model/head.weight"].tolist() == bits(tmp_path / "out")["head.weight"]


def test_without_held_out_images_the_last_network_is_kept(world: Path, tmp_path: Path):
    here(words(world, tmp_path / "out", held_out=0))
    last = CheckpointFolder(tmp_path / "out").read("last")
    assert last.tensors["model/head.weight"].tolist() == bits(tmp_path / "out")["head.weight"]
    assert rows(tmp_path / "out")["kept/epoch"]["value"] == 2


def test_an_average_of_the_weights_is_kept_where_it_is_judged(world: Path, tmp_path: Path):
    here(words(world, tmp_path / "out", ema=0.9))
    best = CheckpointFolder(tmp_path / "out").read("best")
    assert best.tensors["averages/head.weight"].tolist() == bits(tmp_path / "out")["head.weight"]
    assert best.tensors["model/norm.running_mean"].tolist() == bits(tmp_path / "out")["norm.running_mean"]


def test_a_network_of_a_library_is_kept_without_its_normalisation(world: Path, tmp_path: Path):
    pytest.importorskip("torchvision")
    from torchvision.models import squeezenet1_1

    torch.save(squeezenet1_1(num_classes=4).state_dict(), tmp_path / "begin.pth")
    spec = f"torchvision:squeezenet1_1@{tmp_path / 'begin.pth'}?classes=4&size=32"
    here(words(world, tmp_path / "out", model=spec, objective="standard", epochs=1, limit=16, lr=0.001))
    models.load(models.spec_with(spec, tmp_path / "out" / "model.safetensors"))


def test_the_seed_decides_the_network_and_the_images(world: Path, tmp_path: Path):
    for seed in (0, 1):
        here(words(world, tmp_path / str(seed), seed=seed))
    assert bits(tmp_path / "0") == bits(world / "done")
    assert bits(tmp_path / "1") != bits(world / "done")
    inputs_of = [json.loads((tmp_path / str(seed) / "results.json").read_text())["inputs"] for seed in (0, 1)]
    assert all(one["sha256"] != other["sha256"] for one, other in zip(*inputs_of, strict=True))


def test_training_leaves_the_callers_random_numbers_alone(world: Path, tmp_path: Path):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    here(words(world, tmp_path / "out", epochs=1))
    assert torch.equal(torch.rand(3), expected)


def test_results_hold_every_epoch_with_its_losses_and_counts(world: Path):
    found = rows(world / "done")
    for epoch in (1, 2):
        names = {name.partition("/")[2] for name in found if name.startswith(f"epoch {epoch}/")}
        assert names == {"clean", "attacked", "loss classify", "loss consistent", "loss total", "learning rate"}
    settings = json.loads((world / "done" / "results.json").read_text())["settings"]
    assert settings["attack"] == "FGSM, Linf 8/255"
    assert settings["layers"] == ["norm"]
    assert (settings["images"], settings["held out"], settings["weight"]) == (48, 16, 0.1)


def test_two_equal_runs_write_the_same_results(world: Path, tmp_path: Path):
    here(words(world, tmp_path / "out"))
    assert (tmp_path / "out" / "results.json").read_bytes() == (world / "done" / "results.json").read_bytes()


def test_the_folder_holds_a_page_curves_and_how_the_run_went(world: Path, tmp_path: Path):
    assert {path.name for path in (world / "done").iterdir()} >= {
        "index.html", "curves.png", "results.json", "run.json", "training.json", "model.safetensors",
        "last.safetensors", "best.safetensors",
    }  # fmt: skip
    (run,) = json.loads((world / "done" / "run.json").read_text())["runs"]
    assert (run["epochs"], run["images"], run["device"]) == (2, 96, "cpu")
    assert chromium.console(world / "done" / "index.html", tmp_path) == []


def test_a_finished_run_is_told_again_and_not_trained_again(world: Path, capsys: pytest.CaptureFixture[str]):
    before = (world / "done" / "last.safetensors").stat().st_mtime_ns
    capsys.readouterr()
    here(words(world, world / "done", "--resume", "--json"))
    assert Results.model_validate_json(capsys.readouterr().out) == Results.read(world / "done" / "results.json")
    assert (world / "done" / "last.safetensors").stat().st_mtime_ns == before


class Stop:
    """In place of `CheckpointFolder.write`: an interruption after so many checkpoints."""

    def __init__(self, after: int) -> None:
        self.after, self.write = after, CheckpointFolder.write

    def __call__(self, *given: object) -> None:
        self.write(*given)
        self.after -= 1
        if self.after == 0:
            raise KeyboardInterrupt


@pytest.mark.parametrize("after", [1, 3, 4, 7])
def test_an_interrupted_run_goes_on_to_the_same_bits(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], after: int
):
    given = {"save_every": 2, "ema": 0.9, "objective": "uda", "attack": "pgd:8/255:2", "epochs": 3}
    here(words(world, tmp_path / "whole", **given))
    with monkeypatch.context() as patched:
        stop = Stop(after)
        patched.setattr(CheckpointFolder, "write", lambda *given: stop(*given))
        said = refused(capsys, words(world, tmp_path / "out", **given), code=4)
    epochs = len(TrainingFolder.open(tmp_path / "out").reports())
    assert f"interrupted; {epochs} of 3 epochs are finished and kept; go on with: interp-plugins train run " in said
    assert main(shlex.split(said.partition("go on with: interp-plugins ")[2])) == 0
    assert bits(tmp_path / "out") == bits(tmp_path / "whole")
    assert rows(tmp_path / "out") == rows(tmp_path / "whole")
    assert [run["epochs"] for run in json.loads((tmp_path / "out" / "run.json").read_text())["runs"]] == [3 - epochs]


def test_what_resumes_keeps_an_option_that_was_switched_off(world: Path):
    given = Request(model="nets.py:net", data="x", objective="fgsm", out=Path("out"), augment=False)
    assert "--no-augment" in shlex.split(given.to_resume())


def test_a_folder_that_holds_a_run_needs_resume(world: Path, capsys: pytest.CaptureFixture[str]):
    said = refused(capsys, words(world, world / "done"))
    assert said.endswith("done holds a training run already; add --resume to go on with it, or name another folder")


def test_another_run_is_refused_and_what_differs_is_listed(world: Path, capsys: pytest.CaptureFixture[str]):
    given = words(world, world / "done", "--resume", objective="uda", epochs=3, lr=0.2, held_out=8)
    said = refused(capsys, given)
    for difference in ('objective: "consistent" there, "uda" asked for', "lr: 0.1 there, 0.2 asked for",
                       "shards train: 2 there, 3 asked for", "held_out count: 16 there, 8 asked for"):  # fmt: skip
        assert difference in said


def test_a_damaged_checkpoint_is_named(world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    here(words(world, tmp_path / "out"))
    (tmp_path / "out" / "model.safetensors").unlink()
    last = tmp_path / "out" / "last.safetensors"
    last.write_bytes(last.read_bytes()[:100])
    assert "expected a whole checkpoint in" in refused(capsys, words(world, tmp_path / "out", "--resume"))


def test_a_loss_that_is_not_finite_stops_with_the_step_and_what_is_kept(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    given = words(world, tmp_path / "out", model=f"{world}/nets.py:Wild", objective="standard", lr=1e10)
    said = refused(capsys, given, code=1)
    assert "at step " in said
    assert said.endswith("; 0 of 2 epochs are finished and kept")


def test_catastrophic_overfitting_is_one_sentence(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    from interp_plugins.training import Accuracy, watch

    monkeypatch.setattr(watch, "accuracies", lambda *_: [Accuracy(9, 10), Accuracy(1, 10)])
    assert main(words(world, tmp_path / "out", "--watch", objective="fgsm", epochs=1)) == 0
    said = capsys.readouterr().err
    assert (
        "interp-plugins: the attack of training is withstood on 90.0% (9 of 10) held-out images, the probe on" in said
    )
    assert rows(tmp_path / "out")["epoch 1/probed"]["numerator"] == 1


def test_held_out_images_may_be_other_data(world: Path, tmp_path: Path):
    here(words(world, tmp_path / "out", held_out=world / "others.npz", epochs=1))
    assert rows(tmp_path / "out")["kept/clean"]["denominator"] == 40


def test_held_out_images_are_not_trained_on(world: Path):
    found = loaded(world, held_out="16")
    trained, held = (set(loader.dataset._indices) for loader in (found.loader, found.held_out))
    assert (len(trained), len(held)) == (48, 16)
    assert not trained & held


def test_of_cifar_the_training_images_are_trained_on(world: Path, tmp_path: Path):
    import numpy as np
    from PIL import Image

    for name in ("train_00.png", "test_00.png"):
        Image.fromarray(np.full((25 * 32, 40 * 32, 3), 10 * name.startswith("train"), np.uint8)).save(tmp_path / name)
    np.save(tmp_path / "labels.npy", np.zeros(51_000, np.int64))
    (tmp_path / "nets.py").write_text(train_world.NETS.replace("6 * 16", "6 * 256"))
    found = loaded(world, model=f"{tmp_path}/nets.py:net", data=str(tmp_path), held_out=str(tmp_path), augment=False)
    assert int(next(iter(found.loader))[0].min()) == 10
    assert int(next(iter(found.held_out))[0].max()) == 0
    assert found.manifest.data.split == "train"


def test_a_quarter_can_be_trained_on_and_seeds_draw_other_ones(world: Path):
    one, same, other = (loaded(world, limit=16, seed=seed).manifest.data for seed in (0, 0, 1))
    assert one == same
    assert one.count == other.count == 16
    assert one.sha256 != other.sha256


CORAL, MEANS = Coral(across_ranks=True), MeanDifference(across_ranks=True)
LOSSES = {
    "standard": (Mixed(alpha=1), []),
    "fgsm": (Mixed(), []),
    "consistent": (Mixed(), [(ConsistentLoss(), 0.1, "map")]),
    "coral": (Mixed(), [(CORAL, 1 / 3, "pooled")]),
    "mmd": (Mixed(), [(MEANS, 1 / 3, "pooled")]),
    "uda": (Mixed(), [(CORAL, 1 / 3, "pooled"), (MEANS, 1 / 3, "pooled")]),
    "pgd": (Mixed(alpha=0), []),
    "trades": (Trades(), []),
}


@pytest.mark.parametrize("objective", LOSSES)
def test_an_objective_stands_for_its_losses(world: Path, objective: str):
    trainer = loaded(world, objective=objective).trainer
    classify, terms = LOSSES[objective]
    assert trainer.classify == classify
    assert [(term.loss, term.weight, term.shape) for term in trainer.terms] == terms


def test_a_layer_without_maps_is_compared_as_it_is(world: Path):
    (term,) = loaded(world, objective="coral", layer="drop", weight=2).trainer.terms
    assert (term.layer, term.shape, term.weight) == ("drop", "flat", 2)


def test_the_weight_of_trades_is_its_beta(world: Path):
    assert loaded(world, objective="trades", weight=3).trainer.classify == Trades(beta=3)


def test_trades_attacks_what_the_network_answers(world: Path):
    attack = loaded(world, objective="trades", attack="pgd:4/255:5").attack
    expected = FeaturePGD(distance="divergence", epsilon=4 / 255, step_size=2 / 255, steps=5, tile=64)
    assert attack == AnywhereInTheBall(expected)


def test_features_are_attacked_where_they_are_compared(world: Path):
    attack = loaded(world, attack="feature-pgd-l2:0.5:5", layer="first").attack
    expected = FeaturePGD(layer="first", distance="squared", epsilon=0.5, step_size=0.25, steps=5, norm="l2", tile=64)
    assert attack == AnywhereInTheBall(expected)


def test_steps_of_pgd_reach_across_the_ball(world: Path):
    attack = loaded(world, objective="pgd", attack="pgd-l2:0.5:20").attack
    expected = PGD(epsilon=0.5, step_size=0.0625, steps=20, norm="l2", random_start=True, tile=64)
    assert attack == AnywhereInTheBall(expected)


def test_starts_of_pgd_are_drawn_anew_for_each_batch(world: Path):
    attack, model = loaded(world, objective="pgd").attack, models.load(f"{world}/nets.py:net").module
    images, labels = torch.full((4, 3, 8, 8), 0.5), torch.zeros(4, dtype=torch.long)
    first, second = (attack(model, images, labels) for _ in range(2))
    assert not torch.equal(first, second)


def test_a_step_in_the_networks_own_pass_is_taken_in_training_mode(world: Path):
    found = loaded(world, attack="shared-fgsm:4/255")
    assert found.attack == SharedFGSM(epsilon=4 / 255)
    assert found.trainer.attack_mode == "train"


@pytest.mark.parametrize(("schedule", "last"), [("onecycle", 0.0), ("cosine", 0.0), ("constant", 0.1)])
def test_a_schedule_ends_where_it_should(world: Path, schedule: str, last: float):
    found = loaded(world, schedule=schedule, held_out="16", batch_size=16)
    optimizer, rates = found.optimizer(), []
    scheduler = found.scheduler(optimizer)
    for _ in range(found.given.epochs * len(found.loader)):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if scheduler is not None:
            scheduler.step()
    assert rates[-1] == pytest.approx(last, abs=1e-3)


def test_a_network_that_views_its_maps_keeps_its_memory_format(world: Path, tmp_path: Path):
    here(words(world, tmp_path / "out", model=f"{world}/nets.py:Viewed", objective="standard", epochs=1))
    assert loaded(world, model=f"{world}/nets.py:Viewed").module.first.weight.is_contiguous()
    assert not loaded(world).module.first.weight.is_contiguous()


def test_augmented_images_are_cut_out_of_a_black_border_or_of_its_mirror_image():
    torch.manual_seed(0)
    image = torch.randint(1, 256, (1, 3, 8, 6), dtype=torch.uint8)
    wide = nn.functional.pad(image, (4, 4, 4, 4))
    known = {
        cut.numpy().tobytes()
        for y in range(9) for x in range(9) for plain in [wide[:, :, y : y + 8, x : x + 6]]
        for cut in (plain, plain.flip(3))
    }  # fmt: skip
    found = {each.numpy().tobytes() for each in moved(image.expand(2000, 3, 8, 6))}
    assert found <= known
    assert len(found) > 100


def test_augmentation_moves_each_image_by_itself():
    torch.manual_seed(0)
    images = torch.randint(256, (1, 3, 8, 8), dtype=torch.uint8).expand(16, 3, 8, 8)
    assert len({each.numpy().tobytes() for each in moved(images)}) > 8


SAYS = {
    "objective": ({"objective": "robust"}, "expected --objective to be one of 'standard', 'fgsm', 'consistent', "),
    "schedule": ({"schedule": "steps"}, "expected --schedule to be one of 'onecycle', 'cosine', 'constant', got "),
    "precision": ({"precision": "fp8"}, "expected --precision to be one of 'fp32', 'bf16', 'fp16', got 'fp8'"),
    "lr": ({"lr": 0}, "expected --lr above 0, got 0"),
    "momentum": ({"momentum": 1}, "expected --momentum from 0 to below 1, got 1"),
    "decay": ({"weight_decay": -1}, "expected --weight-decay of at least 0, got -1"),
    "ema": ({"ema": 1}, "expected --ema between 0 and 1, got 1"),
    "clip": ({"clip": 0}, "expected --clip above 0, got 0"),
    "weight": ({"weight": 0}, "expected --weight above 0, got 0"),
    "no weight": ({"objective": "pgd", "weight": 2}, "expected no --weight for --objective pgd, which has nothing to"),
    "no layer": ({"objective": "pgd", "layer": "first"}, "expected no --layer for --objective pgd, which looks at "),
    "no attack": ({"objective": "standard", "attack": "fgsm:8/255"}, "expected no --attack for --objective standard, "),
    "attack": ({"objective": "pgd", "attack": "fgsm:8/255"}, "expected --attack as pgd:8/255[:10] or pgd-l2:0.5[:10]"),
    "radius": ({"attack": "fgsm:8"}, "got 'fgsm:8'; a radius is above 0, and up to 1 where it is one of each pixel"),
    "steps": ({"attack": "pgd:8/255:0"}, "got 'pgd:8/255:0'"),
    "unknown": ({"layer": "frist"}, "expected a layer of the model, got 'frist'; the nearest is 'first'"),
    "idle": ({"model": "nets.py:Odd", "layer": "idle"}, "layer 'idle' did not run; layers that did: none"),
    "classes": ({"model": "nets.py:few"}, "expected labels from 0 to 1, the classes that few knows, got 3 in "),
    "size": ({"size": 4}, "net does not take images of (3, 4, 4) ("),
    "limit": ({"limit": 100}, "expected --limit of at most 48, the images in "),
    "held out": ({"held_out": 64}, "expected --held-out of at most 63 images, so that some are left, got 64"),
    "no data": ({"data": "nowhere"}, "no images at "),
    "no others": ({"held_out": "nowhere"}, "no images at nowhere"),
    "single": ({"objective": "coral", "batch_size": 1}, "expected at least 2 clean and 2 adversarial representations"),
}  # fmt: skip


@pytest.mark.parametrize("case", SAYS)
def test_bad_input_is_told_in_a_sentence(world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], case: str):
    options, sentence = SAYS[case]
    files = {name: f"{world}/{value}" for name, value in options.items() if name in ("model", "data")}
    assert sentence in refused(capsys, words(world, tmp_path / "out", **(options | files)))


def test_a_watch_without_an_attack_is_refused(world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    said = refused(capsys, words(world, tmp_path / "out", "--watch", objective="standard"))
    assert "expected no --watch for --objective standard, which meets no attack" in said


def test_a_watch_without_held_out_images_is_refused(world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    said = refused(capsys, words(world, tmp_path / "out", "--watch", held_out=0))
    assert said.endswith("expected held-out images for --watch to look at, got --held-out 0")


@pytest.mark.parametrize(("text", "said"), [
    ("fgsm:8/255", "FGSM, Linf 8/255"),
    ("shared-fgsm:4/255", "FGSM in the network's own pass, Linf 4/255"),
    ("pgd:8/255", "PGD of 10 steps, Linf 8/255"),
    ("pgd-l2:0.5:20", "PGD of 20 steps, L2 0.5"),
])  # fmt: skip
def test_an_attack_is_told_in_words(text: str, said: str):
    assert str(Spec.read(text, ONE_STEP + STEPPED)) == said
