import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from interp_plugins.foundation.running import LAST_ID, TopK


def slowly(scores, ids, k):
    """The k largest of each unit by sorting everything: (values, ids), lists of lists."""
    ordered = [
        sorted(((-value, id) for value, id in zip(column, ids.tolist(), strict=True)))[:k]
        for column in scores.T.tolist()
    ]
    return [[-value for value, _ in row] for row in ordered], [[id for _, id in row] for row in ordered]


def streamed(scores, ids, k, sizes):
    top = TopK(k)
    start = 0
    while start < len(scores):
        for size in sizes:
            top.update(scores[start : start + size], ids[start : start + size])
            start += size
    return top


def agrees(top, scores, ids, k):
    values, numbers = slowly(scores, ids, k)
    return top.values.tolist() == values and top.ids.tolist() == numbers


def test_the_two_largest_of_four_by_hand():
    top = TopK(2)
    top.update(torch.tensor([[0.5, -1.0], [0.9, -2.0], [0.5, -3.0], [0.1, -0.5]]), torch.tensor([7, 3, 4, 5]))
    assert top.ids.tolist() == [[3, 4], [5, 7]]  # 7 and 4 tie for the first unit: the lower id wins
    assert top.values.tolist() == [[pytest.approx(0.9), 0.5], [-0.5, -1.0]]


@pytest.mark.parametrize("k", [1, 5, 70, 200])
@pytest.mark.parametrize("sizes", [[1000], [8], [64], [1, 150, 65]])
def test_it_equals_sorting_everything(k, sizes):
    generator = torch.Generator().manual_seed(k)
    scores = torch.randn(1000, 7, generator=generator)
    ids = torch.randperm(5000, generator=generator)[:1000]
    assert agrees(streamed(scores, ids, k, sizes), scores, ids, k)


@pytest.mark.parametrize("k", [1, 3, 90])
def test_ties_are_the_lower_ids_whatever_order_the_samples_come_in(k):
    generator = torch.Generator().manual_seed(1)
    scores = torch.randint(-1, 3, (900, 5), generator=generator).float().relu()
    ids = torch.arange(900)
    expected = streamed(scores, ids, k, [900])
    assert agrees(expected, scores, ids, k)
    for order in (ids.flip(0), torch.randperm(900, generator=generator)):
        found = streamed(scores[order], ids[order], k, [50])
        assert torch.equal(found.ids, expected.ids)
        assert torch.equal(found.values, expected.values)


rows = st.lists(
    st.tuples(*[st.floats(width=32, allow_nan=False) | st.sampled_from([0.0, -0.0, 1.0])] * 2), min_size=1, max_size=90
)


@given(rows, st.integers(1, 6), st.integers(1, 40), st.randoms(use_true_random=False))
def test_any_batches_in_any_order_leave_the_same_bits(rows, k, size, chance):
    ids = list(range(len(rows)))
    once = TopK(k)
    once.update(torch.tensor(rows), torch.tensor(ids))
    chance.shuffle(ids)
    again = streamed(torch.tensor([rows[id] for id in ids]), torch.tensor(ids), k, [size])
    assert torch.equal(once.ids, again.ids)
    assert torch.equal(once.values.view(torch.int32), again.values.view(torch.int32))


@given(rows, rows, st.integers(1, 6))
def test_merging_is_as_if_one_had_seen_all(first, second, k):
    one, other, both = TopK(k), TopK(k), TopK(k)
    scores, ids = torch.tensor(first + second), torch.arange(len(first) + len(second))
    one.update(scores[: len(first)], ids[: len(first)])
    other.update(scores[len(first) :], ids[len(first) :])
    both.update(scores, ids)
    other.merge(one)
    assert other.count == both.count
    assert torch.equal(other.ids, both.ids)
    assert torch.equal(other.values, both.values)


def test_merging_with_an_empty_one_changes_nothing_either_way():
    full, empty = TopK(2), TopK(2)
    full.update(torch.tensor([[1.0], [2.0], [3.0]]), torch.arange(3))
    full.merge(TopK(2))
    empty.merge(full)
    assert full.ids.tolist() == empty.ids.tolist() == [[2, 1]]


