import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from training_oracles import margin, moved_centres

from interp_plugins.training import MarginLoss

LABELS = torch.tensor([0, 2, 2, 1, 2])


def draw(seed, n=5, width=4):
    """A loss of three classes with centres somewhere, and representations."""
    generator = torch.Generator().manual_seed(seed)
    loss = MarginLoss(3, width).double()
    loss.centres.normal_(generator=generator)
    return loss, torch.randn(n, width, generator=generator, dtype=torch.float64)


@given(st.lists(st.floats(-100, 100, width=32), min_size=4, max_size=4), st.integers(0, 2))
def test_with_all_centres_at_zero_the_loss_is_the_logarithm_of_two(row, label):
    assert float(MarginLoss(3, 4)(torch.tensor([row]), torch.tensor([label]))) == pytest.approx(math.log(2))


def test_a_centre_moves_by_its_golden_step():
    loss = MarginLoss(2, 2)
    loss.update(torch.tensor([[1.0, 0.0], [3.0, 0.0]]), torch.tensor([1, 1]))
    torch.testing.assert_close(loss.centres, torch.tensor([[0.0, 0.0], [0.4 / 3, 0.0]]))


@given(st.integers(0, 2**32))
def test_the_loss_equals_the_formula_as_printed(seed):
    loss, rows = draw(seed)
    expected = margin(rows.tolist(), LABELS.tolist(), loss.centres.tolist())
    assert float(loss(rows, LABELS)) == pytest.approx(expected, rel=1e-9)


@given(st.integers(0, 2**32), st.floats(0.01, 1))
def test_the_centres_move_as_printed(seed, rate):
    loss, rows = draw(seed)
    loss.rate = rate
    expected = moved_centres(loss.centres.tolist(), rows.tolist(), LABELS.tolist(), rate)
    loss.update(rows, LABELS)
    torch.testing.assert_close(loss.centres, torch.tensor(expected, dtype=torch.float64))


def test_nearer_to_the_own_centre_is_a_smaller_loss():
    loss, _ = draw(0)
    near, far = (loss.centres[:1] + shift * (loss.centres[1:2] - loss.centres[:1]) for shift in (0.1, 0.9))
    assert float(loss(near, torch.tensor([0]))) < math.log(2) < float(loss(far, torch.tensor([0])))


def test_centres_that_are_updated_over_and_over_arrive_at_the_means():
    loss, rows = draw(0)
    for _ in range(500):
        loss.update(rows, LABELS)
    torch.testing.assert_close(loss.centres[2], rows[LABELS == 2].mean(0))


def test_the_gradients_are_the_slopes():
    loss, rows = draw(0)
    assert torch.autograd.gradcheck(lambda values: loss(values, LABELS), rows.requires_grad_())


def test_the_loss_leaves_the_centres_and_an_update_leaves_its_gradient():
    loss, rows = draw(0)
    rows.requires_grad_()
    before = loss.centres.clone()
    value = loss(rows, LABELS)
    assert torch.equal(loss.centres, before)
    expected = torch.autograd.grad(value, rows, retain_graph=True)
    loss.update(rows, LABELS)
    assert not torch.equal(loss.centres, before)
    assert torch.equal(*torch.autograd.grad(value, rows), *expected)


def test_centres_are_saved_and_are_no_parameters():
    loss, rows = draw(0)
    loss.update(rows, LABELS)
    other = MarginLoss(3, 4).double()
    other.load_state_dict(loss.state_dict())
    assert torch.equal(other.centres, loss.centres)
    assert list(loss.parameters()) == []


def test_half_precision_and_autocast_are_measured_in_single():
    """Two distances of 40,000 and their sum is beyond fp16."""
    rows, labels = torch.full((1, 2), 40_000.0).half(), torch.tensor([0])
    loss = MarginLoss(2, 2)
    loss.centres[1] = 40_000.0
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = loss(rows, labels)
        loss.update(torch.tensor([[1.001, 3.003]]), labels)
    assert found.dtype == torch.float32
    assert float(found) == pytest.approx(80_000, rel=1e-3)
    torch.testing.assert_close(loss.centres[0], torch.tensor([1.001, 3.003]) / 20)


@pytest.mark.usefixtures("unchecked")
def test_bad_input_is_told_in_a_sentence():
    loss, rows = draw(0)
    with pytest.raises(ValueError, match=r"expected representations of shape \(n, 4\), got \(5, 3\)"):
        loss(rows[:, :3], LABELS)
    with pytest.raises(ValueError, match=r"expected representations of shape \(n, 4\), got \(0, 4\)"):
        loss.update(rows[:0], LABELS[:0])
    with pytest.raises(ValueError, match=r"expected labels of shape \(5,\), got \(4,\)"):
        loss(rows, LABELS[:4])
    with pytest.raises(ValueError, match="expected labels from 0 to 2, got 3"):
        loss.update(rows, LABELS + 1)
    with pytest.raises(ValueError, match="expected at least 2 classes, got 1"):
        MarginLoss(1, 4)
    with pytest.raises(ValueError, match="expected width above 0, got 0"):
        MarginLoss(3, 0)
    with pytest.raises(ValueError, match=r"expected rate above 0, got -0\.1"):
        MarginLoss(3, 4, rate=-0.1)
