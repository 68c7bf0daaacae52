"""Sampling: a net reads a token, draws the next one by what it then thinks, and reads that."""

import numpy as np

from ..types import Array, Indices
from . import compiled
from .elementary import exp
from .linear import panels, product
from .sequence import Inputs, Weights, cell_of, copy, early_and_late, input_part, repeat, step_forward


@compiled
def largest(y: Array, V: int) -> float:
    """The maximum of the first V; NaN if any of them is."""
    M = y[0]
    for v in range(1, V):
        M = y[v] if y[v] > M else (y[v] if y[v] != y[v] else M)
    maximum: float = M
    return maximum


@compiled
def cumulate(y: Array, temperature: float, c: Array) -> None:
    """``c_v = e_0 + ... + e_v`` with ``e_v = exp((y_v - M) / temperature)``, M = max y.

    y (V,) -> c (V,), in float64 whatever y is in.
    """
    V = len(c)
    M = np.float64(largest(y, V))
    for v in range(V):
        c[v] = (np.float64(y[v]) - M) / temperature
    for v in range(V):
        c[v] = exp(c[v])
    for v in range(1, V):
        c[v] = c[v - 1] + c[v]


@compiled
def choose(y: Array, u: float, temperature: float, c: Array) -> int:
    """The token at u of the distribution ``softmax(y / temperature)``, y (V,); c (V,) is room.

    That is the first v with ``c_v > u c_{V-1}`` or ``c_v = c_{V-1}``; with temperature 0, with ``y_v = M``. If there is
    none, as where y holds NaN, it is the last.
    """
    V, v = len(c), 0
    if temperature == 0:
        M = largest(y, V)
        while v < V - 1 and y[v] != M:
            v += 1
        return v
    cumulate(y, temperature, c)
    total = c[V - 1]
    target = u * total
    while v < V - 1 and not (c[v] > target or c[v] == total):
        v += 1
    return v


@compiled
def sample(
    params: Weights,
    first: Indices,
    uniforms: Array,
    state: Array,
    temperature: float,
    tokens: Indices,
    last: Array,
) -> None:
    """Tokens (T, B), drawn one after the other by uniforms (T, B), and in ``last`` the states of the last ones.

    The first ones are drawn after the tokens ``first`` (B,) and the states (S*B, H).
    """
    (T, B), H, V = uniforms.shape, state.shape[1], len(params.b_y)
    W_xh, W_hy = panels(params.W_xh), panels(params.W_hy)
    early, late = early_and_late(params)
    W_early, W_late = panels(early), panels(late)
    inputs = Inputs(True, first.copy(), np.empty((0, 0), state.dtype))
    rows, c = np.arange(B), np.empty(V, np.float64)
    h, tape = np.empty((B, H), state.dtype), np.empty((B * cell_of(params).kept, H), state.dtype)
    copy(state, last)
    for t in range(T):
        a = input_part(params, W_xh, inputs, rows)
        step_forward(params, a, rows, W_early, W_late, h, tape, last)
        y = repeat(params.b_y, B)
        product(y, h, W_hy)
        for b in range(B):
            inputs.tokens[b] = tokens[t, b] = choose(y[b], uniforms[t, b], temperature, c)
