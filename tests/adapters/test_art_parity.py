"""Through ART come the core's own bits where ART hands the core the network itself, and the same images elsewhere."""

import importlib.util
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from art.defences.preprocessor import FeatureSqueezing, JpegCompression
from art.estimators.classification import PyTorchClassifier
from art_world import SHAPE, Net, arrays, classifier, classifiers, ensemble, nets, said, softmaxed
from PIL import Image
from torch import Tensor, nn
from toys import CLASSES

from interp_art.attacks import EnsembleOptimization
from interp_plugins import attacks

SETTINGS = [
    {},
    {"fusion": "prob"},
    {"fusion": "logit", "weights": (0.5, 0.3, 0.2)},
    {"balance": True, "distance": "rmse", "distance_weight": 0.01},
    {"eps": 8 / 255},
    {"eps": 0.5, "norm": 2, "step_size": 2 / 255},
    {"tile": 4},
]


def core(members: Sequence[nn.Module], x: np.ndarray, targets: np.ndarray, *, targeted: bool = True, **settings):
    """The same attack without a host."""
    if "eps" in settings:
        settings["epsilon"] = settings.pop("eps")
    if "norm" in settings:
        settings["norm"] = "l2"
    method = attacks.EnsembleOptimization(targeted=targeted, **settings)
    return method(members, torch.from_numpy(x), torch.from_numpy(targets)).numpy()


def host(estimators: Sequence[PyTorchClassifier], **settings) -> EnsembleOptimization:
    return EnsembleOptimization(estimators[0], surrogates=estimators[1:], verbose=False, **settings)


def next_class(estimator: PyTorchClassifier, x: np.ndarray) -> np.ndarray:
    return (said(estimator, x) + 1) % CLASSES


@pytest.mark.parametrize("settings", SETTINGS)
def test_targets_give_the_cores_bits(settings):
    members, x = classifiers(3), arrays()
    targets = next_class(members[0], x)
    adversarial = host(members, **settings).generate(x, targets)
    assert np.array_equal(adversarial, core(nets(3), x, targets, **settings))
    assert not np.array_equal(adversarial, x)


@pytest.mark.parametrize("settings", SETTINGS)
def test_untargeted_without_labels_is_the_core_away_from_what_the_estimator_says(settings):
    members, x = classifiers(3), arrays()
    adversarial = host(members, targeted=False, **settings).generate(x)
    assert np.array_equal(adversarial, core(nets(3), x, said(members[0], x), targeted=False, **settings))
    assert not np.array_equal(adversarial, x)


def test_several_networks_say_no_longer_what_the_estimator_said():
    members, x = classifiers(3), arrays()
    adversarial = host(members, targeted=False).generate(x)
    assert all((said(member, adversarial) != said(members[0], x)).all() for member in members)


def test_several_networks_say_the_target():
    members, x = classifiers(3), arrays()
    targets = next_class(members[0], x)
    adversarial = host(members, steps=40).generate(x, targets)
    assert all((said(member, adversarial) == targets).all() for member in members)


def test_an_ensemble_classifier_is_its_classifiers():
    members, x = classifiers(3), arrays()
    targets = next_class(members[0], x)
    attack = EnsembleOptimization(ensemble(members), verbose=False)
    assert np.array_equal(attack.generate(x, targets), host(members).generate(x, targets))


def test_its_classifier_weights_are_the_members_weights():
    members, x = classifiers(3), arrays()
    targets = next_class(members[0], x)
    attack = EnsembleOptimization(ensemble(members, [0.7, 0.2, 0.1]), verbose=False)
    adversarial = attack.generate(x, targets)
    assert np.array_equal(adversarial, core(nets(3), x, targets, weights=(0.7, 0.2, 0.1)))
    assert not np.array_equal(adversarial, core(nets(3), x, targets))


def test_weights_that_are_passed_win():
    members, x = classifiers(2), arrays()
    targets = next_class(members[0], x)
    attack = EnsembleOptimization(ensemble(members, [0.7, 0.3]), weights=(0.5, 0.5), verbose=False)
    assert np.array_equal(attack.generate(x, targets), core(nets(2), x, targets))


@pytest.mark.parametrize("labels_known", [True, False])
@pytest.mark.parametrize("targets", ["least-likely:1", attacks.LeastLikely(k=1)])
def test_a_policy_chooses_as_in_the_core(targets, labels_known):
    members, x = classifiers(3), arrays()
    labels = said(members[0], x) if labels_known else None
    adversarial = host(members, targets=targets, steps=5).generate(x, labels)
    images, known = torch.from_numpy(x), None if labels is None else torch.from_numpy(labels)
    method = attacks.EnsembleOptimization(steps=5)
    assert np.array_equal(adversarial, method(nets(3), images, attacks.LeastLikely(k=1), labels=known)[:, 0].numpy())


