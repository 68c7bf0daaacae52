"""Time: the loop forward, the loop back, and the gradients of the weights.

T steps, B sequences, X inputs, H hidden units, V outputs. A sequence b has the steps t < lengths[b];
what lies beyond does not exist: it is not read, and results are +0 there.
"""

import numpy as np

from ..params import Params
from ..types import Array, Indices, Steps
from . import rnn
from .linear import lane_sum, outer_sum, product, row_blocks, row_sum, token_sum
from .softmax import cross_entropy


def forward(params: Params, inputs: Steps, state: Array, lengths: Indices) -> tuple[Array, Array, Array]:
    """Outputs y (T, B, V), hidden states h (T, B, H) and the last state (B, H).

    inputs: vectors (T, B, X) or tokens (T, B); state: h_0 (B, H); lengths (B,).
    """
    (T, B), H, V = inputs.shape[:2], params.hidden, params.outputs
    y, h = np.zeros((T, B, V), state.dtype), np.zeros((T, B, H), state.dtype)
    h_prev, zero = state.copy(), np.zeros(H, state.dtype)
    for t in range(T):
        b = lengths > t
        a = input_part(params, inputs[t, b])
        u = product(zero, h_prev[b], params.W_hh)
        h[t, b] = h_prev[b] = rnn.forward(a, u)
        y[t, b] = product(params.b_y, h[t, b], params.W_hy)
    return y, h, h_prev


def input_part(params: Params, x: Steps) -> Array:
    """``b_h + W_xh x``, for vectors x (R, X) or tokens (R,): a token k stands for the k-th column of W_xh."""
    if x.ndim == 1:
        return params.b_h + params.W_xh[:, x].T
    return product(params.b_h, x, params.W_xh)


def backward(
    params: Params,
    inputs: Steps,
    h: Array,
    state: Array,
    lengths: Indices,
    dy: Array | None,
    dh: Array | None,
    dstate: Array | None,
    need_dinputs: bool,
) -> tuple[Params, Array, Array | None]:
    """Gradients of the parameters, of the initial state (B, H) and, if needed, of the inputs (T, B, X).

    h as ``forward`` gave it; dy (T, B, V), dh (T, B, H) and dstate (B, H) are dJ by the outputs, by the
    hidden states and by the last state, each None for what J does not depend on directly.
    """
    T, dz = len(inputs), np.zeros_like(h)
    # dJ/dh_t as far as it comes through h_{t+1}. Nothing does at a last step: -0 is the number to add then,
    # because x + -0 is x for every x, and -0 + +0 would not be -0.
    carried = np.full_like(state, -0.0) if dstate is None else dstate.copy()
    zero = np.zeros(params.hidden, state.dtype)
    for t in reversed(range(T)):
        b = lengths > t
        dh_t = carried[b]
        if dy is not None:
            dh_t = product(zero, dy[t, b], params.W_hy.T) + dh_t
        if dh is not None:
            dh_t = dh_t + dh[t, b]
        dz[t, b] = rnn.backward(dh_t, h[t, b])
        carried[b] = product(zero, dz[t, b], params.W_hh.T)
    if dstate is None:
        carried[lengths == 0] = 0
    grads = weight_gradients(params, inputs, h, state, lengths, dy, dz)
    return grads, carried, input_gradients(params, dz, lengths) if need_dinputs else None


def weight_gradients(
    params: Params, inputs: Steps, h: Array, state: Array, lengths: Indices, dy: Array | None, dz: Array
) -> Params:
    """``dW_xh = sum dz_t x_t^T``, ``dW_hh = sum dz_t h_{t-1}^T``, ``dW_hy = sum dy_t h_t^T``, ``db_h``, ``db_y``."""
    T, B = inputs.shape[:2]
    exists = np.arange(T)[:, None] < lengths
    block = row_blocks(T, B)[exists]
    blocks = [np.flatnonzero(block == n) for n in np.unique(block)]
    h_prev = np.concatenate([state[None], h])[:T]
    x, dz = inputs[exists], dz[exists]
    grads = params.zeros_like()
    grads.W_xh = token_sum(dz, x, params.inputs, blocks) if inputs.ndim == 2 else outer_sum(dz, x, blocks)
    grads.W_hh = outer_sum(dz, h_prev[exists], blocks)
    grads.b_h = row_sum(dz, blocks)
    if dy is not None:
        grads.W_hy = outer_sum(dy[exists], h[exists], blocks)
        grads.b_y = row_sum(dy[exists], blocks)
    return grads


def input_gradients(params: Params, dz: Array, lengths: Indices) -> Array:
    """``dx_t = W_xh^T dz_t``, (T, B, X)."""
    T, B = dz.shape[:2]
    exists = np.arange(T)[:, None] < lengths
    dinputs = np.zeros((T, B, params.inputs), dz.dtype)
    dinputs[exists] = product(np.zeros(params.inputs, dz.dtype), dz[exists], params.W_xh.T)
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
    """J, losses (T, B), gradients, the last state, and the gradients of the initial state and of the inputs."""
    y, h, last = forward(params, inputs, state, lengths)
    losses, dy = sequence_cross_entropy(y, labels, lengths)
    grads, dstate, dinputs = backward(params, inputs, h, state, lengths, dy, None, None, need_dinputs)
    return total(losses), losses, grads, last, dstate, dinputs
