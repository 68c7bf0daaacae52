"""The tanh cell: ``h_t = tanh(z_t)`` with ``z_t = a_t + u_t``.

Each cell is such a pair of functions. forward takes the input part ``a = b_h + W_xh x_t`` and the recurrent part
``u = W_hh h_{t-1}``, an array (R, H) for each gate, and the states before, and returns the new states and what it saves
for backward. backward takes the gradient with respect to the new states, and returns those with respect to a, to u,
and to the states before, without the term that comes through u.
"""

from ..types import Array, Arrays
from .elementary import tanh
from .linear import NOTHING


def forward(a: Array, u: Array, prev: Arrays) -> tuple[Arrays, Arrays]:
    """Return h."""
    (z,) = a + u
    return (tanh(z),), ()


def backward(dstate: Arrays, state: Arrays, saved: Arrays, prev: Arrays) -> tuple[Arrays, Arrays, Arrays]:
    """Return dz from dh: ``tanh' = 1 - tanh^2``, so h is all that must be kept."""
    (dh,), (h,) = dstate, state
    dz = (dh * (1 - h * h),)
    return dz, dz, (NOTHING,)
