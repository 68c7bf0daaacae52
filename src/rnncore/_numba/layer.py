"""The recurrent layer: the loop forward through time, the loop back, and the gradients of its weights.

X inputs, H hidden units, G gates, S states, K rows of the tape a step. Steps are rows, as ``linear.Rows`` says: N of
them, those of one step side by side, and in each step the sequences that have it in one order, the longest first. So
the i-th row of a step follows the i-th row of the step before. Time goes by chunks of whole steps, about 128 rows: all
that does not wait for h_{t-1}, or for du_{t+1}, is done for a chunk at once.
"""

from typing import Any, NamedTuple

import numpy as np

from ..cells import CELLS
from ..net import LayerArrays
from ..types import Array, Indices
from . import compiled, inlined, units
from .linear import NOTHING, Rows, outer_sum, product, row_sum, token_sum
from .memory import zeros
from .rows import Inputs, address_of, addresses, by_place, copy_rows, has_resets, repeat, tokens_of, vectors_of
from .tile import fill_panels, padded, row_panels


class Cell(NamedTuple):
    """What the registry has of a cell, in numbers: G, S, K, and the rest as it is there."""

    gates: int
    states: int
    kept: int
    own_recurrent_bias: bool
    gates_after_reset: int


class Layer(NamedTuple):
    """A layer: the number of its cell, its parameters, and the panels of the matrices that products read.

    b_x is b_h where a cell has but one bias. The panels are of W_xh and of its rows of W_hh before and after the
    reset, or, for the way back, of their transposes.
    """

    cell: int
    arrays: LayerArrays
    W_xh: Array
    before_reset: Array
    after_reset: Array


class Trace(NamedTuple):
    """What a layer runs over and what the way forward leaves for the way back.

    The states before the first step are h_0 (B, H) and, in rows like the tape's, tape_0 (B*K, ...), whose first S - 1
    rows of each K are the other states. h (N, H), and the tape (N*K, H rounded up to sixteens).
    """

    rows: Rows
    inputs: Inputs
    h_0: Array
    tape_0: Array
    h: Array
    tape: Array


class Work(NamedTuple):
    """What the way back computes: gradients with respect to states, and of a chunk's rows.

    carried (S*B, H): with respect to the states after the step that is reached, complete but for the terms from
    outside the layer. dprev (S*B, H): a scratch buffer. dh (R, H or more): the term from the outputs. da, du (R, G*H or
    more), one array of a cell with one bias. dstates: as ``Gates`` has it.
    """

    carried: Array
    dprev: Array
    dh: Array
    da: Array
    du: Array
    dstates: Array


class Gates(NamedTuple):
    """What the way back gives of each step but its end, of all rows, or nothing where it is not kept.

    rows (D*N, G*H or more): da, then, if they differ, du. dstates (S*N, H): the gradients with respect to the states
    after each step, state by state.
    """

    rows: Array
    dstates: Array


class Sums(NamedTuple):
    """The gradients of a layer's parameters while they are summed up, the matrices' rows as wide as whole vectors.

    W_xh (G*H, X), W_hh (G*H, H), the biases (G*H,), and of W_xh with tokens the columns (X, G*H) and one block of them.
    """

    W_xh: Array
    W_hh: Array
    b_x: Array
    b_h: Array
    columns: Array
    part: Array


class Batch(NamedTuple):
    """Some blocks of the sums: their rows by place, ``order``, and where among them the blocks begin and end.

    chunk: the first row of the chunk that they are in. is_last: whether the last block of all is among them, with which
    the sums begin.
    """

    order: Indices
    bounds: Indices
    chunk: int
    is_last: bool


NUMBERS = tuple(
    Cell(len(cell.gates), len(cell.states), cell.kept, cell.own_recurrent_bias, cell.gates_after_reset)
    for cell in CELLS.values()
)


@compiled
def cell_of(layer: Layer) -> Cell:
    """Return what the registry has of a layer's cell."""
    return NUMBERS[layer.cell]


@inlined
def forward(layer: Layer, trace: Trace, t: int, end: int) -> None:
    """Write h and the tape of the steps from t to ``end``, a chunk."""
    start = trace.rows.start
    first = start[t]
    a = input_part(layer, trace.inputs, trace.rows, first, start[end])
    for step in range(t, end):
        before = previous_states(trace, step, cell_of(layer).kept)
        step_forward(layer, a, start[step] - first, before, trace.h, trace.tape, start[step], start[step + 1])


@inlined
def step_forward(
    layer: Layer, a: Array, first: int, before: units.Before, h: Array, tape: Array, row: int, end: int
) -> None:
    """Write h and the tape of the rows from ``row`` to ``end``, a step, from the input part a, from ``first`` on."""
    cell, H, b_h = cell_of(layer), h.shape[1], layer.arrays.b_h
    u = recurrent_part(cell, b_h, before.h[before.row : before.row + end - row], layer.before_reset)
    q = np.empty((end - row if cell.gates_after_reset else 0, H), h.dtype)
    step = units.Forward(end - row, first, row, a, u, before, q, h, tape)
    if cell.gates_after_reset:
        units.reset(layer.cell, step)
        column = len(b_h) - cell.gates_after_reset * H
        u_after = recurrent_part(cell, b_h[column:], q, layer.after_reset)
        for i in range(end - row):
            for j in range(cell.gates_after_reset * H):
                u[i, column + j] = u_after[i, j]
    units.forward(layer.cell, step)


