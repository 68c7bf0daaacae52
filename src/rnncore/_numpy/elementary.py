"""exp, tanh, sigmoid and log of an array, from + - * /, fma and the bits of the exponent alone, so that every column of
the grid gets the same bits. Branch-free; within one unit in the last place, sigmoid 1.15.

Every constant is derived by tools/derive_elementary.py, which also checks that this file holds it.
"""

from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from ..types import Array, Mask
from .fma import fma

Integers: TypeAlias = npt.NDArray[Any]  # as wide as the numbers
Scalar: TypeAlias = Any  # np.float32 or np.float64


class Constants(NamedTuple):
    """Describes a dtype to the functions."""

    fraction_bits: int
    bias: int
    shift: Scalar  # adding it rounds to an integer, which the low bits of the sum then hold
    log2_e: Scalar
    ln2: Scalar
    ln2_rest: Scalar  # ln2 + ln2_rest is log(2)
    exp_highest: Scalar  # e^x is infinite from here on
    exp_lowest: Scalar  # and 0 from here down
    exp_q: tuple[Scalar, ...]  # e^r = 1 + r + r r q(r)
    tanh_highest: Scalar  # e^2x overflows soon
    tanh_split: Scalar  # below it, tanh x = x (1 + u P(u) / Q(u)) with u = x x
    tanh_p: tuple[Scalar, ...]
    tanh_q: tuple[Scalar, ...]
    tanh_scale: Scalar  # of 1 - tanh in what is kept of it
    smallest_normal: Scalar
    log_scale: Scalar  # brings subnormal numbers among the normal ones
    sqrt_half: Scalar
    log_c: tuple[Scalar, ...]  # log(1 + f) = s (2 + z c(z)) with s = f / (2 + f), z = s s


def table(real: type[np.floating[Any]], fraction_bits: int, bias: int, **numbers: str | tuple[str, ...]) -> Constants:
    """Return the constants of a dtype from hexadecimal floats."""
    parsed: dict[str, Any] = {
        name: real(float.fromhex(value)) if isinstance(value, str) else tuple(real(float.fromhex(v)) for v in value)
        for name, value in numbers.items()
    }
    return Constants(fraction_bits, bias, **parsed)


FLOAT32 = table(
    np.float32,
    fraction_bits=23,
    bias=127,
    shift="0x1.8p+23",
    log2_e="0x1.715476p+0",
    ln2="0x1.62e43p-1",
    ln2_rest="-0x1.05c61p-29",
    exp_highest="0x1.64p+6",
    exp_lowest="-0x1.ap+6",
    exp_q=("0x1.fffffcp-2", "0x1.55548cp-3", "0x1.555858p-5", "0x1.123dep-7", "0x1.6ac75ap-10"),
    tanh_highest="0x1.6p+5",
    tanh_split="0x1.ep-1",
    tanh_p=("-0x1.d55554p-2", "-0x1.4b347p-6"),
    tanh_q=("0x1.6p+0", "0x1.38a67cp-1", "0x1.628b9p-6"),
    tanh_scale="0x1p+96",
    smallest_normal="0x1p-126",
    log_scale="0x1p+24",
    sqrt_half="0x1.6a09e6p-1",
    log_c=("0x1.55557ap-1", "0x1.995ed8p-2", "0x1.31e03cp-2"),
)

FLOAT64 = table(
    np.float64,
    fraction_bits=52,
    bias=1023,
    shift="0x1.8p+52",
    log2_e="0x1.71547652b82fep+0",
    ln2="0x1.62e42fefa39efp-1",
    ln2_rest="0x1.abc9e3b39803fp-56",
    exp_highest="0x1.63p+9",
    exp_lowest="-0x1.75p+9",
    exp_q=(
        "0x1.000000000000ap-1",
        "0x1.5555555555503p-3",
        "0x1.5555555550605p-5",
        "0x1.1111111124d21p-7",
        "0x1.6c16c184b59e6p-10",
        "0x1.a01a013d66a27p-13",
        "0x1.a019988c3399bp-16",
        "0x1.71def3d914675p-19",
        "0x1.28aee9c1cda79p-22",
        "0x1.add599dd14d14p-26",
    ),
    tanh_highest="0x1.62p+8",
    tanh_split="0x1.ep-1",
    tanh_p=("-0x1.d555555555555p-2", "-0x1.e24b67d1e3b3bp-6", "-0x1.5eb26db463901p-12", "-0x1.9752025205051p-26"),
    tanh_q=("0x1.6p+0", "0x1.46d0ab5546f12p-1", "0x1.142415944f4fep-5", "0x1.6e95de570a641p-12"),
    tanh_scale="0x1p+963",
    smallest_normal="0x1p-1022",
    log_scale="0x1p+53",
    sqrt_half="0x1.6a09e667f3bcdp-1",
    log_c=(
        "0x1.5555555555592p-1",
        "0x1.999999997ff64p-2",
        "0x1.24924941db379p-2",
        "0x1.c71c521a26335p-3",
        "0x1.74663ba13b1cep-3",
        "0x1.39a20bca65a4p-3",
        "0x1.2f0250916580ap-3",
    ),
)

