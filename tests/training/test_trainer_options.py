"""Clipping, half precision, averages of weights, and the watch for catastrophic overfitting."""

import pytest
import torch
from torch import nn
from trained_world import ATTACK, CLEAN, TERM, kept, loader, network, optimiser, reports, steps

from interp_plugins.attacks import PGD
from interp_plugins.store.checkpoints import CheckpointFolder
from interp_plugins.training import Accuracy, CatastrophicOverfitting, Coral, Term, Trainer, Watch, WeightAverages
from interp_plugins.training.snapshots import unpack

PROBE = PGD(epsilon=8 / 255, step_size=2 / 255, steps=3)


def gradients(**clipping: float) -> list[torch.Tensor]:
    """What one step of plain descent at rate 1 has subtracted from the weights."""
    model = network().eval()
    before = [parameter.detach().clone() for parameter in model.parameters()]
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    trainer = Trainer(epochs=1, classify=CLEAN, **clipping)
    reports(model, trainer, loader(8, shuffle=False), attack=None, optimizer=optimizer)
    return [old - new.detach() for old, new in zip(before, model.parameters(), strict=True)]


def test_gradients_are_cut_to_a_length_of_all_together():
    whole, cut = gradients(), gradients(clip_norm=0.1)
    length = torch.cat([each.flatten() for each in whole]).norm()
    assert length > 0.1
    for long, short in zip(whole, cut, strict=True):
        torch.testing.assert_close(short, long * (0.1 / length), atol=1e-6, rtol=1e-3)


def test_entries_of_gradients_are_cut_to_a_value():
    whole, cut = gradients(), gradients(clip_value=0.01)
    assert max(each.abs().max() for each in whole) > 0.01
    for long, short in zip(whole, cut, strict=True):
        torch.testing.assert_close(short, long.clamp(-0.01, 0.01), atol=1e-6, rtol=1e-3)


def test_one_way_of_clipping_has_to_be_chosen():
    with pytest.raises(ValueError, match="expected clip_norm or clip_value, got both"):
        Trainer(clip_norm=1.0, clip_value=0.1)


@pytest.mark.parametrize("setting", ["clip_norm", "clip_value", "save_every"])
def test_what_is_cut_or_saved_by_zero_is_refused(setting: str):
    with pytest.raises(ValueError, match=f"expected {setting} above 0, got 0"):
        Trainer(**{setting: 0})


@pytest.mark.parametrize(("precision", "dtype"), [("bf16", torch.bfloat16), ("fp16", torch.float16)])
def test_half_precision_is_of_the_forward_pass_and_not_of_weights_or_losses(precision: str, dtype: torch.dtype):
    model, maps, given = network(), [], []

    def coral(clean, adversarial):
        given.append(clean.dtype)
        return Coral()(clean, adversarial)

    model[0].register_forward_hook(
        lambda module, _inputs, output: maps.append(output.dtype) if module.training else None
    )
    term = Term(name="coral", layer="3", loss=coral, weight=1.0, shape="pooled")
    first, *_, last = reports(model, Trainer(epochs=6, precision=precision, terms=(term,)))
    assert set(maps) == {dtype}
    assert set(given) == {torch.float32}
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert last.losses["total"] < first.losses["total"]


def test_in_half_precision_a_resumed_run_ends_with_the_same_bits_and_scale(tmp_path, monkeypatch):
    expected, _ = kept(tmp_path / "straight", precision="fp16")
    write = CheckpointFolder.write

    def full(self, which, snapshot):
        write(self, which, snapshot)
        if steps(tmp_path / "parted") == 6:
            raise OSError("no space left")

    monkeypatch.setattr(CheckpointFolder, "write", full)
    with pytest.raises(OSError, match="no space left"):
        kept(tmp_path / "parted", precision="fp16")
    monkeypatch.undo()
    model, _ = kept(tmp_path / "parted", precision="fp16")
    assert all(torch.equal(value, expected.state_dict()[name]) for name, value in model.state_dict().items())
    scalers = [
        unpack(found.plain["scaler"], found.tensors)
        for found in (CheckpointFolder(tmp_path / name).read("last") for name in ("straight", "parted"))
    ]
    assert scalers[0] == scalers[1]
    assert scalers[0]["_growth_tracker"] > 0


