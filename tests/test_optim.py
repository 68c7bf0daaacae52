"""The optimizers do what their papers say, with the same bits in every engine, and continue to the bit from a state."""

import copy
import io
import math
import pickle

import mpmath
import numpy as np
import pytest
from nets import assert_same_bits

import rnncore
from rnncore.engines import current
from rnncore.optim import SGD, Adagrad, Adam, Optimizer, RMSprop, clip_by_norm, clip_by_value, norm

DTYPES = ["float32", "float64"]
MAKE = {
    "sgd": lambda x, **numbers: SGD(x, **numbers),
    "momentum": lambda x, **numbers: SGD(x, momentum=0.9, **numbers),
    "nesterov": lambda x, **numbers: SGD(x, momentum=0.9, nesterov=True, **numbers),
    "adagrad": Adagrad,
    "rmsprop": RMSprop,
    "adam": Adam,
}
SIZES = [0, 1, 2, 7, 8, 15, 16, 17, 31, 32, 33, 64, 100, 1000]
SPECIAL = [0.0, -0.0, math.inf, -math.inf, math.nan, 1e-45, -1e-45, 1e-310, 1e-20, 3e38, -3e38, 1e308, 1.0, -1.0]


def gradients(steps, size=37, dtype="float64", seed=5):
    generator = np.random.default_rng(seed)
    with np.errstate(over="ignore"):
        return [(generator.normal(size=size) * 10.0 ** generator.integers(-3, 3)).astype(dtype) for _ in range(steps)]


def special(size, dtype, seed):
    """Gradients and parameters of all that may go wrong, each beside each."""
    generator = np.random.default_rng(seed)
    with np.errstate(over="ignore"):
        return generator.choice(SPECIAL, size).astype(dtype)


def run(make, backend, x, dxs, **options):
    """x, the optimizer's memory and the lengths after some steps."""
    x = x.copy()
    optimizer = make(x, learning_rate=0.02)
    lengths = [optimizer.step(x, dx, backend=backend, **options) for dx in dxs]
    lengths = [np.array(math.nan if length is None else length) for length in lengths]
    state = {name: np.array(value) for name, value in optimizer.state_dict().items()}
    return {"x": x, **state, **{f"length {i}": length for i, length in enumerate(lengths)}}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rule", MAKE)
def test_every_engine_steps_alike(rule, dtype, fast_engine):
    for size in SIZES:
        x, dxs = gradients(1, size, dtype, seed=1)[0], gradients(4, size, dtype)
        for options in ({}, {"scale": 0.3, "clip_norm": 1.0}, {"scale": 1 / 3, "clip_value": 0.01}):
            expected = run(MAKE[rule], "numpy", x, dxs, **options)
            assert_same_bits(expected, run(MAKE[rule], fast_engine, x, dxs, **options))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rule", MAKE)
def test_special_numbers_flow_alike(rule, dtype, fast_engine):
    """NaN, infinities, zeros of both signs and subnormals, as parameters and as gradients."""
    x, dxs = special(999, dtype, 0), [special(999, dtype, seed) for seed in (1, 2, 3)]
    for options in ({}, {"scale": 3.0, "clip_value": 0.5}):
        expected = run(MAKE[rule], "numpy", x, dxs, **options)
        assert_same_bits(expected, run(MAKE[rule], fast_engine, x, dxs, **options))


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_engine_clips_and_measures_alike(dtype, fast_engine):
    for size in SIZES:
        for dx in (*gradients(3, size, dtype), special(size, dtype, 4)):
            results = []
            for engine in ("numpy", fast_engine):
                one, other = dx.copy(), dx.copy()
                length = clip_by_norm(one, 0.7, backend=engine)
                clip_by_value(other, 0.7, backend=engine)
                measured = np.array(norm(dx, backend=engine))
                results.append({"by norm": one, "by value": other, "length": np.array(length), "norm": measured})
            assert_same_bits(*results)


@pytest.mark.parametrize("scale", [1e-310, 1e-170, 1e160, 1e300])
def test_every_engine_measures_the_very_large_and_small_alike(scale, fast_engine):
    for size in SIZES:
        x = gradients(1, size)[0] * scale
        assert norm(x, backend=fast_engine) == norm(x, backend="numpy")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rule", MAKE)