CONSTANTS = {np.dtype(np.float32): FLOAT32, np.dtype(np.float64): FLOAT64}


def bits(x: Array) -> Integers:
    """Return the bits of numbers as integers of the same size."""
    return x.view(f"i{x.itemsize}")


def from_bits(i: Integers) -> Array:
    """Return the numbers with these bits."""
    return i.view(f"f{i.itemsize}")


def polynomial(x: Array, c: tuple[Scalar, ...]) -> Array:
    """Return c[0] + c[1] x + c[2] x^2 + ..., by Horner's rule."""
    y = fma(x, c[-1], c[-2])
    for coefficient in c[-3::-1]:
        y = fma(y, x, coefficient)
    return y


def power_of_two(n: Integers, c: Constants) -> Array:
    """Return 2^n of integers n, for n that a normal number can have as exponent."""
    return from_bits((n + c.bias) << c.fraction_bits)


def exp_parts(x: Array) -> tuple[Array, Integers]:
    """Return p and n of exp(x) = 2^n (1 + p), |p| < 0.42."""
    c = CONSTANTS[x.dtype]
    shifted = fma(x, c.log2_e, c.shift)  # the addition rounds to an integer
    n = shifted - c.shift
    high = fma(-n, c.ln2, x)  # exact: a multiple of x's or ln2's last place, and below 1/2
    r = fma(-n, c.ln2_rest, high)
    p = high + fma(-n, c.ln2_rest, r * r * polynomial(r, c.exp_q))
    return p, bits(shifted) - bits(c.shift)


@np.errstate(all="ignore")
def exp(x: Array) -> Array:
    """Return e^x. Results below the normal numbers are rounded once; NaN stays NaN."""
    c = CONSTANTS[x.dtype]
    x = np.where(x > c.exp_highest, c.exp_highest, x)  # comparisons that let NaN pass
    x = np.where(x < c.exp_lowest, c.exp_lowest, x)
    p, n = exp_parts(x)
    half = n >> 1  # 2^n itself may be no normal number
    return (1 + p) * power_of_two(half, c) * power_of_two(n - half, c)


def tanh_parts(x: Array) -> tuple[Array, Array, Mask]:
    """Return base, ratio and "near zero" of tanh |x| = base + base ratio.

    That is x (1 + u P(u) / Q(u)) with u = x x near zero, 1 - 2 / (e^2|x| + 1) elsewhere: both share the division.
    """
    c = CONSTANTS[x.dtype]
    one: Scalar = x.dtype.type(1)
    a = np.abs(x)
    a = np.where(a > c.tanh_highest, c.tanh_highest, a)
    p, n = exp_parts(a + a)
    power = power_of_two(n, c)
    u = a * a
    near = a < c.tanh_split
    above = np.where(near, u * polynomial(u, c.tanh_p), x.dtype.type(-2))
    below = np.where(near, polynomial(u, c.tanh_q), fma(power, p, one + power))
    return np.where(near, a, one), above / below, near


@np.errstate(all="ignore")
def tanh(x: Array) -> Array:
    """Return the hyperbolic tangent."""
    base, ratio, _ = tanh_parts(x)
    return np.copysign(fma(base, ratio, base), x)


@np.errstate(all="ignore")
def tanh_and_kept(x: Array) -> tuple[Array, Array]:
    """Return tanh x, and one number from which it and 1 - tanh^2 x follow without loss, with the sign of x.

    The second is near zero tanh |x| itself, which is below 1; elsewhere 1 + tanh_scale q with q = 1 - tanh |x|. From
    tanh_highest on that is 1.
    """
    base, ratio, near = tanh_parts(x)
    factor = np.where(near, base, -CONSTANTS[x.dtype].tanh_scale)
    return np.copysign(fma(base, ratio, base), x), np.copysign(fma(factor, ratio, base), x)


@np.errstate(all="ignore")
def tanh_rest(kept: Array) -> Array:
    """Return 1 - tanh |x|, from what is kept of tanh x."""
    a = np.abs(kept)
    one = a.dtype.type(1)  # before NumPy 2 the quotient of a Python number and a float32 is a float64
    factor = np.where(a < 1, -one, one / CONSTANTS[a.dtype].tanh_scale)
    rest: Array = (a - 1) * factor
    return rest


