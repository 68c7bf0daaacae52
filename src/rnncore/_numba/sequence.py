"""Time: the loop forward, the loop back, and the gradients of the weights.

T steps, B sequences, X inputs, H hidden units, V outputs. A sequence b has the steps t < lengths[b];
what lies beyond does not exist: it is not read, and results, handed over as +0, are not written there.

Steps are rows r = t*B + b, so that what is (T, B, H) elsewhere is (T*B, H) here, and time goes by blocks of
rows (linear.row_blocks): all that does not wait for h_{t-1}, or for dz_{t+1}, is done for a whole block at once.
In a block the rows that exist lie side by side, i being the i-th of them.

``bptt``, which is forward, cross-entropy and backward in a row, is the engine's: compiled in one piece, all of it
would be compiled twice.
"""

from typing import NamedTuple

import numpy as np

from ..types import Array, Indices
from . import compiled, inlined, rnn
from .linear import lane_sum, outer_sum, padded, panels, product, row_blocks, row_sum, token_sum
from .softmax import Labels, cross_entropy


class Weights(NamedTuple):
    """The arrays of the parameters, or of their gradients."""

    W_xh: Array
    W_hh: Array
    W_hy: Array
    b_h: Array
    b_y: Array


class Sums(NamedTuple):
    """Gradients of weight matrices while they are summed up, their rows as wide as whole vectors.

    W_xh (H, X), W_hh (H, H), W_hy (V, H), and of W_xh with tokens the columns (X, H) and a block's part of them.
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
    """dJ by the outputs (T*B, V), by the hidden states (T*B, H) and by the last state (B, H), each empty if none."""

    has_dy: bool
    has_dh: bool
    has_dstate: bool
    dy: Array
    dh: Array
    dstate: Array


@compiled
def forward(params: Weights, inputs: Inputs, state: Array, lengths: Indices, y: Array, h: Array, h_prev: Array) -> None:
    """Outputs y (T*B, V), hidden states h (T*B, H) and, in h_prev, the last state (B, H).

    state: h_0 (B, H); lengths (B,).
    """
    B = len(state)
    W_xh, W_hh, W_hy = panels(params.W_xh), panels(params.W_hh), panels(params.W_hy)
    copy(state, h_prev)
    rows, starts = row_blocks(len(h) // B, B, lengths)
    for block in range(len(starts) - 1):
        block_rows = rows[starts[block] : starts[block + 1]]
        a = input_part(params.b_h, W_xh, inputs, block_rows)
        i = 0
        while i < len(block_rows):
            end = step_end(block_rows, i, B)
            step_forward(a[i:end], block_rows[i:end], W_hh, h, h_prev)
            i = end
        y_block = repeat(params.b_y, len(block_rows))
        product(y_block, gather(h, block_rows), W_hy)
        scatter(y_block, block_rows, y)


@inlined
def step_forward(a: Array, rows: Indices, W_hh: Array, h: Array, h_prev: Array) -> None:
    """One step of some sequences: h_t from the input part a and h_{t-1}, which it replaces."""
    sequences = sequences_of(rows, len(h_prev))
    u = np.zeros_like(a)
    product(u, gather(h_prev, sequences), W_hh)
    for i in range(len(rows)):
        h_now = h[rows[i]]
        for j in range(len(h_now)):
            h_now[j] = rnn.forward(a[i, j], u[i, j])
        for j in range(len(h_now)):
            h_prev[sequences[i], j] = h_now[j]


@inlined
def input_part(b_h: Array, W_xh: Array, inputs: Inputs, rows: Indices) -> Array:
    """``b_h + W_xh x``, for vectors or tokens: a token k stands for the k-th column of W_xh."""
    a = repeat(b_h, len(rows))
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
def backward(
    params: Weights,
    inputs: Inputs,
    h: Array,
    state: Array,
    lengths: Indices,
    loss: Loss,
    need_dinputs: bool,
    grads: Weights,
    carried: Array,
    dinputs: Array,
) -> None:
    """Gradients of the parameters, in ``carried`` of the initial state (B, H) and, if needed, of the inputs (T*B, X).

    h as ``forward`` gave it.
    """
    B, H = state.shape
    W_xh, W_hh, W_hy = panels(params.W_xh.T), panels(params.W_hh.T), panels(params.W_hy.T)
    # dJ/dh_t as far as it comes through h_{t+1}. Nothing does at a last step: -0 is the number to add then,
    # because x + -0 is x for every x, and -0 + +0 would not be -0.
    carried[:] = -0.0
    if loss.has_dstate:
        copy(loss.dstate, carried)
    sums = zero_sums(params, inputs.are_tokens)
    rows, starts = row_blocks(len(h) // B, B, lengths)
    for block in range(len(starts) - 2, -1, -1):
        block_rows = rows[starts[block] : starts[block + 1]]
        if len(block_rows) == 0:
            continue
        dh = output_part(W_hy, loss, block_rows, H)
        dz = np.empty((len(block_rows), H), h.dtype)
        end = len(block_rows)
        while end > 0:
            i = step_start(block_rows, end, B)
            step_backward(dh[i:end], block_rows[i:end], W_hh, h, loss, dz[i:end], carried)
            end = i
        weight_gradients(sums, grads, inputs, h, state, loss, dz, block_rows, starts[block + 1] == len(rows))
        if need_dinputs:
            input_gradients(W_xh, dz, block_rows, dinputs)
    if not loss.has_dstate:
        for b in range(B):
            if lengths[b] == 0:
                carried[b] = 0
    copy_sums(sums, inputs.are_tokens, grads)


@inlined
def output_part(W_hy: Array, loss: Loss, rows: Indices, H: int) -> Array:
    """``W_hy^T dy`` of a block's rows; nothing of meaning if J does not depend on the outputs directly."""
    dh = np.zeros((len(rows), padded(H, W_hy)), W_hy.dtype)
    if loss.has_dy:
        product(dh, gather(loss.dy, rows), W_hy)
    return dh


