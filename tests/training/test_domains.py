import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from training_oracles import coral, mean_difference, mean_squared_distance, mmd

from interp_plugins.training import Coral, MeanDifference, MultiKernelMMD

CLEAN = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
ADVERSARIAL = torch.tensor([[2.0, 0.0], [0.0, 2.0], [0.0, 0.0]])
CORALS = list(itertools.product(("l1", "frobenius"), ("unbiased", "biased", "scatter")))
ESTIMATORS = ("biased", "unbiased")
ALL = [
    *(Coral(norm=norm, covariance=covariance) for norm, covariance in CORALS),
    MeanDifference(),
    *(MultiKernelMMD(estimator=estimator) for estimator in ESTIMATORS),
]
ZERO_FOR_EQUAL = [loss for loss in ALL if loss != MultiKernelMMD(estimator="unbiased")]


def draw(seed, n=4, m=6, d=3):
    """Two batches, of different sizes where nothing else is said."""
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(rows, d, generator=generator, dtype=torch.float64) for rows in (n, m))


@pytest.mark.parametrize(
    ("norm", "covariance", "expected"),
    [
        ("l1", "unbiased", 0.75),
        ("l1", "biased", 0.5),
        ("l1", "scatter", 1.5),
        ("frobenius", "unbiased", 0.15625),
    ],
)
def test_coral_has_its_golden_values(norm, covariance, expected):
    assert float(Coral(norm=norm, covariance=covariance)(CLEAN, ADVERSARIAL)) == pytest.approx(expected, abs=1e-6)


def test_the_difference_of_equal_means_is_zero_however_the_batches_differ():
    assert float(MeanDifference()(CLEAN, ADVERSARIAL)) == pytest.approx(0, abs=1e-7)
    assert float(MultiKernelMMD()(CLEAN, ADVERSARIAL)) > 0.1


@given(st.integers(0, 2**32), st.sampled_from(CORALS))
def test_coral_equals_the_formula_as_printed(seed, settings):
    clean, adversarial = draw(seed)
    found = Coral(norm=settings[0], covariance=settings[1])(clean, adversarial)
    assert float(found) == pytest.approx(coral(clean.tolist(), adversarial.tolist(), *settings), rel=1e-9)


@given(st.integers(0, 2**32))
def test_the_mean_difference_equals_the_formula_as_printed(seed):
    clean, adversarial = draw(seed)
    expected = mean_difference(clean.tolist(), adversarial.tolist())
    assert float(MeanDifference()(clean, adversarial)) == pytest.approx(expected, rel=1e-9)


@given(st.integers(0, 2**32), st.sampled_from(ESTIMATORS), st.sampled_from([None, 0.7]))
def test_mmd_equals_the_formula_as_printed(seed, estimator, scale):
    clean, adversarial = draw(seed)
    ours, theirs, widths = clean.tolist(), adversarial.tolist(), (0.5, 3.0)
    expected = mmd(ours, theirs, widths, scale or mean_squared_distance(ours + theirs), estimator)
    found = MultiKernelMMD(bandwidths=widths, scale=scale, estimator=estimator)(clean, adversarial)
    assert float(found) == pytest.approx(expected, abs=1e-12)


@given(st.integers(0, 2**32), st.sampled_from(ZERO_FOR_EQUAL))
def test_equal_batches_in_any_order_are_no_distance_apart_and_others_are(seed, loss):
    clean, adversarial = draw(seed)
    assert float(loss(clean, clean.flip(0))) == pytest.approx(0, abs=1e-12)
    assert float(loss(clean, adversarial)) > 0


@given(st.integers(0, 2**32), st.sampled_from(ALL))
def test_the_order_of_rows_and_of_batches_does_not_matter(seed, loss):
    clean, adversarial = draw(seed)
    expected = pytest.approx(float(loss(clean, adversarial)), abs=1e-12)
    assert float(loss(clean.roll(1, 0), adversarial.flip(0))) == expected
    assert float(loss(adversarial, clean)) == expected


@given(st.integers(0, 2**32), st.sampled_from(ALL), st.floats(-50, 50))
def test_a_shift_of_both_batches_does_not_matter(seed, loss, shift):
    clean, adversarial = draw(seed)
    expected = pytest.approx(float(loss(clean, adversarial)), abs=1e-9)
    assert float(loss(clean + shift, adversarial + shift)) == expected


@given(st.integers(0, 2**32), st.sampled_from(CORALS), st.floats(-50, 50))
def test_coral_does_not_see_a_shift_of_one_batch(seed, settings, shift):
    loss, (clean, adversarial) = Coral(norm=settings[0], covariance=settings[1]), draw(seed)
    assert float(loss(clean, adversarial + shift)) == pytest.approx(float(loss(clean, adversarial)), abs=1e-9)


@given(st.integers(0, 2**32), st.floats(0.1, 10))
def test_mmd_does_not_see_the_unit_of_length_unless_it_is_given_one(seed, factor):
    clean, adversarial = draw(seed)
    free, fixed = MultiKernelMMD(), MultiKernelMMD(scale=1.0)
    value = float(free(clean, adversarial))
    assert float(free(clean * factor, adversarial * factor)) == pytest.approx(value, abs=1e-10)
    assert float(fixed(clean * 2, adversarial * 2)) != pytest.approx(float(fixed(clean, adversarial)), abs=1e-6)


