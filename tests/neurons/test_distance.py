import itertools
import math
import warnings

import pytest
import torch
import two_processes
from hypothesis import given
from hypothesis import strategies as st

from interp_plugins.neurons.centres import ClassCentres, class_centres
from interp_plugins.neurons.distance import DistanceRatios, distance_ratios
from tests.oracles import distance_ratio_pairs


def drawn(seed, *, n=12, t=2, classes=3, shape=(2, 2)):
    """Representations of real images, at least two a class, and of what was made from them, by chance."""
    generator = torch.Generator().manual_seed(seed)
    clean = torch.rand(n, *shape, generator=generator)
    attacked = clean[:, None] + torch.rand(n, t, *shape, generator=generator)
    labels = torch.arange(n) % classes
    targets = (labels[:, None] + torch.randint(1, classes, (n, t), generator=generator)) % classes
    return clean, labels, attacked, targets


def class_averages(ratios, values):
    return torch.stack([values[ratios.labels == label].mean() for label in ratios.labels.unique()])


@given(st.integers(0, 2**32), st.sampled_from(["class_mean", "paired"]))
def test_the_ratios_equal_the_formula_image_by_image(seed, denominator):
    clean, labels, attacked, targets = drawn(seed)
    found = distance_ratios(clean, labels, attacked, targets, 3, denominator)
    expected = distance_ratio_pairs(
        clean.double().flatten(1).tolist(),
        labels.tolist(),
        attacked.double().flatten(2).tolist(),
        targets.tolist(),
        denominator,
    )
    assert found.r1.tolist() == pytest.approx([r1 for r1, _ in expected], rel=1e-9)
    assert found.r2.tolist() == pytest.approx([r2 for _, r2 in expected], rel=1e-9)


@given(st.integers(0, 2**32))
def test_real_images_in_place_of_attacked_ones_have_class_averages_of_one(seed):
    clean, labels, _, _ = drawn(seed)
    found = distance_ratios(clean, labels, clean[:, None], ((labels + 1) % 3)[:, None], 3)
    for values in (found.r1, found.r2):
        torch.testing.assert_close(class_averages(found, values), torch.ones(3).double(), atol=1e-9, rtol=0)


@given(st.integers(0, 2**32))
def test_real_images_in_place_of_attacked_ones_are_all_one_when_paired(seed):
    clean, labels, _, _ = drawn(seed)
    found = distance_ratios(clean, labels, clean[:, None], ((labels + 1) % 3)[:, None], 3, "paired")
    assert found.r1.tolist() == [1.0] * 12
    assert found.r2.tolist() == [1.0] * 12


@given(st.integers(0, 2**32), st.floats(0.1, 10), st.floats(-5, 5))
def test_neither_scale_nor_place_of_the_representation_matters(seed, scale, shift):
    clean, labels, attacked, targets = (part.double() if part.is_floating_point() else part for part in drawn(seed))
    one = distance_ratios(clean, labels, attacked, targets, 3)
    other = distance_ratios(clean * scale + shift, labels, attacked * scale + shift, targets, 3)
    torch.testing.assert_close(other.r1, one.r1, rtol=1e-6, atol=0)
    torch.testing.assert_close(other.r2, one.r2, rtol=1e-6, atol=0)


@given(st.integers(0, 2**32), st.integers(1, 11), st.sampled_from(["class_mean", "paired"]))
def test_batches_of_any_size_give_the_answer_of_one(seed, size, denominator):
    clean, labels, attacked, targets = drawn(seed)
    centres = ClassCentres(3, 4)
    for start in range(0, 12, size):
        centres.update(clean[start : start + size], labels[start : start + size])
    metric = DistanceRatios(centres.compute(), denominator)
    for start in range(0, 12, size):
        rows = slice(start, start + size)
        metric.update(clean[rows], labels[rows], attacked[rows], targets[rows])
    found, whole = metric.compute(), distance_ratios(clean, labels, attacked, targets, 3, denominator)
    torch.testing.assert_close(found.r1, whole.r1, atol=1e-12, rtol=0)
    torch.testing.assert_close(found.r2, whole.r2, atol=1e-12, rtol=0)
    assert torch.equal(found.counts, whole.counts)


def test_images_that_were_not_attacked_count_in_the_denominator_only():
    clean, labels = torch.tensor([[0.0], [2.0], [4.0], [10.0], [12.0]]), torch.tensor([0, 0, 0, 1, 1])
    metric = DistanceRatios(class_centres(clean, labels, 2))
    metric.update(clean[1:], labels[1:])
    metric.update(clean[:1], labels[:1], torch.tensor([[[6.0]]]), torch.tensor([[1]]))
    found = metric.compute()
    assert found.r1.tolist() == [3.0 / 2.0]  # own centre without its source: 3; real: 3, 0, 3
    assert found.r2.tolist() == pytest.approx([5.0 / 9.0])  # target's centre 11; real: 11, 9, 7
    assert found.counts.tolist() == [3, 2]


def test_one_attacked_image_keeps_its_shape():
    clean, labels, attacked, targets = drawn(0)
    metric = DistanceRatios(class_centres(clean, labels, 3))
    metric.update(clean[:1], labels[:1], attacked[:1, :1], targets[:1, :1])
    assert metric.compute().r1.shape == (1,)


def test_a_held_out_image_leaves_no_centre():
    centres = class_centres(torch.tensor([[0.0], [2.0], [10.0]]), torch.tensor([0, 0, 1]), 2)
    metric = DistanceRatios(centres, held_out=True)
    metric.update(torch.tensor([[3.0]]), torch.tensor([0]), torch.tensor([[[5.0]]]), torch.tensor([[1]]))
    assert metric.compute().r1.tolist() == [2.0]