@compiled
def around_reset(layer: Layer) -> tuple[Array, Array]:
    """Return the rows of W_hh that read h_{t-1}, and those that read q, which a cell makes of it first."""
    W_hh = layer.arrays.W_hh
    first = len(W_hh) - cell_of(layer).gates_after_reset * W_hh.shape[1]
    return W_hh[:first], W_hh[first:]


@inlined
def fill_forward_panels(layer: Layer) -> None:
    """Fill the panels for the way forward."""
    before_reset, after_reset = around_reset(layer)
    fill_panels(layer.W_xh, layer.arrays.W_xh)
    fill_panels(layer.before_reset, before_reset)
    fill_panels(layer.after_reset, after_reset)


@inlined
def fill_backward_panels(layer: Layer) -> None:
    """Fill the panels for the way back; those of W_xh only if they are there."""
    before_reset, after_reset = around_reset(layer)
    if len(layer.W_xh) > 0:
        fill_panels(layer.W_xh, layer.arrays.W_xh.T)
    fill_panels(layer.before_reset, before_reset.T)
    fill_panels(layer.after_reset, after_reset.T)


@inlined
def input_part(layer: Layer, inputs: Inputs, rows: Rows, first: int, end: int) -> Array:
    """Return ``b + W_xh x`` of some rows of vectors or tokens: a token k stands for the k-th column of W_xh."""
    b_x: Any = layer.arrays.b_x
    a, W_xh = repeat(b_x, end - first), layer.W_xh
    if inputs.are_tokens:
        for i in range(end - first):
            column = W_xh[:, inputs.tokens[address_of(rows, first + i)]]
            for p in range(column.shape[0]):
                for lane in range(column.shape[1]):
                    a[i, p * column.shape[1] + lane] += column[p, lane]
    else:
        product(a, vectors_of(inputs, rows, first, end), W_xh)
    return a


@compiled
def recurrent_part(cell: Cell, b_h: Array, h_prev: Array, W: Array) -> Array:
    """Return ``W_hh h_{t-1}`` for some rows of W_hh, plus the recurrent bias of a cell that has one of its own.

    b_h has no fewer numbers than W has rows.
    """
    R = len(h_prev)
    u = repeat(b_h, R) if cell.own_recurrent_bias else zeros((R, padded(len(b_h), b_h.itemsize)), b_h)
    product(u, h_prev, W)
    return u


