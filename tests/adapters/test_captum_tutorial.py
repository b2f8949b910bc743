"""The network of Captum's CIFAR tutorial is measured as it is: pooling and ReLU as modules, flattened by `view`."""

import pytest
import torch
from captum.attr import LayerActivation, LayerFeatureAblation
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from interp_captum import (
    ClassSimilarity,
    NetworkDissection,
    NeuronConsistency,
    NeuronExemplars,
    NeuronInfluence,
    RepresentationShift,
)


class Net(nn.Module):
    """LeNet's shape, in the tutorial's names: 32 x 32 images, normalised to [-1, 1], to 10 logits."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 6, 5), nn.Conv2d(6, 16, 5)
        self.pool1, self.pool2 = nn.MaxPool2d(2, 2), nn.MaxPool2d(2, 2)
        self.fc1, self.fc2, self.fc3 = nn.Linear(16 * 5 * 5, 120), nn.Linear(120, 84), nn.Linear(84, 10)
        self.relu1, self.relu2, self.relu3, self.relu4 = (nn.ReLU() for _ in range(4))

    def forward(self, x):
        x = self.pool1(self.relu1(self.conv1(x)))
        x = self.pool2(self.relu2(self.conv2(x)))
        x = x.view(-1, 16 * 5 * 5)
        return self.fc3(self.relu4(self.fc2(self.relu3(self.fc1(x)))))


class Normalise(nn.Module):
    """What the tutorial's transform does, as a module."""

    def forward(self, x):
        return (x - 0.5) / 0.5


IMAGES = torch.rand(24, 3, 32, 32, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(24) % 10
MOVED, TARGETS = (IMAGES + 0.1).clamp(0, 1), (LABELS + 3) % 10


@pytest.fixture
def net() -> Net:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Net()


@pytest.fixture
def model(net) -> nn.Module:
    return nn.Sequential(Normalise(), net)


def test_exemplars_are_the_top_of_captums_own_activations(net, model):
    scores = LayerActivation(model, net.conv2).attribute(IMAGES).amax((2, 3))
    assert torch.equal(NeuronExemplars(model, net.conv2, k=4).evaluate(IMAGES).ids, scores.T.topk(4).indices)


def test_consistency_of_a_layer_by_module_over_a_dataloader(net, model):
    loader = DataLoader(TensorDataset(IMAGES, LABELS), batch_size=4)
    found = NeuronConsistency(model, net.conv2, similarity="cifar-10", k=4).evaluate(loader)
    assert found.lc.shape == (16,)
    assert (found.lc > 0.25).all()
    assert (found.lc <= 1).all()


def test_class_similarity_under_attack(net, model):
    found = ClassSimilarity(model, net.conv2, k=4).evaluate((IMAGES, LABELS), (MOVED, LABELS, TARGETS))
    assert ((found.cs1 >= 0) & (found.cs1 < 1.001)).all()


def test_dissection_finds_what_a_unit_of_the_tutorial_was_made_to_look_for(net, model):
    net.conv1.weight.data[2], net.conv1.bias.data[2] = torch.tensor([1.0, -1, -1]).view(3, 1, 1) / 75, 0
    images, masks = IMAGES / 2, torch.zeros(24, 32, 32, dtype=torch.int64)
    images[:, :, 8:20, 10:22], masks[:, 8:20, 10:22] = torch.tensor([1.0, 0, 0]).view(3, 1, 1), 1
    masks[:, 24:] = 2
    loader = DataLoader(TensorDataset(images, masks), batch_size=5)
    dissection = NetworkDissection(model, [net.conv1, net.relu2], share=0.1)
    first, _ = dissection.evaluate(loader, lambda images: images.flip(1), concepts={1: "red square", 2: "ground"})
    assert (first.clean.label[2], first.attacked.label[2]) == ("red square", "ground")
    assert first.clean.iou[2] > 0.5 > first.attacked.iou[2]


def test_representation_shift_of_real_images_is_one_on_average(net, model):
    found = RepresentationShift(model, net.relu2, denominator="paired").evaluate((IMAGES, LABELS, IMAGES, TARGETS))
    torch.testing.assert_close(found.r1, torch.ones(24, dtype=torch.float64))
    torch.testing.assert_close(found.r2, torch.ones(24, dtype=torch.float64))


def test_influence_of_a_linear_layers_units_is_captums_ablation(net, model):
    theirs = LayerFeatureAblation(model, net.relu4).attribute(IMAGES[:3], target=LABELS[:3])
    found = NeuronInfluence(model, net.relu4, score="logit").evaluate(IMAGES[:3], target=LABELS[:3])
    torch.testing.assert_close(found.differences.float(), theirs.detach(), rtol=1e-3, atol=1e-5)
