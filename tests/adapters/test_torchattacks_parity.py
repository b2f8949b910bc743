"""Through torchattacks come the core's own bits, whatever the order, the neighbours and the size of the batch."""

import importlib.util
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torchattacks_world import world
from toys import CLASSES, Net, nets

from interp_plugins import attacks
from interp_torchattacks.attacks import EnsembleOptimization, PredictedLabelFGSM

SETTINGS = [
    {},
    {"fusion": "prob"},
    {"fusion": "logit", "weights": (0.5, 0.3, 0.2)},
    {"balance": True, "distance": "rmse", "distance_weight": 0.01},
    {"eps": 8 / 255},
    {"eps": 0.5, "norm": "l2", "step_size": 2 / 255},
    {"tile": 4},
]


def core(members: Sequence[nn.Module], images: Tensor, targets: Tensor, *, targeted: bool, **settings) -> Tensor:
    """The same attack without a host."""
    if "eps" in settings:
        settings["epsilon"] = settings.pop("eps")
    return attacks.EnsembleOptimization(targeted=targeted, **settings)(members, images, targets)


def host(members: Sequence[nn.Module], **settings) -> EnsembleOptimization:
    return EnsembleOptimization(members[0], surrogates=members[1:], **settings)


@pytest.mark.parametrize("settings", SETTINGS)
def test_the_default_mode_is_the_core_away_from_the_labels(settings):
    members = nets(3)
    images, labels = world()
    expected = core(members, images, labels, targeted=False, **settings)
    assert torch.equal(host(members, **settings)(images, labels), expected)
    assert not torch.equal(expected, images)


@pytest.mark.parametrize("settings", SETTINGS)
def test_targets_as_labels_are_the_core_towards_the_targets(settings):
    members = nets(3)
    images, labels = world()
    attack = host(members, **settings)
    attack.set_mode_targeted_by_label(quiet=True)
    targets = (labels + 1) % CLASSES
    assert torch.equal(attack(images, targets), core(members, images, targets, targeted=True, **settings))


@pytest.mark.parametrize("k", [1, 4])
def test_least_likely_is_the_cores_policy(k):
    members = nets(3)
    images, labels = world()
    attack = host(members, steps=5)
    attack.set_mode_targeted_least_likely(kth_min=k, quiet=True)
    every = attacks.EnsembleOptimization(steps=5)(members, images, attacks.LeastLikely(k=k), labels=labels)
    assert torch.equal(attack(images, labels), every[:, -1])


@pytest.mark.parametrize("prepare", [nn.Module.train, nn.Module.eval])
def test_the_mode_in_which_the_host_is_called_changes_no_bit(prepare):
    members = nets(2)
    images, labels = world()
    expected = core(members, images, labels, targeted=False)
    attack = host([prepare(net) for net in members])
    assert torch.equal(attack(images, labels), expected)


def test_predicted_label_fgsm_is_the_cores():
    images, _ = world()
    expected = attacks.PredictedLabelFGSM(epsilon=4 / 255)(Net(0), images)
    assert torch.equal(PredictedLabelFGSM(Net(0), eps=4 / 255)(images), expected)
    assert not torch.equal(expected, images)


def the_same_bits_whatever_the_batch(attack: EnsembleOptimization, images: Tensor, labels: Tensor) -> None:
    """Reversed, one at a time, and with a stranger among them: each image ends as it ended in the first batch."""
    together = attack(images, labels)
    assert torch.equal(attack(images.flip(0), labels.flip(0)).flip(0), together)
    alone = [attack(image[None], label[None]) for image, label in zip(images, labels, strict=True)]
    assert torch.equal(torch.cat(alone), together)
    stranger = images.clone()
    stranger[0] = images[0].flip(-1)
    assert torch.equal(attack(stranger, labels)[1:], together[1:])


@pytest.mark.parametrize("targeted", [False, True])
def test_the_same_bits_whatever_the_batch(targeted):
    images, labels = world(11)
    attack = host(nets(3), steps=5)
    if targeted:
        attack.set_mode_targeted_least_likely(kth_min=2, quiet=True)
    the_same_bits_whatever_the_batch(attack, images, labels)


def real_nets(folder: Path, *names: str) -> list[nn.Module]:
    spec = importlib.util.spec_from_file_location("real_nets", folder / "nets.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return [module.load(name) for name in names]


def as_images(pixels: Sequence[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).float().div(255).contiguous()


def cifar(folder: Path) -> tuple[list[nn.Module], Tensor, Tensor]:
    with Image.open(folder / "cifar10" / "test_00.webp") as picture:
        row = np.asarray(picture.convert("RGB"))[:32]
    images = as_images([row[:, 32 * i : 32 * (i + 1)] for i in range(4)])
    return (
        real_nets(folder, "cifar_resnet20", "cifar_resnet32"),
        images,
        torch.tensor([3, 8, 8, 0]),
    )  # the first test labels


def imagenet(folder: Path) -> tuple[list[nn.Module], Tensor, Tensor]:
    found = sorted((folder / "imagenet" / "nips17_299_jpeg").glob("*.jpg"))[:2]
    images = as_images([np.asarray(Image.open(path).convert("RGB")) for path in found])
    members = real_nets(folder, "imagenet_squeezenet1_0", "imagenet_mobilenet_v1_025")
    with torch.no_grad():
        return members, images, members[0](images).argmax(1)


@pytest.mark.real
@pytest.mark.parametrize(("world_of", "settings"), [(cifar, {}), (imagenet, {"tile": 2})])
def test_twenty_steps_on_real_networks_are_the_cores_to_the_bit(world_of, settings, data_folder):
    members, images, labels = world_of(data_folder)
    attack = host(members, steps=20, **settings)
    away = attack(images, labels)
    assert torch.equal(away, core(members, images, labels, targeted=False, steps=20, **settings))
    attack.set_mode_targeted_least_likely(kth_min=2, quiet=True)
    every = attacks.EnsembleOptimization(steps=20, **settings)(members, images, attacks.LeastLikely(k=2), labels=labels)
    assert torch.equal(attack(images, labels), every[:, -1])
    with torch.no_grad():
        assert all((net(away).argmax(1) != labels).all() for net in members)


@pytest.mark.real
@pytest.mark.parametrize(("world_of", "steps"), [(cifar, 20), (imagenet, 5)])
def test_real_networks_give_the_same_bits_whatever_the_batch(world_of, steps, data_folder):
    members, images, labels = world_of(data_folder)
    attack = host(members, steps=steps, tile=2)
    attack.set_mode_targeted_least_likely(kth_min=1, quiet=True)
    the_same_bits_whatever_the_batch(attack, images, labels)


@pytest.mark.real
def test_predicted_label_fgsm_on_a_real_network_is_the_cores(data_folder):
    (net, *_), images, labels = cifar(data_folder)
    adversarial = PredictedLabelFGSM(net, eps=2 / 255)(images, labels)
    assert torch.equal(adversarial, attacks.PredictedLabelFGSM(epsilon=2 / 255)(net, images))
