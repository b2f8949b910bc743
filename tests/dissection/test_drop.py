"""What an attack takes from the units, and whether drawing the images again could give the same."""

from dataclasses import fields, replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from interp_plugins.dissection.drop import Drop, drop_of, redraw
from interp_plugins.dissection.labels import best_labels
from tests.counted_overlaps import VOCABULARY, counted, drawn_again, other, random_overlap, told_slowly


def labels(overlap, **more):
    return best_labels(overlap, torch.zeros(len(overlap.lit), dtype=torch.bool), **more)


def drop(clean, attacked, **more):
    return drop_of(clean, attacked, labels(clean), labels(attacked), **more)


def dogs(*shares):
    """One unit that lights the dog, 100 pixels an image, in these shares."""
    intersection = torch.zeros(len(shares), 1, 6, dtype=torch.int64)
    intersection[:, 0, 3] = torch.tensor([round(100 * share) for share in shares])
    labelled = torch.zeros(len(shares), 6, dtype=torch.int64)
    labelled[:, 3] = 100
    return counted(intersection, labelled, torch.full((len(shares), 1, 3), 100))


@given(st.integers(0, 10**6), st.lists(st.integers(0, 3), min_size=5, max_size=5).filter(any))
def test_a_draw_is_the_set_in_which_each_block_is_as_often_as_it_is_drawn(seed, times):
    overlap = random_overlap(seed)
    concept = labels(overlap).concept
    found, ious = redraw(overlap, torch.tensor([times], dtype=torch.float64), concept, 0.04)
    again = drawn_again(overlap, times)
    told = told_slowly(again)
    assert (found.detectors.item(), found.unique.item()) == (told["detectors"], told["unique"])
    assert found.by_category[0].tolist() == told["counts"]
    assert found.unique_by_category[0].tolist() == told["unique counts"]
    own = again.iou.gather(1, concept[:, None])[:, 0].masked_fill(concept == 0, torch.nan)
    torch.testing.assert_close(ious[0], own, rtol=0, atol=0, equal_nan=True)


def test_many_units_are_drawn_some_at_a_time_with_the_same_result(monkeypatch):
    clean, attacked = random_overlap(1, units=9), random_overlap(2, units=9)
    whole = drop(clean, attacked, draws=20)
    monkeypatch.setattr("interp_plugins.dissection.drop.AT_ONCE", 2 * 21 * 4)
    for field in ("detectors", "unique", "by_category", "unique_by_category", "iou"):
        for one, two in zip(_numbers(getattr(whole, field)), _numbers(getattr(drop(clean, attacked, draws=20), field)),
                            strict=True):  # fmt: skip
            torch.testing.assert_close(one, two, rtol=0, atol=0, equal_nan=True)


def _numbers(change):
    return [getattr(part, name) for part in (change.clean, change.attacked, change.difference)
            for name in ("value", "low", "high")] + [change.reversed]  # fmt: skip


def test_the_values_are_those_of_the_labels():
    clean, attacked = random_overlap(3), random_overlap(4)
    found, before, after = drop(clean, attacked, draws=5), labels(clean), labels(attacked)
    assert found.detectors.clean.value == before.detectors.sum()
    assert found.detectors.difference.value == after.detectors.sum() - before.detectors.sum()
    assert found.unique.attacked.value == after.unique
    assert found.by_category.clean.value.tolist() == before.by_category.tolist()
    assert found.unique_by_category.attacked.value.tolist() == after.unique_by_category.tolist()
    assert found.changed.tolist() == (before.concept != after.concept).tolist()
    assert (found.draws, found.blocks) == (5, 5)


def test_the_iou_under_attack_is_that_with_the_clean_label_and_undefined_without_one():
    clean, attacked = random_overlap(5), random_overlap(6)
    blind = replace(clean.blocks, pixels=clean.blocks.pixels * (clean.blocks.unit != 0))
    clean = other(clean, blocks=blind, intersection=clean.intersection * (torch.arange(6) != 0)[:, None])
    found, concept = drop(clean, attacked, draws=5).iou, labels(clean).concept
    assert concept[0] == 0
    assert found.attacked.value.tolist()[1:] == attacked.iou.gather(1, concept[:, None])[1:, 0].tolist()
    assert all(numbers[0].isnan() and numbers[1:].isfinite().all() for numbers in _numbers(found))


