"""The gradient as a competent user of NumPy writes it: BLAS, and all that need not wait for a step outside of the loop.

Of each cell there is what its steps do forward, which keeps what the way back needs, and the steps back. z or a
(T, B, G H) is the input part of all steps, h (T + 1, B, H) begins with the initial state, dh (T, B, H) is what comes
from the outputs. Gates lie in the order of rnncore. With B = 1 the products of a step are matrix times vector.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from problems import Problem
from timing import Results

Kept = tuple[Any, ...]


def gradient(task: Problem) -> Results:
    """Backpropagation through time."""
    params, shape = task.params, task.shape
    forward, backward = CELLS[shape.cell]
    T, B, H = shape.T, shape.B, shape.H
    x = one_hot(task) if shape.tokens else task.inputs.reshape(T * B, -1)
    bias = params.b_x if "b_x" in params.names() else params.b_h
    h, kept = forward((x @ params.W_xh.T + bias).reshape(T, B, -1), params, task.states)
    rows = h[1:].reshape(T * B, H)
    loss, dy = cross_entropy(rows @ params.W_hy.T + params.b_y, task.labels.reshape(-1))
    da, du, dstates = backward((dy @ params.W_hy).reshape(T, B, H), params.W_hh, h, kept)
    da, du = da.reshape(T * B, -1), du.reshape(T * B, -1)
    return {
        "loss": np.array(loss),
        "dstate": np.stack(dstates),
        "W_xh": summed(da, x),
        "W_hh": summed(du, h[:-1].reshape(T * B, H)),
        "W_hy": summed(dy, rows),
        "b_x": da.sum(axis=0),
        "b_h": du.sum(axis=0),
        "b_y": dy.sum(axis=0),
    }


def one_hot(task: Problem) -> Any:
    """Rows of zeros with one 1; a product with them is faster than np.add.at for the gradient."""
    x = np.zeros((task.inputs.size, task.shape.X), task.dtype)
    x[np.arange(task.inputs.size), task.inputs.reshape(-1)] = 1
    return x


def cross_entropy(y: Any, labels: Any) -> tuple[float, Any]:
    """J and ``dy = softmax(y) - label``."""
    rows = np.arange(len(y))
    y -= y.max(axis=1, keepdims=True)
    p = np.exp(y)
    sums = p.sum(axis=1, keepdims=True)
    loss = float(np.log(sums).sum() - y[rows, labels].sum())
    p /= sums
    p[rows, labels] -= 1
    return loss, p


def times(rows: Any, W: Any) -> Any:
    """``rows W``; a single row as a vector, for which BLAS has a way of its own."""
    return (rows[0] @ W)[None] if len(rows) == 1 else rows @ W


def summed(da: Any, x: Any) -> Any:
    """``da^T x``; of a single row by broadcasting, for which BLAS has no way of its own and ``@`` a slow one."""
    return da.T * x if len(da) == 1 else da.T @ x


def room(z: Any, first: Any) -> Any:
    """For a state at all steps, with the initial one in its place."""
    states = np.empty((len(z) + 1, *first.shape), z.dtype)
    states[0] = first
    return states


def rnn(z: Any, params: Any, states: Any) -> tuple[Any, Kept]:
    """``h_t = tanh(z_t + W_hh h_{t-1})``."""
    h, W = room(z, states[0]), params.W_hh.T
    for t in range(len(z)):
        np.tanh(z[t] + times(h[t], W), out=h[t + 1])
    return h, (1 - h[1:] ** 2,)


def relu(z: Any, params: Any, states: Any) -> tuple[Any, Kept]:
    """``h_t = max(z_t + W_hh h_{t-1}, 0)``."""
    h, W = room(z, states[0]), params.W_hh.T
    for t in range(len(z)):
        np.maximum(z[t] + times(h[t], W), 0, out=h[t + 1])
    return h, ((h[1:] > 0).astype(z.dtype),)


def rnn_back(dh: Any, W_hh: Any, h: Any, kept: Kept) -> tuple[Any, Any, list[Any]]:
    """``dz_t = (dh_t + W_hh^T dz_{t+1}) * slope_t``."""
    (slope,) = kept
    dz, carried = np.empty_like(dh), np.zeros_like(dh[0])
    for t in reversed(range(len(dh))):
        np.multiply(dh[t] + carried, slope[t], out=dz[t])
        carried = times(dz[t], W_hh)
    return dz, dz, [carried]


def lstm(z: Any, params: Any, states: Any) -> tuple[Any, Kept]:
    """One tanh for all four gates of a step: sigmoid(a) is ``0.5 + 0.5 tanh(0.5 a)``."""
    h, c, W = room(z, states[0]), room(z, states[1]), params.W_hh.T
    T, (B, H) = len(z), states[0].shape
    half = np.full(4 * H, 0.5, z.dtype)
    half[2 * H : 3 * H] = 1
    rest, tanh_c = 1 - half, np.empty_like(h[1:])
    for t in range(T):
        gates = z[t]
        gates += times(h[t], W)
        gates *= half
        np.tanh(gates, out=gates)
        gates *= half
        gates += rest
        i, f, g, o = (gates[:, k : k + H] for k in range(0, 4 * H, H))
        np.multiply(f, c[t], out=c[t + 1])
        c[t + 1] += i * g
        np.tanh(c[t + 1], out=tanh_c[t])
        np.multiply(o, tanh_c[t], out=h[t + 1])
    return h, (z.reshape(T, B, 4, H), c, tanh_c)


def lstm_back(dh: Any, W_hh: Any, h: Any, kept: Kept) -> tuple[Any, Any, list[Any]]:
    """dz is linear in dc and dh: what they are multiplied by is there for all steps before the loop begins."""
    gates, c, tanh_c = kept
    i, f, g, o = np.moveaxis(gates, 2, 0)
    dz = gates * (1 - gates)
    dz[:, :, 0] *= g
    dz[:, :, 1] *= c[:-1]
    dz[:, :, 2] = i * (1 - g * g)
    dz[:, :, 3] *= tanh_c
    through = o * (1 - tanh_c * tanh_c)
    carried, dc = np.zeros_like(dh[0]), np.zeros_like(dh[0])
    for t in reversed(range(len(dh))):
        total = dh[t] + carried
        dc += total * through[t]
        dz[t, :, :3] *= dc[:, None]
        dz[t, :, 3] *= total
        dc *= f[t]
        carried = times(dz[t].reshape(len(total), -1), W_hh)
    return dz, dz, [carried, dc]


def gru(a: Any, params: Any, states: Any) -> tuple[Any, Kept]:
    """Both sigmoids of a step in one tanh, as in :func:`lstm`."""
    h, W, b = room(a, states[0]), params.W_hh.T, params.b_h
    T, (B, H) = len(a), states[0].shape
    u_n = np.empty_like(h[1:])
    for t in range(T):
        gates, u = a[t], times(h[t], W)
        u += b
        u_n[t] = u[:, 2 * H :]
        rz, n = gates[:, : 2 * H], gates[:, 2 * H :]
        rz += u[:, : 2 * H]
        rz *= 0.5
        np.tanh(rz, out=rz)
        rz *= 0.5
        rz += 0.5
        n += rz[:, :H] * u_n[t]
        np.tanh(n, out=n)
        np.multiply(rz[:, H:], h[t] - n, out=h[t + 1])
        h[t + 1] += n
    return h, (a.reshape(T, B, 3, H), u_n)


def gru_back(dh: Any, W_hh: Any, h: Any, kept: Kept) -> tuple[Any, Any, list[Any]]:
    """da and du are linear in dh; only n tells them apart."""
    gates, u_n = kept
    r, z, n = np.moveaxis(gates, 2, 0)
    by_n = (1 - z) * (1 - n * n)
    du = gates * (1 - gates)
    du[:, :, 0] *= by_n * u_n
    du[:, :, 1] *= h[:-1] - n
    du[:, :, 2] = by_n * r
    carried = np.zeros_like(dh[0])
    for t in reversed(range(len(dh))):
        dh[t] += carried
        du[t] *= dh[t][:, None]
        carried = dh[t] * z[t] + times(du[t].reshape(len(carried), -1), W_hh)
    da = du.copy()
    da[:, :, 2] = dh * by_n
    return da, du, [carried]


CELLS: dict[str, tuple[Callable[..., tuple[Any, Kept]], Callable[..., tuple[Any, Any, list[Any]]]]] = {
    "rnn": (rnn, rnn_back),
    "rnn_relu": (relu, rnn_back),
    "lstm": (lstm, lstm_back),
    "gru": (gru, gru_back),
}
