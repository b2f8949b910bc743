import copy
import pickle
import warnings

import numpy as np
import pytest
import torch
import two_processes
from hypothesis import given
from hypothesis import strategies as st
from thresholds_world import POSITIONS, RULES, SHARES, H, N, W, bits, layer, share_of, slowly, streamed

from interp_plugins.dissection.ranks import Rank, above
from interp_plugins.dissection.thresholds import UnitThresholds


def test_one_of_eight_by_hand():
    metric = UnitThresholds(positions=8, share=0.125)
    metric.update(torch.tensor([3.0, 9.0, 7.0, 1.0]).reshape(2, 1, 2, 1), torch.tensor([4, 5]))
    metric.update(torch.tensor([2.0, 8.0, 0.0, 5.0]).reshape(2, 1, 2, 1), torch.tensor([6, 7]))
    found = metric.compute()
    assert (found.value.tolist(), found.highest.tolist(), found.positions) == ([8.0], [9.0], 8)


def test_the_reference_rule_by_hand():
    metric = UnitThresholds(positions=1000, rule="netdissect")
    metric.update(torch.arange(1000.0).reshape(10, 1, 10, 10), torch.arange(10))
    assert metric.compute().value.tolist() == [994.0]


@pytest.mark.parametrize("share", [0.005, 0.2, 0.9])
@pytest.mark.parametrize("size", [1, 7, 64, N])
def test_it_is_the_next_after_the_k_largest(share, size):
    maps = layer()
    parts = [slice(start, start + size) for start in range(0, N, size)]
    found = streamed(maps, parts, UnitThresholds(POSITIONS, share)).compute()
    assert found.value.tolist() == slowly(maps, share, "exact").tolist()
    assert found.highest.tolist() == maps.amax((0, 2, 3)).tolist()


def test_at_most_the_share_is_above_and_one_lower_would_be_too_many():
    maps = layer()
    value = streamed(maps, [slice(None)], UnitThresholds(POSITIONS, 0.01)).compute().value
    columns = maps.double().permute(1, 0, 2, 3).flatten(1)
    assert ((columns > value[:, None]).sum(1) <= 0.01 * POSITIONS).all()
    assert ((columns >= value[:, None]).sum(1) > 0.01 * POSITIONS).all()


def test_the_reference_rule_is_numpys_linear_quantile():
    maps = layer()
    found = streamed(maps, [slice(0, 90), slice(90, N)], UnitThresholds(POSITIONS, rule="netdissect")).compute()
    np.testing.assert_allclose(found.value.numpy(), slowly(maps, 0.005, "netdissect"), rtol=1e-12)


@pytest.mark.parametrize("rule", RULES)
def test_dead_and_saturated_units_are_silent(rule):
    found = streamed(layer(), [slice(None)], UnitThresholds(POSITIONS, rule=rule)).compute()
    assert found.silent.tolist() == [False, False, False, True, True, True]
    assert found.saturated.tolist() == [False, False, False, False, True, False]


values = st.sampled_from([0.0, -0.0, 1.0]) | st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(st.lists(values, min_size=2, max_size=60), st.sampled_from([0.5, 0.8, 0.995]), st.randoms(use_true_random=False))
def test_order_and_batches_and_who_saw_what_change_no_bit(column, share, chance):
    for rule in RULES:
        once = UnitThresholds(len(column), share, rule)
        once.update(torch.tensor(column).reshape(-1, 1, 1, 1), torch.arange(len(column)))
        chance.shuffle(column)
        shuffled = torch.tensor(column).reshape(-1, 1, 1, 1)
        cut = chance.randrange(len(column) + 1)
        first = streamed(shuffled, [slice(0, cut)], UnitThresholds(len(column), share, rule))
        second = streamed(shuffled, [slice(cut, None)], UnitThresholds(len(column), share, rule))
        second.merge_state(first)
        assert bits(second.compute()) == bits(once.compute())


@pytest.mark.parametrize("as_state", [True, False])
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("cuts", [(0, 70), (70, 71), (3, N)])
def test_merged_pieces_are_the_bits_of_one_pass(cuts, rule, as_state):
    maps = layer()
    expected = bits(streamed(maps, [slice(None)], UnitThresholds(POSITIONS, rule=rule)).compute())
    first, second = cuts
    whole = UnitThresholds(POSITIONS, rule=rule)
    for part in (slice(0, first), slice(first, second), slice(second, N)):
        piece = streamed(maps, [part], UnitThresholds(POSITIONS, rule=rule))
        whole.merge_state(piece.metric_state if as_state else piece)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torchmetrics does not count a merge as having seen something
        assert bits(whole.compute()) == expected


@pytest.mark.parametrize("again", [copy.deepcopy, lambda metric: pickle.loads(pickle.dumps(metric))])  # noqa: S301
def test_a_copy_goes_on_by_itself(again):
    maps = layer()
    metric = streamed(maps, [slice(0, 100)], UnitThresholds(POSITIONS))
    copied = again(metric)
    copied.update(maps[100:], torch.arange(100, N))
    assert copied.compute().value.tolist() == slowly(maps, 0.005, "exact").tolist()
    assert int(metric.count) == 100 * H * W


