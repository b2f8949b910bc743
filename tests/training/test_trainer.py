from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, DistributedSampler, Subset
from trained_world import ATTACK, CLEAN, TERM, images, loader, network, optimiser, reports

from interp_plugins.errors import LossNotFinite
from interp_plugins.sources.cifar import from_tiles
from interp_plugins.training import MADRY, Accuracy, ConsistentLoss, Coral, EpochReport, Mixed, Term, Trades, Trainer

DROPOUT = "4"


def deterministic() -> nn.Module:
    """The toy network without dropout, so that a step can be done again by hand."""
    model = network()
    model[int(DROPOUT)] = nn.Identity()
    return model


def test_an_epoch_is_the_steps_that_one_writes_by_hand():
    model, other = deterministic(), deterministic()
    reports(model, Trainer(epochs=1, terms=(TERM,)), loader(shuffle=False))
    optimizer = optimiser(other)
    for pictures, labels in loader(shuffle=False):
        attacked = ATTACK(other, pictures, labels)
        seen = []
        handle = other[3].register_forward_hook(lambda _module, _inputs, output, seen=seen: seen.append(output))
        logits = other(torch.cat([pictures, attacked]))
        handle.remove()
        loss = Mixed()(*logits.chunk(2), labels) + 0.1 * ConsistentLoss()(*seen[0].chunk(2))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, other.state_dict()[name], msg=name)


def test_a_report_has_the_mean_of_each_term_over_all_images():
    model, pictures = deterministic().eval(), loader(12, shuffle=False)  # batches of 8 and 4
    (report,) = reports(model, Trainer(epochs=1, classify=CLEAN), pictures, attack=None, optimizer=optimiser(model, 0))
    everything, labels = images(12).tensors
    expected = nn.functional.cross_entropy(model(everything), labels)
    assert report.losses["classify"] == pytest.approx(expected.item())
    assert report.images == 12
    assert report.steps == 2


def test_the_total_is_the_weighted_sum_of_the_terms():
    (report,) = reports(network(), Trainer(epochs=1, terms=(TERM,)))
    assert report.losses["total"] == pytest.approx(report.losses["classify"] + 0.1 * report.losses["consistent"])


def test_training_learns_and_withstands_more():
    first, *_, last = reports(network(), Trainer(epochs=15), loader(64), held_out=loader(32, 1))
    assert last.losses["total"] < first.losses["total"]
    assert last.clean.value > 0.8
    assert last.score > first.score


def test_held_out_images_are_counted_clean_and_attacked():
    model = network()
    (report,) = reports(model, Trainer(epochs=1), held_out=loader(10, 1))
    pictures, labels = images(10, 1).tensors
    model.eval()
    assert report.clean == Accuracy(int((model(pictures).argmax(1) == labels).sum()), 10)
    attacked = ATTACK(model, pictures, labels)
    assert report.adversarial == Accuracy(int((model(attacked).argmax(1) == labels).sum()), 10)


def test_the_best_epoch_is_the_one_with_the_highest_mean_of_both_accuracies():
    found = reports(network(), Trainer(epochs=6), held_out=loader(16, 1))
    best = -1.0
    for report in found:
        assert report.score == (report.clean.value + report.adversarial.value) / 2
        assert report.best == (report.score > best)
        best = max(best, report.score)


def test_without_held_out_images_there_is_no_score_and_no_best():
    (report,) = reports(network(), Trainer(epochs=1))
    assert (report.clean, report.adversarial, report.score, report.best) == (None, None, None, False)


def test_a_report_prints_as_a_line():
    report = EpochReport(
        epoch=2,
        steps=6,
        images=24,
        losses={"classify": 1.5, "total": 1.5},
        rate=0.1,
        clean=Accuracy(3, 4),
        adversarial=Accuracy(1, 4),
        watched=None,
        probed=None,
        best=True,
    )
    assert str(report) == ("epoch 2, classify 1.5000, total 1.5000, clean 75.0% (3 of 4), adversarial 25.0% (1 of 4)")


def test_a_module_frozen_in_eval_mode_stays_frozen_whatever_the_caller_does_between_reports():
    model = network()
    model[1].eval()
    before, modes = model[1].running_mean.clone(), [module.training for module in model.modules()]
    for _ in Trainer(epochs=2)(model, optimiser(model), loader(), attack=ATTACK, held_out=loader(8)):
        assert [module.training for module in model.modules()] == modes
        model.eval()
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(model[1].running_mean, before)


def test_the_attack_sees_eval_mode_and_the_modes_come_back_when_it_raises():
    model, seen = network(), []

    def attack(classifier, _images, _labels):
        seen.append([module.training for module in classifier.modules()])
        raise KeyboardInterrupt

    modes = [module.training for module in model.modules()]
    with pytest.raises(KeyboardInterrupt):
        reports(model, Trainer(), attack=attack)
    assert not any(seen[0])
    assert [module.training for module in model.modules()] == modes


