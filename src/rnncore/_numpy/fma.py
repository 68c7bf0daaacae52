"""a * b + c rounded once, exactly, from NumPy's + - * alone.

NumPy has no such operation, and rounding the product before the sum gives other bits. Both ways below compute the sum
together with its rounding error and round it to odd first (an inexact sum gets an odd last bit), after which the last
rounding cannot be misled by the first: Boldo and Melquiond, "Emulation of FMA and correctly rounded sums: proved
algorithms using rounding to odd", IEEE Transactions on Computers 57 (2008).
"""

import math
from fractions import Fraction

import numpy as np

from ..types import Array

SPLITTER = 2.0**27 + 1  # cuts 53 bits into two halves of 26: Veltkamp's
# Inside these limits no step of the float64 way overflows and no rounding error falls below the subnormals.
FACTOR_LIMIT = 2.0**990
PRODUCT_LEAST = 2.0**-960
SUM_LIMIT = 2.0**1020
FLOAT32_TAIL = np.int64(2**28 - 1)  # float64's last bits, all zero in a number halfway between two of float32
FLOAT64_TAIL = np.int64(2**48 - 1)  # likewise in what leads from one float64 to halfway between it and a near one


def fma(a: Array, b: Array, c: Array) -> Array:
    """Return a * b + c of arrays of one dtype, float32 or float64, broadcast against each other, without a warning."""
    with np.errstate(all="ignore"):
        return fma32(a, b, c) if c.dtype == np.float32 else fma64(a, b, c)


def fma32(a: Array, b: Array, c: Array) -> Array:
    """Return a * b + c of float32: in float64 the product is exact, so only the sum is rounded before the end."""
    product = np.multiply(a, b, dtype=np.float64)
    total: Array = product + c
    # Two roundings differ from one only if the first fell halfway between two float32.
    if np.all(total.view(np.int64) & FLOAT32_TAIL):
        return total.astype(np.float32)
    return odd(total, sum_error(product, c.astype(np.float64), total)).astype(np.float32)


def fma64(a: Array, b: Array, c: Array) -> Array:
    """Return a * b + c of float64: Dekker's exact product, then the sum of three numbers.

    Outside the limits it is exact rationals, one by one.
    """
    product = a * b
    size = np.abs(product)
    safe = (size > PRODUCT_LEAST) & (size < SUM_LIMIT) | (a == 0) | (b == 0)
    safe = safe & (np.abs(a) < FACTOR_LIMIT) & (np.abs(b) < FACTOR_LIMIT) & (np.abs(c) < SUM_LIMIT)
    product_low = product_error(a, b, product)
    low = product_low + c
    high = product + low
    low_error, high_error = sum_error(product_low, c, low), sum_error(product, low, high)
    rest: Array = low_error + high_error
    # Two roundings differ from one only if high + rest is halfway: rest is 1/4, 1/2 or 3/2 of high's last place.
    if not np.all(rest.view(np.int64) & FLOAT64_TAIL):
        rest = odd(rest, sum_error(low_error, high_error, rest))
    out: Array = np.where(product == 0, product + c, high + rest)  # the sum of two zeros keeps its sign
    if not safe.all():
        factors, addend = np.isfinite(a) & np.isfinite(b), np.isfinite(c)
        out = np.where(factors, np.where(addend, out, c), product + c)
        where = np.nonzero(~safe & factors & addend)
        operands = (np.broadcast_to(x, out.shape)[where].tolist() for x in (a, b, c))
        out[where] = [fma_exact(*abc) for abc in zip(*operands, strict=True)]
    return out


def fma_exact(a: float, b: float, c: float) -> float:
    """Return a * b + c of finite Python floats, by rational arithmetic."""
    total = Fraction(a) * Fraction(b) + Fraction(c)
    if total == 0:
        return a * b + c if a == 0 or b == 0 else 0.0
    try:
        return float(total)
    except OverflowError:
        return math.inf if total > 0 else -math.inf


def sum_error(x: Array, y: Array, total: Array) -> Array:
    """Return the rounding error of total = x + y, exactly (Knuth's TwoSum)."""
    y_part = total - x
    return (x - (total - y_part)) + (y - y_part)


def product_error(a: Array, b: Array, product: Array) -> Array:
    """Return the rounding error of product = a * b, exactly (Dekker's)."""
    (a_high, a_low), (b_high, b_low) = split(a), split(b)
    return ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low


def split(a: Array) -> tuple[Array, Array]:
    """Return two numbers of 26 bits whose sum is a."""
    scaled = a * SPLITTER
    high = scaled - (scaled - a)
    return high, a - high


def odd(total: Array, error: Array) -> Array:
    """Return, rounded to odd, the sum that was rounded to nearest as ``total``, with this error."""
    inexact = (error < 0) | (error > 0)  # neither where the error is NaN, beside an infinite sum
    toward_zero = inexact & ((error < 0) != (total < 0))
    out: Array = ((total.view(np.int64) - toward_zero) | inexact).view(np.float64)
    return out
