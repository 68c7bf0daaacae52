"""Central differences: the slopes of functions of arrays, and how far from them a gradient may be."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeAlias

import numpy as np

from ..types import Array, Mask
from .report import Difference

Evaluate: TypeAlias = Callable[[], tuple[Array, Mask]]
"""Returns J of each sequence as arrays now are, or one number for all, and which hidden states are 0."""

UNIT = np.finfo(np.float64).eps / 2
"""Half a unit in the last place of 1: how far a rounded result may be from the exact one, beside it."""

SAMPLES = 3  # elements of each tensor that are tried


class Variable(NamedTuple):
    """An array x of which J is a function, and what is said to be its gradient.

    of_each: whether the gradient is that of J of each sequence, the first axis, rather than of their sum.
    """

    name: str
    x: Array
    gradient: Array
    of_each: bool = False


class Slopes:
    """The slopes of J by differences. noise: how far a computed J may be from J."""

    def __init__(self, evaluate: Evaluate, noise: float, place: Callable[[str, tuple[int, ...]], str]) -> None:
        self.evaluate, self.noise, self.place = evaluate, noise, place

    def difference(self, variable: Variable) -> Difference:
        """Return the element of one gradient that is furthest from central differences, for what may be expected."""
        worst, steepest = Difference(variable.name, 0.0, math.inf, ""), 0.0
        for at in _sample(variable.gradient):
            slope, allowed = self._slope(variable, at, steepest)
            steepest = max(steepest, abs(slope))
            distance = abs(slope - float(variable.gradient[at]))
            if not worst.where or distance * worst.allowed > worst.largest * allowed:
                worst = Difference(variable.name, distance, allowed, self.place(variable.name, at))
        return worst

    def _slope(self, variable: Variable, at: tuple[int, ...], steepest: float) -> tuple[float, float]:
        """Return dJ/dx[at] from differences of J, and how far from it they may be.

        With steps s and 2 s, ``D(s) = (J(x + s) - J(x - s)) / 2s`` is off by a s^2 + b s^4 + ...; then
        (4 D(s) - D(2s)) / 3 is off by -4 b s^4, less than |D(2s) - D(s)|, and by 1.5 noise / s, from four values of J,
        which are also rounded themselves: they may be much larger than J is at x.
        Where J bends so much that this is not small beside the steepest slope, or where a rectifier goes on or off
        between the four, which is an edge in J, smaller steps are tried. Where J is too rough for all of them, anything
        may be.
        """
        for exponent in (-10, -14, -18, -22, -26):
            s = 2.0**exponent * max(1.0, abs(float(variable.x[at])))
            (D, off, J), (D2, off2, J2) = (self._central(variable, at, step) for step in (s, 2 * s))
            bent, rounded = abs(D2 - D), 1.5 * (self.noise + 4 * UNIT * max(J, J2)) / s
            edge = off is None or off2 is None or bool((off != off2).any())
            if not edge and bent <= max(1e-4 * max(abs(D), steepest), rounded):
                return (4 * D - D2) / 3, bent + rounded
        return 0.0, math.inf

    def _central(self, variable: Variable, at: tuple[int, ...], s: float) -> tuple[float, Mask | None, float]:
        """Return D(s), which hidden states are 0, None if not the same ones on both sides, and the larger size of J."""
        x, kept = variable.x, float(variable.x[at])
        above, below = kept + s, kept - s
        x[at] = above
        J_above, off_above = self.evaluate()
        x[at] = below
        J_below, off_below = self.evaluate()
        x[at] = kept
        of = at[0] if variable.of_each else slice(None)
        slope = float((J_above - J_below)[of].sum()) / (above - below)
        off = None if (off_above != off_below).any() else off_above
        return slope, off, max(float(np.abs(J[of]).sum()) for J in (J_above, J_below))


def _sample(gradient: Array) -> Iterator[tuple[int, ...]]:
    """Yield the largest element first, then some others."""
    size = gradient.size
    chosen = [int(np.abs(gradient).argmax()), *(int(n) for n in np.linspace(0, size - 1, SAMPLES + 1)[1:-1])]
    return (tuple(int(i) for i in np.unravel_index(n, gradient.shape)) for n in dict.fromkeys(chosen))
