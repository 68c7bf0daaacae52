"""The tanh cell: ``h_t = tanh(z_t)`` with ``z_t = a_t + u_t``.

Each cell is such a pair of functions. forward takes the input part ``a = b_h + W_xh x_t`` and the recurrent part
``u = W_hh h_{t-1}``, an array (R, H) for each gate, and the states before, and gives the new states and what it saves
for backward. backward takes dJ by the new states as far as it is known when the step is reached, and gives
dJ by a, by u, and by the states before, as far as it does not come through u.
"""

from ..types import Array, Arrays
from .elementary import tanh
from .linear import NOTHING


def forward(a: Array, u: Array, prev: Arrays) -> tuple[Arrays, Arrays]:
    """h."""
    (z,) = a + u
    return (tanh(z),), ()


def backward(dstate: Arrays, state: Arrays, saved: Arrays, prev: Arrays) -> tuple[Arrays, Arrays, Arrays]:
    """dz from dh: ``tanh' = 1 - tanh^2``, so h is all that must be kept."""
    (dh,), (h,) = dstate, state
    dz = (dh * (1 - h * h),)
    return dz, dz, (NOTHING,)