def test_the_attack_sees_the_training_mode_where_that_is_asked_for():
    seen = []

    def attack(classifier, pictures, _labels):
        seen.append(classifier.training)
        return pictures

    reports(network(), Trainer(epochs=1, attack_mode="train"), attack=attack)
    assert seen == [True] * 3


def test_training_leaves_no_hooks_and_no_gradients():
    model = network()
    reports(model, Trainer(epochs=1, terms=(TERM,)))
    assert all(not module._forward_hooks for module in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())


def rows_seen(trainer: Trainer, **given: object) -> list[int]:
    """How many rows each forward pass in training mode has."""
    model, rows = network(), []
    model.register_forward_hook(
        lambda module, inputs, _output: rows.append(len(inputs[0])) if module.training else None
    )
    reports(model, trainer, **given)
    return rows


def test_clean_and_attacked_images_run_in_one_forward_pass():
    assert rows_seen(Trainer(epochs=1)) == [16, 16, 16]


def test_clean_images_are_not_run_where_the_objective_has_no_use_for_them():
    assert rows_seen(Trainer(epochs=1, classify=MADRY)) == [8, 8, 8]


def test_images_follow_the_memory_format_of_the_network():
    model, seen = network().to(memory_format=torch.channels_last), []
    model[0].register_forward_pre_hook(
        lambda module, inputs: (
            seen.append(inputs[0].is_contiguous(memory_format=torch.channels_last)) if module.training else None
        )
    )
    reports(model, Trainer(epochs=1))
    assert seen == [True] * 3


@pytest.mark.parametrize("shape", ["pooled", "flat"])
def test_a_covariance_takes_maps_that_are_pooled_or_flattened(shape: str):
    term = Term(name="coral", layer="3", loss=Coral(), weight=1.0, shape=shape)
    (report,) = reports(network(), Trainer(epochs=1, classify=Trades(), terms=(term,)))
    assert report.losses["coral"] > 0


def test_only_maps_are_pooled():
    term = Term(name="coral", layer="7", loss=Coral(), weight=1.0, shape="pooled")
    with pytest.raises(ValueError, match=r"expected maps .* from layer '7', got \(16, 4\); use shape='flat'"):
        reports(network(), Trainer(epochs=1, terms=(term,)))


@pytest.mark.parametrize(("schedule", "rates"), [("epoch", [0.05, 0.005]), ("step", [0.05 * 0.1**2, 0.05 * 0.1**5])])
def test_the_scheduler_steps_when_it_is_told_to(schedule: str, rates: list[float]):
    model = network()
    optimizer = optimiser(model)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.1)
    found = reports(model, Trainer(epochs=2, schedule=schedule), optimizer=optimizer, scheduler=scheduler)
    assert [report.rate for report in found] == pytest.approx(rates)


def test_a_loss_that_is_not_finite_names_term_and_step_and_leaves_the_weights():
    model, calls = network(), []

    def spoiled(clean, adversarial):
        calls.append(0)
        return (clean - adversarial).square().mean() * (float("nan") if len(calls) == 5 else 1)

    term = Term(name="spoiled", layer="3", loss=spoiled, weight=1.0)
    run = Trainer(epochs=3, terms=(term,))(model, optimiser(model), loader(), attack=ATTACK)
    with pytest.raises(LossNotFinite, match=r"got nan in the term 'spoiled' at step 5 \(epoch 2\).*clip_norm"):
        list(run)
    assert all(parameter.isfinite().all() for parameter in model.parameters())


def test_a_gradient_that_is_not_finite_is_no_step():
    model = network()

    def steep(clean, _adversarial):
        return (clean - clean).sum().abs().sqrt()  # its gradient at 0 is not finite

    before = model[0].weight.clone()
    term = Term(name="steep", layer="3", loss=steep, weight=1.0)
    with pytest.raises(LossNotFinite, match=r"expected finite gradients, got NaN or infinity at step 1 \(epoch 1\)"):
        reports(model, Trainer(terms=(term,)))
    assert torch.equal(model[0].weight, before)


def test_a_loader_that_yields_nothing_is_refused():
    with pytest.raises(ValueError, match="expected at least one batch in epoch 2, got none"):
        reports(network(), Trainer(epochs=2), iter(list(loader())))


def test_held_out_images_that_are_none_are_refused():
    with pytest.raises(ValueError, match="expected at least one held-out batch, got none"):
        reports(network(), Trainer(epochs=1), held_out=[])


def test_a_loader_of_another_range_is_refused():
    with pytest.raises(ValueError, match=r"expected images in \[0, 1\].*divide by 255"):
        reports(network(), Trainer(), [(torch.full((2, 3, 8, 8), 200.0), torch.tensor([0, 1]))])


def test_a_batch_that_is_no_pair_is_refused():
    with pytest.raises(TypeError, match=r"expected batches \(images, labels, ...\), got dict"):
        reports(network(), Trainer(), [{"images": 0}])


def test_labels_that_do_not_exist_are_refused():
    with pytest.raises(ValueError, match="expected labels from 0 to 3, got 9"):
        reports(network(), Trainer(), [(torch.rand(2, 3, 8, 8), torch.tensor([0, 9]))])


