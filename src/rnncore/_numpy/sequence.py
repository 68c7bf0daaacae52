"""Time: the loop forward, the loop back, and the gradients of the weights.

T steps, B sequences, X inputs, H hidden units, V outputs, G gates, S states, K kept on the tape. A sequence b has the
steps t < lengths[b]; what lies beyond does not exist: it is not read, and results are +0 there.
"""

from functools import cache
from importlib import import_module
from typing import Any

import numpy as np

from ..cells import CELLS, tape_shape
from ..params import Params
from ..types import Array, Arrays, Indices, Steps
from .linear import NOTHING, lane_sum, outer_sum, product, row_blocks, row_sum, token_sum
from .softmax import cross_entropy


@cache
def cell_of(name: str) -> Any:
    """The file of a cell: one step forward and one back."""
    return import_module(f".{name}", __package__)


def forward(params: Params, inputs: Steps, state: Array, lengths: Indices) -> tuple[Array, Array, Array, Array]:
    """Outputs y (T, B, V), hidden states h (T, B, H), the tape (T, B, K, ...) and the last states (S, B, H).

    inputs: vectors (T, B, X) or tokens (T, B); state: h_0 and what else the cell has (S, B, H); lengths (B,).
    """
    (T, B), H, V = inputs.shape[:2], params.hidden, params.outputs
    y, h = np.zeros((T, B, V), state.dtype), np.zeros((T, B, H), state.dtype)
    tape = np.zeros(tape_shape(params.cell, T, B, H), state.dtype)
    last = state.copy()
    for t in range(T):
        b = lengths > t
        now, saved = step_forward(params, inputs[t, b], tuple(last[:, b]))
        h[t, b], last[:, b] = now[0], now
        for k, kept in enumerate((*now[1:], *saved)):
            tape[t, b, k, :H] = kept
        y[t, b] = product(params.b_y, h[t, b], params.W_hy)
    return y, h, tape, last


def step_forward(params: Params, x: Steps, prev: Arrays) -> tuple[Arrays, Arrays]:
    """The states after a step of R sequences, S arrays (R, H), and what the cell saves."""
    cell, early, late = cell_of(params.cell), *early_and_late(params)
    a = by_gate(params, input_part(params, x))
    u = recurrent_part(params, prev[0], early)
    if CELLS[params.cell].late:
        q = cell.reset(a, by_gate(params, u), prev)
        u = np.concatenate([u, recurrent_part(params, q, late)], axis=1)
    now: tuple[Arrays, Arrays] = cell.forward(a, by_gate(params, u), prev)
    return now


def early_and_late(params: Params) -> tuple[slice, slice]:
    """The rows of W_hh that read h_{t-1}, and those that read what a cell makes of it."""
    first = len(params.W_hh) - CELLS[params.cell].late * params.hidden
    return slice(first), slice(first, None)


def input_part(params: Params, x: Steps) -> Array:
    """``b + W_xh x``, for vectors x (R, X) or tokens (R,): a token k stands for the k-th column of W_xh."""
    b = params.b_x if CELLS[params.cell].apart else params.b_h
    if x.ndim == 1:
        return b + params.W_xh[:, x].T
    return product(b, x, params.W_xh)


def recurrent_part(params: Params, h_prev: Array, rows: slice) -> Array:
    """``W_hh h_{t-1}``, from a bias of its own if it is kept apart, for some rows of W_hh."""
    b = params.b_h if CELLS[params.cell].apart else np.zeros_like(params.b_h)
    return product(b[rows], h_prev, params.W_hh[rows])


