"""exp, tanh, sigmoid and log of a number, from + - * /, fma and the bits of the exponent alone, so that every column of
the grid gets the same bits. Branch-free, so that loops vectorise; within one unit in the last place, sigmoid 1.15.

Every constant is derived by tools/derive_elementary.py, which also checks that this file holds it.
"""

from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import extending, types

from . import cgutils, compiled, intrinsic
from .fma import fma

overload: Any = extending.overload


class Constants(NamedTuple):
    """Describes a dtype to the functions."""

    fraction_bits: int
    bias: int
    half: float  # and others of this type, because a literal would widen float32
    one: float
    two: float
    infinity: float
    nan: float
    shift: float  # adding it rounds to an integer, which the low bits of the sum then hold
    log2_e: float
    ln2: float
    ln2_rest: float  # ln2 + ln2_rest is log(2)
    exp_highest: float  # e^x is infinite from here on
    exp_lowest: float  # and 0 from here down
    exp_q: tuple[float, ...]  # e^r = 1 + r + r r q(r)
    tanh_highest: float  # e^2x overflows soon
    tanh_split: float  # below it, tanh x = x (1 + u P(u) / Q(u)) with u = x x
    tanh_p: tuple[float, ...]
    tanh_q: tuple[float, ...]
    tanh_scale: float  # of 1 - tanh in what is kept of it
    smallest_normal: float
    log_scale: float  # brings subnormal numbers among the normal ones
    sqrt_half: float
    log_c: tuple[float, ...]  # log(1 + f) = s (2 + z c(z)) with s = f / (2 + f), z = s s


def table(real: type[np.floating[Any]], fraction_bits: int, bias: int, **numbers: str | tuple[str, ...]) -> Constants:
    """Return the constants of a dtype from hexadecimal floats."""
    parsed: dict[str, Any] = {
        name: real(float.fromhex(value)) if isinstance(value, str) else tuple(real(float.fromhex(v)) for v in value)
        for name, value in numbers.items()
    }
    literals: dict[str, Any] = {
        "half": real(0.5),
        "one": real(1),
        "two": real(2),
        "infinity": real(np.inf),
        "nan": real(np.nan),
    }
    return Constants(fraction_bits, bias, **literals, **parsed)


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


def constants(x: float) -> Constants:
    """Return the constants of x's dtype."""
    raise NotImplementedError


@overload(constants, strict=False)  # type: ignore[untyped-decorator]  # of Numba
def _constants(x: Any) -> Any:
    table = FLOAT32 if x == types.float32 else FLOAT64
    return lambda x: table


@intrinsic()
def bits(_: Any, x: Any) -> Any:
    """Return the bits of a number as an integer of the same size."""
    integer: Any = types.int32 if x == types.float32 else types.int64

    def generate(_: Any, builder: Any, __: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.IntType(integer.bitwidth))

    return integer(x), generate


@intrinsic()
def from_bits(_: Any, i: Any, like: Any) -> Any:
    """Return the number of the type of ``like`` with these bits; integers of 32 bits come here as wider ones."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        narrow = context.cast(builder, arguments[0], i, types.int32 if like == types.float32 else types.int64)
        return builder.bitcast(narrow, context.get_value_type(like))

    return like(i, like), generate


@intrinsic()
def polynomial(_: Any, x: Any, c: Any) -> Any:
    """Return c[0] + c[1] x + c[2] x^2 + ..., by Horner's rule."""

    def generate(_: Any, builder: Any, __: Any, arguments: Any) -> Any:
        total, *coefficients = reversed(cgutils.unpack_tuple(builder, arguments[1]))
        for coefficient in coefficients:
            total = builder.fma(total, arguments[0], coefficient)
        return total

    return x(x, c), generate


@compiled
def power_of_two(n: int, c: Constants) -> float:
    """Return 2^n of an integer n that a normal number can have as exponent."""
    power: float = from_bits((n + c.bias) << c.fraction_bits, c.shift)
    return power


@compiled
def exp_parts(x: float) -> tuple[float, int]:
    """Return p and n of exp(x) = 2^n (1 + p), |p| < 0.42."""
    c = constants(x)
    shifted = fma(x, c.log2_e, c.shift)  # the addition rounds to an integer
    n = shifted - c.shift
    high = fma(-n, c.ln2, x)  # exact: a multiple of x's or ln2's last place, and below 1/2
    r = fma(-n, c.ln2_rest, high)
    p = high + fma(-n, c.ln2_rest, r * r * polynomial(r, c.exp_q))
    return p, bits(shifted) - bits(c.shift)


@compiled
def exp(x: float) -> float:
    """Return e^x. Results below the normal numbers are rounded once; NaN stays NaN."""
    c = constants(x)
    x = c.exp_highest if x > c.exp_highest else x  # comparisons that let NaN pass
    x = c.exp_lowest if x < c.exp_lowest else x
    p, n = exp_parts(x)
    half = n >> 1  # 2^n itself may be no normal number
    return (c.one + p) * power_of_two(half, c) * power_of_two(n - half, c)


@compiled
def tanh_parts(x: float) -> tuple[float, float, bool]:
    """Return base, ratio and "near zero" of tanh |x| = base + base ratio.

    That is x (1 + u P(u) / Q(u)) with u = x x near zero, 1 - 2 / (e^2|x| + 1) elsewhere: both share the division.
    """
    c = constants(x)
    a = abs(x)
    a = c.tanh_highest if a > c.tanh_highest else a
    p, n = exp_parts(a + a)
    power = power_of_two(n, c)
    u = a * a
    near = a < c.tanh_split
    above, below = u * polynomial(u, c.tanh_p), polynomial(u, c.tanh_q)
    far_above, far_below = -c.two, fma(power, p, c.one + power)
    above = above if near else far_above
    below = below if near else far_below
    base = a if near else c.one
    return base, above / below, near


