"""Long short-term memory: ``c_t = f c_{t-1} + i g``, ``h_t = o tanh(c_t)``.

Its gates are ``i = sigmoid(z_i)``, ``f = sigmoid(z_f)``, ``g = tanh(z_g)``, ``o = sigmoid(z_o)`` with z = a + u.
"""

from ..types import Array, Arrays
from .elementary import sigmoid, tanh
from .linear import NOTHING


def forward(a: Array, u: Array, prev: Arrays) -> tuple[Arrays, Arrays]:
    """Return h and c; the gates and tanh(c) are saved."""
    z_i, z_f, z_g, z_o = a + u
    _, c_prev = prev
    i, f, g, o = sigmoid(z_i), sigmoid(z_f), tanh(z_g), sigmoid(z_o)
    c = f * c_prev + i * g
    tanh_c = tanh(c)
    return (o * tanh_c, c), (i, f, g, o, tanh_c)


def backward(dstate: Arrays, state: Arrays, saved: Arrays, prev: Arrays) -> tuple[Arrays, Arrays, Arrays]:
    """Return dz from dh and dc; dc is complete once the term through h is added."""
    (dh, dc), (i, f, g, o, tanh_c), (_, c_prev) = dstate, saved, prev
    dc = dc + (dh * o) * (1 - tanh_c * tanh_c)
    dz_i = (dc * g) * (i * (1 - i))
    dz_f = (dc * c_prev) * (f * (1 - f))
    dz_g = (dc * i) * (1 - g * g)
    dz_o = (dh * tanh_c) * (o * (1 - o))
    dz = dz_i, dz_f, dz_g, dz_o
    return dz, dz, (NOTHING, dc * f)
