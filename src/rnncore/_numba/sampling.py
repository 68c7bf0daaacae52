"""Sampling: a net reads a token, draws the next one from its outputs, and reads that."""

from typing import Any, NamedTuple

import numpy as np

from .. import net as nets
from ..cells import tape_shape
from ..types import Array, Indices
from . import compiled, layers
from .buffers import Net, forward_weights, plan_of
from .elementary import exp
from .entries import entry
from .layer import Trace, fill_forward_panels, input_part, step_forward
from .linear import grid_rows, product
from .memory import at_line
from .rows import repeat
from .spans import Problem, forward_span, trace_of
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


class Stepped(NamedTuple):
    """A layer that goes on step by step: its problem, and what it computes with; h and the tape have 2*B rows."""

    problem: Problem
    panels: Array
    h: Array
    tape: Array
    trace: Trace


def sample(problem: Problem, uniforms: Array, temperature: float) -> tuple[Indices, Array]:
    """Return tokens (T, B), drawn one after the other by uniforms (T, B), and the states of the last ones.

    The problem has one step: the tokens (B,) and the states to begin with. Layers below the last take it by themselves.
    """
    (T, B), net, tokens, t = uniforms.shape, problem.net, problem.inputs.copy(), 0
    lower, read = [], tokens
    for part in range(net.parts - 1):
        lower.append(stepped(of_two_steps(layers.part_problem(problem, part, read))))
        read = lower[-1].h[:B]
    top = stepped(last_layer(problem, read))
    plan, most = plan_of(top.problem.net), 1 if lower else plan_of(top.problem.net).most
    trace = top.trace._replace(inputs=top.trace.inputs._replace(tokens=tokens))
    draw = Draw(uniforms, temperature, np.empty((T, B), np.int64))
    while t < T:
        for below in lower:
            advance(below, t)
        t = entry(sample_span)(net.dtype, plan.net, top.problem.flat, top.panels, trace, draw, t, most)
    last = [*(states_at(below, 0) for below in lower), states_at(top, B if T % 2 == 0 else 0)]
    return draw.tokens, np.stack(last, axis=1).reshape(problem.state.shape)


def of_two_steps(problem: Problem) -> Problem:
    """Return the problem of one step with another one after it, which reads the same place."""
    B = problem.rows.B
    return problem._replace(rows=grid_rows(B, 2)._replace(address=np.tile(np.arange(B), 2)))


def last_layer(problem: Problem, read: Any) -> Problem:
    """Return the problem of the last layer and the output layer."""
    net, part = problem.net, problem.net.parts - 1
    if part == 0:
        return problem._replace(inputs=read)
    (W_xh, W_hh, b_x, b_h), (W_hy, b_y) = net.layer(problem.flat, part), net.head(problem.flat)
    arrays = [array.reshape(-1) for array in (W_xh, W_hh, W_hy, b_x, b_h, b_y) if array is not None]
    alone = nets.net_of(net.cell, net.width, net.hidden, net.outputs, net.dtype)
    return layers.part_problem(problem, part, read)._replace(net=alone, flat=np.concatenate(arrays))


def stepped(problem: Problem) -> Stepped:
    """Return what a layer computes with, the states of the problem in both steps."""
    (S, B, H), net = problem.state.shape, problem.net
    h, tape = np.empty((2 * B, H), net.dtype), np.empty(tape_shape(net.cell, 2 * B, H), net.dtype)
    for rows in (slice(B), slice(B, None)):
        h[rows], tape[rows, : S - 1, :H] = problem.state[0], problem.state[1:].swapaxes(0, 1)
    return Stepped(problem, at_line(plan_of(net).forward, net.dtype), h, tape, trace_of(problem, h, tape))


def advance(layer: Stepped, t: int) -> None:
    """Take step t of a layer: the first of its two, or else the second, whose states then go where the first's are."""
    net, B, h, tape = layer.problem.net, layer.problem.rows.B, layer.h, layer.tape
    y = np.empty((2 * B, 0), net.dtype)
    entry(forward_span)(net.dtype, plan_of(net).net, layer.problem.flat, layer.panels, layer.trace, y, min(t, 1), 1)
    if t > 0:
        h[:B], tape[:B] = h[B:], tape[B:]


def states_at(layer: Stepped, row: int) -> Array:
    """Return the states (S, B, H) that a layer has in the rows from ``row`` on."""
    S, B, H = layer.problem.state.shape
    rows = slice(row, row + B)
    return np.stack([layer.h[rows], *layer.tape[rows, : S - 1, :H].swapaxes(0, 1)])
