"""The recurrent layer: the loop forward through time, the loop back, and the gradients of its weights.

T steps, B sequences, X inputs, H hidden units, G gates, S states, K rows of the tape. R is a number of rows: the
sequences that have a step, or all steps that exist. What lies beyond these is not read, and results are +0 there.
"""

from collections.abc import Sequence
from functools import cache
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np

from ..cells import CELLS, tape_shape
from ..net import LayerArrays
from ..types import Array, Arrays, Inputs
from .linear import NOTHING, Mask, Sums, outer_sum, product, row_sum, token_sum


class Grid(NamedTuple):
    """Says which steps there are.

    exist (T, B): of sequence b the first ones do, as many as it is long. resets (T, B): before which of them the states
    are zero, and what is carried back ends.
    """

    exist: Mask
    resets: Mask


@cache
def cell_of(name: str) -> Any:
    """Return the file of a cell: one step forward and one back."""
    return import_module(f".{name}", __package__)


def forward(cell: str, arrays: LayerArrays, inputs: Inputs, state: Array, grid: Grid) -> tuple[Array, Array, Array]:
    """Return the hidden states h (T, B, H), the tape (T, B, K, ...) and the last states (S, B, H).

    inputs: vectors (T, B, X) or tokens (T, B). state (S, B, H): the states before the first step, h first.
    """
    (T, B), H = inputs.shape[:2], state.shape[2]
    a = np.zeros((T, B, len(arrays.b_h)), state.dtype)
    h, tape = np.zeros((T, B, H), state.dtype), np.zeros((T, B, *tape_shape(cell, T * B, H)[1:]), state.dtype)
    last = state.copy()
    a[grid.exist] = input_part(arrays, inputs[grid.exist])
    for t in range(T):
        b = grid.exist[t]
        last[:, grid.resets[t]] = 0
        now, saved = step_forward(cell, arrays, a[t, b], tuple(last[:, b]))
        h[t, b], last[:, b] = now[0], now
        for k, row in enumerate((*now[1:], *saved)):
            tape[t, b, k, :H] = row
    return h, tape, last


def step_forward(cell: str, arrays: LayerArrays, a: Array, prev: Arrays) -> tuple[Arrays, Arrays]:
    """Return the states after a step, S arrays (R, H), and what the cell saves; a (R, G*H) is the input part."""
    file, (before_reset, after_reset) = cell_of(cell), around_reset(cell, arrays)
    H = arrays.W_hh.shape[1]
    u = recurrent_part(arrays, prev[0], before_reset)
    if CELLS[cell].gates_after_reset:
        q = file.reset(by_gate(a, H), by_gate(u, H), prev)
        u = np.concatenate([u, recurrent_part(arrays, q, after_reset)], axis=1)
    now: tuple[Arrays, Arrays] = file.forward(by_gate(a, H), by_gate(u, H), prev)
    return now


def around_reset(cell: str, arrays: LayerArrays) -> tuple[slice, slice]:
    """Return the rows of W_hh that read h_{t-1}, and those that read q, which a cell makes of it first."""
    GH, H = arrays.W_hh.shape
    first = GH - CELLS[cell].gates_after_reset * H
    return slice(first), slice(first, None)


def input_part(arrays: LayerArrays, x: Inputs) -> Array:
    """Return ``b + W_xh x`` of vectors x (R, X) or tokens (R,): a token k stands for the k-th column of W_xh."""
    b = arrays.b_h if arrays.b_x is None else arrays.b_x
    if x.ndim == 1:
        return b + arrays.W_xh[:, x].T
    return product(b, x, arrays.W_xh)


def recurrent_part(arrays: LayerArrays, h_prev: Array, rows: slice) -> Array:
    """Return ``W_hh h_{t-1}`` for some rows of W_hh, plus the recurrent bias of a cell that has one of its own."""
    b = np.zeros_like(arrays.b_h) if arrays.b_x is None else arrays.b_h
    return product(b[rows], h_prev, arrays.W_hh[rows])


