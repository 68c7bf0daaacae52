"""The tanh cell: ``h_t = tanh(z_t)`` with ``z_t = a_t + u_t``."""

import numpy as np

from . import compiled
from .elementary import tanh

ONE = np.int8(1)  # a number so narrow that it does not widen float32


@compiled
def forward(a: float, u: float) -> float:
    """h from the input part ``a = b_h + W_xh x_t`` and the recurrent part ``u = W_hh h_{t-1}``."""
    return tanh(a + u)


@compiled
def backward(dh: float, h: float) -> float:
    """dz from dh: ``tanh' = 1 - tanh^2``, so h is all that must be kept."""
    return dh * (ONE - h * h)
