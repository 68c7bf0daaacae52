"""exp, tanh, sigmoid and log have the same bits in every engine, and errors of about one unit in the last place.

An error is counted in units of the exact result's last place, |computed - exact| / ulp(exact).
"""

import subprocess
import sys
from pathlib import Path
from typing import Any

import mpmath
import numpy as np
import numpy.typing as npt
import pytest

from rnncore._numpy.elementary import (
    CONSTANTS,
    sigmoid_and_kept,
    sigmoid_of,
    sigmoid_rest,
    sigmoid_slope,
    tanh_and_kept,
    tanh_of,
    tanh_rest,
    tanh_slope,
)
from rnncore.engines import engine as engine_named
from rnncore.engines import engines

Array = npt.NDArray[Any]
DTYPES = [np.float32, np.float64]
FUNCTIONS = ["exp", "tanh", "sigmoid", "log"]
# A little above the largest errors met: over every float32, and over 10^8 float64, half of them near the worst places.
BOUNDS = {
    ("exp", np.float32): 0.90,
    ("tanh", np.float32): 0.97,
    ("sigmoid", np.float32): 1.12,
    ("log", np.float32): 0.80,
    ("exp", np.float64): 0.99,
    ("tanh", np.float64): 0.99,
    ("sigmoid", np.float64): 1.10,
    ("log", np.float64): 0.84,
}


def samples(real: type) -> Array:
    """Any bits, the range of everyday, and both sides of every threshold."""
    size = np.dtype(real).itemsize
    rng = np.random.default_rng(size)
    any_bits = rng.integers(0, 2 ** (8 * size), 20_000, dtype=f"u{size}").view(real)
    lines = [np.linspace(-limit, limit, 10_001).astype(real) for limit in (1, 2, 25, 110, 750)]
    info = np.finfo(real)
    marks = [0, 1, 2, np.sqrt(2), np.inf, np.nan, info.tiny, info.max, info.smallest_subnormal]
    for value in CONSTANTS[np.dtype(real)]:
        marks += list(value) if isinstance(value, tuple) else [value]
    halves = np.arange(-151, 152) * np.log(2) / 2  # where exp's integer part steps
    marks = np.concatenate([np.array(marks, real), halves.astype(real)])
    steps = np.arange(-20, 21, dtype=f"i{size}")
    near = (np.concatenate([marks, -marks, marks / real(2)]).view(steps.dtype)[:, None] + steps).ravel().view(real)
    return np.concatenate([any_bits, near, *lines])


def worst(name: str, engine: str, x: Array, exact: Array) -> float:
    """The largest error over the finite exact results, which have more digits than x; NaN, Inf and signs must agree."""
    info = np.finfo(x.dtype)
    with np.errstate(all="ignore"):
        got = engine_named(engine).elementary(name, x)
        _, exponent = np.frexp(exact)
        place = np.ldexp(exact.dtype.type(1), np.maximum(exponent - 1, info.minexp) - info.nmant)
        error = np.abs(got.astype(exact.dtype) - exact) / place
    finite = np.isfinite(exact) & (np.abs(exact) <= info.max)
    assert np.array_equal(np.isnan(got), np.isnan(exact))
    overflow = np.abs(exact) > info.max
    assert np.all(np.abs(got[overflow]) >= info.max)
    assert np.all(np.isinf(got[np.isinf(exact)]))
    assert np.array_equal(np.signbit(got[~np.isnan(got)]), np.signbit(exact[~np.isnan(got)]))
    return float(error[finite].max(initial=0))


@pytest.mark.parametrize("real", DTYPES)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_bits_are_equal_in_every_engine(name: str, real: type, fast_engine: str) -> None:
    x = samples(real)
    want, got = engine_named("numpy").elementary(name, x), engine_named(fast_engine).elementary(name, x)
    assert got.dtype == want.dtype == x.dtype
    wrong = (got.view(f"i{got.itemsize}") != want.view(f"i{want.itemsize}")) & ~(np.isnan(got) & np.isnan(want))
    for i in np.nonzero(wrong)[0][:1]:
        numbers = [float(value[i]).hex() for value in (x, got, want)]
        pytest.fail(f"{wrong.sum()} differ: {name}({numbers[0]}) is {numbers[1]}, in numpy {numbers[2]}")


