"""The gated recurrent unit with the reset before the product: ``h_t = (1 - z) n + z h_{t-1}``.

Its gates are ``r = sigmoid(a_r + u_r)``, ``z = sigmoid(a_z + u_z)``, ``n = tanh(a_n + u_n)``, where u_n is the product
not with h_{t-1} but with ``q = r h_{t-1}``. So a step is in two parts, forward and back.
"""

from ..types import Array, Arrays
from .elementary import (
    sigmoid,
    sigmoid_and_kept,
    sigmoid_of,
    sigmoid_rest,
    sigmoid_slope,
    tanh_and_kept,
    tanh_of,
    tanh_slope,
)


def reset(a: Array, u: Array, prev: Arrays) -> Array:
    """Return q, which the gate n reads, from the parts of the gates r and z."""
    (h_prev,) = prev
    r = sigmoid(a[0] + u[0])
    return r * h_prev


def forward(a: Array, u: Array, prev: Arrays) -> tuple[Arrays, Arrays]:
    """Return h; saved is what is kept of the gates, and q."""
    (r, kept_r), (z, kept_z) = sigmoid_and_kept(a[0] + u[0]), sigmoid_and_kept(a[1] + u[1])
    n, kept_n = tanh_and_kept(a[2] + u[2])
    (h_prev,) = prev
    return (sigmoid_rest(kept_z) * n + z * h_prev,), (kept_r, kept_z, kept_n, r * h_prev)


def reset_backward(dstate: Arrays, state: Arrays, saved: Arrays, prev: Arrays) -> Array:
    """Return du_n, from which the gradient with respect to q follows: ``dq = W_n^T du_n``."""
    (dh,), (_, z, n, _) = dstate, saved
    return (dh * sigmoid_rest(z)) * tanh_slope(n)


def backward(dstate: Arrays, state: Arrays, saved: Arrays, prev: Arrays) -> tuple[Arrays, Arrays, Arrays]:
    """Return da, which is du too, from dh and dq."""
    (dh, dq), (r, z, n, _), (h_prev,) = dstate, saved, prev
    da_n = (dh * sigmoid_rest(z)) * tanh_slope(n)
    da_z = (dh * (h_prev - tanh_of(n))) * sigmoid_slope(z)
    da_r = (dq * h_prev) * sigmoid_slope(r)
    da = da_r, da_z, da_n
    return da, da, (dh * sigmoid_of(z) + dq * sigmoid_of(r),)