@pytest.mark.parametrize("cut", [1, 3, 150])
def test_a_saved_state_goes_on_as_if_nothing_had_happened(cut):
    maps = layer()
    before = streamed(maps, [slice(0, cut)], UnitThresholds(POSITIONS))
    before.persistent(mode=True)
    after = UnitThresholds(POSITIONS)
    after.persistent(mode=True)
    after.load_state_dict(before.state_dict())
    after.update(maps[cut:], torch.arange(cut, N))
    whole = streamed(maps, [slice(None)], UnitThresholds(POSITIONS))
    assert bits(after.compute()) == bits(whole.compute())


def test_after_a_reset_nothing_is_left():
    metric = streamed(layer(), [slice(None)], UnitThresholds(POSITIONS))
    metric.reset()
    metric.update(torch.ones(N, 2, H, W), torch.arange(N))
    assert metric.compute().value.tolist() == [1.0, 1.0]


def test_the_bar_rises_and_never_above_the_threshold():
    maps = layer()
    metric = UnitThresholds(POSITIONS, 0.01)
    assert metric.bar is None
    last = torch.full((6,), -torch.inf)
    for start in range(0, N, 10):
        metric.update(maps[start : start + 10], torch.arange(start, start + 10))
        if metric.bar is not None:
            assert (metric.bar >= last).all()
            last = metric.bar.clone()
    value = metric.compute().value
    assert (last <= value).all()
    assert last[0] > value[0] - 0.5  # and it is of use: a tenth of the values or fewer are above it


def test_the_memory_does_not_grow_with_the_images():
    metric, sizes = UnitThresholds(POSITIONS, 0.01), set()
    for start in range(0, N, 10):  # every one a new record
        metric.update(torch.arange(start, start + 10.0).reshape(10, 1, 1, 1).expand(10, 6, H, W), torch.arange(10))
        sizes.add(metric.kept[0].numel())
    assert sizes == {6 * (41 + 16 + 512)}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_exact(dtype):
    maps = layer().to(dtype)
    found = streamed(maps, [slice(0, 9), slice(9, N)], UnitThresholds(POSITIONS)).compute()
    assert found.value.tolist() == slowly(maps, 0.005, "exact").tolist()


def test_large_values_whose_sum_is_no_float_are_welcome():
    metric = UnitThresholds(8, 0.5)
    metric.update(torch.full((8, 1, 1, 1), 3e38), torch.arange(8))
    assert metric.compute().highest.item() == pytest.approx(3e38)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_a_value_that_is_none_is_refused_by_unit_and_image(value):
    maps = layer(10)
    maps[7, 2, 1, 3] = value
    with pytest.raises(ValueError, match=f"expected maps without NaN or infinity, got {value} in unit 2, image 1007"):
        UnitThresholds(10 * H * W).update(maps, torch.arange(1000, 1010))


@pytest.mark.parametrize(("share", "positions", "count"), [(0.005, 200, 1), (0.005, 399, 1), (0.29, 100, 29)])
def test_the_share_is_taken_as_it_is_written(share, positions, count):
    assert above(share, positions) == count  # 0.29 * 100 is 28.999... in binary


def test_what_does_not_fit_is_refused_in_a_sentence(unchecked):
    with pytest.raises(ValueError, match=r"at least one position, got 0\.005 of 196; take at least 200 positions"):
        UnitThresholds(196)
    with pytest.raises(ValueError, match=r"expected a share between 0 and 1, got 1\.5"):
        UnitThresholds(196, 1.5)
    with pytest.raises(ValueError, match="expected the rule 'exact' or 'netdissect', got 'median'"):
        UnitThresholds(1000, rule="median")
    metric = streamed(layer(10), [slice(None)], UnitThresholds(POSITIONS))
    with pytest.raises(ValueError, match=f"expected {POSITIONS} positions in all, got 200; positions are images x"):
        metric.compute()
    with pytest.raises(ValueError, match="expected maps of 6 units as before, got 2"):
        metric.update(torch.zeros(1, 2, H, W), torch.arange(1))
    with pytest.raises(ValueError, match=r"expected images' numbers of shape \(1,\), got \(3,\)"):
        metric.update(torch.zeros(1, 6, H, W), torch.arange(3))
    with pytest.raises(TypeError, match=r"expected maps of float32, .*, got torch.float64; use .float\(\)"):
        metric.update(torch.zeros(1, 6, H, W, dtype=torch.float64), torch.arange(1))
    other = UnitThresholds(POSITIONS)
    other.update(torch.zeros(1, 2, H, W), torch.arange(1))
    with pytest.raises(ValueError, match="expected the same units everywhere, got 2 and 6 of them"):
        metric.merge_state(other)


def test_ranks_of_small_sets_stay_inside():
    assert Rank.of(200, 0.005, "exact") == Rank(1)
    assert Rank.of(1000, 0.005, "netdissect") == Rank(5)
    assert Rank.of(2, 0.9, "netdissect").places == (1, 0)


def _one_of_two(rank):
    found = []
    for shares in SHARES:
        for rule in RULES:
            metric = streamed(layer(), share_of(rank, shares), UnitThresholds(POSITIONS, rule=rule))
            found.append(bits(metric.compute()))
            metric._computed = None  # a second sync must not count anything twice
            found.append(bits(metric.compute()))
    return found


@pytest.mark.slow
def test_two_processes_with_unequal_shares_or_none_give_the_bits_of_one(tmp_path):
    whole = [bits(streamed(layer(), [slice(None)], UnitThresholds(POSITIONS, rule=rule)).compute()) for rule in RULES]
    expected = [whole[0], whole[0], whole[1], whole[1]] * len(SHARES)
    assert two_processes.run(_one_of_two, tmp_path) == [expected, expected]