@pytest.mark.parametrize("length", [0, 1, 3, 7, 15, 17, 33])
@pytest.mark.parametrize("real", DTYPES)
def test_bits_do_not_depend_on_the_place_in_an_array(real: type, length: int, engine: str) -> None:
    x = np.linspace(0.1, 3, 40).astype(real)
    for name in FUNCTIONS:
        whole, part = (engine_named(engine).elementary(name, v.copy()) for v in (x, x[:length]))
        assert part.tobytes() == whole[:length].tobytes()


@pytest.mark.parametrize("real", DTYPES)
def test_special_values(real: type, engine: str) -> None:
    info = np.finfo(real)
    inf, nan, least = np.inf, np.nan, info.smallest_subnormal
    cases = {
        "exp": [(0, 1), (-0.0, 1), (inf, inf), (-inf, 0), (nan, nan), (info.max, inf), (info.min, 0), (least, 1)],
        "tanh": [(0, 0), (-0.0, -0.0), (inf, 1), (-inf, -1), (nan, nan), (30, 1), (least, least), (-least, -least)],
        "sigmoid": [(0, 0.5), (-0.0, 0.5), (inf, 1), (-inf, 0), (nan, nan), (info.max, 1), (info.min, 0), (least, 0.5)],
        "log": [(0, -inf), (-0.0, -inf), (inf, inf), (-inf, nan), (nan, nan), (1, 0), (-1, nan), (-least, nan)],
    }
    for name, pairs in cases.items():
        x, want = np.array(pairs, real).T.copy()
        got = engine_named(engine).elementary(name, x)
        np.testing.assert_array_equal(got, want)
        np.testing.assert_array_equal(np.signbit(got[got == got]), np.signbit(want[want == want]))


@pytest.mark.parametrize("real", DTYPES)
def test_sigmoid_rises_from_0_to_1(real: type, engine: str) -> None:
    x = np.sort(samples(real))
    y = engine_named(engine).elementary("sigmoid", x[~np.isnan(x)])
    assert np.all(y[1:] >= y[:-1])
    assert y[0] == 0
    assert y[-1] == 1


@pytest.mark.parametrize("real", DTYPES)
def test_sigmoid_below_the_normal_numbers_is_rounded_once(real: type, engine: str) -> None:
    """From 2^-10 of the smallest normal number down, where all other roundings are a thousandth of the last one."""
    info = np.finfo(real)
    x = (np.linspace(info.minexp - 10, info.minexp - info.nmant - 2, 2001) * np.log(2)).astype(real)
    got = engine_named(engine).elementary("sigmoid", x)
    places = [mpmath.ldexp(mpmath.exp(v), info.nmant - info.minexp) for v in x.tolist()]
    have = [mpmath.ldexp(v, info.nmant - info.minexp) for v in got.tolist()]
    assert max(abs(a - b) for a, b in zip(have, places, strict=True)) < 0.501


@pytest.mark.parametrize(("real", "limit"), [(np.float32, 33), (np.float64, 333)])
def test_what_cells_keep_has_all_digits(real: type, limit: float) -> None:
    """The definition's; that gradients have the same bits in every engine is shown by test_agreement.py."""
    wide = np.float64 if real is np.float32 else np.longdouble
    x = np.concatenate([samples(real), np.linspace(-limit, limit, 100_001).astype(real)])
    x = x[np.isfinite(x)]
    tanh, kept_tanh = tanh_and_kept(x)
    sigmoid, kept_sigmoid = sigmoid_and_kept(x)
    for value, name, again in ((tanh, "tanh", tanh_of(kept_tanh)), (sigmoid, "sigmoid", sigmoid_of(kept_sigmoid))):
        direct = engine_named("numpy").elementary(name, x)
        assert direct.tobytes() == value.tobytes() == again.tobytes()
    with np.errstate(under="ignore"):
        half, whole = (np.exp(-factor * np.abs(x).astype(wide)) for factor in (1, 2))
        less = half / (1 + half)
        inside, normal = np.abs(x) <= limit, half >= 2 * np.finfo(real).tiny
        for found, exact, counts in (
            (tanh_rest(kept_tanh), 2 * whole / (1 + whole), inside),
            (tanh_slope(kept_tanh), 4 * whole / (1 + whole) ** 2, inside),
            (sigmoid_rest(kept_sigmoid), np.where(x < 0, 1 - less, less), normal),
            (sigmoid_slope(kept_sigmoid), half / (1 + half) ** 2, normal),
        ):
            error = np.abs(found.astype(wide) - exact)[counts] / exact[counts]
            assert error.max() <= 4 * 2.0 ** -(np.finfo(real).nmant + 1)  # 3.5 is the most that was met