def test_clipping_in_the_step_is_clipping_before_it(rule, dtype, engine):
    x, dxs = np.linspace(-1, 1, 37).astype(dtype), gradients(5, dtype=dtype)
    shortened, cut = [dx.copy() for dx in dxs], [dx.copy() for dx in dxs]
    for dx in shortened:
        clip_by_norm(dx, 0.5, backend=engine)
    for dx in cut:
        clip_by_value(dx, 0.01, backend=engine)
    for options, before in (({"clip_norm": 0.5}, shortened), ({"clip_value": 0.01}, cut)):
        one, other = run(MAKE[rule], engine, x, dxs, **options), run(MAKE[rule], engine, x, before)
        assert one["x"].tobytes() == other["x"].tobytes()


def test_a_block_chooses_who_steps(monkeypatch, engine):
    x, calls = np.ones(3), []
    with rnncore.use_backend(engine):
        monkeypatch.setattr(type(current(None)), "step", lambda self, *_: calls.append(self.name))
        SGD(x).step(x, x.copy())
    assert calls == [engine]


def test_sgd_is_its_formula():
    x, dxs = np.linspace(-1, 1, 37), gradients(9)
    expected, v = x.copy(), np.zeros(37)
    for nesterov in (False, True):
        optimizer = SGD(x, learning_rate=0.1, momentum=0.8, nesterov=nesterov)
        expected, v = x.copy(), np.zeros(37)
        for dx in dxs:
            optimizer.step(x, dx)
            v = 0.8 * v + dx
            expected = expected - 0.1 * (0.8 * v + dx if nesterov else v)
        np.testing.assert_allclose(x, expected, rtol=1e-12)


def test_momentum_is_polyaks_heavy_ball():
    """x_{k+1} = x_k - rate dx_k + momentum (x_k - x_{k-1}), for a rate that stays."""
    x, before = np.linspace(-1, 1, 37), np.linspace(-1, 1, 37)
    expected = x.copy()
    optimizer = SGD(x, learning_rate=0.1, momentum=0.8)
    for dx in gradients(9):
        optimizer.step(x, dx)
        expected, before = expected - 0.1 * dx + 0.8 * (expected - before), expected
    np.testing.assert_allclose(x, expected, rtol=1e-11)


def test_rmsprop_is_its_formula_summed_out():
    x, dxs = np.linspace(-1, 1, 37), gradients(20)
    expected = x.copy()
    optimizer = RMSprop(x, learning_rate=0.1, decay=0.8, epsilon=1e-6)
    for t, dx in enumerate(dxs, start=1):
        optimizer.step(x, dx)
        s = sum(0.2 * 0.8 ** (t - i) * dxs[i - 1] ** 2 for i in range(1, t + 1))
        expected = expected - 0.1 * dx / (np.sqrt(s) + 1e-6)
    np.testing.assert_allclose(x, expected, rtol=1e-11, atol=1e-13)


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


def test_each_operation_is_rounded_once_and_in_order(engine):
    """Adagrad and the length, in scalars, with every square root and quotient rounded from 60 digits."""
    x, dx, rate, epsilon = 0.7, 0.3, 0.1, 1e-8
    vector = np.full(3, x)
    length = Adagrad(vector, rate, epsilon).step(vector, np.full(3, dx), clip_norm=9.0, backend=engine)
    with mpmath.workdps(60):
        root = float(mpmath.sqrt(dx * dx))
        quotient = float(mpmath.mpf(dx) / mpmath.mpf(root + epsilon))
        assert length == float(mpmath.sqrt(dx * dx + (dx * dx + dx * dx)))
    assert vector.tolist() == [x - rate * quotient] * 3


@pytest.mark.parametrize("rule", MAKE)
@pytest.mark.parametrize("dtype", DTYPES)
def test_steps_are_in_place_and_leave_the_gradient(rule, dtype, engine):
    x = np.ones(37, dtype)
    dx = gradients(1, dtype=dtype)[0]
    kept = dx.copy()
    dx.flags.writeable = False
    optimizer = MAKE[rule](x)
    assert optimizer.step(x, dx, backend=engine) is None
    assert type(optimizer.step(x, dx, clip_norm=1, backend=engine)) is float
    assert x.dtype == dtype
    assert (x != 1).all()
    assert (dx == kept).all()