@given(st.integers(0, 2**32))
def test_the_unbiased_mmd_of_all_ways_to_split_one_batch_has_the_mean_zero(seed):
    rows, _ = draw(seed, n=5)
    loss = MultiKernelMMD(estimator="unbiased")
    found = []
    for chosen in itertools.combinations(range(5), 2):
        rest = [row for row in range(5) if row not in chosen]
        found.append(float(loss(rows[list(chosen)], rows[rest])))
    assert sum(found) / len(found) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("loss", [*ALL[:7], MultiKernelMMD(scale=2.0), MultiKernelMMD(scale=2.0, estimator="unbiased")])
def test_the_gradients_are_the_slopes(loss):
    assert torch.autograd.gradcheck(loss, [rows.requires_grad_() for rows in draw(0)])


def test_no_gradient_flows_through_the_scale_of_mmd():
    clean, adversarial = draw(0)
    clean.requires_grad_()
    scale = mean_squared_distance(torch.cat([clean, adversarial]).tolist())
    free, fixed = (
        torch.autograd.grad(loss(clean, adversarial), clean)[0]
        for loss in (MultiKernelMMD(), MultiKernelMMD(scale=scale))
    )
    torch.testing.assert_close(free, fixed)


def test_the_mmd_of_rows_that_are_all_alike_is_zero_with_a_zero_gradient():
    clean, adversarial = torch.ones(3, 2, requires_grad=True), torch.ones(2, 2)
    loss = MultiKernelMMD()(clean, adversarial)
    assert float(loss.detach()) == pytest.approx(0, abs=1e-6)
    assert torch.equal(torch.autograd.grad(loss, clean)[0], torch.zeros(3, 2))


@pytest.mark.parametrize("loss", ALL, ids=repr)
def test_autocast_changes_neither_value_nor_gradient(loss):
    clean, adversarial = (rows.float() for rows in draw(0))
    clean.requires_grad_()
    expected = loss(clean, adversarial)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = loss(clean, adversarial)
    assert torch.equal(found, expected)
    assert torch.equal(*(torch.autograd.grad(value, clean)[0] for value in (found, expected)))


def test_a_covariance_beyond_half_precision_is_taken_in_single():
    """Values of 300 have a variance of 180,000; fp16 ends at 65,504."""
    clean = torch.tensor([[300.0], [-300.0]]).half()
    found = Coral()(clean, torch.zeros(2, 1).half())
    assert found.dtype == torch.float32
    assert float(found) == 180_000


def test_mmd_in_single_precision_keeps_its_digits_far_from_the_origin():
    clean, adversarial = (rows.float() + 1000 for rows in draw(0))
    expected = float(MultiKernelMMD()(clean.double(), adversarial.double()))
    assert float(MultiKernelMMD()(clean, adversarial)) == pytest.approx(expected, rel=1e-4)


def test_a_batch_of_one_will_do_where_no_spread_is_asked_for():
    one, other = torch.tensor([[1.0, 5.0]]), torch.tensor([[0.0, 2.0]])
    assert float(MeanDifference()(one, other)) == 2
    assert float(MultiKernelMMD(bandwidths=(1.0,), scale=10.0)(one, other)) == pytest.approx(2 - 2 / 2.718281828)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("loss", [*(ALL[:6]), MultiKernelMMD(estimator="unbiased")], ids=repr)
def test_a_batch_of_one_is_refused_with_the_way_out(loss):
    with pytest.raises(ValueError, match=r"expected at least 2 clean and 2 .*, got 1 and 3; .* drop_last=True"):
        loss(CLEAN[:1], ADVERSARIAL)
    with pytest.raises(ValueError, match="got 3 and 1; leave out a short last batch"):
        loss(CLEAN, ADVERSARIAL[:1])


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("loss", ALL, ids=repr)
def test_bad_input_is_told_in_a_sentence(loss):
    with pytest.raises(
        ValueError, match=r"clean representations of shape \(n, d\), got \(2, 3, 4, 4\); pool maps with"
    ):
        loss(torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 4, 4))
    with pytest.raises(
        ValueError, match=r"expected representations of one width, got 2 \(clean\) and 1 \(adversarial\)"
    ):
        loss(CLEAN, ADVERSARIAL[:, :1])
    with pytest.raises(TypeError, match=r"expected values of a floating dtype, got torch\.int64"):
        loss(CLEAN.long(), ADVERSARIAL)
    with pytest.raises(ValueError, match="got 0 and 3"):
        loss(CLEAN[:0], ADVERSARIAL)


@pytest.mark.usefixtures("unchecked")
def test_bad_settings_are_told_in_a_sentence():
    with pytest.raises(ValueError, match="expected norm to be one of 'l1', 'frobenius', got 'l2'"):
        Coral(norm="l2")
    with pytest.raises(ValueError, match="expected covariance to be one of 'unbiased', 'biased', 'scatter', got 'n'"):
        Coral(covariance="n")
    with pytest.raises(ValueError, match="expected estimator to be one of 'biased', 'unbiased', got 'linear'"):
        MultiKernelMMD(estimator="linear")
    with pytest.raises(ValueError, match="expected at least one bandwidth, got none"):
        MultiKernelMMD(bandwidths=())
    with pytest.raises(ValueError, match=r"expected bandwidth above 0, got -1\.0"):
        MultiKernelMMD(bandwidths=(1.0, -1.0))
    with pytest.raises(ValueError, match="expected scale above 0, got 0"):
        MultiKernelMMD(scale=0)
