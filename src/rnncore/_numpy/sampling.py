"""Sampling: a net reads a token, draws the next one by what it then thinks, and reads that."""

import numpy as np

from ..params import Params
from ..types import Array, Indices
from . import sequence
from .elementary import exp


def cumulate(y: Array, temperature: float) -> Array:
    """``c_v = e_0 + ... + e_v`` with ``e_v = exp((y_v - M) / temperature)``, M = max y.

    y (V,) -> (V,), in float64 whatever y is in.
    """
    wide = y.astype(np.float64)
    return np.add.accumulate(exp((wide - wide.max()) / temperature))


def choose(y: Array, u: float, temperature: float) -> int:
    """The token at u of the distribution ``softmax(y / temperature)``, y (V,).

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


def sample(params: Params, first: Indices, uniforms: Array, state: Array, temperature: float) -> tuple[Indices, Array]:
    """Tokens (T, B), drawn one after the other by uniforms (T, B), and the states (S, B, H) of the last ones.

    The first ones are drawn after the tokens ``first`` (B,) and the states (S, B, H).
    """
    T, B = uniforms.shape
    tokens, one, state = np.empty((T, B), np.int64), np.ones(B, np.int64), state.copy()
    for t in range(T):
        read = first if t == 0 else tokens[t - 1]
        y, _, _, state = sequence.forward(params, read[None], state, one)
        for b in range(B):
            tokens[t, b] = choose(y[0, b], float(uniforms[t, b]), temperature)
    return tokens, state