def by_gate(rows: Array, H: int) -> Array:
    """Return rows (R, G*H) as (G, R, H)."""
    return rows.reshape(len(rows), rows.shape[1] // H, H).swapaxes(0, 1)


class Gates(NamedTuple):
    """Holds what the way back gives of each step, but its end.

    da, du (T, B, G*H): the gradients with respect to the input part and to the recurrent part. dstates (S, T, B, H):
    those with respect to the states after each step.
    """

    da: Array
    du: Array
    dstates: Array


def backward(
    cell: str,
    arrays: LayerArrays,
    h: Array,
    tape: Array,
    before: Array,
    grid: Grid,
    dhs: Sequence[Array],
    dstate: Array | None,
) -> tuple[Gates, Array]:
    """Return the gradients with respect to what each step computes, and to the initial states (S, B, H).

    h and tape as ``forward`` returned them, before as ``previous_states`` does. dhs: the terms (T, B, H) of the
    gradient with respect to h that come from outside the layer, added in this order. dstate (S, B, H): the gradient
    with respect to the last states, None if J does not depend on them directly.
    """
    T, B, H = h.shape
    da, du = (np.zeros((T, B, len(arrays.W_hh)), h.dtype) for _ in range(2))
    nothing, dstates = np.full((len(before), B, H), NOTHING, h.dtype), np.zeros_like(before)
    carried = nothing if dstate is None else dstate.copy()  # with respect to the states after step t
    for t in reversed(range(T)):
        b = grid.exist[t]
        for dh in dhs:
            carried[0, b] = dh[t, b] + carried[0, b]
        dstates[:, t, b] = carried[:, b]
        kept = tape[t, b, :, :H].swapaxes(0, 1)
        da[t, b], du[t, b], carried[:, b] = step_backward(cell, arrays, carried[:, b], h[t, b], kept, before[:, t, b])
        carried[:, grid.resets[t]] = NOTHING if t > 0 else 0
    if dstate is None:
        carried[:, ~grid.exist.any(axis=0)] = 0
    return Gates(da, du, dstates), carried


def step_backward(
    cell: str, arrays: LayerArrays, dstate: Array, h: Array, kept: Array, before: Array
) -> tuple[Array, Array, Array]:
    """Return da (R, G*H), du (R, G*H), and the gradient with respect to the states before a step (S, R, H).

    dstate (S, R, H): the gradient with respect to the states after it. h (R, H), what the tape kept (K, R, H), and the
    states before (S, R, H).
    """
    file, (before_reset, after_reset), S = cell_of(cell), around_reset(cell, arrays), len(before)
    state, saved, prev = (h, *kept[: S - 1]), tuple(kept[S - 1 :]), tuple(before)
    zero, dnow = np.zeros(h.shape[1], h.dtype), tuple(dstate)
    if CELLS[cell].gates_after_reset:
        du_after = file.reset_backward(dnow, state, saved, prev)
        dnow = (*dnow, product(zero, du_after, arrays.W_hh[after_reset].T))
    da, du, dprev = (list(gradients) for gradients in file.backward(dnow, state, saved, prev))
    dprev[0] = product(zero, np.concatenate(du, axis=1)[:, before_reset], arrays.W_hh[before_reset].T) + dprev[0]
    return np.concatenate(da, axis=1), np.concatenate(du, axis=1), np.stack(dprev)


def previous_states(h: Array, tape: Array, state: Array, resets: Mask) -> Array:
    """Return the states before each step, (S, T, B, H)."""
    H = h.shape[2]
    states = np.stack([h, *(tape[:, :, k, :H] for k in range(len(state) - 1))])
    before = np.concatenate([state[:, None], states], axis=1)[:, :-1]
    before[:, resets] = 0
    return before


def input_gradients(arrays: LayerArrays, da: Array) -> Array:
    """Return ``dx_t = W_xh^T da_t``, (R, X)."""
    return product(np.zeros(arrays.W_xh.shape[1], da.dtype), da, arrays.W_xh.T)


def weight_gradients(
    cell: str,
    grads: LayerArrays,
    inputs: Inputs,
    h_prev: Array,
    tape: Array,
    da: Array,
    du: Array,
    sums: Sums,
) -> None:
    """Write ``dW_xh = sum da_t x_t^T``, ``dW_hh = sum du_t h_{t-1}^T`` and the biases' sums into grads.

    The arrays (R, ...) hold the rows of all steps of the grid.
    """
    H, (before_reset, after_reset), blocks = h_prev.shape[1], around_reset(cell, grads), sums.blocks
    W_xh, W_hh, b_x, b_h = grads if sums.begun else (None, None, None, None)
    if inputs.ndim == 1:
        grads.W_xh[:] = token_sum(da, inputs, grads.W_xh.shape[1], blocks, W_xh)
    else:
        grads.W_xh[:] = outer_sum(da, inputs, blocks, W_xh)
    grads.W_hh[before_reset] = outer_sum(du[:, before_reset], h_prev, blocks, of_rows(W_hh, before_reset))
    if CELLS[cell].gates_after_reset:
        grads.W_hh[after_reset] = outer_sum(du[:, after_reset], tape[:, -1, :H], blocks, of_rows(W_hh, after_reset))
    if grads.b_x is not None:
        grads.b_x[:] = row_sum(da, blocks, b_x)
    grads.b_h[:] = row_sum(du, blocks, b_h)


def of_rows(matrix: Array | None, rows: slice) -> Array | None:
    """Return some rows of a matrix, if there is one."""
    return None if matrix is None else matrix[rows]
