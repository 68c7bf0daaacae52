"""Long short-term memory: ``c_t = f c_{t-1} + i g``, ``h_t = o tanh(c_t)``.

Its gates are ``i = sigmoid(z_i)``, ``f = sigmoid(z_f)``, ``g = tanh(z_g)``, ``o = sigmoid(z_o)`` with z = a + u.
"""

from . import ONE, Numbers, of_one_unit
from .elementary import sigmoid, tanh
from .linear import NOTHING


@of_one_unit
def forward(a: Numbers, u: Numbers, prev: Numbers) -> tuple[Numbers, Numbers]:
    """Return h and c; the gates and tanh(c) are saved."""
    z_i, z_f, z_g, z_o = a[0] + u[0], a[1] + u[1], a[2] + u[2], a[3] + u[3]
    _, c_prev = prev
    i, f, g, o = sigmoid(z_i), sigmoid(z_f), tanh(z_g), sigmoid(z_o)
    c = f * c_prev + i * g
    tanh_c = tanh(c)
    return (o * tanh_c, c), (i, f, g, o, tanh_c)


@of_one_unit
def backward(dstate: Numbers, state: Numbers, saved: Numbers, prev: Numbers) -> tuple[Numbers, Numbers, Numbers]:
    """Return dz from dh and dc; dc is complete once the term through h is added."""
    (dh, dc), (i, f, g, o, tanh_c), (_, c_prev) = dstate, saved, prev
    dc = dc + (dh * o) * (ONE - tanh_c * tanh_c)
    dz_i = (dc * g) * (i * (ONE - i))
    dz_f = (dc * c_prev) * (f * (ONE - f))
    dz_g = (dc * i) * (ONE - g * g)
    dz_o = (dh * tanh_c) * (o * (ONE - o))
    dz = dz_i, dz_f, dz_g, dz_o
    return dz, dz, (NOTHING, dc * f)
