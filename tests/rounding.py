"""How far rounding may carry a gradient from the truth: a first-order bound, element by element.

An operation's result is off by at most ``u`` times its magnitude, u = 2^-53 or 2^-24, and an error already
there is carried on by the derivative of what follows. Terms in u^2 are left out. ``e_x`` bounds the error of x.

A sum of n products, in whatever order and with or without fma, is off by at most (n + 2) u times the sum of
the magnitudes (N. J. Higham, Accuracy and Stability of Numerical Algorithms, section 3.1). So the bound holds
for every library that multiplies and adds in this precision, and for none in particular.
"""

from dataclasses import dataclass

import numpy as np
from nets import Array, Net

ELEMENTARY = 4
"""exp, tanh and log are within 2 units in the last place, each at most 2 u of the magnitude."""


@dataclass
class Grid:
    """A net in plain float64 arrays: vectors x (T, B, X), distributions l (T, B, V), weights as they are."""

    x: Array
    l: Array
    h_0: Array
    W_xh: Array
    W_hh: Array
    W_hy: Array
    b_h: Array
    b_y: Array


def grid(net: Net) -> Grid:
    """Tokens and classes as one-hot vectors; for nets with labels and without lengths."""
    assert net.labels is not None
    assert net.lengths is None
    params, steps = net.params, net.inputs.shape[:2]
    h_0 = np.zeros((steps[1], params.hidden)) if net.state is None else net.state
    weights = (params.W_xh, params.W_hh, params.W_hy, params.b_h, params.b_y)
    arrays = (one_hot(net.inputs, params.inputs), one_hot(net.labels, params.outputs), h_0, *weights)
    return Grid(*(np.asarray(array, np.float64) for array in arrays))


def one_hot(array: Array, size: int) -> Array:
    return array if array.ndim == 3 else array[..., None] == np.arange(size)


def bounds(net: Net, u: float) -> dict[str, Array]:
    """The bound on the error of each array of ``bptt``."""
    g = grid(net)
    (T, B, X), H, V = g.x.shape, len(g.b_h), len(g.b_y)
    h, e_h = [g.h_0], [np.zeros_like(g.h_0)]
    for t in range(T):
        z = g.b_h + g.x[t] @ g.W_xh.T + h[t] @ g.W_hh.T
        e_z = e_h[t] @ abs(g.W_hh).T + u * abs(z)
        e_z += u * (X + 2) * (abs(g.b_h) + abs(g.x[t]) @ abs(g.W_xh).T) + u * (H + 2) * abs(h[t]) @ abs(g.W_hh).T
        h.append(np.tanh(z))
        e_h.append((1 - h[-1] ** 2) * e_z + ELEMENTARY * u * abs(h[-1]))
    e_loss, dy, e_dy = softmax_bounds(g, np.array(h[1:]), np.array(e_h[1:]), u)

    dz, e_dz = [np.zeros((B, H))] * (T + 1), [np.zeros((B, H))] * (T + 1)
    for t in reversed(range(T)):
        dh = dy[t] @ g.W_hy + dz[t + 1] @ g.W_hh
        e_dh = e_dy[t] @ abs(g.W_hy) + e_dz[t + 1] @ abs(g.W_hh) + u * abs(dh)
        e_dh += u * (V + 2) * abs(dy[t]) @ abs(g.W_hy) + u * (H + 2) * abs(dz[t + 1]) @ abs(g.W_hh)
        slope = 1 - h[t + 1] ** 2
        dz[t] = dh * slope
        e_dz[t] = slope * e_dh + 2 * abs(h[t + 1] * dh) * e_h[t + 1] + u * abs(dh) * (h[t + 1] ** 2 + 2 * slope)

    D, e_D, h_all, e_h_all = np.array(dz[:T]), np.array(e_dz[:T]), np.array(h), np.array(e_h)
    none = np.zeros_like
    return {
        "loss": e_loss,
        "grads.W_xh": outer_bound(D, e_D, g.x, none(g.x), u),
        "grads.W_hh": outer_bound(D, e_D, h_all[:-1], e_h_all[:-1], u),
        "grads.W_hy": outer_bound(dy, e_dy, h_all[1:], e_h_all[1:], u),
        "grads.b_h": outer_bound(D, e_D, np.ones((T, B, 1)), np.zeros((T, B, 1)), u)[:, 0],
        "grads.b_y": outer_bound(dy, e_dy, np.ones((T, B, 1)), np.zeros((T, B, 1)), u)[:, 0],
        "dstate": e_dz[0] @ abs(g.W_hh) + u * (H + 2) * abs(dz[0]) @ abs(g.W_hh),
        "dinputs": e_D @ abs(g.W_xh) + u * (H + 2) * abs(D) @ abs(g.W_xh),
    }


def softmax_bounds(g: Grid, h: Array, e_h: Array, u: float) -> tuple[Array, Array, Array]:
    """The error of J; dy and its error."""
    V = len(g.b_y)
    y = g.b_y + h @ g.W_hy.T
    y_M = y - y.max(axis=-1, keepdims=True)
    e_y = e_h @ abs(g.W_hy).T + u * (len(g.b_h) + 2) * (abs(g.b_y) + abs(h) @ abs(g.W_hy).T) + u * abs(y_M)
    s = np.exp(y_M).sum(axis=-1, keepdims=True)
    p = np.exp(y_M) / s
    e_s = (p * e_y).sum(axis=-1, keepdims=True) + u * (V + ELEMENTARY)  # relative to s
    e_p = p * (e_y + e_s + u * (ELEMENTARY + 2))
    labelled = g.l.any(axis=-1, keepdims=True)
    terms = np.where(g.l == 0, 0, np.log(s) - y_M)
    e_terms = e_y + e_s + u * (ELEMENTARY * abs(np.log(s)) + (V + len(g.x) + 4) * abs(terms))
    return (g.l * e_terms).sum(), labelled * (p - g.l), labelled * (e_p + u * abs(p - g.l))


def outer_bound(D: Array, e_D: Array, E: Array, e_E: Array, u: float) -> Array:
    """The error of the sum over all steps of D E^T."""
    D, e_D, E, e_E = (abs(array).reshape(-1, array.shape[-1]) for array in (D, e_D, E, e_E))
    return e_D.T @ E + D.T @ e_E + u * (len(D) + 2) * D.T @ E
