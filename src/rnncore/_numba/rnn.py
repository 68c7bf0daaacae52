"""The tanh cell: ``h_t = tanh(z_t)`` with ``z_t = a_t + u_t``.

Each cell is such a pair of functions of one unit. forward takes the input part ``a = b_h + W_xh x_t`` and the recurrent
part ``u = W_hh h_{t-1}``, a number for each gate, and the states before, and returns the new states and what it saves
for backward. backward takes the gradient with respect to the new states, and returns those with respect to a, to u,
and to the states before, without the term that comes through u.
"""

from . import ONE, Numbers, of_one_unit
from .elementary import tanh
from .linear import NOTHING


@of_one_unit
def forward(a: Numbers, u: Numbers, prev: Numbers) -> tuple[Numbers, Numbers]:
    """Return h."""
    z = a[0] + u[0]
    return (tanh(z),), ()


@of_one_unit
def backward(dstate: Numbers, state: Numbers, saved: Numbers, prev: Numbers) -> tuple[Numbers, Numbers, Numbers]:
    """Return dz from dh: ``tanh' = 1 - tanh^2``, so h is all that must be kept."""
    (dh,), (h,) = dstate, state
    dz = (dh * (ONE - h * h),)
    return dz, dz, (NOTHING,)
