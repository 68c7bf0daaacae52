"""The tanh cell: ``h_t = tanh(z_t)`` with ``z_t = a_t + u_t``."""

from ..types import Array
from .elementary import tanh


def forward(a: Array, u: Array) -> Array:
    """h from the input part ``a = b_h + W_xh x_t`` and the recurrent part ``u = W_hh h_{t-1}``."""
    return tanh(a + u)


def backward(dh: Array, h: Array) -> Array:
    """dz from dh: ``tanh' = 1 - tanh^2``, so h is all that must be kept."""
    return dh * (1 - h * h)
