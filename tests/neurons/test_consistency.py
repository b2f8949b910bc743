import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from interp_plugins.neurons.bootstrap import bootstrap
from interp_plugins.neurons.consistency import (
    consistency,
    debiased,
    level_consistency,
    self_similarity,
    source_debiased,
)
from interp_plugins.neurons.histograms import copies, histogram, select, unique_sources
from tests.oracles import level_and_consistency, pair_consistency

TREE = torch.tensor([[0.0, 2, 4], [2, 0, 4], [4, 4, 0]])  # tabby, Persian cat, wolfhound


def similarity(distances, sigma=2.0):
    return torch.exp(-(distances.double() ** 2) / (2 * sigma**2))


def drawn(seed, *, units=4, k=9, images=30, classes=5, pictures=12):
    """Top images, labels, sources that share a label, and a similarity, by chance."""
    generator = torch.Generator().manual_seed(seed)
    sources = torch.randint(pictures, (images,), generator=generator)
    labels = torch.randint(classes, (pictures,), generator=generator)[sources]
    ids = torch.stack([torch.randperm(images, generator=generator)[:k] for _ in range(units)])
    places = torch.rand(classes, 2, generator=generator)
    return ids, labels, sources, similarity(torch.cdist(places, places), 0.4).fill_diagonal_(1)


@pytest.mark.parametrize(
    ("sigma", "values"),
    [(2.0, (1.0, 0.803265, 0.567668, 0.528267)), (1.0, (1.0, 0.567668, 0.500168, 0.363557))],
)
def test_lc_has_the_golden_values_of_the_papers_small_tree(sigma, values):
    p = torch.tensor([[1, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [1 / 3, 1 / 3, 1 / 3]], dtype=torch.float64)
    torch.testing.assert_close(
        level_consistency(p, similarity(TREE, sigma)), torch.tensor(values, dtype=torch.float64), atol=1e-6, rtol=0
    )


@given(st.integers(0, 2**32))
def test_lc_equals_the_double_sum(seed):
    ids, labels, _, a = drawn(seed)
    p = histogram(ids, labels, 5)
    expected = [level_and_consistency(row, a.tolist()) for row in p.tolist()]
    assert level_consistency(p, a).tolist() == pytest.approx(expected, abs=1e-12)


@given(st.integers(0, 2**32))
def test_lc_of_labels_is_never_above_that_of_one_class(seed):
    ids, labels, _, a = drawn(seed)
    assert level_consistency(histogram(ids, labels, 5), a).max() <= 1 + 1e-12


@given(st.integers(0, 4))
def test_lc_of_one_class_is_one(label):
    _, _, _, a = drawn(3)
    assert level_consistency(torch.eye(5)[label][None], a).tolist() == [1.0]


@given(st.integers(0, 2**32), st.permutations(range(5)))
def test_lc_does_not_depend_on_the_order_of_the_classes(seed, order):
    ids, labels, _, a = drawn(seed)
    p = histogram(ids, labels, 5)
    other = level_consistency(p[:, order], a[order][:, order])
    torch.testing.assert_close(other, level_consistency(p, a), atol=1e-12, rtol=0)


@given(st.integers(0, 2**32))
def test_a_unit_does_not_feel_its_neighbours(seed):
    ids, labels, sources, a = drawn(seed)
    together, alone = (consistency(rows, labels, a, sources=sources) for rows in (ids, ids[2:3]))
    assert together.debiased[2].item() == pytest.approx(alone.debiased[0].item(), abs=1e-12, nan_ok=True)


def test_lc_of_concepts_may_exceed_one():
    found = consistency(torch.tensor([[0, 1]]), torch.tensor([[True, True, False], [True, False, True]]), torch.eye(3))
    assert found.raw.tolist() == [1.5]
    assert found.debiased.tolist() == [1.0]  # the one concept the two share


@given(st.integers(0, 2**32))
def test_labels_and_the_same_labels_as_concepts_agree(seed):
    ids, labels, sources, a = drawn(seed)
    by_label = consistency(ids, labels, a, sources=sources)
    by_concept = consistency(ids, torch.nn.functional.one_hot(labels, 5).bool(), a, sources=sources)
    torch.testing.assert_close(by_concept.raw, by_label.raw)
    torch.testing.assert_close(by_concept.debiased, by_label.debiased, equal_nan=True)


def test_the_debiased_value_by_hand():
    assert debiased(torch.tensor([0.5, 1.0]), torch.tensor([2, 7])).tolist() == [0.0, 1.0]


@given(st.integers(0, 2**32), st.integers(2, 4))
def test_the_debiased_value_is_unbiased(seed, n):
    """Expectation over all ways to draw n labels, each with its probability."""
    generator = torch.Generator().manual_seed(seed)
    u, a = torch.rand(3, generator=generator).double(), similarity(TREE)
    u /= u.sum()
    ways = torch.tensor(list(itertools.product(range(3), repeat=n)))
    found = consistency(torch.arange(len(ways) * n).reshape(-1, n), ways.flatten(), a)
    expected = (found.debiased * u[ways].prod(1)).sum()
    torch.testing.assert_close(expected, u @ a @ u, atol=1e-12, rtol=0)


def test_the_value_by_pictures_is_unbiased_however_many_copies_each_has():
    u, a = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64), similarity(TREE)
    times = torch.tensor([1, 4, 2])
    ways = torch.tensor(list(itertools.product(range(3), repeat=3)))
    labels = ways.repeat_interleave(times, dim=1)
    sources = torch.arange(3).repeat_interleave(times).repeat(len(ways))
    found = consistency(torch.arange(len(ways) * 7).reshape(-1, 7), labels.flatten(), a, sources=sources)
    weight = u[ways].prod(1)
    torch.testing.assert_close((found.debiased * weight).sum(), u @ a @ u, atol=1e-12, rtol=0)
    assert (found.raw * weight).sum() > u @ a @ u + 0.1  # what the copies alone would add