@inlined
def backward(layer: Layer, trace: Trace, has_dy: bool, dh: Array, work: Work, t: int, end: int) -> None:
    """Write da and du of the steps from t to ``end``, a chunk, and carry the gradient with respect to states back.

    work.dh is the term from the outputs, if there is one. dh (M*N, H): M more terms, one after the other.
    """
    start, N = trace.rows.start, len(trace.h)
    for step in range(end - 1, t - 1, -1):
        row, count, first = start[step], start[step + 1] - start[step], start[step] - start[t]
        for i in range(count):
            if has_dy:
                for j in range(work.carried.shape[1]):
                    work.carried[i, j] = work.dh[first + i, j] + work.carried[i, j]
            term = row + i
            while term < len(dh):
                for j in range(work.carried.shape[1]):
                    work.carried[i, j] += dh[term, j]
                term += N
        keep_states(work, row, count, cell_of(layer).states)
        before = previous_states(trace, step, cell_of(layer).kept)
        step_backward(layer, trace, before, work, first, row, count)
        end_at_resets(trace.rows, step, work.carried, len(work.carried) // cell_of(layer).states)


@compiled
def keep_states(work: Work, row: int, count: int, states: int) -> None:
    """Keep the gradient with respect to the states after a step, ``count`` rows from ``row`` on, if it is wanted."""
    B, N = len(work.carried) // states, len(work.dstates) // states
    if N > 0:
        for s in range(states):
            for i in range(count):
                for j in range(work.carried.shape[1]):
                    work.dstates[s * N + row + i, j] = work.carried[s * B + i, j]


@inlined
def step_backward(
    layer: Layer, trace: Trace, before: units.Before, work: Work, first: int, row: int, count: int
) -> None:
    """Take a step back: ``count`` rows from ``row`` on, which are the rows of the chunk from ``first`` on."""
    cell, H, h, carried, dprev = cell_of(layer), trace.h.shape[1], trace.h, work.carried, work.dprev
    width = padded(H, h.itemsize)
    dq = zeros((count, width), h) if cell.gates_after_reset else carried  # which is not read as dq then
    step = units.Backward(count, first, row, before, h, trace.tape, carried, dq, work.da, work.du, dprev)
    if cell.gates_after_reset:
        units.reset_backward(layer.cell, step)
        product(dq, dprev[:count], layer.after_reset)
    units.backward(layer.cell, step)
    dh_prev = zeros((count, width), h)
    product(dh_prev, work.du[first : first + count], layer.before_reset)
    B = len(carried) // cell.states
    for i in range(count):
        for j in range(H):
            carried[i, j] = dh_prev[i, j] + dprev[i, j]
        for s in range(B + i, len(carried), B):
            for j in range(H):
                carried[s, j] = dprev[s, j]


@compiled
def end_at_resets(rows: Rows, t: int, carried: Array, B: int) -> None:
    """Carry nothing back from step t of sequences that are reset before it; +0 if that is where they begin."""
    if has_resets(rows, t):
        for row in range(rows.start[t], rows.start[t + 1]):
            if rows.resets[row]:
                for s in range(row - rows.start[t], len(carried), B):
                    for j in range(carried.shape[1]):
                        carried[s, j] = NOTHING if t > 0 else 0.0


@compiled
def previous_states(trace: Trace, t: int, kept: int) -> units.Before:
    """Return where the states before step t are, of a cell that keeps so many rows of the tape."""
    before, rows = rows_before(trace, t), trace.rows
    if not has_resets(rows, t):
        return before
    first, count, K = rows.start[t], rows.start[t + 1] - rows.start[t], kept
    h, tape = (
        np.zeros((count, trace.h.shape[1]), trace.h.dtype),
        np.zeros((count * K, trace.tape.shape[1]), trace.h.dtype),
    )
    for i in range(count):
        if not rows.resets[first + i]:
            for j in range(h.shape[1]):
                h[i, j] = before.h[before.row + i, j]
            for k in range(K):
                for j in range(tape.shape[1]):
                    tape[i * K + k, j] = before.tape[(before.row + i) * K + k, j]
    return units.Before(h, tape, rows.start[0])


@compiled
def rows_before(trace: Trace, t: int) -> units.Before:
    """Return where the states before step t are if it begins with no reset."""
    start = trace.rows.start
    if t == 0:
        return units.Before(trace.h_0, trace.tape_0, start[0])
    return units.Before(trace.h, trace.tape, start[t - 1])


@compiled
def previous_h(trace: Trace, index: Indices, t: int) -> Array:
    """Return the panels of h_{t-1} of some rows by place, none of a step before t."""
    start, H, before, resets = trace.rows.start, trace.h.shape[1], np.empty_like(index), trace.rows.resets
    copies = len(resets) > 0 or (len(index) > 0 and index[0] < start[1])  # there are several arrays to read from
    source = np.zeros((len(index), H), trace.h.dtype) if copies else trace.h
    for i in range(len(index)):
        while index[i] >= start[t + 1]:
            t += 1
        states = rows_before(trace, t)
        before[i] = states.row + index[i] - start[t]
        if copies:
            if len(resets) == 0 or not resets[index[i]]:
                for j in range(H):
                    source[i, j] = states.h[before[i], j]
            before[i] = i
    return row_panels(source, before, 1, 0, H)


@inlined
def input_gradients(layer: Layer, da: Array, first: int, end: int, dinputs: Array) -> None:
    """Write ``dx_t = W_xh^T da_t`` of the rows from ``first`` to ``end``, a chunk, into dinputs (N, X)."""
    dx = zeros((end - first, layer.W_xh.shape[0] * layer.W_xh.shape[2]), da)
    product(dx, da[: end - first], layer.W_xh)
    copy_rows(dx, dinputs, first, end)


@inlined
def weight_gradients(layer: Layer, trace: Trace, work: Work, sums: Sums, batch: Batch, t: int) -> None:
    """Add some blocks of ``dW_xh = sum da_t x_t^T``, ``dW_hh = sum du_t h_{t-1}^T`` and of the biases' sums.

    The rows of the blocks are of step t and later.
    """
    cell, rows, index, bounds, is_last = cell_of(layer), trace.rows, batch.order, batch.bounds, batch.is_last
    H, X = trace.h.shape[1], trace.inputs.vectors.shape[1]
    start: Any = np.int64(0)  # 0 is a literal, for which outer_sum would be compiled once more
    da = by_place(work.da, rows, index, batch.chunk)
    du = by_place(work.du, rows, index, batch.chunk) if cell.own_recurrent_bias else da
    if trace.inputs.are_tokens:
        token_sum(sums.columns, da, tokens_of(trace.inputs, rows, index), bounds, sums.part)
    else:
        x = row_panels(trace.inputs.vectors, addresses(rows, index), 1, 0, X)
        outer_sum(sums.W_xh, da, start, x, bounds, is_last)
    after = len(sums.W_hh) - cell.gates_after_reset * H
    outer_sum(sums.W_hh[:after], du, start, previous_h(trace, index, t), bounds, is_last)
    if cell.gates_after_reset:
        q = row_panels(trace.tape, index, cell.kept, cell.kept - 1, H)  # the last that the tape has of each
        outer_sum(sums.W_hh[after:], du, after, q, bounds, is_last)
    if cell.own_recurrent_bias:
        row_sum(sums.b_x, da, bounds)
    row_sum(sums.b_h, du, bounds)