@np.errstate(all="ignore")
def tanh_of(kept: Array) -> Array:
    """Return tanh x, from what is kept of it: the bits of tanh(x)."""
    a = np.abs(kept)
    return np.copysign(np.where(a < 1, a, 1 - tanh_rest(kept)), kept)


@np.errstate(all="ignore")
def tanh_slope(kept: Array) -> Array:
    """Return the derivative 1 - tanh^2 x, from what is kept of tanh x."""
    q = tanh_rest(kept)
    slope: Array = q * (2 - q)
    return slope


def sigmoid_part(x: Array) -> Array:
    """Return the logistic function of -|x|, 1 / (1 + e^|x|).

    With e^|x| = 2^n (1 + p) it is 2^(1-n) / (2 + 2p + 2^(1-n)), by a quotient corrected for its own rounding and that
    of the sum below it. Twice everything, because 2^(1-n) is a number down to the least result; only the multiplication
    by it can round a subnormal one.
    """
    c = CONSTANTS[x.dtype]
    one: Scalar = x.dtype.type(1)
    two: Scalar = x.dtype.type(2)
    a = np.abs(x)
    a = np.where(a > -c.exp_lowest, -c.exp_lowest, a)
    p, n = exp_parts(a)
    power = power_of_two(c.bias - n, c) * c.smallest_normal  # 2^(1-n)
    sum = fma(two, p, power)
    below = two + sum
    low = sum - (below - two)  # what below rounded away
    q = one / below
    left = fma(-low, q, fma(-below, q, one))
    y: Array = fma(q, left, q) * power
    return y


@np.errstate(all="ignore")
def sigmoid(x: Array) -> Array:
    """Return the logistic function 1 / (1 + e^-x)."""
    y = sigmoid_part(x)
    return np.where(x < 0, y, 1 - y)


@np.errstate(all="ignore")
def sigmoid_and_kept(x: Array) -> tuple[Array, Array]:
    """Return s = sigmoid x, and one number from which it and 1 - s follow without loss.

    The second is the smaller of s and 1 - s, with the sign of x.
    """
    y = sigmoid_part(x)
    return np.where(x < 0, y, 1 - y), np.copysign(y, x)


def sigmoid_of(kept: Array) -> Array:
    """Return s, from what is kept of it."""
    y = np.abs(kept)
    return np.where(np.signbit(kept), y, 1 - y)


def sigmoid_rest(kept: Array) -> Array:
    """Return 1 - s, from what is kept of s."""
    y = np.abs(kept)
    return np.where(np.signbit(kept), 1 - y, y)


def sigmoid_slope(kept: Array) -> Array:
    """Return the derivative s (1 - s), from what is kept of s."""
    y = np.abs(kept)
    slope: Array = y * (1 - y)
    return slope


@np.errstate(all="ignore")
def log(x: Array) -> Array:
    """Return the natural logarithm: x = 2^k (1 + f) with 1 + f in [sqrt(1/2), sqrt(2)).

    log(1 + f) = f - f f / 2 + s (f f / 2 + z c(z)) with s = f / (2 + f), z = s s.
    """
    c = CONSTANTS[x.dtype]
    half = x.dtype.type(0.5)
    tiny = x < c.smallest_normal
    y = np.where(tiny, np.abs(x) * c.log_scale, x)
    k = (bits(y) - bits(c.sqrt_half)) >> c.fraction_bits
    f = from_bits(bits(y) - (k << c.fraction_bits)) - 1
    k = np.where(tiny, k - (c.fraction_bits + 1), k)
    n = from_bits(bits(c.shift) + k) - c.shift  # k as a number
    s = f / (2 + f)
    z = s * s
    half_square = half * f * f
    t = s * fma(z, polynomial(z, c.log_c), half_square)
    high = fma(n, c.ln2, f)
    low = f - fma(-n, c.ln2, high)  # what high rounded away
    rest = fma(n, c.ln2_rest, fma(-half * f, f, t) + low)
    y = high + rest
    y = np.where(x == np.inf, x, y)
    y = np.where(x > 0, y, x.dtype.type(np.nan))
    return np.where(x == 0, x.dtype.type(-np.inf), y)


def log1p(x: Array) -> Array:
    """Return log(1 + x) of x >= 0 without what 1 + x loses of a small x.

    With u = 1 + x as it is rounded, log(1 + x) = log(u) x / (u - 1) nearly: both are off by the same factor (Kahan;
    Higham 2002, "Accuracy and Stability of Numerical Algorithms", 1.14.1).
    """
    u = 1 + x
    return np.where(u == 1, x, log(u) * (x / (u - 1)))