@pytest.mark.parametrize("rule", MAKE)
@pytest.mark.parametrize("dtype", DTYPES)
def test_all_find_the_lowest_point_of_a_bowl(rule, dtype):
    x = np.linspace(-1, 1, 9, dtype=dtype)
    lowest = np.linspace(0.5, 0.2, 9, dtype=dtype)
    optimizer = MAKE[rule](x, learning_rate=0.1 if rule == "adagrad" else 0.01)
    for n in range(800):
        optimizer.learning_rate *= 0.99 if rule == "rmsprop" and n > 200 else 1  # it never settles by itself
        optimizer.step(x, 2 * (x - lowest))
    np.testing.assert_allclose(x, lowest, atol=1e-3)


@pytest.mark.parametrize("rule", MAKE)
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_saved_state_continues_to_the_bit(rule, dtype):
    dxs = gradients(20, dtype=dtype)
    x = np.zeros(37, dtype)
    one = MAKE[rule](x, learning_rate=0.02)
    for dx in dxs[:9]:
        one.step(x, dx)
    state, y, copied, pickled = one.state_dict(), x.copy(), copy.deepcopy(one), pickle.loads(pickle.dumps(one))
    for dx in dxs[9:]:
        one.step(x, dx)  # must not reach into the state that was taken
    loaded = type(one)(y)
    loaded.load_state_dict(state)
    for other in (loaded, copied, pickled):
        z = y.copy()
        for dx in dxs[9:]:
            other.step(z, dx)
        assert x.tobytes() == z.tobytes()


@pytest.mark.parametrize("rule", MAKE)
def test_a_state_is_taken_over_whole_or_not_at_all(rule):
    x = np.zeros(5)
    optimizer = MAKE[rule](x)
    for dx in gradients(3, 5):
        optimizer.step(x, dx)
    before = optimizer.state_dict()
    for name, value in before.items():
        wrong = np.zeros(6) if isinstance(value, np.ndarray) else -1.0
        with pytest.raises((ValueError, TypeError), match=name):
            optimizer.load_state_dict({**before, name: wrong})
        with pytest.raises(ValueError, match=name):
            optimizer.load_state_dict({key: value for key, value in before.items() if key != name})
    after = optimizer.state_dict()
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_a_gradient_of_zeros_moves_nothing(engine):
    for make in MAKE.values():
        x = np.ones(5)
        make(x).step(x, np.zeros(5), clip_norm=1.0, backend=engine)
        assert (x == 1).all()


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("rule", MAKE)
def test_a_gradient_without_length_changes_nothing_if_a_length_is_asked_for(rule, bad, engine):
    x = np.ones(20, "float32")
    optimizer = MAKE[rule](x)
    optimizer.step(x, np.ones(20, "float32"), backend=engine)
    state, before = optimizer.state_dict(), x.copy()
    dx = np.ones(20, "float32")
    dx[17] = bad
    assert not math.isfinite(optimizer.step(x, dx, clip_norm=math.inf, backend=engine))
    assert (x == before).all()
    after = optimizer.state_dict()
    assert all(np.array_equal(state[name], after[name]) for name in state)
    optimizer.step(x, dx, backend=engine)
    assert not np.isfinite(x[17]) or rule in ("adagrad", "rmsprop", "adam")


def test_the_scale_is_of_the_gradient_and_of_its_length(engine):
    x = np.zeros(2)
    length = SGD(x, learning_rate=1.0).step(x, np.array([30.0, 40.0]), scale=0.1, clip_norm=2.5, backend=engine)
    assert length == 5.0
    np.testing.assert_allclose(x, [-1.5, -2.0], rtol=1e-15)


def test_numbers_may_change_between_steps():
    x = np.zeros(2)
    optimizer = SGD(x, learning_rate=1.0)
    optimizer.step(x, np.ones(2))
    optimizer.learning_rate /= 2
    optimizer.step(x, np.ones(2))
    assert x.tolist() == [-1.5, -1.5]
    with pytest.raises(ValueError, match=r"learning_rate must be at least 0 and finite, got -1\.0"):
        optimizer.learning_rate = -1
    with pytest.raises(AttributeError, match="v of a SGD cannot be changed"):
        optimizer.v = np.zeros(1)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = optimizer.nonsense
    assert repr(optimizer) == "SGD(float64 of shape (2,), learning_rate=0.5, momentum=0.0, nesterov=False)"


def test_gradients_in_other_layouts_work(engine):
    wide = np.arange(20.0)
    one, other = np.zeros(10), np.zeros(10)
    Adam(one).step(one, wide[::2], backend=engine)
    Adam(other).step(other, wide[::2].copy(), backend=engine)
    assert one.tobytes() == other.tobytes()