def by_gate(params: Params, rows: Array) -> Array:
    """Rows (R, G*H) as (G, R, H)."""
    return rows.reshape(len(rows), rows.shape[1] // params.hidden, params.hidden).swapaxes(0, 1)


def backward(
    params: Params,
    inputs: Steps,
    h: Array,
    tape: Array,
    state: Array,
    lengths: Indices,
    dy: Array | None,
    dh: Array | None,
    dstate: Array | None,
    need_dinputs: bool,
) -> tuple[Params, Array, Array | None]:
    """Gradients of the parameters, of the initial states (S, B, H) and, if needed, of the inputs (T, B, X).

    h and tape as ``forward`` gave them; dy (T, B, V), dh (T, B, H) and dstate (S, B, H) are dJ by the outputs, by the
    hidden states and by the last states, each None for what J does not depend on directly.
    """
    T, GH, zero = len(inputs), len(params.W_hh), np.zeros(params.hidden, state.dtype)
    da, du = (np.zeros((*h.shape[:2], GH), h.dtype) for _ in range(2))
    before = previous_states(h, tape[..., : params.hidden], state)
    carried = np.full_like(state, NOTHING) if dstate is None else dstate.copy()  # dJ by the states of step t
    for t in reversed(range(T)):
        b = lengths > t
        if dy is not None:
            carried[0, b] = product(zero, dy[t, b], params.W_hy.T) + carried[0, b]
        if dh is not None:
            carried[0, b] = carried[0, b] + dh[t, b]
        kept = tape[t, b, :, : params.hidden].swapaxes(0, 1)
        da[t, b], du[t, b], carried[:, b] = step_backward(params, carried[:, b], h[t, b], kept, before[:, t, b])
    if dstate is None:
        carried[:, lengths == 0] = 0
    grads = weight_gradients(params, inputs, h, before[0], tape, lengths, dy, da, du)
    return grads, carried, input_gradients(params, da, lengths) if need_dinputs else None


def previous_states(h: Array, tape: Array, state: Array) -> Array:
    """The states before each step, (S, T, B, H)."""
    states = np.stack([h, *(tape[:, :, k] for k in range(len(state) - 1))])
    return np.concatenate([state[:, None], states], axis=1)[:, :-1]


def step_backward(params: Params, dstate: Array, h: Array, kept: Array, before: Array) -> tuple[Array, Array, Array]:
    """da (R, G*H), du (R, G*H) and dJ by the states before (S, R, H), from dJ by those after a step of R sequences.

    h (R, H), what the tape kept (K, R, H), and the states before (S, R, H).
    """
    cell, S, early, late = cell_of(params.cell), len(before), *early_and_late(params)
    state, saved, prev = (h, *kept[: S - 1]), tuple(kept[S - 1 :]), tuple(before)
    zero = np.zeros(params.hidden, h.dtype)
    dnow = tuple(dstate)
    if CELLS[params.cell].late:
        du_late = cell.reset_backward(dnow, state, saved, prev)
        dnow = (*dnow, product(zero, du_late, params.W_hh[late].T))
    da, du, dprev = (list(arrays) for arrays in cell.backward(dnow, state, saved, prev))
    dprev[0] = product(zero, np.concatenate(du, axis=1)[:, early], params.W_hh[early].T) + dprev[0]
    return np.concatenate(da, axis=1), np.concatenate(du, axis=1), np.stack(dprev)


def weight_gradients(
    params: Params,
    inputs: Steps,
    h: Array,
    h_prev: Array,
    tape: Array,
    lengths: Indices,
    dy: Array | None,
    da: Array,
    du: Array,
) -> Params:
    """``dW_xh = sum da_t x_t^T``, ``dW_hh = sum du_t h_{t-1}^T``, ``dW_hy = sum dy_t h_t^T``, and the biases'."""
    T, B = inputs.shape[:2]
    cell, early, late = CELLS[params.cell], *early_and_late(params)
    exists = np.arange(T)[:, None] < lengths
    block = row_blocks(T, B)[exists]
    blocks = [np.flatnonzero(block == n) for n in np.unique(block)]
    x, da, du, h_prev = inputs[exists], da[exists], du[exists], h_prev[exists]
    grads = params.zeros_like()
    grads.W_xh = token_sum(da, x, params.inputs, blocks) if inputs.ndim == 2 else outer_sum(da, x, blocks)
    grads.W_hh[early] = outer_sum(du[:, early], h_prev, blocks)
    if cell.late:
        grads.W_hh[late] = outer_sum(du[:, late], tape[exists][:, -1, : params.hidden], blocks)
    if cell.apart:
        grads.b_x = row_sum(da, blocks)
    grads.b_h = row_sum(du, blocks)
    if dy is not None:
        grads.W_hy = outer_sum(dy[exists], h[exists], blocks)
        grads.b_y = row_sum(dy[exists], blocks)
    return grads


def input_gradients(params: Params, da: Array, lengths: Indices) -> Array:
    """``dx_t = W_xh^T da_t``, (T, B, X)."""
    T, B = da.shape[:2]
    exists = np.arange(T)[:, None] < lengths
    dinputs = np.zeros((T, B, params.inputs), da.dtype)
    dinputs[exists] = product(np.zeros(params.inputs, da.dtype), da[exists], params.W_xh.T)
    return dinputs


def sequence_cross_entropy(y: Array, labels: Steps, lengths: Indices) -> tuple[Array, Array]:
    """Losses (T, B) and dy (T, B, V) of outputs y (T, B, V) with labels (T, B) or (T, B, V)."""
    exists = np.arange(len(y))[:, None] < lengths
    losses, dy = np.zeros(y.shape[:2], y.dtype), np.zeros_like(y)
    losses[exists], dy[exists] = cross_entropy(y[exists], labels[exists])
    return losses, dy


def total(losses: Array) -> float:
    """J: the losses of all rows r = t*B + b, in float64, in sixteen lanes."""
    return float(lane_sum(losses.astype(np.float64).reshape(-1)))


def bptt(
    params: Params,
    inputs: Steps,
    labels: Steps,
    state: Array,
    lengths: Indices,
    need_dinputs: bool,
) -> tuple[float, Array, Params, Array, Array, Array | None]:
    """J, losses (T, B), gradients, the last states, and the gradients of the initial states and of the inputs."""
    y, h, tape, last = forward(params, inputs, state, lengths)
    losses, dy = sequence_cross_entropy(y, labels, lengths)
    grads, dstate, dinputs = backward(params, inputs, h, tape, state, lengths, dy, None, None, need_dinputs)
    return total(losses), losses, grads, last, dstate, dinputs