def reference(name: str, x: Array) -> Array:
    """NumPy's function; its sigmoid is made from exp, from whichever side of zero keeps the digits."""
    if name != "sigmoid":
        exact: Array = getattr(np, name)(x)
        return exact
    power = np.exp(-np.abs(x))
    return np.where(x < 0, power, 1) / (1 + power)


def float32_from(start: int, stride: int) -> Array:
    return np.arange(start, min(start + stride * 2**22, 2**32), stride, dtype=np.uint32).view(np.float32)


def worst_float32(name: str, engine: str, stride: int) -> float:
    """Over every stride-th float32; NumPy's functions in float64 err by far less than is counted here."""
    largest = 0.0
    for start in range(0, 2**32, stride * 2**22):
        x = float32_from(start, stride)
        with np.errstate(all="ignore"):
            exact = reference(name, x.astype(np.float64))
        largest = max(largest, worst(name, engine, x, exact))
    return largest


@pytest.mark.parametrize("name", FUNCTIONS)
def test_float32_error(name: str) -> None:
    assert worst_float32(name, engines()[-1], 1009) <= BOUNDS[name, np.float32]


@pytest.mark.slow
@pytest.mark.parametrize("name", FUNCTIONS)
def test_float32_error_over_every_float32(name: str) -> None:
    if not engines()[-1].startswith("cpp"):
        pytest.skip("needs the compiled core")
    assert worst_float32(name, engines()[-1], 1) <= BOUNDS[name, np.float32]


def float64_samples(name: str, count: int) -> Array:
    """Half from everyday ranges, half where the errors are largest."""
    rng = np.random.default_rng(count)
    low, high = {"exp": (-0.4, 0.4), "tanh": (0.7, 1.1), "sigmoid": (-37.79, -37.77), "log": (0.35, 1.42)}[name]
    wide = {"exp": (-750, 712), "tanh": (-20, 20), "sigmoid": (-40, 40), "log": (0, 100)}[name]
    return np.concatenate([rng.uniform(low, high, count // 2), rng.uniform(*wide, count - count // 2)])


@pytest.mark.parametrize("name", FUNCTIONS)
def test_float64_error(name: str) -> None:
    """Against mpmath: the exact result as float64 and a remainder, so that the difference keeps its digits."""
    x = float64_samples(name, 10_000)
    got = engine_named(engines()[-1]).elementary(name, x)
    errors = []
    with mpmath.workprec(200):
        for at, value in zip(x.tolist(), got.tolist(), strict=True):
            exact = 1 / (1 + mpmath.exp(-at)) if name == "sigmoid" else getattr(mpmath, name)(mpmath.mpf(at))
            place = mpmath.ldexp(1, max(mpmath.frexp(exact)[1] - 1, -1022) - 52)
            if abs(exact) < mpmath.ldexp(1, 1024) - mpmath.ldexp(1, 970):
                errors.append(float(abs(mpmath.mpf(value) - exact) / place))
    assert max(errors) <= BOUNDS[name, np.float64]


@pytest.mark.skipif(np.finfo(np.longdouble).nmant < 63, reason="long double is no wider than float64 here")
@pytest.mark.parametrize("name", FUNCTIONS)
def test_float64_error_on_many(name: str) -> None:
    """Against long double, whose own error is a thousandth of a unit here."""
    x = float64_samples(name, 1_000_000)
    with np.errstate(all="ignore"):
        exact = reference(name, x.astype(np.longdouble))
    assert worst(name, engines()[-1], x, exact) <= BOUNDS[name, np.float64]


def test_columns_hold_the_derived_constants() -> None:
    script = Path(__file__).parents[1] / "tools" / "derive_elementary.py"
    done = subprocess.run([sys.executable, str(script), "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
