"""fma is a * b + c rounded once, in NumPy's emulation and in Numba's intrinsic.

Casual numbers find no fault in a wrong emulation: one without its odd step errs once in ten million. So the
operands here are made for the hard cases: sums a hair beside a tie, near-cancellation, subnormals, the limits.
"""

import ctypes
import ctypes.util
import itertools
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from rnncore._numpy.fma import fma

Array = npt.NDArray[Any]
Triple = tuple[Array, Array, Array]
Case = Callable[[type, np.random.Generator, int], Triple]
DTYPES = [np.float32, np.float64]
CASES: dict[str, Case] = {}


def case(make: Case) -> Case:
    CASES[make.__name__] = make
    return make


@case
def everyday(real: type, rng: np.random.Generator, count: int) -> Triple:
    a, b, c = rng.standard_normal((3, count)).astype(real)
    return a, b, c


@case
def any_bits(real: type, rng: np.random.Generator, count: int) -> Triple:
    size = np.dtype(real).itemsize
    a, b, c = rng.integers(0, 2 ** (8 * size), (3, count), dtype=f"u{size}").view(real)
    return a, b, c


@case
def cancellation(real: type, rng: np.random.Generator, count: int) -> Triple:
    """c is -ab but for a few last places, so that the product's rounding error is all that is left."""
    a, b, _ = everyday(real, rng, count)
    c = -(a * b)
    return a, b, (c.view(f"i{c.itemsize}") + rng.integers(-2, 3, count).astype(f"i{c.itemsize}")).view(real)


@case
def beside_a_tie(real: type, rng: np.random.Generator, count: int) -> Triple:
    """ab is half of c's last place times (1 + e)(1 - e) or (1 + e)(1 + e): a tie but for e e or 2 e."""
    digits = np.finfo(real).nmant + 1
    e = np.ldexp(rng.integers(-1, 2, count), -rng.integers(1, digits, count))
    fraction = rng.integers(2 ** (digits - 1), 2**digits, count)
    exponent = rng.integers(-digits, digits, count)
    sign = rng.choice([-1, 1], count)
    b = sign * np.ldexp(1 + rng.choice([-1, 1], count) * e, exponent - 1)
    return (1 + e).astype(real), b.astype(real), np.ldexp(fraction.astype(float), exponent).astype(real)


@case
def small_integers(real: type, rng: np.random.Generator, count: int) -> Triple:
    """Exact sums, many of them zero, and every sign of zero."""
    a, b, c = rng.integers(-2, 3, (3, count)).astype(real) * rng.choice([-1, 1], (3, count)).astype(real)
    return a, b, c


@case
def subnormal(real: type, rng: np.random.Generator, count: int) -> Triple:
    """Products and sums around the smallest numbers."""
    info = np.finfo(real)
    half = info.minexp // 2
    a = np.ldexp(rng.standard_normal(count), half - rng.integers(-4, info.nmant, count))
    b = np.ldexp(rng.standard_normal(count), half + rng.integers(-4, 12, count))
    c = np.ldexp(rng.standard_normal(count), info.minexp - rng.integers(-4, info.nmant + 2, count))
    return a.astype(real), b.astype(real), c.astype(real)


@case
def limits(real: type, rng: np.random.Generator, count: int) -> Triple:
    """Around the largest numbers, and around the limits within which the float64 emulation needs no rationals."""
    info = np.finfo(real)
    wide = real is np.float64
    total = rng.choice([-980, -960, -950, 1015, 1020, info.maxexp] if wide else [info.maxexp], count)
    first = rng.choice([0, 988, 990, 992] if wide else [0, 3], count)
    a, b, c = rng.uniform(0.5, 1, (3, count)) * rng.choice([-1, 1], (3, count))
    return tuple(np.ldexp(x.astype(real), n) for x, n in ((a, first), (b, total - first), (c, total)))  # type: ignore