def test_a_restored_one_goes_on_as_if_nothing_had_happened():
    scores = torch.randn(600, 4, generator=torch.Generator().manual_seed(2))
    ids = torch.arange(600)
    for cut in (0, 3, 400):
        first, second = TopK(5), TopK(1)
        first.update(scores[:cut], ids[:cut])
        second.load_state_dict(first.state_dict())
        second.update(scores[cut:], ids[cut:])
        assert agrees(second, scores, ids, 5)


def test_places_without_a_sample_have_id_minus_one():
    top = TopK(3)
    top.update(torch.tensor([[-torch.inf], [2.0]]), torch.tensor([9, LAST_ID]))
    assert top.ids.tolist() == [[LAST_ID, 9, -1]]
    assert top.values.tolist() == [[2.0, -torch.inf, -torch.inf]]


def test_minus_zero_ties_with_zero():
    top = TopK(2)
    top.update(torch.tensor([[0.0], [-0.0]]), torch.tensor([1, 0]))
    assert top.ids.tolist() == [[0, 1]]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_keeps_its_values(dtype):
    scores = torch.randn(300, 3, generator=torch.Generator().manual_seed(3)).to(dtype)
    assert agrees(streamed(scores, torch.arange(300), 4, [64]), scores.float(), torch.arange(300), 4)


def test_memory_does_not_grow_with_the_samples():
    top = TopK(10)
    sizes = set()
    for start in range(0, 5000, 100):
        scores = torch.arange(start, start + 100).float()[:, None].expand(100, 6)  # every one a new record
        top.update(scores, torch.arange(start, start + 100))
        sizes.add(top.keys.numel())
    assert sizes == {6 * (10 + 64)}
    assert top.ids[0].tolist() == list(range(4999, 4989, -1))


@pytest.mark.parametrize("before", [0, 300])
def test_a_nan_is_refused_by_unit_and_id(before):
    top = TopK(2)
    top.update(torch.zeros(before, 3), torch.arange(before))
    scores = torch.zeros(5, 3)
    scores[3, 1] = torch.nan
    with pytest.raises(ValueError, match="expected no NaN, got one in unit 1, id 1003"):
        top.update(scores, torch.arange(1000, 1005))


def test_a_sample_that_came_twice_is_named():
    top = TopK(2)
    top.update(torch.tensor([[1.0], [3.0], [2.0]]), torch.tensor([4, 7, 7]))
    with pytest.raises(ValueError, match="expected each sample once, got id 7 twice"):
        top.ids  # noqa: B018


@pytest.mark.parametrize(
    ("scores", "ids", "message"),
    [
        (torch.zeros(2, 4), torch.arange(2), "expected scores of 3 units as before, got 4"),
        (torch.zeros(2, 3), torch.arange(3), r"expected ids of shape \(2,\), got \(3,\)"),
        (torch.zeros(2, 3), torch.tensor([0, -1]), "expected ids from 0 to 4294967295, got -1"),
        (torch.zeros(2, 3), torch.tensor([0, 2**32]), "expected ids from 0 to 4294967295, got 4294967296"),
    ],
)
def test_batches_that_do_not_fit_are_refused(scores, ids, message, unchecked):
    top = TopK(2)
    top.update(torch.zeros(1, 3), torch.tensor([5]))
    with pytest.raises(ValueError, match=message):
        top.update(scores, ids)


def test_float64_is_refused_because_ties_would_hide_in_it():
    with pytest.raises(TypeError, match=r"expected scores of float32, .*, got torch.float64; use .float\(\)"):
        TopK(1).update(torch.zeros(1, 1, dtype=torch.float64), torch.arange(1))


def test_k_is_at_least_one_and_the_same_in_a_merger():
    with pytest.raises(ValueError, match="expected k of at least 1, got 0"):
        TopK(0)
    with pytest.raises(ValueError, match="expected k=2 as here, got k=3"):
        TopK(2).merge(TopK(3))


def test_a_merger_needs_the_same_units():
    one, other = TopK(1), TopK(1)
    one.update(torch.zeros(1, 2), torch.arange(1))
    other.update(torch.zeros(1, 3), torch.arange(1))
    with pytest.raises(ValueError, match="expected the same units everywhere, got 2 and 3 of them"):
        one.merge(other)
