"""The softmax, a row at a time: ``p = softmax(y)``."""

from typing import NamedTuple

import numpy as np

from ..types import Array, Indices
from .elementary import exp
from .linear import lane_sum


class Parts(NamedTuple):
    """Holds what a softmax is made of: M = max y (R, 1), e_v = exp(y_v - M) (R, V), their sum s (R, 1)."""

    M: Array
    e: Array
    s: Array


def parts(y: Array) -> Parts:
    """Return M, e and s of outputs y (R, V)."""
    M = y.max(axis=1, keepdims=True)
    e = exp(y - M)
    return Parts(M, e, lane_sum(e)[:, None])


def normalise(parts: Parts) -> Array:
    """Return p = e / s, (R, V)."""
    _, e, s = parts
    return e * (1 / s)


def softmax(y: Array) -> Array:
    """Return ``p_v = exp(y_v - M) / s`` with ``M = max y`` and ``s = sum_v exp(y_v - M)``. y (R, V) -> (R, V)."""
    return normalise(parts(y))


def others(e: Array, c: Indices) -> Array:
    """Return the sum of the e of a row but that at c: e (R, V), c (R,) -> (R,)."""
    return lane_sum(np.where(np.arange(e.shape[1]) == c[:, None], e.dtype.type(0), e))