@pytest.mark.parametrize("rule", MAKE)
def test_what_does_not_fit_is_refused(rule):
    x = np.zeros(5, "float32")
    for wrong in (np.zeros(6, "float32"), np.zeros(5), np.zeros((5, 1), "float32"), [0.0] * 5, None):
        with pytest.raises(ValueError, match=r"dx must be float32 of shape \(5,\), got"):
            MAKE[rule](x).step(x, wrong)
        with pytest.raises(ValueError, match=r"x must be float32 of shape \(5,\), got"):
            MAKE[rule](x).step(wrong, x)
    for rate in (-1, math.nan, math.inf):
        with pytest.raises(ValueError, match="learning_rate must be at least 0 and finite, got"):
            MAKE[rule](x, learning_rate=rate)
    with pytest.raises(ValueError, match="learning_rate must be at least 0 and finite in float32, got 1e"):
        MAKE[rule](x, learning_rate=1e39)
    if "epsilon" in MAKE[rule](x).state_dict():
        for epsilon in (0, -1, math.nan, math.inf):
            with pytest.raises(ValueError, match="epsilon must be positive and finite, got"):
                MAKE[rule](x, epsilon=epsilon)
        for epsilon in (1e39, 1e-50):
            with pytest.raises(ValueError, match="epsilon must be positive and finite in float32, got 1e"):
                MAKE[rule](x, epsilon=epsilon)
    with pytest.raises(ValueError, match="x must be a vector of float32 or float64, got ndarray int64"):
        MAKE[rule](np.zeros(5, int))
    with pytest.raises(ValueError, match="must be float32 of shape"):
        MAKE[rule](x).load_state_dict(MAKE[rule](np.zeros(6, "float32")).state_dict())


def test_numbers_are_numbers():
    x = np.zeros(3)
    for wrong in ("1", None, np.ones(1), True):
        with pytest.raises(TypeError, match="learning_rate must be a number, got"):
            SGD(x, learning_rate=wrong)
        if wrong is not None:
            with pytest.raises(TypeError, match="clip_norm must be a number, got"):
                SGD(x).step(x, x.copy(), clip_norm=wrong)
    with pytest.raises(TypeError, match="nesterov must be True or False, got int 1"):
        SGD(x, nesterov=1)
    SGD(x, learning_rate=np.float32(0.5), momentum=0).step(x, x.copy(), scale=np.float64(2), clip_norm=1)
    for name in ("scale", "clip_norm", "clip_value"):
        for wrong in (0, -1.0, math.nan):
            with pytest.raises(ValueError, match=f"{name} must be positive"):
                SGD(x).step(x, x.copy(), **{name: wrong})


def test_decays_are_in_0_to_1():
    for make, names in ((Adam, ("beta1", "beta2")), (RMSprop, ("decay",)), (SGD, ("momentum",))):
        for name in names:
            for wrong in (1.0, -0.1, math.nan):
                with pytest.raises(ValueError, match=rf"{name} must be in \[0, 1\)"):
                    make(np.zeros(1), **{name: wrong})
    with pytest.raises(ValueError, match=r"beta2 must be in \[0, 1\)"):
        Adam(np.zeros(1, "float32"), beta2=1 - 1e-12)  # 1 in float32


def test_what_is_changed_in_place_can_be():
    whole = np.zeros(20)
    strided, fixed = whole[::2], np.zeros(10)
    fixed.flags.writeable = False
    for x in (strided, fixed):
        with pytest.raises(ValueError, match="x must be C-contiguous, aligned and writable"):
            SGD(x).step(x, np.zeros(10))
        for clip in (clip_by_norm, clip_by_value):
            with pytest.raises(ValueError, match="dx must be C-contiguous, aligned and writable"):
                clip(x, 1.0)
    for wrong in (np.zeros(3, int), [1.0], np.zeros(3, ">f4")):
        with pytest.raises(TypeError, match="dx must be an array of float32 or float64, got"):
            clip_by_value(wrong, 1.0)


@pytest.mark.parametrize("dtype", DTYPES)
def test_clip_by_value(dtype, engine):
    dx = np.array([-7, -1, -0.5, 0, 1, 1e30, math.inf, math.nan], dtype)
    clip_by_value(dx, 1.0, backend=engine)
    np.testing.assert_array_equal(dx, np.array([-1, -1, -0.5, 0, 1, 1, 1, math.nan], dtype))


