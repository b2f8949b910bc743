"""The evaluator of r takes what a Captum user has, records of a set among it, and gives what the core gives."""

import pytest
import torch
from evaluated import IMAGES, LABELS, MOVED, SOURCES, TARGETS
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from toys import CLASSES, Net

from interp_captum.shift import RepresentationShift, representation_shift
from interp_plugins.foundation.record import record
from interp_plugins.neurons.centres import ClassCentres
from interp_plugins.neurons.distance import DistanceRatios, distance_ratios
from interp_plugins.store.dataset import Record

PAIRS = (IMAGES[:20], LABELS[:20], MOVED.unflatten(0, (20, 2)), TARGETS.view(20, 2))
REST = (IMAGES[20:], LABELS[20:])


def phi(images, layer="second"):
    net = Net(0)
    with torch.no_grad(), record(net, [layer]) as outputs:
        net(images)
    return outputs[layer]


def close(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6, equal_nan=True)


@pytest.mark.parametrize("denominator", ["class_mean", "paired"])
def test_the_ratios_are_the_cores(denominator):
    moved = phi(MOVED).unflatten(0, (20, 2))
    expected = distance_ratios(phi(IMAGES[:20]), LABELS[:20], moved, PAIRS[3], CLASSES, denominator)
    found = RepresentationShift(Net(0), "second", denominator=denominator).evaluate(PAIRS)
    close(found.r1, expected.r1)
    close(found.r2, expected.r2)
    assert torch.equal(found.labels, LABELS[SOURCES])
    assert torch.equal(found.targets, TARGETS)
    assert torch.equal(found.counts, torch.bincount(LABELS[:20], minlength=CLASSES))


def test_further_real_images_count_in_the_means_and_below_the_line():
    centres = ClassCentres(CLASSES, 256)
    centres.update(phi(IMAGES), LABELS)
    ratios = DistanceRatios(centres.compute())
    ratios.update(phi(IMAGES[:20]), LABELS[:20], phi(MOVED).unflatten(0, (20, 2)), PAIRS[3])
    ratios.update(phi(IMAGES[20:]), LABELS[20:])
    found = RepresentationShift(Net(0), "second").evaluate(PAIRS, REST)
    close(found.r1, ratios.compute().r1)
    close(found.r2, ratios.compute().r2)
    assert found.counts.sum() == 40


@pytest.mark.parametrize("size", [1, 3, 8, 40])
def test_records_of_a_set_give_what_pairs_give_wherever_batches_end(size):
    grey, made = (IMAGES * 255).byte(), (MOVED * 255).byte()
    records = [
        Record(made[row], grey[source], int(LABELS[source]), int(TARGETS[row]), int(source))
        for row, source in enumerate(SOURCES)
    ]
    found = RepresentationShift(Net(0), "second").evaluate(DataLoader(records, batch_size=size))
    pairs = (grey[:20], LABELS[:20], made.unflatten(0, (20, 2)), PAIRS[3])
    expected = RepresentationShift(Net(0), "second").evaluate(pairs)
    assert torch.equal(found.counts, expected.counts)
    close(found.r1, expected.r1)
    close(found.r2, expected.r2)


def test_records_that_are_shuffled_are_refused():
    records = [Record(IMAGES[0], IMAGES[0], 0, 1, index) for index in (0, 1, 0)]
    for size in (1, 3):
        with pytest.raises(ValueError, match="expected all records of image 0 after each other, got some later"):
            RepresentationShift(Net(0), "second").evaluate(DataLoader(records, batch_size=size))


def test_records_without_clean_images_are_refused():
    records = [Record(IMAGES[0], torch.empty(0), 0, 1, index) for index in (0, 1)]
    with pytest.raises(ValueError, match="expected records with their clean images, got none"):
        RepresentationShift(Net(0), "second").evaluate(DataLoader(records))


def test_a_dataloader_and_a_list_of_layers_give_what_one_tuple_gives():
    loader = DataLoader(TensorDataset(*PAIRS), batch_size=7)
    first, second = RepresentationShift(Net(0), ["first", "second"]).evaluate(loader)
    close(second.r1, RepresentationShift(Net(0), "second").evaluate(PAIRS).r1)
    close(first.r1, RepresentationShift(Net(0), "first").evaluate(PAIRS).r1)


def test_the_function_gives_the_two_ratios_of_each_image():
    net, moved, targets = Net(0), MOVED[::2], TARGETS[::2]
    found = RepresentationShift(net, net.second).evaluate((IMAGES[:20], LABELS[:20], moved, targets))
    r1, r2 = representation_shift(net, net.second, IMAGES[:20], moved, LABELS[:20], targets)
    assert r1.shape == (20,)
    close(r1, found.r1)
    close(r2, found.r2)


def test_the_data_frame_has_a_row_for_each_attacked_image():
    pytest.importorskip("pandas")
    found = RepresentationShift(Net(0), "second").evaluate(PAIRS)
    frame = found.to_dataframe()
    assert list(frame.columns) == ["layer", "image", "r1", "r2", "labels", "targets"]
    assert frame["r2"][5] == found.r2[5].item()


def test_what_can_be_gone_through_once_only_is_refused():
    with pytest.raises(TypeError, match="expected inputs that can be gone through twice, got a list_iterator"):
        RepresentationShift(Net(0), "second").evaluate(iter([PAIRS]))


def test_attacked_images_without_targets_are_refused():
    with pytest.raises(TypeError, match="got attacked images without targets"):
        RepresentationShift(Net(0), "second").evaluate(PAIRS[:3])


def test_a_target_that_is_the_label_is_refused():
    with pytest.raises(ValueError, match="expected targets other than the label"):
        representation_shift(Net(0), "second", IMAGES, IMAGES, LABELS, LABELS)


def test_a_model_without_classes_is_refused():
    net = nn.Sequential(nn.Conv2d(3, 4, 1))
    with pytest.raises(ValueError, match=r"expected a model that puts out \(n, classes\), got \(8, 4, 8, 8\)"):
        RepresentationShift(net, net[0]).evaluate(PAIRS)


def test_no_batches_are_refused():
    with pytest.raises(ValueError, match="expected real images and what was made of them, got no batch"):
        RepresentationShift(Net(0), "second").evaluate([])