def test_the_only_image_of_a_class_has_no_r1_and_a_class_without_images_no_r2():
    clean, labels = torch.tensor([[0.0], [2.0], [10.0]]), torch.tensor([0, 0, 1])
    attacked, targets = torch.tensor([[[5.0]], [[5.0]], [[5.0]]]), torch.tensor([[1], [2], [0]])
    found = distance_ratios(clean, labels, attacked, targets, 3)
    assert found.r1.isnan().tolist() == [False, False, True]
    assert found.r2.isnan().tolist() == [False, True, False]


def test_equal_representations_give_nan_and_not_infinity():
    clean, labels = torch.ones(4, 2), torch.tensor([0, 0, 1, 1])
    found = distance_ratios(clean, labels, torch.zeros(4, 1, 2), (1 - labels)[:, None], 2)
    assert found.r1.isnan().all()


@pytest.mark.parametrize("size", [1, 5, 12])
def test_numbered_images_come_in_the_order_of_their_numbers_whatever_the_batches(size):
    clean, labels, attacked, targets = drawn(3)
    numbers = torch.randperm(24, generator=torch.Generator().manual_seed(2)).view(12, 2)
    metric = DistanceRatios(class_centres(clean, labels, 3))
    for rows in torch.arange(12).flip(0).split(size):
        metric.update(clean[rows], labels[rows], attacked[rows], targets[rows], numbers[rows])
    found, whole = metric.compute(), distance_ratios(clean, labels, attacked, targets, 3)
    torch.testing.assert_close(found.r1[numbers.flatten()], whole.r1, rtol=1e-12, atol=0)
    torch.testing.assert_close(found.r2[numbers.flatten()], whole.r2, rtol=1e-12, atol=0)
    assert torch.equal(found.targets[numbers], targets)


def test_reset_forgets_everything():
    clean, labels, attacked, targets = drawn(1)
    metric = DistanceRatios(class_centres(clean, labels, 3))
    metric.update(clean, labels, attacked, targets)
    metric.reset()
    metric.update(clean, labels, attacked, targets)
    assert torch.equal(metric.compute().r1, distance_ratios(clean, labels, attacked, targets, 3).r1)


def _one_of_two(rank):
    """Once with five images here and seven there, once with all here and none there."""
    answers = []
    warnings.simplefilter("ignore")  # a rank without images is asked before it was told anything
    clean, labels, attacked, targets = drawn(7)
    for first in (5, 12):
        rows = slice(0, first) if rank == 0 else slice(first, 12)
        centres = ClassCentres(3, 4)
        if len(labels[rows]):
            centres.update(clean[rows], labels[rows])
        metric = DistanceRatios(centres.compute())
        if len(labels[rows]):
            metric.update(clean[rows], labels[rows], attacked[rows], targets[rows])
        found = metric.compute()
        answers.append([found.r1, found.r2, found.labels, found.counts])
    return answers


@pytest.mark.slow
def test_two_processes_with_unequal_shares_or_one_without_any_give_the_answer_of_one(tmp_path):
    clean, labels, attacked, targets = drawn(7)
    whole = distance_ratios(clean, labels, attacked, targets, 3)
    for r1, r2, seen, counts in itertools.chain(*two_processes.run(_one_of_two, tmp_path)):
        torch.testing.assert_close(r1, whole.r1, atol=1e-12, rtol=0)
        torch.testing.assert_close(r2, whole.r2, atol=1e-12, rtol=0)
        assert torch.equal(seen, whole.labels)
        assert torch.equal(counts, whole.counts)


def test_a_refused_batch_leaves_nothing_behind():
    clean, labels, attacked, targets = drawn(1)
    metric = DistanceRatios(class_centres(clean, labels, 3))
    with pytest.raises(ValueError, match="expected finite attacked"):
        metric.update(clean, labels, attacked * math.nan, targets)
    assert metric.counts.tolist() == [0, 0, 0]


@pytest.mark.usefixtures("unchecked")
def test_bad_input_is_told_in_a_sentence():
    clean, labels, attacked, targets = drawn(2)
    centres = class_centres(clean, labels, 3)
    metric = DistanceRatios(centres)
    with pytest.raises(ValueError, match="expected denominator to be one of 'class_mean', 'paired', got 'target'"):
        DistanceRatios(centres, "target")
    with pytest.raises(ValueError, match="expected clean representations of 4 numbers an image, got 9; use one layer"):
        metric.update(torch.zeros(12, 3, 3), labels)
    with pytest.raises(ValueError, match="expected attacked representations and their targets together, got one"):
        metric.update(clean, labels, attacked)
    with pytest.raises(ValueError, match=r"expected targets of shape \(12, 2\), got \(12, 1\)"):
        metric.update(clean, labels, attacked, targets[:, :1])
    with pytest.raises(ValueError, match="expected targets from 0 to 2, got 7"):
        metric.update(clean, labels, attacked, targets.clamp_min(7))
    with pytest.raises(ValueError, match="expected targets other than the label"):
        metric.update(clean, labels, attacked, labels[:, None].expand(-1, 2))
    with pytest.raises(ValueError, match="expected finite attacked representations, got NaN or infinity in row 0"):
        metric.update(clean, labels, attacked * math.nan, targets)
    with pytest.raises(ValueError, match="expected classes above 0, got 0"):
        ClassCentres(0, 4)
