"""Backpropagation through time, written out literally: the double sum of the derivation, in 50 digits.

One sequence x_1 .. x_T with labels l_1 .. l_T (distributions; a row of zeros where a step has no loss):

    z_t = b_h + W_xh x_t + W_hh h_{t-1}     h_t = tanh(z_t)
    y_t = b_y + W_hy h_t                    p_t = softmax(y_t)
    J_t = -sum_v l_tv log p_tv              J = sum_t J_t

J_t depends on h_k, k <= t, through every step between:

    dh_t/dh_k = prod_{j = t .. k+1} diag(1 - h_j^2) W_hh

and on W_hh through every h_k, k <= t, hence the double sum

    dJ/dW_hh = sum_t sum_{k <= t} dJ_t/dh_t . dh_t/dh_k . dh_k/dz_k . dz_k/dW_hh.

Nothing is shared between two terms: no running sum, no shortcut, no order of additions to get right. That
makes it slow, O(T^3 H^3), and worth believing. Step t is index t, so index 0 is unused but in h.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import mpmath
import numpy as np
import numpy.typing as npt

DIGITS = 50
Exact = npt.NDArray[Any]
"""An array of mpmath numbers."""


@dataclass
class Weights:
    """Parameters, or the gradients by them."""

    W_xh: Exact
    W_hh: Exact
    W_hy: Exact
    b_h: Exact
    b_y: Exact


@dataclass
class Gradients:
    """What ``differentiate`` returns: J, dJ by the weights, by h_0 and by x_1 .. x_T."""

    J: Any
    weights: Weights
    dh_0: Exact
    dx: list[Exact]


def exact(array: npt.ArrayLike) -> Exact:
    """The same numbers in mpmath: a float is a rational number, nothing is rounded."""
    floats = np.asarray(array, np.float64)
    numbers = np.empty(floats.shape, object)
    numbers.flat = [mpmath.mpf(float(number)) for number in floats.flat]
    return numbers


def zeros_like(array: Exact) -> Exact:
    return exact(np.zeros(array.shape))


def diag(v: Exact) -> Exact:
    return exact(np.eye(len(v))) * v


def tanh(z: Exact) -> Exact:
    return np.array([mpmath.tanh(element) for element in z], object)


def softmax(y: Exact) -> Exact:
    e = np.array([mpmath.exp(element) for element in y], object)
    return e / e.sum()


def cost(label: Exact, p: Exact) -> Any:
    """J_t = -sum_v l_v log p_v."""
    return -sum(l_v * mpmath.log(p_v) for l_v, p_v in zip(label, p, strict=True) if l_v != 0)


def hidden_states(w: Weights, x: Sequence[Exact], h_0: Exact) -> list[Exact]:
    """h_0, h_1, .., h_T."""
    h = [h_0]
    for t in range(1, len(x)):
        h.append(tanh(w.b_h + w.W_xh @ x[t] + w.W_hh @ h[t - 1]))
    return h


def dh_dh(w: Weights, h: Sequence[Exact], t: int, k: int) -> Exact:
    """dh_t/dh_k = prod_{j = t .. k+1} diag(1 - h_j^2) W_hh, (H, H)."""
    jacobian = exact(np.eye(len(w.b_h)))
    for j in range(t, k, -1):
        jacobian = jacobian @ diag(1 - h[j] ** 2) @ w.W_hh
    return jacobian


def differentiate(w: Weights, x: Sequence[Exact], labels: Sequence[Exact], h_0: Exact) -> Gradients:
    """J and its gradients for one sequence; x[0] and labels[0] are not read."""
    h = hidden_states(w, x, h_0)
    J = mpmath.mpf(0)
    d = Weights(*(zeros_like(array) for array in (w.W_xh, w.W_hh, w.W_hy, w.b_h, w.b_y)))
    dh_0, dx = zeros_like(h_0), [zeros_like(x_t) for x_t in x]
    for t in range(1, len(x)):
        if not labels[t].any():
            continue  # this step has no J_t
        p_t = softmax(w.b_y + w.W_hy @ h[t])
        J += cost(labels[t], p_t)

        dJ_dy = p_t - labels[t]  # dJ_t/dy_t
        d.W_hy += np.outer(dJ_dy, h[t])
        d.b_y += dJ_dy

        dJ_dh = dJ_dy @ w.W_hy  # dJ_t/dh_t
        for k in range(1, t + 1):
            dJ_dz = dJ_dh @ dh_dh(w, h, t, k) @ diag(1 - h[k] ** 2)  # dJ_t/dh_t . dh_t/dh_k . dh_k/dz_k
            d.W_hh += np.outer(dJ_dz, h[k - 1])
            d.W_xh += np.outer(dJ_dz, x[k])
            d.b_h += dJ_dz
            dx[k] += dJ_dz @ w.W_xh
        dh_0 += dJ_dh @ dh_dh(w, h, t, 0)
    return Gradients(J, d, dh_0, dx)
