"""The rectifying cell: ``h_t = max(z_t, 0)`` with ``z_t = a_t + u_t``."""

import numpy as np

from ..types import Array, Arrays
from .linear import NOTHING


def forward(a: Array, u: Array, prev: Arrays) -> tuple[Arrays, Arrays]:
    """Return h; NaN stays NaN, and -0 becomes +0."""
    (z,) = a + u
    return (positive(z, z),), ()


def backward(dstate: Arrays, state: Arrays, saved: Arrays, prev: Arrays) -> tuple[Arrays, Arrays, Arrays]:
    """Return dz from dh: dh where the unit is on, and +0 where it is off."""
    (dh,), (h,) = dstate, state
    dz = (positive(h, dh),)
    return dz, dz, (NOTHING,)


def positive(x: Array, y: Array) -> Array:
    """Return y where x is positive, x itself where it is NaN, else +0."""
    return np.where(x > 0, y, np.where(x != x, x, x.dtype.type(0)))
