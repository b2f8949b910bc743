"""What else is measured on the network after each epoch."""

from pathlib import Path

import pytest
import torch
from torch import nn
from trained_world import ATTACK, CLEAN, loader, network, optimiser, reports

from interp_plugins.store.checkpoints import CheckpointFolder
from interp_plugins.training import EpochReport, Trainer, WeightAverages


def length(model: nn.Module) -> float:
    return float(model[0].weight.detach().norm())


def test_a_report_has_what_the_probes_say_of_the_network_after_the_epoch():
    model = network()
    for report in Trainer(epochs=2)(model, optimiser(model), loader(), attack=ATTACK, probes={"length": length}):
        assert report.probes == {"length": length(model)}
        assert str(report).endswith(f", length {length(model):.4g}")


def test_without_probes_there_is_nothing():
    (report,) = reports(network(), Trainer(epochs=1))
    assert report.probes == {}


def test_a_probe_sees_a_frozen_network_in_eval_mode_which_then_trains_on():
    model, seen = network(), []

    def look(judged: nn.Module) -> float:
        seen.extend(module.training for module in judged.modules())
        seen.extend(parameter.requires_grad for parameter in judged.parameters())
        return 0.0

    modes = [module.training for module in model.modules()]
    reports(model, Trainer(epochs=1), probes={"look": look})
    assert seen
    assert not any(seen)
    assert [module.training for module in model.modules()] == modes
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_a_probe_sees_the_averages_where_they_are_judged():
    model = network()
    averages = WeightAverages(model, decay=0.9)
    (report,) = reports(model, Trainer(epochs=1), averages=averages, probes={"length": length})
    assert report.probes["length"] == float(averages.state_dict()["0.weight"].norm())
    assert report.probes["length"] != length(model)


def test_a_probe_may_give_a_tensor_with_one_value_and_needs_no_attack():
    trainer, probes = Trainer(epochs=1, classify=CLEAN), {"bias": lambda model: model[7].bias.sum()}
    (report,) = reports(network(), trainer, attack=None, probes=probes)
    assert type(report.probes["bias"]) is float


def test_probes_are_kept_in_the_checkpoints(tmp_path: Path):
    def run(epochs: int) -> list[EpochReport]:
        model, checkpoints = network(), CheckpointFolder(tmp_path)
        given = {"attack": ATTACK, "checkpoints": checkpoints, "resume": True, "probes": {"length": length}}
        return list(Trainer(epochs=epochs)(model, optimiser(model), loader(), **given))

    (first,) = run(1)
    again, second = run(2)
    assert again == first
    assert second.probes != first.probes


def test_a_probe_that_says_no_number_is_named():
    with pytest.raises(TypeError, match="expected a number from the probe 'maps', got Tensor"):
        reports(network(), Trainer(epochs=1), probes={"maps": lambda _model: torch.zeros(2)})
    with pytest.raises(TypeError, match="expected a number from the probe 'none', got NoneType"):
        reports(network(), Trainer(epochs=1), probes={"none": lambda _model: None})


@pytest.mark.usefixtures("unchecked")
def test_a_probe_that_cannot_be_called_is_refused_before_anything_runs():
    with pytest.raises(TypeError, match="expected probes that are called with a network, got float for 'length'"):
        reports(network(), Trainer(epochs=1), [], probes={"length": 0.5})
