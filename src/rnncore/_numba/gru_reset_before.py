"""The gated recurrent unit as first published, with the reset before the product: ``h_t = (1 - z) n + z h_{t-1}``.

Its gates are ``r = sigmoid(a_r + u_r)``, ``z = sigmoid(a_z + u_z)``, ``n = tanh(a_n + u_n)``, where u_n is the product
not with h_{t-1} but with ``q = r h_{t-1}``. So a step is in two parts, forward and back.
"""

from . import Numbers, of_one_unit
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


@of_one_unit
def reset(a: Numbers, u: Numbers, prev: Numbers) -> float:
    """Return q, which the gate n reads, from the parts of the gates r and z."""
    (h_prev,) = prev
    r = sigmoid(a[0] + u[0])
    return r * h_prev


@of_one_unit
def forward(a: Numbers, u: Numbers, prev: Numbers) -> tuple[Numbers, Numbers]:
    """Return h; saved is what is kept of the gates, and q."""
    (r, kept_r), (z, kept_z) = sigmoid_and_kept(a[0] + u[0]), sigmoid_and_kept(a[1] + u[1])
    n, kept_n = tanh_and_kept(a[2] + u[2])
    (h_prev,) = prev
    return (sigmoid_rest(kept_z) * n + z * h_prev,), (kept_r, kept_z, kept_n, r * h_prev)


@of_one_unit
def reset_backward(dstate: Numbers, state: Numbers, saved: Numbers, prev: Numbers) -> float:
    """Return du_n, from which the gradient with respect to q follows: ``dq = W_n^T du_n``."""
    (dh,), (_, z, n, _) = dstate, saved
    du_n: float = (dh * sigmoid_rest(z)) * tanh_slope(n)
    return du_n


@of_one_unit
def backward(dstate: Numbers, state: Numbers, saved: Numbers, prev: Numbers) -> tuple[Numbers, Numbers, Numbers]:
    """Return da, which is du too, from dh and dq."""
    (dh, dq), (r, z, n, _), (h_prev,) = dstate, saved, prev
    da_n = (dh * sigmoid_rest(z)) * tanh_slope(n)
    da_z = (dh * (h_prev - tanh_of(n))) * sigmoid_slope(z)
    da_r = (dq * h_prev) * sigmoid_slope(r)
    da = da_r, da_z, da_n
    return da, da, (dh * sigmoid_of(z) + dq * sigmoid_of(r),)
