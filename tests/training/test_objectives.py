import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from training_oracles import consistent, mean_cross_entropy, mean_divergence

from interp_plugins.training import MADRY, ConsistentLoss, Mixed, Trades

SETTINGS = [(d, r) for d in ("squared", "l2", "cosine") for r in ("mean", "sum")]
LABELS = torch.tensor([0, 3, 1, 2, 2])


def draw(seed, *shape):
    """Two batches that differ."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, *shape, generator=generator, dtype=torch.float64).unbind(0)


def differentiable(seed, *shape):
    return [values.clone().requires_grad_() for values in draw(seed, *shape)]


@pytest.mark.parametrize(
    ("distance", "reduction", "expected"),
    [("squared", "sum", 12.5), ("squared", "mean", 6.25), ("l2", "sum", 2.5), ("l2", "mean", 12.5**0.5 / 2)],
)
def test_the_consistent_loss_of_two_pairs_by_hand(distance, reduction, expected):
    """One pair is 5 apart, the other is equal."""
    clean, adversarial = torch.tensor([[0.0, 0.0], [1.0, 1.0]]), torch.tensor([[3.0, 4.0], [1.0, 1.0]])
    assert float(ConsistentLoss(distance=distance, reduction=reduction)(clean, adversarial)) == pytest.approx(expected)


def test_the_cosine_distance_of_right_angles_is_one_and_of_opposites_two():
    loss, right = ConsistentLoss(distance="cosine"), torch.tensor([[1.0, 0.0]])
    assert float(loss(right, torch.tensor([[0.0, 5.0]]))) == pytest.approx(1)
    assert float(loss(right, torch.tensor([[-3.0, 0.0]]))) == pytest.approx(2)


@given(st.integers(0, 2**32), st.sampled_from(SETTINGS))
def test_the_consistent_loss_equals_the_formula_as_printed(seed, settings):
    clean, adversarial = draw(seed, 4, 6)
    expected = consistent(clean.tolist(), adversarial.tolist(), *settings)
    loss = ConsistentLoss(distance=settings[0], reduction=settings[1])
    assert float(loss(clean, adversarial)) == pytest.approx(expected, abs=1e-12)
    assert float(loss(clean.reshape(4, 3, 2, 1), adversarial.reshape(4, 3, 2, 1))) == pytest.approx(expected, abs=1e-12)


@given(st.integers(0, 2**32), st.sampled_from(SETTINGS))
def test_the_consistent_loss_is_symmetric_never_below_zero_and_zero_for_equal_pairs(seed, settings):
    loss, (a, b) = ConsistentLoss(distance=settings[0], reduction=settings[1]), draw(seed, 3, 5)
    assert float(loss(a, a)) == 0
    assert float(loss(a, b)) > 0
    assert float(loss(a, b)) == pytest.approx(float(loss(b, a)), abs=1e-12)


@given(st.integers(0, 2**32), st.floats(0.1, 10))
def test_only_the_cosine_distance_does_not_see_the_length(seed, factor):
    a, b = draw(seed, 3, 5)
    cosine, squared = ConsistentLoss(distance="cosine"), ConsistentLoss()
    assert float(cosine(a, b * factor)) == pytest.approx(float(cosine(a, b)), abs=1e-12)
    assert float(squared(a * factor, b * factor)) == pytest.approx(float(squared(a, b)) * factor**2, rel=1e-9)


@pytest.mark.parametrize(("distance", "reduction"), SETTINGS)
def test_the_gradients_of_the_consistent_loss_are_its_slopes(distance, reduction):
    loss = ConsistentLoss(distance=distance, reduction=reduction)
    assert torch.autograd.gradcheck(loss, differentiable(0, 3, 4, 2))


@pytest.mark.parametrize("distance", ["squared", "l2", "cosine"])
@pytest.mark.parametrize("value", [0.0, 2.0])
def test_the_gradient_at_an_image_that_was_not_changed_is_zero(distance, value):
    clean, adversarial = (torch.full((2, 3), value, requires_grad=True) for _ in range(2))
    for gradient in torch.autograd.grad(ConsistentLoss(distance=distance)(clean, adversarial), (clean, adversarial)):
        assert torch.equal(gradient, torch.zeros(2, 3))


def test_a_dead_representation_has_a_finite_cosine_distance_and_no_gradient():
    dead, alive = torch.zeros(1, 3, requires_grad=True), torch.ones(1, 3, requires_grad=True)
    loss = ConsistentLoss(distance="cosine")(dead, alive)
    assert float(loss.detach()) == pytest.approx(0.5)
    assert torch.equal(torch.autograd.grad(loss, dead)[0], torch.zeros(1, 3))


@pytest.mark.parametrize(
    ("side", "flows"), [(None, (True, True)), ("clean", (False, True)), ("adversarial", (True, False))]
)
def test_no_gradient_flows_through_a_detached_side_and_the_value_stays(side, flows):
    clean, adversarial = differentiable(0, 3, 4)
    loss = ConsistentLoss(detach=side)(clean, adversarial)
    assert torch.equal(loss, ConsistentLoss()(clean, adversarial))
    found = torch.autograd.grad(loss, (clean, adversarial), allow_unused=True)
    assert tuple(gradient is not None for gradient in found) == flows


def test_half_precision_is_squared_in_single():
    """500 squared is beyond fp16."""
    loss = ConsistentLoss(reduction="sum")(torch.zeros(1, 2, dtype=torch.float16), torch.full((1, 2), 500.0).half())
    assert loss.dtype == torch.float32
    assert float(loss) == 500_000


def test_autocast_changes_nothing():
    clean, adversarial = (values.float() for values in draw(0, 5, 4))
    losses = (Mixed(), Trades())
    expected = [float(loss(clean, adversarial, LABELS)) for loss in losses]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert [float(loss(clean, adversarial, LABELS)) for loss in losses] == expected


@given(st.integers(0, 2**32), st.floats(0, 1))
def test_the_mixed_loss_equals_the_formula_as_printed(seed, alpha):
    clean, adversarial = draw(seed, 5, 4)
    ours, theirs = (mean_cross_entropy(logits.tolist(), LABELS.tolist()) for logits in (clean, adversarial))
    expected = alpha * ours + (1 - alpha) * theirs
    assert float(Mixed(alpha=alpha)(clean, adversarial, LABELS)) == pytest.approx(expected, rel=1e-9)


def test_madry_and_standard_training_need_one_side_only():
    clean, adversarial = draw(0, 5, 4)
    cross_entropy = torch.nn.functional.cross_entropy
    assert float(MADRY(None, adversarial, LABELS)) == pytest.approx(float(cross_entropy(adversarial, LABELS)))
    assert float(Mixed(alpha=1)(clean, None, LABELS)) == pytest.approx(float(cross_entropy(clean, LABELS)))


@given(st.integers(0, 2**32), st.floats(0.1, 10))
def test_trades_equals_the_formula_as_printed(seed, beta):
    clean, adversarial = draw(seed, 5, 4)
    divergence = mean_divergence(clean.tolist(), adversarial.tolist())
    expected = mean_cross_entropy(clean.tolist(), LABELS.tolist()) + beta * divergence
    assert float(Trades(beta=beta)(clean, adversarial, LABELS)) == pytest.approx(expected, rel=1e-9)
    assert divergence > 0


def test_the_divergence_of_an_image_that_was_not_changed_is_zero_and_so_is_its_gradient():
    """Hence an attack on it has to start beside the image."""
    clean, _ = draw(0, 5, 4)
    same = clean.clone().requires_grad_()
    divergence = Trades.divergence(clean, same)
    assert float(divergence.detach()) == pytest.approx(0, abs=1e-12)
    assert float(torch.autograd.grad(divergence, same)[0].abs().max()) < 1e-15


@pytest.mark.parametrize("loss", [Mixed(alpha=0.3), Trades()])
def test_the_gradients_of_the_losses_of_logits_are_their_slopes(loss):
    assert torch.autograd.gradcheck(lambda a, b: loss(a, b, LABELS), differentiable(0, 5, 4))


@pytest.mark.usefixtures("unchecked")
def test_bad_settings_are_told_in_a_sentence():
    with pytest.raises(ValueError, match="expected distance to be one of 'squared', 'l2', 'cosine', got 'l1'"):
        ConsistentLoss(distance="l1")
    with pytest.raises(ValueError, match="expected reduction to be one of 'mean', 'sum', got 'none'"):
        ConsistentLoss(reduction="none")
    with pytest.raises(ValueError, match="expected detach to be one of None, 'clean', 'adversarial', got 'both'"):
        ConsistentLoss(detach="both")
    with pytest.raises(ValueError, match=r"expected alpha from 0 .* to 1 .*, got nan"):
        Mixed(alpha=float("nan"))
    with pytest.raises(ValueError, match="expected beta above 0, got 0"):
        Trades(beta=0)


@pytest.mark.usefixtures("unchecked")
def test_bad_input_is_told_in_a_sentence():
    logits = torch.zeros(5, 4)
    with pytest.raises(ValueError, match=r"of one shape \(n, \.\.\.\), got \(5, 4\) and \(4, 4\); give a pair"):
        ConsistentLoss()(logits, logits[:4])
    with pytest.raises(ValueError, match=r"got \(0, 4\) and \(0, 4\)"):
        ConsistentLoss()(logits[:0], logits[:0])
    with pytest.raises(TypeError, match=r"expected values of a floating dtype, got torch\.int64"):
        ConsistentLoss()(logits.long(), logits.long())
    with pytest.raises(ValueError, match=r"expected clean logits where alpha is 0\.5, got None"):
        Mixed()(None, logits, LABELS)
    with pytest.raises(ValueError, match=r"expected logits of shape \(n, classes\), got \(5, 4, 1\)"):
        MADRY(None, logits[..., None], LABELS)
    with pytest.raises(ValueError, match=r"expected logits of one shape \(n, classes\), got \(5, 4\) and \(5, 3\)"):
        Trades.divergence(logits, logits[:, :3])
    with pytest.raises(ValueError, match="expected labels from 0 to 3, got 4"):
        Trades()(logits, logits, LABELS + 1)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_labels_are_checked_on_every_device(device):
    """On a device that is no CPU only by what costs no waiting."""
    logits, labels = torch.zeros(5, 4, device=device), LABELS.to(device)
    with pytest.raises(ValueError, match=r"expected labels of shape \(5,\), got \(4,\)"):
        MADRY(None, logits, labels[:4])
    with pytest.raises(TypeError, match=r"expected labels of an integer dtype, got torch\.float32"):
        MADRY(None, logits, labels.float())
    assert MADRY(None, logits, labels.int()).shape == ()