def test_averages_follow_the_weights_as_the_formula_says():
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 4))
    expected, seen = model[1].weight.detach().clone(), []
    averages = WeightAverages(model, decay=0.75)
    optimizer = optimiser(model)
    optimizer.register_step_post_hook(lambda *_: seen.append(model[1].weight.detach().clone()))
    reports(model, Trainer(epochs=2), optimizer=optimizer, averages=averages)
    for weight in seen:
        expected = 0.75 * expected + 0.25 * weight
    torch.testing.assert_close(averages.state_dict()["1.weight"], expected)


def test_averages_are_lent_to_the_network_and_its_weights_come_back():
    model = network()
    averages, before = WeightAverages(model), model[0].weight.detach().clone()
    with torch.no_grad():
        model[0].weight.add_(1)

    def look():
        with averages.in_place():
            assert torch.equal(model[0].weight, before)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        look()
    assert torch.equal(model[0].weight, before + 1)


def test_the_average_is_what_is_judged():
    model = network()
    averages, held_out = WeightAverages(model, decay=0.9999), loader(16, 1)
    untrained = model.eval()(held_out.dataset.tensors[0]).argmax(1)
    model.train()
    model[1].eval()
    model[3].eval()
    (report,) = reports(model, Trainer(epochs=1), held_out=held_out, averages=averages)
    correct = int((untrained == held_out.dataset.tensors[1]).sum())
    assert report.clean == Accuracy(correct, 16)


def test_averages_of_another_network_are_refused():
    with pytest.raises(ValueError, match="expected averages of this network, got those of another"):
        reports(network(), Trainer(), averages=WeightAverages(network()))


@pytest.mark.parametrize("decay", [0.0, 1.0])
def test_a_decay_that_forgets_all_or_nothing_is_refused(decay: float):
    with pytest.raises(ValueError, match="expected a decay between 0 and 1"):
        WeightAverages(network(), decay=decay)


def weak(_model, pictures, _labels):
    """An attack that does nothing."""
    return pictures


def blinding(_model, pictures, _labels):
    """A probe that nothing withstands for long: all images become one."""
    return torch.zeros_like(pictures)


def test_the_watch_warns_where_only_the_attack_of_training_is_withstood():
    trainer, watch = Trainer(epochs=12, terms=(TERM,)), Watch(probe=blinding)
    with pytest.warns(CatastrophicOverfitting, match=r"the probe on 25.0% \(2 of 8\): catastrophic.*best checkpoint"):
        found = reports(network(), trainer, loader(64), attack=weak, held_out=loader(8, shuffle=False), watch=watch)
    assert found[-1].watched.value - found[-1].probed.value > 0.25


def test_the_watch_is_silent_where_the_probe_is_withstood_as_well():
    (report,) = reports(network(), Trainer(epochs=1), held_out=loader(16, 1), watch=Watch(probe=PROBE))
    assert report.watched.images == report.probed.images == 8
    assert report.probed.correct <= report.watched.correct + 1


@pytest.mark.parametrize("given", [{}, {"held_out": [], "attack": None}])
def test_a_watch_needs_held_out_images_and_an_attack(given: dict):
    trainer = Trainer(classify=CLEAN)
    with pytest.raises(ValueError, match="expected held-out images and an attack for the watch"):
        reports(network(), trainer, watch=Watch(probe=ATTACK), **given)


@pytest.mark.parametrize("gap", [0.0, 1.0])
def test_a_gap_without_sense_is_refused(gap: float):
    with pytest.raises(ValueError, match="expected a gap between 0 and 1"):
        Watch(probe=PROBE, gap=gap)
