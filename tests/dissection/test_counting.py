import warnings

import numpy as np
import pytest
import torch
import two_processes
from hypothesis import given
from hypothesis import strategies as st
from thresholds_world import POSITIONS, RULES, SHARES, UNITS, N, bits, layer, share_of, slowly, streamed

from interp_plugins.dissection.counting import CoarseCounts, FineCounts
from interp_plugins.dissection.memory import memory
from interp_plugins.dissection.thresholds import UnitThresholds


def counted(maps, parts, share=0.005, rule="exact"):
    """Both passes."""
    positions = maps.shape[0] * maps.shape[2] * maps.shape[3]
    coarse = streamed(maps, parts, CoarseCounts(maps.shape[1], positions, share, rule))
    return streamed(maps, parts, FineCounts(coarse.compute())).compute()


def kept(maps, share=0.005, rule="exact"):
    positions = maps.shape[0] * maps.shape[2] * maps.shape[3]
    return streamed(maps, [slice(None)], UnitThresholds(positions, share, rule)).compute()


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("share", [0.005, 0.2, 0.9])
@pytest.mark.parametrize("size", [1, 30, N])
def test_both_ways_give_the_same_bits(size, share, rule):
    maps = layer()
    parts = [slice(start, start + size) for start in range(0, N, size)]
    assert bits(counted(maps, parts, share, rule)) == bits(kept(maps, share, rule))


@pytest.mark.parametrize("rule", RULES)
def test_values_that_differ_in_their_last_bits_alone_are_told_apart(rule):
    column = (1 + torch.arange(2000) * 2.0**-23)[torch.randperm(2000, generator=torch.Generator().manual_seed(0))]
    maps = column.reshape(-1, 1, 1, 1)
    found = counted(maps, [slice(None)], rule=rule)
    assert bits(found) == bits(kept(maps, rule=rule))
    assert found.value.item() == pytest.approx(1 + 1989.5 * 2.0**-23, abs=2.0**-23)


values = st.sampled_from([0.0, -0.0, 1.0]) | st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(st.lists(values, min_size=2, max_size=40), st.sampled_from([0.5, 0.8]), st.sampled_from(RULES))
def test_any_floats_are_found_to_the_bit(column, share, rule):
    maps = torch.tensor(column).reshape(-1, 1, 1, 1)
    third = len(column) // 3
    parts = [slice(0, third), slice(third, None)]
    assert bits(counted(maps, parts, share, rule)) == bits(kept(maps, share, rule))


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("cut", [0, 70, N])
def test_merged_halves_are_the_bits_of_one_pass(cut, rule):
    maps = layer()
    halves = [slice(0, cut), slice(cut, N)]
    coarse, *others = (streamed(maps, [half], CoarseCounts(UNITS, POSITIONS, rule=rule)) for half in halves)
    coarse.merge_state(others[0].metric_state)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torchmetrics does not count a merge as having seen something
        bins = coarse.compute()
        fine, *others = (streamed(maps, [half], FineCounts(bins)) for half in halves)
        fine.merge_state(others[0].metric_state)
        assert bits(fine.compute()) == bits(kept(maps, rule=rule))


@pytest.mark.parametrize("cut", [1, 30, 150])
def test_saved_states_go_on_as_if_nothing_had_happened(cut):
    maps = layer()
    coarse, again = CoarseCounts(UNITS, POSITIONS), CoarseCounts(UNITS, POSITIONS)
    streamed(maps, [slice(0, cut)], coarse)
    for metric in (coarse, again):
        metric.persistent(mode=True)
    again.load_state_dict(coarse.state_dict())
    bins = streamed(maps, [slice(cut, N)], again).compute()
    fine, after = FineCounts(bins), FineCounts(bins)
    streamed(maps, [slice(0, cut)], fine)
    for metric in (fine, after):
        metric.persistent(mode=True)
    after.load_state_dict(fine.state_dict())
    assert bits(streamed(maps, [slice(cut, N)], after).compute()) == bits(kept(maps))


def test_the_bars_of_both_passes_rise_and_never_above_the_threshold():
    maps = layer()
    value = kept(maps, 0.01).value
    coarse = CoarseCounts(UNITS, POSITIONS, 0.01)
    assert coarse.bar is None
    last = torch.full((UNITS,), -torch.inf)
    for start in range(0, N, 10):
        coarse.update(maps[start : start + 10], torch.arange(10))
        if coarse.bar is not None:
            assert (coarse.bar >= last).all()
            last = coarse.bar
    fine = FineCounts(coarse.compute()).bar
    assert (last <= value).all()
    assert (fine <= value).all()
    assert ((value - fine) <= value.abs() / 128).all()  # a bin is that wide


