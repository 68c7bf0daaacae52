"""Time: the loop forward, the loop back, and the gradients of the weights.

T steps, B sequences, X inputs, H hidden units, V outputs, G gates, S states, K kept on the tape. A sequence b has the
steps t < lengths[b]; what lies beyond does not exist: it is not read, and results, handed over as +0, are not written
there.

Steps are rows r = t*B + b, so that what is (T, B, H) elsewhere is (T*B, H) here, and time goes by blocks of
rows (linear.row_blocks): all that does not wait for h_{t-1}, or for du_{t+1}, is done for a whole block at once.
In a block the rows that exist lie side by side, i being the i-th of them. States are (S*B, H), and the tape is
(T*B*K, H rounded up to sixteens), the K of a row side by side.

``bptt``, which is forward, cross-entropy and backward in a row, is the engine's: compiled in one piece, all of it
would be compiled twice.
"""

from typing import Any, NamedTuple

import numpy as np

from ..cells import CELLS
from ..types import Array, Indices
from . import compiled, inlined, units
from .linear import NOTHING, lane_sum, outer_sum, padded, panels, product, row_blocks, row_sum, token_sum
from .softmax import Labels, cross_entropy


class Cell(NamedTuple):
    """What the registry has of a cell, in numbers."""

    states: int  # S
    kept: int  # K
    apart: int
    late: int


class Weights(NamedTuple):
    """The number of the cell, and the arrays of the parameters or of their gradients; without b_x, b_h is there too."""

    cell: int
    W_xh: Array
    W_hh: Array
    W_hy: Array
    b_x: Array
    b_h: Array
    b_y: Array


class Sums(NamedTuple):
    """Gradients of weight matrices while they are summed up, their rows as wide as whole vectors.

    W_xh (G*H, X), W_hh (G*H, H), W_hy (V, H), and of W_xh with tokens the columns (X, G*H) and a block's part of them.
    """

    W_xh: Array
    W_hh: Array
    W_hy: Array
    columns: Array
    part: Array


class Inputs(NamedTuple):
    """Tokens (T*B,) or vectors (T*B, X); what they are not is empty."""

    are_tokens: bool
    tokens: Indices
    vectors: Array


class Loss(NamedTuple):
    """dJ by the outputs (T*B, V), by the hidden states (T*B, H) and by the last states (S*B, H), each empty if none."""

    has_dy: bool
    has_dh: bool
    has_dstate: bool
    dy: Array
    dh: Array
    dstate: Array


NUMBERS = tuple(
    Cell(len(cell.states), len(cell.states) - 1 + len(cell.saved), int(cell.apart), cell.late)
    for cell in CELLS.values()
)


@compiled
def cell_of(params: Weights) -> Cell:
    """What is told of the cell of a net."""
    return NUMBERS[params.cell]


