"""Long short-term memory: ``c_t = f c_{t-1} + i g``, ``h_t = o tanh(c_t)``.

Its gates are ``i = sigmoid(z_i)``, ``f = sigmoid(z_f)``, ``g = tanh(z_g)``, ``o = sigmoid(z_o)`` with z = a + u.
"""

from . import Numbers, of_one_unit
from .elementary import sigmoid_and_kept, sigmoid_of, sigmoid_slope, tanh_and_kept, tanh_of, tanh_slope
from .linear import NOTHING


@of_one_unit
def forward(a: Numbers, u: Numbers, prev: Numbers) -> tuple[Numbers, Numbers]:
    """Return h and c; saved is what is kept of the gates and of tanh(c)."""
    z_i, z_f, z_g, z_o = a[0] + u[0], a[1] + u[1], a[2] + u[2], a[3] + u[3]
    _, c_prev = prev
    (i, kept_i), (f, kept_f) = sigmoid_and_kept(z_i), sigmoid_and_kept(z_f)
    (g, kept_g), (o, kept_o) = tanh_and_kept(z_g), sigmoid_and_kept(z_o)
    c = f * c_prev + i * g
    tanh_c, kept_c = tanh_and_kept(c)
    return (o * tanh_c, c), (kept_i, kept_f, kept_g, kept_o, kept_c)


@of_one_unit
def backward(dstate: Numbers, state: Numbers, saved: Numbers, prev: Numbers) -> tuple[Numbers, Numbers, Numbers]:
    """Return dz from dh and dc; dc is complete once the term through h is added."""
    (dh, dc), (i, f, g, o, tanh_c), (_, c_prev) = dstate, saved, prev
    dc = dc + (dh * sigmoid_of(o)) * tanh_slope(tanh_c)
    dz_i = (dc * tanh_of(g)) * sigmoid_slope(i)
    dz_f = (dc * c_prev) * sigmoid_slope(f)
    dz_g = (dc * sigmoid_of(i)) * tanh_slope(g)
    dz_o = (dh * tanh_of(tanh_c)) * sigmoid_slope(o)
    dz = dz_i, dz_f, dz_g, dz_o
    return dz, dz, (NOTHING, dc * sigmoid_of(f))
