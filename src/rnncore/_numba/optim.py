"""Optimizers: the length of a gradient, clipping, and one step along it.

A rule is a small pure function of an element: of the parameter x, the gradient g, what the optimizer remembers, and
numbers. ``step`` does the rest, and reads and writes every vector once.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from ..types import Array
from . import compiled
from .linear import lane_sum

SGD, MOMENTUM, NESTEROV, ADAGRAD, RMSPROP, ADAM = range(6)
RULES = {
    "sgd": SGD,
    "momentum": MOMENTUM,
    "nesterov": NESTEROV,
    "adagrad": ADAGRAD,
    "rmsprop": RMSPROP,
    "adam": ADAM,
}


class Memory(NamedTuple):
    """What an optimizer remembers: two vectors (n,), empty if it has no such."""

    first: Array
    second: Array


@compiled
def sum_of_squares(x: Array, unit: float) -> float:
    """Return the sum of (unit x)^2, in float64, in sixteen lanes."""
    terms = np.empty(len(x), np.float64)
    for i in range(len(x)):
        scaled = np.float64(x[i]) * unit
        terms[i] = scaled * scaled
    return lane_sum(terms, np.empty(16, np.float64))


@compiled
def norm(x: Array) -> float:
    """Return |x|, in another unit where squares would overflow, or lose digits below the normal numbers."""
    total = sum_of_squares(x, 1.0)
    unit = 2.0**600 if total < 2.0**-900 else 2.0**-600 if total > 2.0**1000 else 1.0
    return math.sqrt(total) if unit == 1 else math.sqrt(sum_of_squares(x, unit)) / unit


@compiled
def clip_by_value(g: float, limit: float) -> float:
    """Return g, not beyond limit or -limit; comparisons that let NaN pass."""
    g = limit if g > limit else g
    return -limit if g < -limit else g


@compiled
def clip_by_norm(dx: Array, scale: float, longest: float) -> tuple[float, float]:
    """Return the length of scale dx, and what to multiply dx by so that it is not longer than ``longest``.

    If longest is NaN, the length is not wanted, and NaN is returned for it.
    """
    length = math.nan if math.isnan(longest) else norm(dx) * scale
    return length, scale * (longest / length) if length > longest else scale


@compiled
def sgd(x: float, g: float, rate: float) -> float:
    """Return ``x - rate g``."""
    return x - rate * g


@compiled
def momentum(x: float, g: float, v: float, rate: float, beta: float) -> tuple[float, float]:
    """Return ``x - rate v`` and v, with ``v = beta v + g``."""
    v = beta * v + g
    return x - rate * v, v


@compiled
def nesterov(x: float, g: float, v: float, rate: float, beta: float) -> tuple[float, float]:
    """Return ``x - rate (beta v + g)`` and v, with ``v = beta v + g``."""
    v = beta * v + g
    return x - rate * (beta * v + g), v


@compiled
def adagrad(x: float, g: float, s: float, rate: float, epsilon: float) -> tuple[float, float]:
    """Return ``x - rate g / (sqrt(s) + epsilon)`` and s, with ``s = s + g g``."""
    s = s + g * g
    return x - rate * (g / (np.sqrt(s) + epsilon)), s


@compiled
def rmsprop(
    x: float, g: float, s: float, rate: float, epsilon: float, decay: float, rest: float
) -> tuple[float, float]:
    """Return ``x - rate g / (sqrt(s) + epsilon)`` and s, with ``s = decay s + rest g g``, rest = 1 - decay."""
    s = decay * s + rest * (g * g)
    return x - rate * (g / (np.sqrt(s) + epsilon)), s


@compiled
def adam(x: float, g: float, m: float, v: float, *numbers: float) -> tuple[float, float, float]:
    """Return ``x - rate m / (sqrt(whole v) + epsilon)``, ``m = beta1 m + rest1 g`` and ``v = beta2 v + rest2 g g``.

    rate and whole undo that m and v started from 0.
    """
    rate, epsilon, beta1, rest1, beta2, rest2, whole = numbers
    m = beta1 * m + rest1 * g
    v = beta2 * v + rest2 * (g * g)
    return x - rate * (m / (np.sqrt(v * whole) + epsilon)), m, v


@compiled
def usable(length: float, longest: float) -> bool:
    """Return whether a gradient of this length may be used: not if the length is wanted and not finite."""
    return math.isnan(longest) or length < math.inf


@compiled
def real(number: float, x: Array) -> Any:
    """Return a number in the dtype of x, rounded to nearest."""
    return x.dtype.type(number)


@compiled
def clip(dx: Array, longest: float, limit: float) -> float:
    """Shorten and clip dx in place; return the length that it had.

    If that is not finite, nothing is changed.
    """
    length, scale = clip_by_norm(dx, 1.0, longest)
    if usable(length, longest):
        factor, most = real(scale, dx), real(limit, dx)
        for i in range(len(dx)):
            dx[i] = clip_by_value(dx[i] * factor, most)
    return length


@compiled
def add_shortened(total: Array, rows: Array, longest: float, lengths: Array) -> None:
    """Add rows to total, one after the other, each first shortened; what lengths they have goes to lengths.

    A row whose length is not finite is added as it is.
    """
    for k in range(len(rows)):
        lengths[k], scale = clip_by_norm(rows[k], 1.0, longest)
        factor = real(scale if usable(lengths[k], longest) else 1.0, total)
        for i in range(len(total)):
            total[i] += rows[k, i] * factor


@compiled
def step(
    rule: int,
    x: Array,
    dx: Array,
    memory: Memory,
    numbers: Array,
    scale: float,
    longest: float,
    limit: float,
) -> float:
    """Take one step in place of x and of what the optimizer remembers; return the length of scale dx.

    If that is not finite, nothing is changed. numbers: in the order of the rule's parameters, in the dtype.
    """
    length, scale = clip_by_norm(dx, scale, longest)
    if not usable(length, longest):
        return length
    factor, most, (a, b) = real(scale, dx), real(limit, dx), memory
    rate, c1, c2, c3, c4, c5, c6 = numbers[0], numbers[1], numbers[2], numbers[3], numbers[4], numbers[5], numbers[6]
    for i in range(len(x)):
        g = clip_by_value(dx[i] * factor, most)
        if rule == SGD:
            x[i] = sgd(x[i], g, rate)
        elif rule == MOMENTUM:
            x[i], a[i] = momentum(x[i], g, a[i], rate, c1)
        elif rule == NESTEROV:
            x[i], a[i] = nesterov(x[i], g, a[i], rate, c1)
        elif rule == ADAGRAD:
            x[i], a[i] = adagrad(x[i], g, a[i], rate, c1)
        elif rule == RMSPROP:
            x[i], a[i] = rmsprop(x[i], g, a[i], rate, c1, c2, c3)
        else:
            x[i], a[i], b[i] = adam(x[i], g, a[i], b[i], rate, c1, c2, c3, c4, c5, c6)
    return length
