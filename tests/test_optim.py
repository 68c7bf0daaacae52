"""The optimizers do what their papers say, in place, and continue to the bit from a saved state."""

import math

import numpy as np
import pytest

from rnncore.optim import Adagrad, Adam, clip_by_norm, clip_by_value, norm

OPTIMIZERS = [Adagrad, Adam]
DTYPES = ["float32", "float64"]


def gradients(steps, size=37, dtype="float64"):
    generator = np.random.default_rng(5)
    return [(generator.normal(size=size) * 10.0 ** generator.integers(-3, 3)).astype(dtype) for _ in range(steps)]


def test_adagrad_is_its_formula():
    x = np.linspace(-1, 1, 37)
    expected, history = x.copy(), np.zeros(37)
    optimizer = Adagrad(x, learning_rate=0.1, epsilon=1e-6)
    for dx in gradients(20):
        optimizer.step(x, dx)
        history = history + dx**2
        expected = expected - 0.1 * dx / (np.sqrt(history) + 1e-6)
    np.testing.assert_allclose(x, expected, rtol=1e-13)


def test_adam_is_its_formula_summed_out():
    """m and v without recursion: weighted sums over all gradients so far."""
    x, dxs = np.linspace(-1, 1, 37), gradients(20)
    expected = x.copy()
    optimizer = Adam(x, learning_rate=0.1, beta1=0.8, beta2=0.95, epsilon=1e-6)
    for t, dx in enumerate(dxs, start=1):
        optimizer.step(x, dx)
        m = sum(0.2 * 0.8 ** (t - i) * dxs[i - 1] for i in range(1, t + 1))
        v = sum(0.05 * 0.95 ** (t - i) * dxs[i - 1] ** 2 for i in range(1, t + 1))
        expected = expected - 0.1 * (m / (1 - 0.8**t)) / (np.sqrt(v / (1 - 0.95**t)) + 1e-6)
    np.testing.assert_allclose(x, expected, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_steps_are_in_place_and_leave_the_gradient(optimizer, dtype):
    x = np.ones(37, dtype)
    before, dx = x, gradients(1, dtype=dtype)[0]
    kept = dx.copy()
    optimizer(x).step(x, dx)
    assert before is x
    assert x.dtype == dtype
    assert (x != 1).all()
    assert (dx == kept).all()


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_both_find_the_lowest_point_of_a_bowl(optimizer, dtype):
    x = np.linspace(-1, 1, 9, dtype=dtype)
    lowest = np.linspace(0.5, 0.2, 9, dtype=dtype)
    stepping = optimizer(x, learning_rate=0.1)
    for _ in range(500):
        stepping.step(x, 2 * (x - lowest))
    np.testing.assert_allclose(x, lowest, atol=1e-3)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_saved_state_continues_to_the_bit(optimizer, dtype):
    dxs = gradients(20, dtype=dtype)
    x = np.zeros(37, dtype)
    one = optimizer(x, learning_rate=0.02)
    for dx in dxs[:9]:
        one.step(x, dx)
    state, y = one.state_dict(), x.copy()
    for dx in dxs[9:]:
        one.step(x, dx)  # must not reach into the state that was taken
    other = optimizer(y)
    other.load_state_dict(state)
    for dx in dxs[9:]:
        other.step(y, dx)
    assert x.tobytes() == y.tobytes()


def test_a_gradient_of_zeros_moves_nothing():
    for optimizer in OPTIMIZERS:
        x = np.ones(5)
        optimizer(x).step(x, np.zeros(5))
        assert (x == 1).all()


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_what_does_not_fit_is_refused(optimizer):
    x = np.zeros(5, "float32")
    for wrong in (np.zeros(6, "float32"), np.zeros(5), np.zeros((5, 1), "float32")):
        with pytest.raises(ValueError, match=r"dx must be float32 of shape \(5,\), got"):
            optimizer(x).step(x, wrong)
    for rate in (0, -1, math.nan, math.inf):
        with pytest.raises(ValueError, match="learning_rate must be positive and finite, got"):
            optimizer(x, learning_rate=rate)
    with pytest.raises(ValueError, match="x must be a vector of float32 or float64, got int64"):
        optimizer(np.zeros(5, int))
    with pytest.raises(ValueError, match="must be float32 of shape"):
        optimizer(x).load_state_dict(optimizer(np.zeros(6, "float32")).state_dict())


def test_adam_refuses_decays_outside_0_to_1():
    for name in ("beta1", "beta2"):
        with pytest.raises(ValueError, match=f"{name} must be in"):
            Adam(np.zeros(1), **{name: 1.0})


@pytest.mark.parametrize("dtype", DTYPES)
def test_clip_by_value(dtype):
    dx = np.array([-7, -1, -0.5, 0, 1, 1e30, math.inf, math.nan], dtype)
    clip_by_value(dx, 1.0)
    np.testing.assert_array_equal(dx, np.array([-1, -1, -0.5, 0, 1, 1, 1, math.nan], dtype))


@pytest.mark.parametrize("dtype", DTYPES)
def test_clip_by_norm_shortens_and_keeps_the_direction(dtype):
    dx = np.array([3, 4], dtype)
    assert clip_by_norm(dx, 5.0) == 5
    assert dx.tolist() == [3, 4]
    assert clip_by_norm(dx, 2.5) == 5
    assert dx.tolist() == [1.5, 2]
    assert clip_by_norm(dx, math.inf) == 2.5
    assert dx.tolist() == [1.5, 2]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_gradient_without_length_is_left_and_told(bad):
    dx = np.array([1.0, bad, 3.0])
    assert not math.isfinite(clip_by_norm(dx, 1.0))
    np.testing.assert_array_equal(dx, [1.0, bad, 3.0])


@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 1000])
def test_norm_is_the_euclidean_one(size):
    x = np.random.default_rng(size).normal(size=size)
    assert norm(x) == pytest.approx(math.hypot(*x), rel=1e-14)


@pytest.mark.parametrize("scale", [1e-310, 1e-200, 1e200, 1e307])
def test_norm_neither_overflows_nor_vanishes(scale):
    assert norm(np.array([3.0, 4.0]) * scale) == pytest.approx(5 * scale, rel=1e-12)


def test_norm_of_float32_is_summed_in_float64():
    assert norm(np.full(3, 3e38, "float32")) == pytest.approx(math.sqrt(3) * 3e38, rel=1e-7)


@pytest.mark.parametrize("limit", [0, -1, math.nan])
def test_limits_are_positive(limit):
    for clip in (clip_by_norm, clip_by_value):
        with pytest.raises(ValueError, match="limit must be positive, got"):
            clip(np.ones(3), limit)
