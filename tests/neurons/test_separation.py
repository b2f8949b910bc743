import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchmetrics.functional.classification import binary_auroc, binary_roc

from interp_plugins.neurons.separation import separation
from tests import oracles

GRID = st.lists(st.integers(0, 8), min_size=1, max_size=25)  # few values, so that there are ties


def scores(values):
    return torch.tensor(values, dtype=torch.float64) / 8


def normal(n, mean=0.0, seed=0):
    return torch.randn(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + mean


def test_by_hand():
    found = separation(torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.tensor([2.0, 5.0]))
    assert found.auroc.value == (1.5 + 4) / 8  # 2 lies above 1 and beside 2, 5 above all
    assert found.fpr_at_95.value == 3 / 4  # both attacked are caught from 2 on, and with them 2, 3 and 4
    assert (found.clean, found.attacked, found.undefined) == (4, 2, 0)


@given(clean=GRID, attacked=GRID)
def test_it_is_the_slow_definition(clean, attacked):
    found = separation(scores(clean), scores(attacked), draws=1)
    assert (found.auroc.value, found.fpr_at_95.value) == pytest.approx(oracles.separation(clean, attacked))


@given(clean=GRID, attacked=GRID)
def test_torchmetrics_finds_the_same(clean, attacked):
    found = separation(scores(clean), scores(attacked), draws=1)
    both, truth = torch.cat([scores(clean), scores(attacked)]), torch.tensor([0] * len(clean) + [1] * len(attacked))
    alarms, caught, _ = binary_roc(both, truth)
    assert found.auroc.value == pytest.approx(float(binary_auroc(both, truth)), abs=1e-6)
    assert found.fpr_at_95.value == pytest.approx(float(alarms[caught >= 0.95 - 1e-6].min()), abs=1e-6)


@given(clean=GRID, attacked=GRID)
def test_turning_the_scores_round_turns_the_auroc_round(clean, attacked):
    there = separation(scores(clean), scores(attacked), draws=1).auroc.value
    back = separation(-scores(clean), -scores(attacked), draws=1).auroc.value
    assert there + back == pytest.approx(1)


def test_only_the_order_of_the_scores_counts():
    clean, attacked = normal(30), normal(40, 1.0, seed=1)
    assert separation(clean, attacked) == separation((40 * clean).exp(), (40 * attacked).exp())


def test_the_interval_holds_the_truth_about_as_often_as_it_says():
    hits = 0
    for seed in range(60):
        found = separation(normal(60, seed=seed), normal(60, 1.0, seed=1000 + seed), draws=200).auroc
        hits += found.low <= 0.7602 <= found.high  # Phi(1 / sqrt 2)
    assert 51 <= hits <= 60


def test_copies_of_one_picture_count_as_one_picture():
    clean, attacked = normal(40), normal(40, 1.0, seed=1)
    copied, made_from = attacked.repeat_interleave(10), torch.arange(40, 80).repeat_interleave(10)
    one, copies = separation(clean, attacked), separation(clean, copied, made_from)
    naive = separation(clean, copied)
    assert copies == type(copies)(one.auroc, one.fpr_at_95, 40, 400, 0)
    assert naive.auroc.high - naive.auroc.low < 0.85 * (one.auroc.high - one.auroc.low)


def test_an_attacked_image_is_drawn_together_with_the_clean_one_it_was_made_from():
    clean = normal(50)
    attacked = clean + 0.01 * normal(50, seed=2).abs()
    paired, apart = separation(clean, attacked, torch.arange(50)).auroc, separation(clean, attacked).auroc
    assert paired.value == apart.value
    assert paired.high - paired.low < 0.5 * (apart.high - apart.low)


def test_undefined_scores_are_left_out_and_counted():
    nan = torch.tensor([torch.nan])
    clean, attacked = normal(9), normal(9, 1.0)
    found = separation(torch.cat([clean, nan]), torch.cat([nan, attacked, nan]), torch.arange(20, 31))
    assert (found.clean, found.attacked, found.undefined) == (9, 9, 3)
    assert found.auroc.value == separation(clean, attacked).auroc.value


def test_the_same_seed_gives_the_same_interval_and_another_seed_another():
    clean, attacked = normal(30), normal(30, 1.0, seed=1)
    assert separation(clean, attacked, seed=3) == separation(clean, attacked, seed=3)
    assert separation(clean, attacked, seed=3).auroc != separation(clean, attacked, seed=4).auroc


@pytest.mark.parametrize(
    ("clean", "attacked", "settings", "sentence"),
    [
        ([torch.nan], [0.5], {}, "expected scores of clean and of attacked images, got 0 and 1 defined"),
        ([0.5], [torch.nan], {}, "got 1 and 0 defined"),
        ([0.5], [0.5], {"draws": 0}, "expected draws above 0, got 0"),
        ([0.5], [0.5], {"sources": torch.tensor([-1])}, "expected sources from 0 upwards, got -1"),
    ],
)
def test_what_does_not_fit_is_refused(clean, attacked, settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        separation(torch.tensor(clean), torch.tensor(attacked), **settings)
