"""Sampling: a net reads a token, draws the next one from its outputs, and reads that."""

from typing import Any, NamedTuple

import numpy as np

from ..cells import tape_shape
from ..types import Array, Indices
from . import compiled
from .buffers import Net, forward_weights, plan_of
from .elementary import exp
from .entries import entry
from .layer import Trace, fill_forward_panels, input_part, repeat, step_forward
from .linear import product
from .stack import Problem, trace_of
from .tile import fill_panels
from .units import Before


@compiled
def largest(y: Array, V: int) -> float:
    """Return the maximum of the first V; NaN if any of them is."""
    M = y[0]
    for v in range(1, V):
        M = y[v] if y[v] > M else (y[v] if y[v] != y[v] else M)
    maximum: float = M
    return maximum


@compiled
def cumulate(y: Array, temperature: float, c: Array) -> None:
    """Write ``c_v = e_0 + ... + e_v`` with ``e_v = exp((y_v - M) / temperature)``, M = max y.

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
    """Return the token at u of the distribution ``softmax(y / temperature)``, y (V,); c (V,) is a scratch buffer.

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


class Draw(NamedTuple):
    """Says how to draw tokens (T, B), by uniforms (T, B) at a temperature, and where they go."""

    uniforms: Array
    temperature: float
    tokens: Indices


@compiled
def sample_span(net: Net, flat: Array, panels: Array, trace: Trace, draw: Draw, t: int, most: int) -> int:
    """Draw tokens from step t on, for ``most`` rows or a step more; return the step to go on from.

    The trace has two steps of B rows, which are written in turn, each from the other. Its inputs are the tokens read.
    """
    (T, B), read = draw.tokens.shape, trace.inputs.tokens
    start: Any = np.int64(0)
    weights = forward_weights(net, flat, panels)
    c, end = np.empty(net.V, np.float64), min(T, t + -(-most // B))
    if t == 0:
        fill_forward_panels(weights.layer)
        fill_panels(weights.head.W_hy, weights.head.arrays.W_hy)
    while t < end:
        row = t % 2 * B
        a = input_part(weights.layer, trace.inputs, trace.rows, start, B)
        step_forward(weights.layer, a, start, Before(trace.h, trace.tape, B - row), trace.h, trace.tape, row, row + B)
        y = repeat(weights.head.arrays.b_y, B)
        product(y, trace.h[row : row + B], weights.head.W_hy)
        for b in range(B):
            read[b] = draw.tokens[t, b] = choose(y[b], draw.uniforms[t, b], draw.temperature, c)
        t += 1
    return t


def sample(problem: Problem, uniforms: Array, temperature: float) -> tuple[Indices, Array]:
    """Return tokens (T, B), drawn one after the other by uniforms (T, B), and the states (S, B, H) of the last ones.

    The problem has one step: the tokens (B,) and the states to begin with.
    """
    (T, B), (S, _, H), net, plan = uniforms.shape, problem.state.shape, problem.net, plan_of(problem.net)
    h, tape = np.empty((2 * B, H), net.dtype), np.empty(tape_shape(net.cell, 2 * B, H), net.dtype)
    h[B:], tape[B:, : S - 1, :H] = problem.state[0], problem.state[1:].swapaxes(0, 1)
    trace = trace_of(problem._replace(inputs=problem.inputs.copy()), h, tape)
    draw, panels, t = Draw(uniforms, temperature, np.empty((T, B), np.int64)), np.empty(plan.forward, net.dtype), 0
    while t < T:
        t = entry(sample_span)(net.dtype, plan.net, problem.flat, panels, trace, draw, t, plan.most)
    last = slice(B, None) if T % 2 == 0 else slice(B)
    return draw.tokens, np.stack([h[last], *tape[last, : S - 1, :H].swapaxes(0, 1)])
