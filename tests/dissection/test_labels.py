"""A unit's label, detectors, the ratios of Xie's Table 2, and what chance gives."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from interp_plugins.dissection.labels import best_labels, chance_of, quantile95
from tests.counted_overlaps import VOCABULARY, counted, other, random_overlap, told_slowly

NONE = torch.zeros(4, dtype=torch.bool)


def by_hand():
    """Four units in one block: dog by 1/2, red and dog alike by 1/5, a cat by less than 4 %, and nothing lit."""
    intersection = torch.zeros(1, 4, 6, dtype=torch.int64)
    intersection[0, 0, 3], intersection[0, 0, 4] = 20, 1
    intersection[0, 1, 1], intersection[0, 1, 3] = 10, 10
    intersection[0, 2, 4] = 1
    labelled = torch.tensor([[0, 40, 0, 30, 20, 500]])
    lit = torch.tensor([[[30, 30, 0], [20, 40, 0], [30, 30, 30], [0, 0, 0]]])
    return counted(intersection, labelled, lit)


def test_the_label_is_the_concept_with_the_largest_iou():
    found = best_labels(by_hand(), NONE)
    assert found.concept.tolist() == [3, 1, 4, 0]
    assert found.iou.tolist() == [20 / 40, 10 / 50, 1 / 49, 0]
    assert found.category.tolist() == [1, 0, 1, -1]


def test_of_equal_ones_the_label_is_the_lowest_number():
    overlap = by_hand()
    tie = other(overlap, active=torch.tensor([[30, 30, 0], [20, 30, 0], [30, 30, 30], [0, 0, 0]]))
    assert tie.iou[1, 1] == tie.iou[1, 3]
    assert best_labels(tie, NONE).concept[1] == 1


def test_each_category_has_a_best_concept_of_its_own_or_none():
    found = best_labels(by_hand(), NONE)
    assert found.per_category_concept.tolist() == [[0, 3, 0], [1, 3, 0], [0, 4, 0], [0, 0, 0]]
    assert found.per_category_iou[1].tolist() == [10 / 50, 10 / 60, 0]


def test_a_detector_is_above_the_limit_and_not_at_it():
    overlap = by_hand()
    at = float(overlap.iou[1, 1])
    assert best_labels(overlap, NONE).detectors.tolist() == [True, True, False, False]
    assert best_labels(overlap, NONE, detector=at).detectors.tolist() == [True, False, False, False]


def test_each_unit_counts_once_so_that_categories_add_up_to_all():
    assert best_labels(by_hand(), NONE).ratio(VOCABULARY) == {
        "color": (1, 4), "object": (1, 4), "scene": (0, 4), "all": (2, 4)}  # fmt: skip


def test_units_that_share_a_label_make_one_unique_detector():
    overlap = by_hand()
    twice = other(overlap, intersection=overlap.intersection[[0, 0, 1, 3]], active=overlap.active[[0, 0, 1, 3]])
    found = best_labels(twice, NONE)
    assert int(found.detectors.sum()) == 3
    assert found.unique == 2
    assert found.unique_by_category.tolist() == [1, 1, 0]


def test_a_silent_unit_has_no_label_and_is_marked():
    silent = torch.tensor([False, False, False, True])
    found = best_labels(by_hand(), silent)
    assert found.concept[found.silent].tolist() == [0]
    assert found.category[found.silent].tolist() == [-1]


@given(st.integers(0, 10**6), st.integers(1, 6), st.integers(1, 9))
def test_labels_and_counts_are_those_of_the_slow_way(seed, blocks, units):
    overlap = random_overlap(seed, blocks, units)
    found, told = best_labels(overlap, torch.zeros(units, dtype=torch.bool)), told_slowly(overlap)
    assert found.concept.tolist() == told["labels"]
    assert found.iou.tolist() == told["ious"]
    assert found.per_category_concept.tolist() == told["by category"]
    assert int(found.detectors.sum()) == told["detectors"]
    assert (found.unique, found.unique_by_category.tolist()) == (told["unique"], told["unique counts"])
    assert found.by_category.tolist() == told["counts"]


@given(st.integers(0, 10**6))
def test_unique_detectors_are_never_more_than_detectors(seed):
    found = best_labels(random_overlap(seed), torch.zeros(6, dtype=torch.bool))
    assert (found.unique_by_category <= found.by_category).all()
    assert found.by_category.sum() == found.detectors.sum()
    assert (found.per_category_iou.amax(1) == found.iou).all()


def test_chance_counts_every_permutation():
    labels = [best_labels(random_overlap(seed), torch.zeros(6, dtype=torch.bool)) for seed in range(3)]
    found = chance_of(labels)
    assert found.detectors.tolist() == [int(each.detectors.sum()) for each in labels]
    assert found.unique.tolist() == [each.unique for each in labels]
    assert found.by_category.tolist() == [each.by_category.tolist() for each in labels]
    assert found.unique_by_category.tolist() == [each.unique_by_category.tolist() for each in labels]


@pytest.mark.parametrize("p", [19, 20, 38, 39, 59, 100, 200])
def test_chance_exceeds_its_quantile_in_at_most_a_twentieth_of_the_cases(p):
    counts = torch.arange(p)
    reached = int((counts >= quantile95(counts) + 1).sum()) + 1  # the data themselves are one of the cases
    assert reached / (p + 1) <= 0.05
    lower = int((counts >= quantile95(counts)).sum()) + 1
    assert lower / (p + 1) > 0.05


def test_the_quantile_of_few_permutations_is_the_largest():
    assert quantile95(torch.tensor([[3, 1], [2, 5]])).tolist() == [3, 5]


@pytest.mark.parametrize("limit", [-0.1, 1.0])
def test_a_limit_that_is_no_iou_is_refused(limit):
    with pytest.raises(
        ValueError, match=r"expected an IoU from 0 to below 1 for detectors, got .*; the paper has 0.04"
    ):
        best_labels(by_hand(), NONE, detector=limit)


def test_chance_needs_a_permutation():
    with pytest.raises(ValueError, match="expected the labels of at least one permutation, got none"):
        chance_of([])
