"""FGSM from the loss's own forward pass: the same images and weights as FGSM, one pass less."""

import pytest
import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel
from trained_world import TERM, loader, network, reports

from interp_plugins.attacks import FGSM, PredictedLabelFGSM
from interp_plugins.testing import toy_images
from interp_plugins.training import MADRY, SharedFGSM, Trainer

SHARED = SharedFGSM(epsilon=8 / 255, label="true")


def frozen() -> nn.Module:
    """The toy network with BatchNorm and dropout in eval mode."""
    return network().eval()


@pytest.mark.parametrize("label", ["true", "predicted"])
def test_alone_it_is_fgsm(label: str):
    model, (images, labels) = frozen(), toy_images(5)
    found = SharedFGSM(epsilon=4 / 255, label=label)(model, images, labels % 4)
    whole = FGSM(epsilon=4 / 255)(model, images, labels % 4)
    predicted = PredictedLabelFGSM(epsilon=4 / 255)(model, images)
    expected = whole if label == "true" else predicted
    assert (found != expected).float().mean() < 0.01  # a gradient that is 0 but for rounding may have another sign
    assert (found != images).float().mean() > 0.9


def test_with_all_in_eval_mode_it_trains_as_fgsm_does():
    model, other = frozen(), frozen()
    trainer = Trainer(epochs=2, terms=(TERM,))
    reports(model, trainer, attack=SHARED)
    reports(other, trainer, attack=FGSM(epsilon=8 / 255))
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, other.state_dict()[name], atol=2e-4, rtol=1e-3, msg=name)


def passes(trainer: Trainer) -> list[int]:
    """Rows of each forward pass of the network itself in one step; those of prepared copies do not count."""
    model, seen = frozen(), []
    model.register_forward_hook(lambda _module, inputs, output: seen.append(len(inputs[0])))
    reports(model, trainer, loader(8), attack=SHARED)
    return seen


def test_a_step_is_two_forward_passes():
    assert passes(Trainer(epochs=1, terms=(TERM,))) == [8, 8]


def test_where_the_loss_has_no_use_for_clean_logits_nothing_is_shared():
    assert passes(Trainer(epochs=1, classify=MADRY)) == [8, 8]


def test_a_network_in_training_mode_has_to_be_asked_for():
    with pytest.raises(ValueError, match=r"got '1' in training mode; use FGSM, or attack_mode='train'"):
        reports(network(), Trainer(), attack=SHARED)
    (report,) = reports(network(), Trainer(epochs=1, attack_mode="train"), attack=SHARED)
    assert report.images == 24


def test_in_fp16_small_gradients_keep_their_sign():
    first, *_, last = reports(frozen(), Trainer(epochs=6, precision="fp16", terms=(TERM,)), attack=SHARED)
    assert last.losses["total"] < first.losses["total"]


def test_distributed_data_parallel_is_refused():
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    try:
        model = DistributedDataParallel(frozen())
        with pytest.raises(ValueError, match="got DistributedDataParallel; use FGSM"):
            reports(model, Trainer(), attack=SHARED)
    finally:
        distributed.destroy_process_group()


def test_another_label_is_refused(unchecked: None):
    with pytest.raises(ValueError, match="expected label to be one of 'predicted', 'true', got 'least'"):
        SharedFGSM(label="least")