@inlined
def step_backward(dh: Array, rows: Indices, W_hh: Array, h: Array, loss: Loss, dz: Array, carried: Array) -> None:
    """One step of some sequences: dz_t from the output part dh and what is carried, and what is carried on."""
    sequences = sequences_of(rows, len(carried))
    for i in range(len(rows)):
        dh_now, dz_now, h_now = carried[sequences[i]], dz[i], h[rows[i]]
        if loss.has_dy:
            for j in range(len(dz_now)):
                dh_now[j] = dh[i, j] + dh_now[j]
        if loss.has_dh:
            for j in range(len(dz_now)):
                dh_now[j] += loss.dh[rows[i], j]
        for j in range(len(dz_now)):
            dz_now[j] = rnn.backward(dh_now[j], h_now[j])
    u = np.zeros_like(dh)
    product(u, dz, W_hh)
    scatter(u, sequences, carried)


@inlined
def zero_sums(params: Weights, are_tokens: bool) -> Sums:
    """+0 throughout."""
    (H, X), V, W = params.W_xh.shape, len(params.W_hy), params.W_hh
    W_xh = np.zeros((H, 0 if are_tokens else padded(X, W)), W.dtype)
    W_hh, W_hy = np.zeros((H, padded(H, W)), W.dtype), np.zeros((V, padded(H, W)), W.dtype)
    columns = np.zeros((X if are_tokens else 0, H), W.dtype)
    return Sums(W_xh, W_hh, W_hy, columns, columns.copy())


@inlined
def weight_gradients(
    sums: Sums,
    grads: Weights,
    inputs: Inputs,
    h: Array,
    state: Array,
    loss: Loss,
    dz: Array,
    rows: Indices,
    first: bool,
) -> None:
    """Parts of ``dW_xh = sum dz_t x_t^T``, ``dW_hh = sum dz_t h_{t-1}^T``, ``dW_hy = sum dy_t h_t^T`` and db."""
    if inputs.are_tokens:
        token_sum(sums.columns, dz, inputs.tokens, rows, sums.part)
    else:
        outer_sum(sums.W_xh, dz, gather(inputs.vectors, rows), first)
    outer_sum(sums.W_hh, dz, gather_prev(h, state, rows), first)
    row_sum(grads.b_h, dz)
    if loss.has_dy:
        dy = gather(loss.dy, rows)
        outer_sum(sums.W_hy, dy, gather(h, rows), first)
        row_sum(grads.b_y, dy)


@inlined
def copy_sums(sums: Sums, are_tokens: bool, grads: Weights) -> None:
    """The sums as gradients, shaped like the parameters."""
    H, X = grads.W_xh.shape
    if are_tokens:
        for i in range(H):
            for k in range(X):
                grads.W_xh[i, k] = sums.columns[k, i]
    else:
        copy(sums.W_xh, grads.W_xh)
    copy(sums.W_hh, grads.W_hh)
    copy(sums.W_hy, grads.W_hy)


@inlined
def input_gradients(W_xh: Array, dz: Array, rows: Indices, dinputs: Array) -> None:
    """``dx_t = W_xh^T dz_t`` of a block's rows, into dinputs (T*B, X)."""
    dx = np.zeros((len(rows), W_xh.shape[0] * W_xh.shape[2]), dz.dtype)
    product(dx, dz, W_xh)
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
    out = np.zeros((R, padded(N, b)), b.dtype)
    for r in range(R):
        for n in range(N):
            out[r, n] = b[n]
    return out


@compiled
def gather(array: Array, rows: Indices) -> Array:
    """The rows of an array that exist in a block, side by side."""
    out = np.empty((len(rows), array.shape[1]), array.dtype)
    for i in range(len(rows)):
        for j in range(out.shape[1]):
            out[i, j] = array[rows[i], j]
    return out


@compiled
def gather_prev(h: Array, state: Array, rows: Indices) -> Array:
    """h_{t-1} of a block's rows: h_0, the state, at t = 0."""
    B = len(state)
    out = np.empty((len(rows), h.shape[1]), h.dtype)
    for i in range(len(rows)):
        h_prev = h[rows[i] - B] if rows[i] >= B else state[rows[i]]
        for j in range(out.shape[1]):
            out[i, j] = h_prev[j]
    return out


@compiled
def scatter(block: Array, rows: Indices, array: Array) -> None:
    """Puts the rows of a block where they belong."""
    for i in range(len(rows)):
        for j in range(array.shape[1]):
            array[rows[i], j] = block[i, j]