@given(st.integers(0, 2**32))
def test_the_value_by_pictures_is_the_mean_over_pairs_of_pictures(seed):
    ids, labels, sources, a = drawn(seed, pictures=4)
    found = consistency(ids, labels, a, sources=sources).debiased.tolist()
    expected = [
        pair_consistency([[int(labels[i])] for i in row], [int(sources[i]) for i in row], a.tolist())
        for row in ids.tolist()
    ]
    assert found == pytest.approx(expected, abs=1e-12, nan_ok=True)


@given(st.integers(0, 2**32))
def test_concepts_by_pictures_are_the_mean_over_pairs_of_pictures(seed):
    ids, _, sources, a = drawn(seed, pictures=4)
    concepts = (torch.rand(4, 5, generator=torch.Generator().manual_seed(seed)) < 0.4)[sources]
    found = consistency(ids, concepts, a, sources=sources).debiased.tolist()
    expected = [
        pair_consistency(
            [concepts[i].nonzero().flatten().tolist() for i in row], [int(sources[i]) for i in row], a.tolist()
        )
        for row in ids.tolist()
    ]
    assert found == pytest.approx(expected, abs=1e-12, nan_ok=True)


@given(st.integers(0, 2**32))
def test_by_pictures_equals_debiased_where_each_picture_occurs_once(seed):
    ids, labels, _, a = drawn(seed)
    raw = level_consistency(histogram(ids, labels, 5), a)
    once = source_debiased(raw, copies(ids, torch.arange(30)))
    torch.testing.assert_close(once, debiased(raw, torch.full((4,), 9)), atol=1e-12, rtol=0)


def test_a_unit_of_one_picture_has_a_raw_value_but_none_by_pictures():
    found = consistency(torch.tensor([[0, 1]]), torch.tensor([1, 1]), torch.eye(2), sources=torch.tensor([5, 5]))
    assert found.raw.tolist() == [1.0]
    assert found.sources.tolist() == [1]
    assert math.isnan(found.debiased[0])


def test_dead_units_and_units_without_images_are_nan_and_count_nothing():
    ids = torch.tensor([[0, 1], [-1, -1], [0, 1]])
    found = consistency(ids, torch.tensor([0, 0]), torch.eye(2), dead=torch.tensor([True, False, False]))
    assert found.raw.isnan().tolist() == [True, True, False]
    assert found.images.tolist() == [0, 0, 2]
    assert found.sources.tolist() == [0, 0, 2]


def test_a_row_that_is_not_full_counts_what_it_has():
    assert histogram(torch.tensor([[0, 2, -1, -1]]), torch.tensor([0, 0, 1]), 2).tolist() == [[0.5, 0.5]]


def test_images_that_do_not_count_leave_the_histogram():
    ids = select(torch.tensor([[0, 1, 2]]), images=torch.tensor([True, False, True]))
    assert histogram(ids, torch.tensor([0, 1, 1]), 2).tolist() == [[0.5, 0.5]]