def test_named_arrays_may_be_clipped_alone(engine):
    grads = rnncore.init_params("rnn", 3, 4, 5)
    flat = grads.flat.copy()
    clip_by_value(grads.W_hh, 0.1, backend=engine)
    assert abs(grads.W_hh).max() <= np.float32(0.1)
    assert (grads.flat[:12] == flat[:12]).all()
    assert clip_by_norm(grads.W_xh, 0.5, backend=engine) > 0.5
    assert norm(grads.W_xh, backend=engine) == pytest.approx(0.5, rel=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
def test_clip_by_norm_shortens_and_keeps_the_direction(dtype, engine):
    dx = np.array([3, 4], dtype)
    assert clip_by_norm(dx, 5.0, backend=engine) == 5
    assert dx.tolist() == [3, 4]
    assert clip_by_norm(dx, 2.5, backend=engine) == 5
    assert dx.tolist() == [1.5, 2]
    assert clip_by_norm(dx, math.inf, backend=engine) == 2.5
    assert dx.tolist() == [1.5, 2]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_gradient_without_length_is_left_and_told(bad, engine):
    dx = np.array([1.0, bad, 3.0])
    assert not math.isfinite(clip_by_norm(dx, 1.0, backend=engine))
    np.testing.assert_array_equal(dx, [1.0, bad, 3.0])


@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 1000])
def test_norm_is_the_euclidean_one(size, engine):
    x = np.random.default_rng(size).normal(size=size)
    assert norm(x, backend=engine) == pytest.approx(math.hypot(*x), rel=1e-14)


@pytest.mark.parametrize("scale", [5e-324, 1e-310, 1e-200, 1e-150, 1e150, 1e200, 1e307])
def test_norm_neither_overflows_nor_vanishes(scale, engine):
    assert norm(np.array([3.0, 4.0]) * scale, backend=engine) == pytest.approx(5 * scale, rel=1e-12)


def test_norm_of_float32_is_summed_in_float64(engine):
    assert norm(np.full(3, 3e38, "float32"), backend=engine) == pytest.approx(math.sqrt(3) * 3e38, rel=1e-7)


@pytest.mark.parametrize("limit", [0, -1, math.nan])
def test_limits_are_positive(limit):
    for clip in (clip_by_norm, clip_by_value):
        with pytest.raises(ValueError, match="limit must be positive, got"):
            clip(np.ones(3), limit)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rule", MAKE)
def test_a_learning_rate_of_0_moves_nothing_and_remembers(rule, dtype, engine):
    """As schedules end; a rate that float32 rounds to 0 is no other."""
    x, dx = np.linspace(1, 2, 37, dtype=dtype), gradients(1, dtype=dtype)[0]
    for rate in (0, 0.0, 1e-50) if dtype == "float32" else (0, 0.0):
        still, moving, kept = MAKE[rule](x, learning_rate=rate), MAKE[rule](x, learning_rate=0.1), x.copy()
        still.step(kept, dx, backend=engine)
        moving.step(x.copy(), dx, backend=engine)
        assert kept.tobytes() == x.tobytes()
        still.learning_rate = 0.1
        assert all(np.array_equal(value, moving.state_dict()[name]) for name, value in still.state_dict().items())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rule", MAKE)
def test_a_state_goes_through_npz_to_the_bit(rule, dtype):
    x, file = np.zeros(37, dtype), io.BytesIO()
    one, other = MAKE[rule](x, learning_rate=1 / 3), MAKE[rule](x)
    for dx in gradients(5, dtype=dtype):
        one.step(x, dx)
    np.savez(file, **one.state_dict())
    file.seek(0)
    with np.load(file) as state:
        other.load_state_dict(state)
    y, expected = x.copy(), one.state_dict()
    assert {name: type(value) for name, value in other.state_dict().items()} == {
        name: type(value) for name, value in expected.items()
    }
    assert_same_bits(*({n: np.array(v) for n, v in state.items()} for state in (expected, other.state_dict())))
    for dx in gradients(5, dtype=dtype):
        one.step(x, dx)
        other.step(y, dx)
    assert x.tobytes() == y.tobytes()