@compiled
def tanh(x: float) -> float:
    """Return the hyperbolic tangent."""
    base, ratio, _ = tanh_parts(x)
    y: float = np.copysign(fma(base, ratio, base), x)
    return y


@compiled
def tanh_and_kept(x: float) -> tuple[float, float]:
    """Return tanh x, and one number from which it and 1 - tanh^2 x follow without loss, with the sign of x.

    The second is near zero tanh |x| itself, which is below 1; elsewhere 1 + tanh_scale q with q = 1 - tanh |x|. From
    tanh_highest on that is 1.
    """
    base, ratio, near = tanh_parts(x)
    factor = base if near else -constants(x).tanh_scale
    return np.copysign(fma(base, ratio, base), x), np.copysign(fma(factor, ratio, base), x)


@compiled
def tanh_rest(kept: float) -> float:
    """Return 1 - tanh |x|, from what is kept of tanh x."""
    c = constants(kept)
    a = abs(kept)
    factor = -c.one if a < c.one else c.one / c.tanh_scale
    return (a - c.one) * factor


@compiled
def tanh_of(kept: float) -> float:
    """Return tanh x, from what is kept of it: the bits of tanh(x)."""
    c = constants(kept)
    a, far = abs(kept), c.one - tanh_rest(kept)
    y: float = np.copysign(a if a < c.one else far, kept)
    return y


@compiled
def tanh_slope(kept: float) -> float:
    """Return the derivative 1 - tanh^2 x, from what is kept of tanh x."""
    q = tanh_rest(kept)
    return q * (constants(kept).two - q)


@compiled
def sigmoid_part(x: float) -> float:
    """Return the logistic function of -|x|, 1 / (1 + e^|x|).

    With e^|x| = 2^n (1 + p) it is 2^(1-n) / (2 + 2p + 2^(1-n)), by a quotient corrected for its own rounding and that
    of the sum below it. Twice everything, because 2^(1-n) is a number down to the least result; only the multiplication
    by it can round a subnormal one.
    """
    c = constants(x)
    a = abs(x)
    a = -c.exp_lowest if a > -c.exp_lowest else a
    p, n = exp_parts(a)
    power = power_of_two(c.bias - n, c) * c.smallest_normal  # 2^(1-n)
    sum = fma(c.two, p, power)
    below = c.two + sum
    low = sum - (below - c.two)  # what below rounded away
    q = c.one / below
    left = fma(-low, q, fma(-below, q, c.one))
    y: float = fma(q, left, q) * power
    return y


@compiled
def sigmoid(x: float) -> float:
    """Return the logistic function 1 / (1 + e^-x)."""
    y = sigmoid_part(x)
    rest: float = constants(x).one - y
    return y if x < 0 else rest


@compiled
def sigmoid_and_kept(x: float) -> tuple[float, float]:
    """Return s = sigmoid x, and one number from which it and 1 - s follow without loss.

    The second is the smaller of s and 1 - s, with the sign of x.
    """
    y = sigmoid_part(x)
    rest = constants(x).one - y
    return y if x < 0 else rest, np.copysign(y, x)


@compiled
def sigmoid_of(kept: float) -> float:
    """Return s, from what is kept of it."""
    y = abs(kept)
    rest = constants(kept).one - y
    return y if bits(kept) < 0 else rest


@compiled
def sigmoid_rest(kept: float) -> float:
    """Return 1 - s, from what is kept of s."""
    y = abs(kept)
    rest = constants(kept).one - y
    return rest if bits(kept) < 0 else y


@compiled
def sigmoid_slope(kept: float) -> float:
    """Return the derivative s (1 - s), from what is kept of s."""
    y = abs(kept)
    return y * (constants(kept).one - y)


@compiled
def log(x: float) -> float:
    """Return the natural logarithm: x = 2^k (1 + f) with 1 + f in [sqrt(1/2), sqrt(2)).

    log(1 + f) = f - f f / 2 + s (f f / 2 + z c(z)) with s = f / (2 + f), z = s s.
    """
    c = constants(x)
    tiny = x < c.smallest_normal
    scaled = abs(x) * c.log_scale
    y = scaled if tiny else x
    k = (bits(y) - bits(c.sqrt_half)) >> c.fraction_bits
    f = from_bits(bits(y) - (k << c.fraction_bits), x) - c.one
    k = k - (c.fraction_bits + 1) if tiny else k
    n = from_bits(bits(c.shift) + k, x) - c.shift  # k as a number
    s = f / (c.two + f)
    z = s * s
    half_square = c.half * f * f
    t = s * fma(z, polynomial(z, c.log_c), half_square)
    high = fma(n, c.ln2, f)
    low = f - fma(-n, c.ln2, high)  # what high rounded away
    rest = fma(n, c.ln2_rest, fma(-c.half * f, f, t) + low)
    y = high + rest
    y = x if x == c.infinity else y
    y = y if x > 0 else c.nan
    return -c.infinity if x == 0 else y


@compiled
def log1p(x: float) -> float:
    """Return log(1 + x) of x >= 0 without what 1 + x loses of a small x.

    With u = 1 + x as it is rounded, log(1 + x) = log(u) x / (u - 1) nearly: both are off by the same factor (Kahan;
    Higham 2002, "Accuracy and Stability of Numerical Algorithms", 1.14.1).
    """
    c = constants(x)
    u = c.one + x
    y: float = log(u) * (x / (u - c.one))
    return x if u == c.one else y