@given(st.integers(0, 2**32))
def test_copies_and_sources_are_counted_as_by_hand(seed):
    ids, _, sources, _ = drawn(seed)
    ids = select(ids, images=torch.rand(30, generator=torch.Generator().manual_seed(seed)) < 0.6)
    rows = [[int(sources[i]) if i >= 0 else None for i in row] for row in ids.tolist()]
    assert copies(ids, sources).tolist() == [[row.count(s) if s is not None else 0 for s in row] for row in rows]
    assert unique_sources(ids, sources).tolist() == [len({*row} - {None}) for row in rows]


def test_what_an_image_is_to_itself_by_hand():
    concepts = torch.tensor([[True, True, False], [False, False, False]])
    assert self_similarity(concepts, similarity(TREE)).tolist() == pytest.approx([2 + 2 * math.exp(-0.5), 0])


def test_the_interval_holds_the_true_value_about_as_often_as_it_says():
    u, a = torch.tensor([0.7, 0.2, 0.1], dtype=torch.float64), similarity(TREE)
    labels = torch.multinomial(u, 200 * 80, replacement=True, generator=torch.Generator().manual_seed(1))
    interval = bootstrap(torch.arange(200 * 80).reshape(200, 80), labels, a, draws=200).units(0.9)
    held = (interval.low <= u @ a @ u) & (u @ a @ u <= interval.high)
    assert 0.82 <= held.double().mean() <= 0.96


def test_copies_of_a_picture_do_not_narrow_the_interval():
    ids, labels, _, a = drawn(5, units=1, k=30)
    tripled = torch.cat([3 * ids + copy for copy in range(3)], dim=1)
    once = bootstrap(ids, labels, a).units()
    thrice = bootstrap(tripled, labels.repeat_interleave(3), a, sources=torch.arange(30).repeat_interleave(3)).units()
    torch.testing.assert_close(thrice.high - thrice.low, once.high - once.low)


def test_the_interval_of_a_mean_knows_that_units_share_their_pictures():
    ids, labels, _, a = drawn(5, units=1, k=30)
    found = bootstrap(ids.expand(8, -1), labels, a)
    torch.testing.assert_close(found.mean().high, found.units().high[:1])


def test_a_dead_unit_has_no_interval_and_does_not_enter_the_mean():
    ids, labels, _, a = drawn(5)
    dead = torch.tensor([False, True, False, False])
    found = bootstrap(ids, labels, a, dead=dead, draws=20)
    assert found.units().low.isnan().tolist() == dead.tolist()
    assert found.mean().value.tolist() == [found.value[~dead].mean()]


def test_drawing_again_leaves_the_global_random_state_and_repeats():
    ids, labels, sources, a = drawn(5)
    before = torch.random.get_rng_state()
    first, second = (bootstrap(ids, labels, a, sources=sources, draws=10, seed=3).draws for _ in range(2))
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.testing.assert_close(first, second, rtol=0, atol=0, equal_nan=True)


@pytest.mark.usefixtures("unchecked")
def test_bad_input_is_told_in_a_sentence():
    ids, labels = torch.tensor([[0, 1]]), torch.tensor([0, 1])
    with pytest.raises(ValueError, match=r"expected ids from 0 to 1 \(-1 for none\), got 2; the data set described"):
        histogram(torch.tensor([[2]]), labels, 2)
    with pytest.raises(
        ValueError, match=r"expected top images of shape \(units, k\) with k of at least 1, got \(1, 0\)"
    ):
        histogram(ids[:, :0], labels, 2)
    with pytest.raises(ValueError, match="expected the number of classes beside labels, got None; give classes="):
        histogram(ids, labels)
    with pytest.raises(ValueError, match="expected labels from 0 to 0, got 1"):
        histogram(ids, labels, 1)
    with pytest.raises(ValueError, match=r"expected a similarity of shape \(2, 2\), got \(3, 3\)"):
        level_consistency(torch.ones(1, 2), torch.eye(3))
    with pytest.raises(ValueError, match=r"distances become similarities by taxonomy\.similarity"):
        level_consistency(torch.ones(1, 3), TREE)
    with pytest.raises(ValueError, match="expected draws above 0, got 0"):
        bootstrap(ids, labels, torch.eye(2), draws=0)
    with pytest.raises(ValueError, match="expected a level between 0 and 1, got 95"):
        bootstrap(ids, labels, torch.eye(2), draws=2).units(95)