@compiled
def forward(
    params: Weights, inputs: Inputs, state: Array, lengths: Indices, y: Array, h: Array, tape: Array, last: Array
) -> None:
    """Outputs y (T*B, V), hidden states h (T*B, H), the tape and the last states (S*B, H).

    state: h_0 and what else the cell has (S*B, H); lengths (B,).
    """
    B = len(lengths)
    W_xh, W_hy = panels(params.W_xh), panels(params.W_hy)
    early, late = early_and_late(params)
    W_early, W_late = panels(early), panels(late)
    copy(state, last)
    rows, starts = row_blocks(len(h) // B, B, lengths)
    for block in range(len(starts) - 1):
        block_rows = rows[starts[block] : starts[block + 1]]
        a = input_part(params, W_xh, inputs, block_rows)
        i = 0
        while i < len(block_rows):
            end = step_end(block_rows, i, B)
            step_forward(params, a[i:end], block_rows[i:end], W_early, W_late, h, tape, last)
            i = end
        y_block = repeat(params.b_y, len(block_rows))
        product(y_block, gather(h, block_rows), W_hy)
        scatter(y_block, block_rows, y)


@inlined
def step_forward(
    params: Weights, a: Array, rows: Indices, W_early: Array, W_late: Array, h: Array, tape: Array, last: Array
) -> None:
    """One step of R sequences: h and the tape, from the input part a and the states before, which it replaces."""
    cell, H = cell_of(params), h.shape[1]
    B = len(last) // cell.states
    sequences = sequences_of(rows, B)
    h_prev = gather(last, sequences)
    u = recurrent_part(cell, params.b_h, h_prev, W_early)
    step = units.Forward(rows, sequences, a, u, last, h_prev, h, tape)
    if cell.late:
        units.reset(params.cell, step)
        first = len(params.W_hh) - cell.late * H
        u_late = recurrent_part(cell, params.b_h[first:], step.q, W_late)
        for i in range(len(rows)):
            for j in range(cell.late * H):
                u[i, first + j] = u_late[i, j]
    units.forward(params.cell, step)
    for s in range(cell.states):
        now, each, place = (h, 1, 0) if s == 0 else (tape, cell.kept, s - 1)
        for i in range(len(rows)):
            r, b = rows[i] * each + place, s * B + sequences[i]
            for j in range(H):
                last[b, j] = now[r, j]


@compiled
def early_and_late(params: Weights) -> tuple[Array, Array]:
    """The rows of W_hh that read h_{t-1}, and those that read what a cell makes of it."""
    first = len(params.W_hh) - cell_of(params).late * params.W_hh.shape[1]
    return params.W_hh[:first], params.W_hh[first:]


@inlined
def input_part(params: Weights, W_xh: Array, inputs: Inputs, rows: Indices) -> Array:
    """``b + W_xh x``, for vectors or tokens: a token k stands for the k-th column of W_xh."""
    a = repeat(params.b_x, len(rows))
    if inputs.are_tokens:
        for i in range(len(rows)):
            column = W_xh[:, inputs.tokens[rows[i]]]
            for p in range(column.shape[0]):
                for lane in range(column.shape[1]):
                    a[i, p * column.shape[1] + lane] += column[p, lane]
    else:
        product(a, gather(inputs.vectors, rows), W_xh)
    return a


@compiled
def recurrent_part(cell: Cell, b_h: Array, h_prev: Array, W: Array) -> Array:
    """``W_hh h_{t-1}``, from a bias of its own if it is kept apart, for some rows of W_hh: b_h has no fewer than W."""
    u = repeat(b_h, len(h_prev)) if cell.apart else np.zeros((len(h_prev), padded(len(b_h), b_h.itemsize)), b_h.dtype)
    product(u, h_prev, W)
    return u


@compiled
def backward(
    params: Weights,
    inputs: Inputs,
    h: Array,
    tape: Array,
    state: Array,
    lengths: Indices,
    loss: Loss,
    need_dinputs: bool,
    grads: Weights,
    carried: Array,
    dinputs: Array,
) -> None:
    """Gradients of the parameters, in ``carried`` of the initial states (S*B, H), of the inputs (T*B, X) if needed.

    h and tape as ``forward`` gave them.
    """
    cell, B, H, GH = cell_of(params), len(lengths), h.shape[1], len(params.W_hh)
    W_xh, W_hy = panels(params.W_xh.T), panels(params.W_hy.T)
    early, late = early_and_late(params)
    W_early, W_late = panels(early.T), panels(late.T)
    carried[:] = NOTHING  # dJ by the states of step t as far as it comes through step t + 1
    if loss.has_dstate:
        copy(loss.dstate, carried)
    dprev = np.empty_like(carried)
    sums = zero_sums(grads, inputs.are_tokens, tape.shape[1])
    rows, starts = row_blocks(len(h) // B, B, lengths)
    for block in range(len(starts) - 2, -1, -1):
        block_rows = rows[starts[block] : starts[block + 1]]
        if len(block_rows) == 0:
            continue
        dh = output_part(W_hy, loss, block_rows, H)
        before = previous_states(cell, h, tape, state, block_rows)
        da = np.empty((len(block_rows), GH), h.dtype)
        du = np.empty_like(da) if cell.apart else da
        end = len(block_rows)
        while end > 0:
            i = step_start(block_rows, end, B)
            step_backward(
                params, dh, block_rows, i, end, W_early, W_late, h, tape, before, loss, da, du, carried, dprev
            )
            end = i
        first = starts[block + 1] == len(rows)
        weight_gradients(sums, grads, inputs, h, before, tape, loss, da, du, block_rows, first)
        if need_dinputs:
            input_gradients(W_xh, da, block_rows, dinputs)
    if not loss.has_dstate:
        for b in range(len(carried)):
            if lengths[b % B] == 0:
                carried[b] = 0
    copy_sums(sums, inputs.are_tokens, grads)


@inlined
def output_part(W_hy: Array, loss: Loss, rows: Indices, H: int) -> Array:
    """``W_hy^T dy`` of a block's rows; nothing of meaning if J does not depend on the outputs directly."""
    dh = np.zeros((len(rows), padded(H, W_hy.itemsize)), W_hy.dtype)
    if loss.has_dy:
        product(dh, gather(loss.dy, rows), W_hy)
    return dh


@compiled
def previous_states(cell: Cell, h: Array, tape: Array, state: Array, rows: Indices) -> Array:
    """The states before each of R rows, (S*R, H): at t = 0 those from which the net started."""
    R, B = len(rows), len(state) // cell.states
    out = np.empty((cell.states * R, h.shape[1]), h.dtype)
    for s in range(cell.states):
        after, each, place = (h, 1, 0) if s == 0 else (tape, cell.kept, s - 1)
        for i in range(R):
            r = rows[i] - B
            prev, n = (after, r * each + place) if r >= 0 else (state, s * B + rows[i])
            for j in range(out.shape[1]):
                out[s * R + i, j] = prev[n, j]
    return out


@inlined
def step_backward(
    params: Weights,
    dh: Array,
    block_rows: Indices,
    first: int,
    end: int,
    W_early: Array,
    W_late: Array,
    h: Array,
    tape: Array,
    before: Array,
    loss: Loss,
    da: Array,
    du: Array,
    carried: Array,
    dprev: Array,
) -> None:
    """One step, the rows from ``first`` to ``end`` of a block: da, du, and what is carried on."""
    cell, rows, H = cell_of(params), block_rows[first:end], h.shape[1]
    R, B = len(rows), len(carried) // cell.states
    sequences = sequences_of(rows, B)
    for i in range(R):
        r, b = rows[i], sequences[i]
        if loss.has_dy:
            for j in range(H):
                carried[b, j] = dh[first + i, j] + carried[b, j]
        if loss.has_dh:
            for j in range(H):
                carried[b, j] += loss.dh[r, j]
    dq = np.zeros((R, padded(H, h.itemsize)), h.dtype) if cell.late else carried  # which is not read as dq then
    step = units.Backward(rows, sequences, first, carried, dq, h, tape, before, da, du, dprev)
    if cell.late:
        units.reset_backward(params.cell, step)
        product(dq, gather(dprev, sequences), W_late)
    units.backward(params.cell, step)
    dh_prev = np.zeros((R, padded(H, h.itemsize)), h.dtype)
    product(dh_prev, du[first:end], W_early)
    for i in range(R):
        b = sequences[i]
        for j in range(H):
            carried[b, j] = dh_prev[i, j] + dprev[b, j]
        for b in range(B + sequences[i], len(carried), B):
            for j in range(H):
                carried[b, j] = dprev[b, j]


@inlined
def zero_sums(grads: Weights, are_tokens: bool, width: int) -> Sums:
    """+0 throughout, as the gradients are; W_hh as wide as the tape, whose rows are a factor of it."""
    (GH, X), H, size = grads.W_xh.shape, grads.W_hh.shape[1], grads.W_hh.itemsize
    W_xh = wide_enough(grads.W_xh, 0 if are_tokens else padded(X, size))
    W_hh, W_hy = wide_enough(grads.W_hh, width), wide_enough(grads.W_hy, padded(H, size))
    columns = np.zeros((X if are_tokens else 0, GH), W_xh.dtype)
    return Sums(W_xh, W_hh, W_hy, columns, columns.copy())


@compiled
def wide_enough(grad: Array, width: int) -> Array:
    """A gradient that is +0, or, if its rows are not as wide as its sum's, an array for that."""
    return grad if grad.shape[1] == width else np.zeros((len(grad), width), grad.dtype)


@inlined
def weight_gradients(
    sums: Sums,
    grads: Weights,
    inputs: Inputs,
    h: Array,
    before: Array,
    tape: Array,
    loss: Loss,
    da: Array,
    du: Array,
    rows: Indices,
    first: bool,
) -> None:
    """Parts of ``dW_xh = sum da_t x_t^T``, ``dW_hh = sum du_t h_{t-1}^T``, ``dW_hy = sum dy_t h_t^T`` and db."""
    cell = cell_of(grads)
    early = len(sums.W_hh) - cell.late * h.shape[1]
    start: Any = np.int64(0)  # 0 is a literal, for which outer_sum would be compiled once more
    if inputs.are_tokens:
        token_sum(sums.columns, da, inputs.tokens, rows, sums.part)
    else:
        outer_sum(sums.W_xh, da, start, gather(inputs.vectors, rows), first)
    outer_sum(sums.W_hh[:early], du, start, before[: len(rows)], first)
    if cell.late:
        outer_sum(sums.W_hh[early:], du, early, gather(tape, rows * cell.kept + cell.kept - 1), first)
    if cell.apart:
        row_sum(grads.b_x, da)
    row_sum(grads.b_h, du)
    if loss.has_dy:
        dy = gather(loss.dy, rows)
        outer_sum(sums.W_hy, dy, start, gather(h, rows), first)
        row_sum(grads.b_y, dy)


@inlined
def copy_sums(sums: Sums, are_tokens: bool, grads: Weights) -> None:
    """The sums as gradients, shaped like the parameters, where they are not the gradients themselves."""
    GH, X = grads.W_xh.shape
    if are_tokens:
        for i in range(GH):
            for k in range(X):
                grads.W_xh[i, k] = sums.columns[k, i]
    else:
        narrow(sums.W_xh, grads.W_xh)
    narrow(sums.W_hh, grads.W_hh)
    narrow(sums.W_hy, grads.W_hy)


@compiled
def narrow(total: Array, grad: Array) -> None:
    """The sum as the gradient, unless ``wide_enough`` took that for it."""
    if total.shape[1] != grad.shape[1]:
        copy(total, grad)


@inlined
def input_gradients(W_xh: Array, da: Array, rows: Indices, dinputs: Array) -> None:
    """``dx_t = W_xh^T da_t`` of a block's rows, into dinputs (T*B, X)."""
    dx = np.zeros((len(rows), W_xh.shape[0] * W_xh.shape[2]), da.dtype)
    product(dx, da, W_xh)
    scatter(dx, rows, dinputs)


@compiled
def sequence_cross_entropy(y: Array, labels: Labels, lengths: Indices, losses: Array, dy: Array) -> float:
    """J, and losses (T*B,) and dy (T*B, V) of outputs y (T*B, V)."""
    rows, _ = row_blocks(len(y) // len(lengths), len(lengths), lengths)
    cross_entropy(y, labels, rows, losses, dy)
    return total(losses)


@compiled
def total(losses: Array) -> float:
    """J: the losses of all rows r = t*B + b, in float64, in sixteen lanes."""
    return lane_sum(losses, np.empty(16, np.float64))


@compiled
def step_end(rows: Indices, i: int, B: int) -> int:
    """Where the step ends that the i-th row begins."""
    t = rows[i] // B
    while i < len(rows) and rows[i] // B == t:
        i += 1
    return i


@compiled
def step_start(rows: Indices, end: int, B: int) -> int:
    """Where the step starts that ends before the end-th row."""
    t = rows[end - 1] // B
    while end > 0 and rows[end - 1] // B == t:
        end -= 1
    return end


@compiled
def sequences_of(rows: Indices, B: int) -> Indices:
    """The sequence b of each row r = t*B + b."""
    out = np.empty_like(rows)
    for i in range(len(rows)):
        out[i] = rows[i] % B
    return out


@compiled
def copy(source: Array, target: Array) -> None:
    """Fills a matrix from one at least as wide. Loops, as slices bring the code for their error messages along."""
    for r in range(len(target)):
        for n in range(target.shape[1]):
            target[r, n] = source[r, n]


@compiled
def repeat(b: Array, R: int) -> Array:
    """Rows that all are b (N,), as wide as whole vectors: (R, padded N)."""
    N = len(b)
    out = np.zeros((R, padded(N, b.itemsize)), b.dtype)
    for r in range(R):
        for n in range(N):
            out[r, n] = b[n]
    return out


@compiled
def gather(array: Array, rows: Indices) -> Array:
    """The rows of an array that exist in a block, side by side."""
    out = np.empty((len(rows), array.shape[1]), array.dtype)
    for i in range(len(rows)):
        r = rows[i]
        for j in range(out.shape[1]):
            out[i, j] = array[r, j]
    return out


@compiled
def scatter(block: Array, rows: Indices, array: Array) -> None:
    """Puts the rows of a block where they belong."""
    for i in range(len(rows)):
        r = rows[i]
        for j in range(array.shape[1]):
            array[r, j] = block[i, j]
