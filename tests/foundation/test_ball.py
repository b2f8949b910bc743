import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from interp_plugins.foundation.ball import check_ball, length, project, random_start, steepest

norms = st.sampled_from(["linf", "l2"])
radii = st.floats(1e-3, 1.0)
seeds = st.integers(0, 2**32)


def pair(seed, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    origin = torch.rand(2, 3, 4, 5, generator=generator, dtype=torch.float64)
    return origin, origin + scale * torch.randn(origin.shape, generator=generator, dtype=torch.float64)


@given(norms, radii, seeds)
def test_a_projection_lies_in_the_ball_and_in_the_box(norm, epsilon, seed):
    origin, far = pair(seed)
    near = project(far, origin, epsilon, norm)
    size = length(near - origin).max() if norm == "l2" else (near - origin).abs().max()
    assert float(size) <= epsilon * (1 + 1e-12)
    assert 0 <= float(near.min()) <= float(near.max()) <= 1


@given(norms, radii, seeds)
def test_projecting_twice_is_projecting_once(norm, epsilon, seed):
    origin, far = pair(seed)
    once = project(far, origin, epsilon, norm)
    torch.testing.assert_close(project(once, origin, epsilon, norm), once, rtol=0, atol=1e-15)


@given(norms, seeds)
def test_what_is_inside_stays_to_the_bit(norm, seed):
    origin, near = pair(seed, scale=1e-6)
    near = near.clamp(0, 1)
    assert torch.equal(project(near, origin, 0.5, norm), near)


def test_without_a_radius_only_the_box_holds():
    origin, far = pair(0)
    assert torch.equal(project(far, origin, None, "linf"), far.clamp(0, 1))


def test_a_projection_by_hand():
    origin, far = torch.zeros(1, 1, 1, 2), torch.tensor([[[[3.0, 4.0]]]])
    torch.testing.assert_close(project(far, origin, 0.5, "l2"), torch.tensor([[[[0.3, 0.4]]]]))
    torch.testing.assert_close(project(far, origin, 0.5, "linf"), torch.tensor([[[[0.5, 0.5]]]]))


def test_the_steepest_step_is_the_sign_or_the_unit_vector_and_zero_stays_zero():
    gradient = torch.tensor([[[[3.0, -4.0]]], [[[0.0, 0.0]]]])
    assert steepest(gradient, "linf").flatten().tolist() == [1, -1, 0, 0]
    torch.testing.assert_close(steepest(gradient, "l2").flatten(), torch.tensor([0.6, -0.8, 0.0, 0.0]))


@given(norms, radii, seeds)
def test_a_random_start_lies_in_the_ball_and_depends_on_its_seed_alone(norm, epsilon, seed):
    origin, _ = pair(seed)
    start = random_start(origin, epsilon, norm, [seed, seed + 1])
    size = length(start - origin).max() if norm == "l2" else (start - origin).abs().max()
    assert float(size) <= epsilon * (1 + 1e-12)
    assert torch.equal(random_start(origin[1:], epsilon, norm, [seed + 1]), start[1:])


def test_random_starts_fill_the_l2_ball_uniformly_in_volume():
    origin = torch.full((2000, 1, 1, 2), 0.5, dtype=torch.float64)
    inner = (length(random_start(origin, 0.1, "l2", list(range(2000))) - origin) < 0.05).double().mean()
    assert abs(float(inner) - 0.25) < 0.03  # half the radius holds a quarter of a disc


@pytest.mark.parametrize(
    ("epsilon", "norm", "sentence"),
    [
        (8, "linf", r"units of \[0, 1\] pixels, got 8; write 8 / 255"),
        (-0.1, "l2", "expected epsilon above 0"),
        (0.1, "l1", "expected norm to be one of"),
    ],
)
def test_a_wrong_ball_is_refused(epsilon, norm, sentence):
    with pytest.raises(ValueError, match=sentence):
        check_ball(epsilon, norm)
