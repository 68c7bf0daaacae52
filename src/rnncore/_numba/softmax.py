"""The softmax, a row at a time: ``p = softmax(y)``."""

import numpy as np

from ..types import Array
from . import ONE, compiled
from .elementary import exp
from .linear import lane_sum
from .memory import row_of


@compiled
def parts(y: Array, e: Array, lanes: Array) -> tuple[float, float]:
    """Return M = max y and the sum s of ``e_v = exp(y_v - M)``, and write e (V,)."""
    M = y[0]
    for v in range(1, len(y)):
        M = y[v] if y[v] > M else (y[v] if y[v] != y[v] else M)
    for v in range(len(y)):
        e[v] = exp(y[v] - M)
    return M, lane_sum(e, lanes)


@compiled
def normalise(e: Array, s: float) -> None:
    """Write p = e / s in the place of e (V,)."""
    share = ONE / s
    for v in range(len(e)):
        e[v] *= share


@compiled
def softmax(y: Array, p: Array) -> None:
    """Write ``p_v = exp(y_v - M) / s`` with ``M = max y`` and ``s = sum_v exp(y_v - M)``. y (R, V) -> p (R, V)."""
    lanes = np.empty(16, y.dtype)
    for r in range(len(y)):
        own = row_of(p, r)
        _, s = parts(row_of(y, r), own, lanes)
        normalise(own, s)


@compiled
def others(e: Array, c: int, lanes: Array) -> float:
    """Return the sum of the e (V,) but that at c; e is as before afterwards."""
    own = e[c]
    e[c] = 0
    t = lane_sum(e, lanes)
    e[c] = own
    return t