def test_no_change_has_an_interval_of_nothing_since_clean_and_attacked_are_drawn_as_pairs():
    overlap = random_overlap(7)
    found = drop(overlap, overlap, draws=50)
    for change in (found.detectors, found.unique, found.by_category, found.iou):
        assert not change.difference.low.any()
        assert not change.difference.high.any()
        assert (change.reversed == 1).all()
    assert not found.changed.any()


def test_a_drop_in_every_image_is_real_and_one_in_a_single_image_is_not():
    clean = dogs(*[0.5, 0.6] * 10)
    everywhere, once = dogs(*[0.3, 0.4] * 10), dogs(*[0.5, 0.6] * 9, 0.5, 0.0)
    real, chance = drop(clean, everywhere).iou, drop(clean, once).iou
    assert real.difference.high < 0
    assert real.reversed == 1 / 501
    assert chance.difference.value < 0
    assert chance.reversed > 0.2


def test_the_interval_holds_the_true_difference_about_as_often_as_it_says():
    """Units that answer to the dog each on its own: 200 of them are 200 trials, each with 40 images."""
    generator = torch.Generator().manual_seed(5)

    def lights(share):
        images = torch.zeros(40, 200, 6, dtype=torch.int64)
        images[:, :, 3] = torch.binomial(torch.full((40, 200), 20.0), share, generator=generator).long()
        return counted(images, torch.tensor([[0, 0, 0, 20, 0, 0]]).expand(40, -1), torch.full((40, 200, 3), 20))

    share = torch.rand(40, 200, generator=generator)  # the same image is hard before and after
    found = drop(lights(share), lights(share / 2), draws=200).iou.difference
    true = 0.25 / 1.75 - 0.5 / 1.5
    held = (found.low <= true) & (true <= found.high)
    assert 0.88 <= held.double().mean() <= 0.98


def test_the_same_seed_draws_the_same_and_global_randomness_is_left_alone():
    clean, attacked = random_overlap(8), random_overlap(9)
    before = torch.random.get_rng_state()
    one, two, other = (drop(clean, attacked, draws=40, seed=seed).iou.difference.low for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(one, two)
    assert not torch.equal(one, other)


def test_all_that_a_drop_tells_is_finite_where_every_unit_has_a_label():
    found = drop(random_overlap(10), random_overlap(11), draws=10)
    changes = [getattr(found, field.name) for field in fields(Drop)[:4]]
    assert all(numbers.isfinite().all() for change in changes for numbers in _numbers(change))


def test_what_cannot_be_drawn_is_refused():
    two, three = dogs(0.5, 0.5), dogs(0.5, 0.5, 0.5)
    without = other(two, blocks=None)
    with pytest.raises(ValueError, match="expected overlaps counted by blocks of images, got none; ask for blocks"):
        drop(two, without)
    with pytest.raises(ValueError, match=r"expected overlaps with the same blocks, units, concepts and union, got \(2"):
        drop(two, three)
    with pytest.raises(ValueError, match=r"the same blocks.*'category'\) and .*'plain'\)"):
        drop(two, other(two, union="plain"))
    with pytest.raises(ValueError, match="expected at least 2 blocks of images to draw from, got 1"):
        drop(dogs(0.5), dogs(0.5))
    with pytest.raises(ValueError, match="expected draws above 0, got 0"):
        drop(two, two, draws=0)


def test_a_concept_that_is_not_asked_about_is_no_label_in_any_draw():
    intersection = torch.zeros(3, 1, 6, dtype=torch.int64)
    intersection[:, 0, 2], intersection[:, 0, 3] = 50, 10
    overlap = counted(intersection, torch.full((3, 6), 50), torch.full((3, 1, 3), 50))
    assert VOCABULARY.category_of[2] == -1
    found, ious = redraw(overlap, torch.ones(1, 3, dtype=torch.float64), torch.tensor([3]), 0.04)
    assert found.by_category.tolist() == [[0, 1, 0]]
    assert ious.tolist() == [[10 / 90]]