@pytest.mark.parametrize("batch_size", [1, 3, 8, 100])
@pytest.mark.parametrize("targets", ["least-likely:1", "random:1"])
def test_the_batch_size_changes_no_bit(targets, batch_size):
    members, x = classifiers(2), arrays(19)
    expected = host(members, targets=targets, steps=3).generate(x)
    assert np.array_equal(host(members, targets=targets, steps=3, batch_size=batch_size).generate(x), expected)


def the_same_bits_whatever_the_batch(attack: EnsembleOptimization, x: np.ndarray) -> None:
    """Reversed, one at a time, and with a stranger among them: each image ends as it ended in the first batch."""
    together = attack.generate(x)
    assert np.array_equal(attack.generate(x[::-1])[::-1], together)
    assert np.array_equal(np.concatenate([attack.generate(x[i : i + 1]) for i in range(len(x))]), together)
    stranger = x.copy()
    stranger[0] = x[0, ..., ::-1]
    assert np.array_equal(attack.generate(stranger)[1:], together[1:])


@pytest.mark.parametrize("settings", [{"targeted": False}, {"targets": "least-likely:1"}])
def test_the_same_bits_whatever_the_batch(settings):
    the_same_bits_whatever_the_batch(host(classifiers(3), steps=5, **settings), arrays(11))


def test_ids_seed_random_targets_whatever_the_order():
    attack, x = host(classifiers(2), targets="random:1", steps=3), arrays(9)
    ids = [f"image {i}" for i in range(9)]
    adversarial = attack.generate(x, ids=ids)
    assert np.array_equal(attack.generate(x[::-1], ids=ids[::-1])[::-1], adversarial)
    attack.set_params(seed=1)
    assert not np.array_equal(attack.generate(x, ids=ids), adversarial)


# ------------------------------------------------------------------ other roads: the same attack, other rounding


class Standardised(nn.Module):
    """The network behind (x - mean) / std, as ART's preprocessing does it."""

    def __init__(self, net: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.net = net
        self.mean, self.std = torch.tensor(mean).view(1, 3, 1, 1), torch.tensor(std).view(1, 3, 1, 1)

    def forward(self, images: Tensor) -> Tensor:
        return self.net((images - self.mean) / self.std)


MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)


def test_torch_preprocessing_is_put_in_front_of_the_network():
    member, x = classifier(Net(0), preprocessing=(np.array(MEAN), np.array(STD))), arrays()
    targets = next_class(member, x)
    adversarial = host([member]).generate(x, targets)
    assert np.array_equal(adversarial, core([Standardised(Net(0), MEAN, STD)], x, targets))
    assert not np.array_equal(adversarial, core([Net(0)], x, targets))


def test_another_range_is_the_same_attack_with_eps_and_step_size_in_its_units():
    member, x = classifier(Net(0)), arrays()
    targets = next_class(member, x)
    wide = classifier(nn.Sequential(Divide(255), Net(0)), clip_values=(0, 255))
    expected = host([member], eps=8 / 255, step_size=2 / 255).generate(x, targets)
    adversarial = host([wide], eps=8, step_size=2).generate(x * 255, targets)
    assert adversarial.max() > 1
    np.testing.assert_allclose(adversarial / 255, expected, atol=2e-2)
    assert np.abs(adversarial - x * 255).max() <= 8 + 1e-3
    assert host([wide]).step_size == pytest.approx(5)


class Divide(nn.Module):
    def __init__(self, by: float) -> None:
        super().__init__()
        self.by = by

    def forward(self, x: Tensor) -> Tensor:
        return x / self.by


class ChannelsLast(nn.Module):
    """The network for images (n, h, w, c), as an estimator with channels_first=False holds it."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> Tensor:
        return self.net(images.permute(0, 3, 1, 2).contiguous())


def test_channels_last_is_the_same_attack():
    member, x = classifier(Net(0)), arrays()
    targets = next_class(member, x)
    last = classifier(ChannelsLast(Net(0)), input_shape=(8, 8, 3), channels_first=False)
    adversarial = host([last]).generate(np.ascontiguousarray(x.transpose(0, 2, 3, 1)), targets)
    np.testing.assert_allclose(adversarial.transpose(0, 3, 1, 2), host([member]).generate(x, targets), atol=1e-6)


def test_probabilities_are_read_through_their_logarithm():
    members, x = classifiers(2), arrays()
    targets = next_class(members[0], x)
    soft = [classifier(softmaxed(net)) for net in nets(2)]
    adversarial = host(soft).generate(x, targets)
    np.testing.assert_allclose(adversarial[:, :, :2], host(members).generate(x, targets)[:, :, :2], atol=2e-2)
    assert (said(soft[0], adversarial) == targets).all()


def test_a_defence_in_numpy_is_attacked_through_its_estimated_gradient():
    """FeatureSqueezing with 16 bits hardly changes an image: the attack is that without it, up to rounding."""
    x = arrays()
    defended = classifier(Net(0), preprocessing_defences=FeatureSqueezing(bit_depth=16, clip_values=(0, 1)))
    targets = next_class(classifier(Net(0)), x)
    adversarial = host([defended], steps=1).generate(x, targets)
    np.testing.assert_allclose(adversarial, host([classifier(Net(0))], steps=1).generate(x, targets), atol=1e-3)


def test_a_defence_may_stand_before_one_member_only():
    plain = classifier(Net(0))
    defence = JpegCompression(clip_values=(0, 1), quality=90, channels_first=True)
    defended = classifier(Net(1), preprocessing_defences=defence)
    x = arrays(3)
    targets = next_class(plain, x)
    adversarial = host([plain, defended]).generate(x, targets)
    assert (said(plain, adversarial) == targets).all()
    assert (said(defended, adversarial) == targets).all()


class Own(PyTorchClassifier):
    """A classifier with a loss gradient of its own, such as ART's users write."""

    asked = 0

    def loss_gradient(self, x, y, training_mode=False, **kwargs):
        type(self).asked += 1
        return super().loss_gradient(x, y, training_mode=training_mode, **kwargs)


