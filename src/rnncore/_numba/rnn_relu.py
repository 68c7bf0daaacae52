"""The rectifying cell: ``h_t = max(z_t, 0)`` with ``z_t = a_t + u_t``."""

from . import ZERO, Numbers, of_one_unit
from .linear import NOTHING


@of_one_unit
def forward(a: Numbers, u: Numbers, prev: Numbers) -> tuple[Numbers, Numbers]:
    """Return h; NaN stays NaN, and -0 becomes +0."""
    z = a[0] + u[0]
    return (positive(z, z),), ()


@of_one_unit
def backward(dstate: Numbers, state: Numbers, saved: Numbers, prev: Numbers) -> tuple[Numbers, Numbers, Numbers]:
    """Return dz from dh: dh where the unit is on, and +0 where it is off."""
    (dh,), (h,) = dstate, state
    dz = (positive(h, dh),)
    return dz, dz, (NOTHING,)


@of_one_unit
def positive(x: float, y: float) -> float:
    """Return y where x is positive, x itself where it is NaN, else +0."""
    return y if x > 0 else (x if x != x else ZERO)