@case
def specials(real: type, rng: np.random.Generator, count: int) -> Triple:
    info = np.finfo(real)
    numbers = [0, 1, 1.5, info.smallest_subnormal, info.tiny, info.max, info.eps, np.inf]
    signed = np.array([*numbers, *(-x for x in map(real, numbers)), np.nan], real)
    a, b, c = np.array(list(itertools.product(signed, repeat=3)), real).T
    return tuple(map(np.ascontiguousarray, (a, b, c)))  # type: ignore[return-value]


def operands(real: type, name: str, count: int) -> Triple:
    with np.errstate(all="ignore"):
        return CASES[name](real, np.random.default_rng(list(name.encode())), count)


def rounded_once(a: float, b: float, c: float, real: type) -> float:
    """a * b + c by its definition: an exact rational, rounded half to even."""
    if not np.isfinite([a, b, c]).all():
        return c if np.isfinite([a, b]).all() else a * b + c
    info = np.finfo(real)
    total = Fraction(a) * Fraction(b) + Fraction(c)
    if total == 0:
        return a * b + c if a == 0 or b == 0 else 0.0
    size = abs(total)
    exponent = size.numerator.bit_length() - size.denominator.bit_length()  # or one less
    exponent -= size < Fraction(2) ** exponent
    place = Fraction(2) ** int(max(exponent, info.minexp) - info.nmant)
    result = round(size / place) * place
    return float(np.copysign(np.inf if result > Fraction(float(info.max)) else float(result), 1 if total > 0 else -1))


def assert_equal_bits(got: Array, want: Array, operands: Triple) -> None:
    assert got.dtype == want.dtype
    wrong = (got.view(f"i{got.itemsize}") != want.view(f"i{want.itemsize}")) & ~(np.isnan(got) & np.isnan(want))
    for i in np.nonzero(wrong)[0][:1]:
        abc = ", ".join(float(x[i]).hex() for x in operands)
        pytest.fail(f"{wrong.sum()} wrong, fma({abc}) = {float(got[i]).hex()}, not {float(want[i]).hex()}")


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("real", DTYPES)
def test_numpy_is_the_definition(real: type, name: str) -> None:
    abc = operands(real, name, 3000)
    want = np.array([rounded_once(*numbers, real) for numbers in zip(*(x.tolist() for x in abc), strict=True)], real)
    assert_equal_bits(fma(*abc), want, abc)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("real", DTYPES)
def test_numpy_is_the_c_library(real: type, name: str) -> None:
    """C's fma is exact by its standard, and was written by other people."""
    library = ctypes.util.find_library("m")
    if library is None:
        pytest.skip("no C library of mathematics found")
    function = getattr(ctypes.CDLL(library), "fmaf" if real is np.float32 else "fma")
    number = ctypes.c_float if real is np.float32 else ctypes.c_double
    function.argtypes, function.restype = [number] * 3, number
    abc = operands(real, name, 30_000)
    want = np.array([function(*numbers) for numbers in zip(*(x.tolist() for x in abc), strict=True)], real)
    assert_equal_bits(fma(*abc), want, abc)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("real", DTYPES)
def test_numba_is_numpy(real: type, name: str) -> None:
    numba = pytest.importorskip("numba")
    from rnncore._numba.fma import fma as numba_fma

    @numba.njit
    def loop(a: Array, b: Array, c: Array, out: Array) -> None:
        for i in range(len(out)):
            out[i] = numba_fma(a[i], b[i], c[i])

    abc = operands(real, name, 100_000)
    got = np.empty_like(abc[0])
    loop(*abc, got)
    assert_equal_bits(got, fma(*abc), abc)


@pytest.mark.parametrize("real", DTYPES)
def test_operands_are_broadcast(real: type) -> None:
    a, b, c = np.arange(3, dtype=real)[:, None], np.array([[0.5, np.inf, -3]], real), real(1)
    got = fma(a, b, np.asarray(c))
    assert got.shape == (3, 3)
    assert got.dtype == real
    np.testing.assert_array_equal(got, [[1, np.nan, 1], [1.5, np.inf, -2], [2, np.inf, -5]])


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("real", DTYPES)
def test_numpy_raises_no_warning(real: type, name: str) -> None:
    with np.errstate(all="raise"):
        fma(*operands(real, name, 1000))
