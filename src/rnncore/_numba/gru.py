"""The gated recurrent unit: ``h_t = (1 - z) n + z h_{t-1}``.

Its gates are ``r = sigmoid(a_r + u_r)``, ``z = sigmoid(a_z + u_z)``, ``n = tanh(a_n + r u_n)``: the recurrent part has
a bias of its own, ``u = b_h + W_hh h_{t-1}``, beside that of ``a = b_x + W_xh x_t``, and r resets it after the product.
"""

from . import Numbers, of_one_unit
from .elementary import sigmoid_and_kept, sigmoid_of, sigmoid_rest, sigmoid_slope, tanh_and_kept, tanh_of, tanh_slope


@of_one_unit
def forward(a: Numbers, u: Numbers, prev: Numbers) -> tuple[Numbers, Numbers]:
    """Return h; saved is what is kept of the gates, and u_n."""
    (a_r, a_z, a_n), (u_r, u_z, u_n) = a, u
    (h_prev,) = prev
    (r, kept_r), (z, kept_z) = sigmoid_and_kept(a_r + u_r), sigmoid_and_kept(a_z + u_z)
    n, kept_n = tanh_and_kept(a_n + r * u_n)
    return (sigmoid_rest(kept_z) * n + z * h_prev,), (kept_r, kept_z, kept_n, u_n)


@of_one_unit
def backward(dstate: Numbers, state: Numbers, saved: Numbers, prev: Numbers) -> tuple[Numbers, Numbers, Numbers]:
    """Return da and du from dh; they differ in the gate n."""
    (dh,), (r, z, n, u_n), (h_prev,) = dstate, saved, prev
    da_n = (dh * sigmoid_rest(z)) * tanh_slope(n)
    da_z = (dh * (h_prev - tanh_of(n))) * sigmoid_slope(z)
    da_r = (da_n * u_n) * sigmoid_slope(r)
    return (da_r, da_z, da_n), (da_r, da_z, da_n * sigmoid_of(r)), (dh * sigmoid_of(z),)
