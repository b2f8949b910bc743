import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from interp_plugins.neurons.averages import Average, average, binned
from interp_plugins.neurons.histograms import histogram, select
from interp_plugins.neurons.similarity import class_similarity, split_half_ceiling
from tests.oracles import class_cosine

TREE = torch.tensor([[0.0, 2, 4], [2, 0, 4], [4, 4, 0]], dtype=torch.float64)
P, Q = torch.tensor([[0.5, 0.5, 0]]), torch.tensor([[0, 0.5, 0.5]])


def shares(seed, units=5):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(2, units, 3, generator=generator).double().softmax(2).unbind(0)


def test_the_plain_cosine_has_its_golden_value():
    assert class_similarity(P, Q).tolist() == pytest.approx([0.5], abs=1e-12)


def test_the_weighted_cosine_has_its_golden_value():
    assert class_similarity(P, Q, torch.exp(-(TREE**2) / 8)).tolist() == pytest.approx([0.694983], abs=1e-6)


@given(st.integers(0, 2**32), st.booleans())
def test_the_cosine_equals_the_formula_as_printed(seed, weighted):
    (p, q), a = shares(seed), torch.exp(-(TREE**2) / 8) if weighted else torch.eye(3)
    expected = [class_cosine(x, y, a.tolist()) for x, y in zip(p.tolist(), q.tolist(), strict=True)]
    assert class_similarity(p, q, a if weighted else None).tolist() == pytest.approx(expected, abs=1e-12)


@given(st.integers(0, 2**32))
def test_it_is_symmetric_and_one_for_equal_histograms(seed):
    p, q = shares(seed)
    torch.testing.assert_close(class_similarity(p, q), class_similarity(q, p), atol=1e-12, rtol=0)
    torch.testing.assert_close(class_similarity(p, p), torch.ones(5, dtype=torch.float64), atol=1e-12, rtol=0)


def test_a_unit_that_nothing_is_known_of_is_nan():
    p = torch.tensor([[math.nan, math.nan], [0.0, 0.0], [1.0, 0.0]])
    assert class_similarity(p, torch.ones(3, 2)).isnan().tolist() == [True, True, False]


def test_cs_over_fooled_images_alone_differs_from_cs_over_all():
    ids, targets = torch.tensor([[0, 1, 2, 3]]), torch.tensor([0, 0, 1, 1])
    fooled = torch.tensor([True, True, False, False])
    p = torch.tensor([[1.0, 0.0]])
    assert class_similarity(p, histogram(ids, targets, 2)).tolist() == pytest.approx([math.sqrt(0.5)])
    assert class_similarity(p, histogram(select(ids, images=fooled), targets, 2)).tolist() == [1.0]


def test_the_ceiling_of_a_unit_of_one_class_is_one():
    assert split_half_ceiling(torch.arange(20)[None], torch.zeros(20, dtype=torch.long), 2).tolist() == [1.0]


def test_the_ceiling_by_hand_where_all_splits_are_alike():
    """Two images of two classes, one in each half: no class in common. A third unit has one image: no ceiling."""
    labels = torch.tensor([0, 1])
    found = split_half_ceiling(torch.tensor([[0, 1], [0, -1]]), labels, 2)
    assert found[0] == 0
    assert found[1].isnan()


def test_a_consistent_unit_has_a_higher_ceiling_than_one_without_preference():
    generator = torch.Generator().manual_seed(0)
    labels = torch.cat([torch.zeros(50, dtype=torch.long), torch.randint(40, (50,), generator=generator)])
    ceiling = split_half_ceiling(torch.arange(100).reshape(2, 50), labels, 40)
    assert ceiling[0] > 0.99
    assert ceiling[1] < 0.8


def test_splits_that_leave_a_half_empty_do_not_count():
    labels = torch.zeros(4, dtype=torch.long)
    assert split_half_ceiling(torch.tensor([[0, 1]]), labels, 1, splits=20).tolist() == [1.0]


def test_splitting_leaves_the_global_random_state_and_repeats():
    ids, labels = torch.arange(20).reshape(2, 10), torch.arange(20) % 3
    before = torch.random.get_rng_state()
    first, second = (split_half_ceiling(ids, labels, 3, torch.eye(3), seed=4) for _ in range(2))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(first, second)


def test_an_average_counts_what_it_leaves_out():
    assert average(torch.tensor([[1.0, math.nan], [4.0, math.nan]])) == Average(2.5, 2, 2)


def test_an_average_of_nothing_is_nan_and_not_zero():
    assert math.isnan(average(torch.tensor([math.nan])).mean)


def test_a_curve_by_hand():
    values = torch.tensor([1.0, 2.0, 3.0, math.nan, 9.0, 5.0])
    lc = torch.tensor([0.0, 0.5, 1.0, 0.2, math.nan, 2.0])
    curve = binned(values, lc, torch.tensor([0.0, 0.5, 0.75, 1.0]))
    assert curve.counts.tolist() == [1, 1, 1]
    assert curve.means.tolist() == [1, 2, 3]
    assert (curve.undefined, curve.outside) == (2, 1)


def test_an_empty_bin_is_nan_and_not_zero():
    curve = binned(torch.tensor([1.0, 3.0]), torch.tensor([0.0, 1.0]), 3)
    assert curve.counts.tolist() == [1, 0, 1]
    assert curve.means.isnan().tolist() == [False, True, False]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.integers(1, 7))
def test_every_unit_is_in_one_bin_and_the_curve_keeps_the_total(lc, bins):
    lc = torch.tensor(lc, dtype=torch.float64)
    curve = binned(lc**2, lc, bins)
    assert int(curve.counts.sum()) == len(lc)
    assert float((curve.means * curve.counts).nansum()) == pytest.approx(float((lc**2).sum()))
    assert len(curve.edges) == bins + 1


@pytest.mark.usefixtures("unchecked")
def test_bad_input_is_told_in_a_sentence():
    one = torch.ones(1)
    with pytest.raises(ValueError, match="distances become similarities"):
        class_similarity(P, Q, TREE)
    with pytest.raises(ValueError, match="expected histograms of one shape, got"):
        class_similarity(P, Q.expand(2, -1))
    with pytest.raises(ValueError, match="expected splits above 0, got 0"):
        split_half_ceiling(torch.tensor([[0]]), torch.tensor([0]), 1, splits=0)
    with pytest.raises(ValueError, match="expected a value and an LC a unit"):
        binned(torch.ones(2), one)
    with pytest.raises(ValueError, match="expected at least one bin, got 0"):
        binned(one, one, 0)
    with pytest.raises(ValueError, match="got none; were all units dead"):
        binned(one * math.nan, one, 3)
    with pytest.raises(ValueError, match=r"expected at least two edges in ascending order, got \[1\.0, 0\.0\]"):
        binned(one, one, torch.tensor([1.0, 0.0]))