def test_a_subclass_is_asked_for_its_own_loss_gradient():
    x, member = arrays(), classifier(Net(0), kind=Own)
    targets = next_class(member, x)
    adversarial = host([member], steps=4).generate(x, targets)
    assert Own.asked == 4
    np.testing.assert_allclose(adversarial, host([classifier(Net(0))], steps=4).generate(x, targets), atol=1e-3)


def test_a_flat_input_is_attacked_as_an_image_is():
    net = nn.Sequential(nn.Unflatten(1, SHAPE), Net(0)).eval()
    flat, x = classifier(net, input_shape=(int(np.prod(SHAPE)),)), arrays()
    targets = next_class(classifier(Net(0)), x)
    adversarial = host([flat]).generate(x.reshape(len(x), -1), targets)
    assert adversarial.shape == (len(x), int(np.prod(SHAPE)))
    np.testing.assert_allclose(adversarial.reshape(x.shape), host([classifier(Net(0))]).generate(x, targets), atol=1e-6)


# ------------------------------------------------------------------ real networks


def real_nets(folder: Path, *names: str) -> list[nn.Module]:
    spec = importlib.util.spec_from_file_location("real_nets", folder / "nets.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return [module.load(name) for name in names]


def as_images(pixels: Sequence[np.ndarray]) -> np.ndarray:
    return np.ascontiguousarray(np.stack(pixels).transpose(0, 3, 1, 2)).astype(np.float32) / np.float32(255)


def cifar(folder: Path) -> tuple[list[nn.Module], np.ndarray, int]:
    with Image.open(folder / "cifar10" / "test_00.webp") as picture:
        row = np.asarray(picture.convert("RGB"))[:32]
    images = as_images([row[:, 32 * i : 32 * (i + 1)] for i in range(4)])
    return real_nets(folder, "cifar_resnet20", "cifar_resnet32"), images, 10


def imagenet(folder: Path) -> tuple[list[nn.Module], np.ndarray, int]:
    found = sorted((folder / "imagenet" / "nips17_299_jpeg").glob("*.jpg"))[:3]
    images = as_images([np.asarray(Image.open(path).convert("RGB")) for path in found])
    return real_nets(folder, "imagenet_squeezenet1_0", "imagenet_mobilenet_v1_025"), images, 1000


# a smaller tile for the larger images: each call of a network computes whole tiles, however few images there are
@pytest.mark.real
@pytest.mark.parametrize(("world_of", "tile"), [(cifar, 8), (imagenet, 4)])
def test_twenty_steps_on_real_networks_are_the_cores_to_the_bit(world_of, tile, data_folder):
    members, x, classes = world_of(data_folder)
    estimators = [classifier(net, input_shape=x.shape[1:], nb_classes=classes) for net in members]
    adversarial = host(estimators, targets="least-likely:1", tile=tile).generate(x)
    method = attacks.EnsembleOptimization(steps=20, tile=tile)
    expected = method(members, torch.from_numpy(x), attacks.LeastLikely(k=1))[:, 0].numpy()
    assert np.array_equal(adversarial, expected)
    assert not np.array_equal(adversarial, x)


@pytest.mark.real
@pytest.mark.parametrize(("world_of", "tile", "steps"), [(cifar, 8, 20), (imagenet, 2, 5)])
def test_real_networks_give_the_same_bits_whatever_the_batch(world_of, tile, steps, data_folder):
    members, x, classes = world_of(data_folder)
    estimators = [classifier(net, input_shape=x.shape[1:], nb_classes=classes) for net in members]
    the_same_bits_whatever_the_batch(host(estimators, targets="least-likely:1", tile=tile, steps=steps), x)