@pytest.mark.parametrize("rule", MAKE)
def test_a_foreign_state_is_refused_by_name(rule):
    optimizer = MAKE[rule](np.zeros(5))
    before = optimizer.state_dict()
    with pytest.raises(ValueError, match=r"must have the entries learning_rate, .*, got 'nonsense' as well"):
        optimizer.load_state_dict({**before, "learning_rate": 0.5, "nonsense": 1})
    for name in before:
        with pytest.raises(ValueError, match=rf"must have the entries learning_rate, .*'{name}' is missing"):
            optimizer.load_state_dict({key: value for key, value in before.items() if key != name})
        if isinstance(before[name], np.ndarray):
            with pytest.raises(ValueError, match=f"{name} must be float64 of shape"):
                optimizer.load_state_dict({**before, "learning_rate": 0.5, name: before[name].tolist()})
            with pytest.raises(TypeError, match=f"{name} must be an array without a mask"):
                optimizer.load_state_dict({**before, "learning_rate": 0.5, name: np.ma.array(before[name])})
    for wrong in (None, 1, list(before.items())):
        with pytest.raises(TypeError, match=r"state of .* must have the entries learning_rate, .*, got"):
            optimizer.load_state_dict(wrong)
    assert optimizer.learning_rate == before["learning_rate"]


@pytest.mark.parametrize("rule", MAKE)
def test_attributes_that_nothing_reads_are_refused(rule):
    optimizer = MAKE[rule](np.zeros(5))
    for name in ("lr", "learningrate", "_memory", "step"):
        with pytest.raises(AttributeError, match=f"has the numbers learning_rate, .*, not '{name}'"):
            setattr(optimizer, name, 0.1)


@pytest.mark.parametrize("rule", MAKE)
def test_what_overlaps_is_refused(rule, engine):
    whole = np.arange(30.0)
    x = whole[:10]
    optimizer, own = MAKE[rule](x), np.ones(10)
    aliases = [x, whole[:10], whole[9:19], whole[:20:2], whole[9::-1], np.frombuffer(whole, count=10)]
    for dx in aliases:
        with pytest.raises(ValueError, match="dx must not overlap x"):
            optimizer.step(x, dx, backend=engine)
    for dx in (own, own[:], own[::-1]):
        with pytest.raises(ValueError, match="dx must not overlap x"):
            optimizer.step(own, dx, backend=engine)
    assert whole.tolist() == list(range(30))
    optimizer.step(x, whole[10:20], backend=engine)  # neighbours
    table = np.ones((10, 11))
    optimizer.step(table[0, 1:], table[:, 0], backend=engine)  # in the gaps of a column
    empty = np.zeros(0)
    MAKE[rule](empty).step(empty, empty, backend=engine)


@pytest.mark.parametrize("rule", MAKE)
def test_numbers_that_merely_look_like_it_are_refused(rule, engine):
    x, dx = np.zeros(3), np.ones(3)
    optimizer = MAKE[rule](x)
    for name in ("scale", "clip_norm", "clip_value"):
        for wrong in (True, np.True_, 1 + 0j, np.ones(()), np.ones(1), "1"):
            with pytest.raises(TypeError, match=f"{name} must be a number, got"):
                optimizer.step(x, dx, backend=engine, **{name: wrong})
        with pytest.raises(ValueError, match=f"{name} must be"):
            optimizer.step(x, dx, backend=engine, **{name: 10**400})
    with pytest.raises(ValueError, match="scale must be positive and finite, got inf"):
        optimizer.step(x, dx, scale=math.inf, backend=engine)
    for name in [name for name, value in optimizer.state_dict().items() if type(value) is float]:
        with pytest.raises(ValueError, match=f"{name} must be"):
            setattr(optimizer, name, 10**400)
    assert not x.any()


@pytest.mark.parametrize("rule", MAKE)
def test_masked_arrays_are_refused(rule):
    x, masked = np.zeros(3), np.ma.array(np.ones(3), mask=[1, 0, 0])
    with pytest.raises(TypeError, match="x must be an array without a mask"):
        MAKE[rule](masked)
    for arguments in ((masked, x), (x, masked)):
        with pytest.raises(TypeError, match="x must be an array without a mask"):
            MAKE[rule](x).step(*arguments)
    for function in (norm, lambda dx: clip_by_norm(dx, 1.0), lambda dx: clip_by_value(dx, 1.0)):
        with pytest.raises(TypeError, match="x must be an array without a mask"):
            function(masked)


def test_the_common_base_is_no_optimizer():
    with pytest.raises(TypeError, match="SGD, Adagrad, RMSprop and Adam"):
        Optimizer(np.zeros(3))
