"""Sampling: a net reads a token, draws the next one from its outputs, and reads that."""

import numpy as np

from ..types import Array, Indices
from .elementary import exp
from .layers import Problem
from .stack import forward


def cumulate(y: Array, temperature: float) -> Array:
    """Return ``c_v = e_0 + ... + e_v`` with ``e_v = exp((y_v - M) / temperature)``, M = max y.

    y (V,) -> (V,), in float64 whatever y is in.
    """
    wide = y.astype(np.float64)
    return np.add.accumulate(exp((wide - wide.max()) / temperature))


def choose(y: Array, u: float, temperature: float) -> int:
    """Return the token at u of the distribution ``softmax(y / temperature)``, y (V,).

    That is the first v with ``c_v > u c_{V-1}`` or ``c_v = c_{V-1}``; with temperature 0, with ``y_v = M``. If there is
    none, as where y holds NaN, it is the last.
    """
    if temperature == 0:
        right = y == y.max()
    else:
        c = cumulate(y, temperature)
        right = (c > u * c[-1]) | (c == c[-1])
    right[-1] = True
    return int(right.argmax())


def sample(problem: Problem, uniforms: Array, temperature: float) -> tuple[Indices, Array]:
    """Return tokens (T, B), drawn one after the other by uniforms (T, B), and the states (S, P, B, H) of the last ones.

    The problem has one step: the tokens (1, B) and the states to begin with.
    """
    T, B = uniforms.shape
    tokens = np.empty((T, B), np.int64)
    for t in range(T):
        y, _, last = forward(problem)
        for b in range(B):
            tokens[t, b] = choose(y[0, b], float(uniforms[t, b]), temperature)
        problem = problem._replace(inputs=tokens[t : t + 1], state=last)
    return tokens, problem.state
