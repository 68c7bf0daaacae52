"""Optimizers: the length of a gradient, clipping, and one step along it.

A rule is a small pure function of an element: of the parameter x, the gradient g, what the optimizer remembers, and
numbers. ``step`` does the rest.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..types import Array
from .linear import lane_sum

Scalar = Any  # np.float32 or np.float64


def sum_of_squares(x: Array, unit: float) -> float:
    """Return the sum of (unit x)^2, in float64, in sixteen lanes."""
    scaled = x.astype(np.float64) * unit
    return float(lane_sum(scaled * scaled))


def norm(x: Array) -> float:
    """Return |x|, in another unit where squares would overflow, or lose digits below the normal numbers."""
    total = sum_of_squares(x, 1.0)
    unit = 2.0**600 if total < 2.0**-900 else 2.0**-600 if total > 2.0**1000 else 1.0
    return math.sqrt(total) if unit == 1 else math.sqrt(sum_of_squares(x, unit)) / unit


def clip_by_value(g: Array, limit: Scalar) -> Array:
    """Return g, no element beyond limit or -limit; comparisons that let NaN pass."""
    g = np.where(g > limit, limit, g)
    return np.where(g < -limit, -limit, g)


def clip_by_norm(dx: Array, scale: float, longest: float) -> tuple[float, float]:
    """Return the length of scale dx, and what to multiply dx by so that it is not longer than ``longest``.

    If longest is NaN, the length is not wanted, and NaN is returned for it.
    """
    length = math.nan if math.isnan(longest) else norm(dx) * scale
    return length, scale * (longest / length) if length > longest else scale


def sgd(x: Array, g: Array, rate: Scalar) -> tuple[Array]:
    """Return ``x - rate g``."""
    return (x - rate * g,)


def momentum(x: Array, g: Array, v: Array, rate: Scalar, beta: Scalar) -> tuple[Array, Array]:
    """Return ``x - rate v`` and v, with ``v = beta v + g``."""
    v = beta * v + g
    return x - rate * v, v


def nesterov(x: Array, g: Array, v: Array, rate: Scalar, beta: Scalar) -> tuple[Array, Array]:
    """Return ``x - rate (beta v + g)`` and v, with ``v = beta v + g``."""
    v = beta * v + g
    return x - rate * (beta * v + g), v


def adagrad(x: Array, g: Array, s: Array, rate: Scalar, epsilon: Scalar) -> tuple[Array, Array]:
    """Return ``x - rate g / (sqrt(s) + epsilon)`` and s, with ``s = s + g g``."""
    s = s + g * g
    return x - rate * (g / (np.sqrt(s) + epsilon)), s


def rmsprop(
    x: Array, g: Array, s: Array, rate: Scalar, epsilon: Scalar, decay: Scalar, rest: Scalar
) -> tuple[Array, Array]:
    """Return ``x - rate g / (sqrt(s) + epsilon)`` and s, with ``s = decay s + rest g g``, rest = 1 - decay."""
    s = decay * s + rest * (g * g)
    return x - rate * (g / (np.sqrt(s) + epsilon)), s


def adam(x: Array, g: Array, m: Array, v: Array, *numbers: Scalar) -> tuple[Array, Array, Array]:
    """Return ``x - rate m / (sqrt(whole v) + epsilon)``, ``m = beta1 m + rest1 g`` and ``v = beta2 v + rest2 g g``.

    rate and whole undo that m and v started from 0.
    """
    rate, epsilon, beta1, rest1, beta2, rest2, whole = numbers
    m = beta1 * m + rest1 * g
    v = beta2 * v + rest2 * (g * g)
    return x - rate * (m / (np.sqrt(v * whole) + epsilon)), m, v


RULES: dict[str, Callable[..., tuple[Array, ...]]] = {
    "sgd": sgd,
    "momentum": momentum,
    "nesterov": nesterov,
    "adagrad": adagrad,
    "rmsprop": rmsprop,
    "adam": adam,
}


def usable(length: float, longest: float) -> bool:
    """Return whether a gradient of this length may be used: not if the length is wanted and not finite."""
    return math.isnan(longest) or length < math.inf


def clip(dx: Array, longest: float, limit: float) -> float:
    """Shorten and clip dx in place; return the length that it had.

    If that is not finite, nothing is changed.
    """
    real = dx.dtype.type
    length, scale = clip_by_norm(dx, 1.0, longest)
    if usable(length, longest):
        dx[:] = clip_by_value(dx * real(scale), real(limit))
    return length


def add_shortened(total: Array, rows: Array, longest: float) -> Array:
    """Add rows to total, one after the other, each first shortened; return the lengths that they have.

    A row whose length is not finite is added as it is.
    """
    lengths = np.empty(len(rows))
    for k, row in enumerate(rows):
        lengths[k], scale = clip_by_norm(row, 1.0, longest)
        total += row * row.dtype.type(scale if usable(lengths[k], longest) else 1)
    return lengths


def step(
    rule: str,
    x: Array,
    dx: Array,
    memory: tuple[Array, ...],
    numbers: tuple[float, ...],
    scale: float,
    longest: float,
    limit: float,
) -> float:
    """Take one step in place of x and of the memory; return the length of scale dx.

    If that is not finite, nothing is changed. numbers: in the order of the rule's parameters.
    """
    real = x.dtype.type
    length, scale = clip_by_norm(dx, scale, longest)
    if usable(length, longest):
        g = clip_by_value(dx * real(scale), real(limit))
        new = RULES[rule](x, g, *memory, *(real(number) for number in numbers))
        for target, value in zip((x, *memory), new, strict=True):
            target[:] = value
    return length