def test_what_is_below_the_bar_is_not_counted():
    coarse = CoarseCounts(1, 1000, 0.01)
    coarse.update(torch.arange(900.0).reshape(900, 1, 1, 1), torch.arange(900))
    coarse.update(torch.zeros(100, 1, 1, 1), torch.arange(100))
    assert int(coarse.counts.sum()) == 900
    assert coarse.compute().lowest.item() == pytest.approx(888)


def test_the_largest_of_a_bin_looks_for_its_neighbour_in_the_next():
    maps = torch.cat([torch.zeros(997), torch.tensor([1.0, 8.0, 64.0])]).reshape(-1, 1, 1, 1)
    assert bits(counted(maps, [slice(None)], 0.0025, "netdissect")) == bits(kept(maps, 0.0025, "netdissect"))
    maps = torch.arange(1500.0).exp2().clamp_max(2.0**100).sqrt().reshape(-1, 1, 1, 1)
    assert bits(counted(maps, [slice(None)], 0.97, "netdissect")) == bits(kept(maps, 0.97, "netdissect"))


def test_other_maps_in_the_second_pass_are_refused():
    maps = layer()
    bins = streamed(maps, [slice(None)], CoarseCounts(UNITS, POSITIONS)).compute()
    fine = streamed(maps * torch.tensor([1, 1, 2, 1, 1, 1]).reshape(-1, 1, 1), [slice(None)], FineCounts(bins))
    with pytest.raises(ValueError, match="expected the maps of the first pass again, got others of unit 2"):
        fine.compute()


def test_too_few_positions_are_refused_in_both_passes():
    maps = layer()
    with pytest.raises(ValueError, match=f"expected {POSITIONS} positions in all, got 200"):
        streamed(maps, [slice(0, 10)], CoarseCounts(UNITS, POSITIONS)).compute()
    bins = streamed(maps, [slice(None)], CoarseCounts(UNITS, POSITIONS)).compute()
    with pytest.raises(ValueError, match=f"expected {POSITIONS} positions in all, got 200"):
        streamed(maps, [slice(0, 10)], FineCounts(bins)).compute()


def test_another_number_of_units_is_refused(unchecked):
    with pytest.raises(ValueError, match="expected maps of 3 units as before, got 6"):
        CoarseCounts(3, POSITIONS).update(layer(10), torch.arange(10))


@pytest.mark.parametrize("rule", RULES)
def test_the_memory_is_what_the_states_take(rule):
    maps = layer()
    said = memory(UNITS, POSITIONS, rule=rule)
    metric = streamed(maps, [slice(None)], UnitThresholds(POSITIONS, rule=rule))
    coarse = streamed(maps, [slice(None)], CoarseCounts(UNITS, POSITIONS, rule=rule))
    fine = FineCounts(coarse.compute())
    assert said.largest == metric.kept[0].nbytes
    assert said.counts == fine.counts.nbytes >= coarse.counts.nbytes


def _one_of_two(rank):
    found = []
    for shares in SHARES:
        for rule in RULES:
            parts = share_of(rank, shares)
            coarse = streamed(layer(), parts, CoarseCounts(UNITS, POSITIONS, rule=rule))
            found.append(bits(streamed(layer(), parts, FineCounts(coarse.compute())).compute()))
    return found


@pytest.mark.slow
def test_two_processes_with_unequal_shares_or_none_give_the_bits_of_one(tmp_path):
    expected = [bits(kept(layer(), rule=rule)) for rule in RULES] * len(SHARES)
    assert two_processes.run(_one_of_two, tmp_path) == [expected, expected]


@pytest.mark.real
def test_both_ways_agree_with_sorting_on_maps_of_a_trained_network(data_folder):
    from interp_plugins.foundation.measuring import for_measuring
    from interp_plugins.sources import labelled, models

    pictures = labelled.open_labelled(data_folder / "segmentation" / "broden_micro_224").tensor(range(12)).float() / 255
    network = for_measuring(models.load(f"{data_folder / 'nets.py'}:imagenet_squeezenet1_0").module, pictures)
    found = []
    network.net.features[12].register_forward_hook(lambda module, inputs, output: found.append(output.clone()))
    with torch.no_grad():
        network(pictures)
    maps, halves = found[0], [slice(0, 5), slice(5, 12)]
    for rule in RULES:
        metric = streamed(maps, halves, UnitThresholds(maps[:, 0].numel(), rule=rule))
        assert bits(metric.compute()) == bits(counted(maps, halves, rule=rule))
        np.testing.assert_allclose(metric.compute().value.numpy(), slowly(maps, 0.005, rule), rtol=1e-12)
        assert int((~metric.compute().silent).sum()) > 400  # of 512
