"""Half the squared error: ``J_t = sum_v (y_v - l_v)^2 / 2``, ``dy = y - l``."""

from ..types import Array
from . import compiled
from .elementary import constants
from .linear import lane_sum


@compiled
def loss(y: Array, label: Array, dy: Array, terms: Array, lanes: Array) -> float:
    """Return the loss of outputs y (V,) and label l (V,), and write ``dy = y - l`` (V,)."""
    for v in range(len(y)):
        dy[v] = y[v] - label[v]
        terms[v] = dy[v] * dy[v]
    s = lane_sum(terms, lanes)
    return s * constants(s).half
