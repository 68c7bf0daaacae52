"""A whole net: the layer, the output layer and the loss, one after the other.

Arrays are grids: T steps, B sequences, X inputs, H hidden units, V outputs, S states, K rows of the tape. Results are
+0 at steps that do not exist.
"""

from typing import NamedTuple

import numpy as np

from .. import net as nets
from ..types import Array, Inputs, Labels
from . import head, layer
from .linear import NOTHING, Mask, lane_sum, row_blocks


class Problem(NamedTuple):
    """What every call is about: the net, its parameters ``flat``, and what it runs over.

    inputs: vectors (T, B, X) or tokens (T, B). state (S, B, H): the states before the first step. exist (T, B): which
    steps do. last: whether the output layer reads the last state of each sequence only, a grid of one step.
    """

    net: nets.Net
    flat: Array
    inputs: Inputs
    state: Array
    exist: Mask
    last: bool


def forward(problem: Problem) -> tuple[Array, Array, Array, Array]:
    """Return outputs y (T, B, V), hidden states h (T, B, H), the tape (T, B, K, ...) and the last states (S, B, H).

    If the output layer reads last states only, y is (1, B, V), and so on in what belongs to outputs.
    """
    net, flat, inputs, state, exist, _ = problem
    h, tape, last = layer.forward(net.cell, net.layer(flat), inputs, state, exist)
    read, there = read_by_head(problem, h)
    y = np.zeros((*there.shape, net.outputs), h.dtype)
    y[there] = head.forward(net.head(flat), read[there])
    return y, h, tape, last


def read_by_head(problem: Problem, h: Array) -> tuple[Array, Mask]:
    """Return what the output layer reads, a grid of hidden states, and which places of it exist."""
    exist = problem.exist
    if not problem.last:
        return h, exist
    lengths, B = exist.sum(axis=0), exist.shape[1]
    there = lengths > 0
    final = np.zeros((B, h.shape[2]), h.dtype)
    final[there] = h[lengths[there] - 1, np.flatnonzero(there)]
    return final[None], there[None]


def add_to_last(dstate: Array | None, dh: Array, state: Array, there: Mask) -> Array:
    """Return the gradient with respect to the last states (S, B, H), with what comes through the outputs, dh (B, H)."""
    total = np.where(there[:, None], np.full_like(state, NOTHING), 0) if dstate is None else dstate.copy()
    total[0, there] = dh[there] + total[0, there]
    return total


def backward(
    problem: Problem,
    h: Array,
    tape: Array,
    dy: Array | None,
    dh: Array | None,
    dstate: Array | None,
    need_dinputs: bool,
) -> tuple[Array, Array, Array | None]:
    """Return the gradients of the parameters, like flat, of the initial states (S, B, H), and of the inputs if needed.

    h and tape as ``forward`` returned them. dy (T, B, V), dh (T, B, H), dstate (S, B, H): the gradients with respect to
    the outputs, the hidden states and the last states; None for what J does not depend on directly.
    """
    net, flat, inputs, state, exist, _ = problem
    arrays = net.layer(flat)
    read, there = read_by_head(problem, h)
    dhs = [] if dh is None else [dh]
    if dy is not None:
        from_outputs = np.zeros_like(read)
        from_outputs[there] = head.backward(net.head(flat), dy[there])
        if problem.last:
            dstate = add_to_last(dstate, from_outputs[0], state, there[0])
        else:
            dhs.insert(0, from_outputs)
    before = layer.previous_states(h, tape, state)
    da, du, first = layer.backward(net.cell, arrays, h, tape, before, exist, dhs, dstate)
    grads, blocks = np.zeros_like(flat), row_blocks(exist)
    x, h_prev, kept, da_rows, du_rows = map(as_rows, (inputs, before[0], tape, da, du))
    layer.weight_gradients(net.cell, net.layer(grads), x, h_prev, kept, da_rows, du_rows, blocks)
    if dy is not None:
        head.weight_gradients(net.head(grads), as_rows(dy), as_rows(read), row_blocks(there))
    if not need_dinputs:
        return grads, first, None
    dinputs = np.zeros_like(inputs)
    dinputs[exist] = layer.input_gradients(arrays, da[exist])
    return grads, first, dinputs


def bptt(
    problem: Problem, name: str, labels: Labels, weights: Array | None, need_dinputs: bool
) -> tuple[float, Array, Array, Array, Array, Array | None]:
    """Return J, losses (T, B), and gradients and last states as ``backward`` and ``forward`` do.

    In this order: J, losses, gradients of the parameters, last states, gradients of the initial states, of the inputs.
    """
    y, h, tape, last = forward(problem)
    losses, dy = loss(name, y, labels, weights, read_by_head(problem, h)[1])
    grads, first, dinputs = backward(problem, h, tape, dy, None, None, need_dinputs)
    return total(losses), losses, grads, last, first, dinputs


def loss(name: str, y: Array, labels: Labels, weights: Array | None, exist: Mask) -> tuple[Array, Array]:
    """Return losses (T, B) and dy (T, B, V) of outputs y (T, B, V) with labels (T, B, ...) and weights (T, B)."""
    losses, dy = np.zeros(y.shape[:2], y.dtype), np.zeros_like(y)
    there = None if weights is None else weights[exist]
    losses[exist], dy[exist] = head.loss(name, y[exist], labels[exist], there)
    return losses, dy


def total(losses: Array) -> float:
    """Return J: the losses (T, B) of all rows r = t*B + b, in float64, in sixteen lanes."""
    return float(lane_sum(losses.astype(np.float64).reshape(-1)))


def as_rows(grid: Array) -> Array:
    """Return a grid (T, B, ...) as rows r = t*B + b."""
    T, B = grid.shape[:2]
    return grid.reshape(T * B, *grid.shape[2:])
