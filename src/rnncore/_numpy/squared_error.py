"""Half the squared error: ``J_t = sum_v (y_v - l_v)^2 / 2``, ``dy = y - l``."""

from ..types import Array
from .linear import lane_sum


def loss(y: Array, labels: Array) -> tuple[Array, Array]:
    """Return losses (R,) and ``dy = y - l`` (R, V) of outputs y (R, V) and labels l (R, V)."""
    dy = y - labels
    return lane_sum(dy * dy) * y.dtype.type(0.5), dy