def test_a_batch_of_one_under_coral_says_how_to_leave_it_out():
    term = Term(name="coral", layer="3", loss=Coral(), weight=1.0, shape="pooled")
    with pytest.raises(ValueError, match="drop_last=True"):
        reports(network(), Trainer(epochs=1, terms=(term,)), loader(9))


def test_a_layer_that_does_not_exist_is_told_before_anything_runs():
    term = Term(name="far", layer="layer4", loss=ConsistentLoss(), weight=1.0)
    model = network()
    with pytest.raises(ValueError, match="expected a layer of the model, got 'layer4'"):
        Trainer(terms=(term,))(model, optimiser(model), [], attack=ATTACK)


def test_a_network_in_half_precision_is_refused():
    with pytest.raises(TypeError, match=r"got torch.bfloat16; use model.float\(\)"):
        reports(network().bfloat16(), Trainer())


def test_an_optimizer_of_another_network_is_refused():
    with pytest.raises(ValueError, match="expected an optimizer of this network's parameters"):
        Trainer()(network(), optimiser(network()), loader(), attack=ATTACK)


@pytest.mark.parametrize("trainer", [Trainer(), Trainer(classify=CLEAN, terms=(TERM,))])
def test_an_objective_that_compares_needs_an_attack(trainer: Trainer):
    with pytest.raises(ValueError, match=r"expected an attack.*classify=Mixed\(alpha=1\)"):
        reports(network(), trainer, attack=None)


def test_two_terms_of_one_name_are_refused():
    with pytest.raises(ValueError, match="expected a name of its own for each term, got 'consistent' twice"):
        Trainer(terms=(TERM, TERM))


def test_a_network_without_parameters_is_refused():
    with pytest.raises(ValueError, match="expected a network with parameters"):
        Trainer()(nn.Flatten(), optimiser(network()), loader(), attack=ATTACK)


def test_an_attack_that_changes_the_shape_is_refused():
    with pytest.raises(ValueError, match=r"expected attacked images of shape \(8, 3, 8, 8\), got \(4, 3, 8, 8\)"):
        reports(network(), Trainer(), attack=lambda _model, pictures, _labels: pictures[:4])


def test_a_sampler_that_repeats_held_out_images_is_refused():
    held_out = DataLoader(images(9), sampler=DistributedSampler(images(9), num_replicas=2, rank=0))
    with pytest.raises(ValueError, match=r"shows 10 of 9; use Subset\(images, Place.here\(\).share"):
        reports(network(), Trainer(), held_out=held_out)


class Residual(nn.Module):
    """Two convolutions and a way around them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = (nn.Conv2d(width, width, 3, padding=1, bias=False) for _ in range(2))
        self.norms = nn.ModuleList([nn.BatchNorm2d(width), nn.BatchNorm2d(width)])

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        return torch.relu(maps + self.norms[1](self.second(torch.relu(self.norms[0](self.first(maps))))))


@pytest.mark.real
def test_a_residual_network_learns_from_grey_levels_of_real_images(data_folder: Path):
    found = Subset(from_tiles(data_folder / "cifar10", "test"), range(64))
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1),
        Residual(8),
        Residual(8),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 10),
    )
    batches = DataLoader(found, 16, shuffle=True)
    term = Term(name="consistent", layer="2", loss=ConsistentLoss(), weight=1.0)
    first, *_, last = reports(model, Trainer(epochs=8, terms=(term,)), batches, held_out=batches)
    assert last.losses["classify"] < first.losses["classify"]
    assert last.clean.value > first.clean.value


@pytest.mark.parametrize("setting", ["attack_mode", "schedule", "precision"])
def test_a_setting_that_is_no_choice_is_refused(setting: str, unchecked: None):
    with pytest.raises(ValueError, match=f"expected {setting} to be one of .*, got 'other'"):
        Trainer(**{setting: "other"})


def test_no_epochs_are_refused():
    with pytest.raises(ValueError, match="expected epochs above 0, got 0"):
        Trainer(epochs=0)


def test_a_term_without_weight_or_of_another_shape_is_refused(unchecked: None):
    with pytest.raises(ValueError, match=r"expected weight above 0, got 0\.0"):
        Term(name="t", layer="3", loss=ConsistentLoss(), weight=0.0)
    with pytest.raises(ValueError, match="expected shape to be one of 'map', 'pooled', 'flat', got 'round'"):
        Term(name="t", layer="3", loss=ConsistentLoss(), weight=1.0, shape="round")


def test_a_plateau_of_the_total_loss_lowers_the_rate():
    model = network()
    optimizer = optimiser(model)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.1, patience=0, threshold=10, mode="max")
    found = reports(model, Trainer(epochs=3), optimizer=optimizer, scheduler=scheduler)
    assert [report.rate for report in found] == pytest.approx([0.05, 0.05, 0.005])
    with pytest.raises(ValueError, match="expected schedule='epoch' for ReduceLROnPlateau"):
        reports(model, Trainer(schedule="step"), optimizer=optimizer, scheduler=scheduler)
