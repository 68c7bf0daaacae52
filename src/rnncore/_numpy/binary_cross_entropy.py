"""V questions with the answers yes and no: ``J_t = sum_v log(1 + e^y_v) - l_v y_v``, ``dy = sigmoid(y) - l``.

With a = |y|, J_t is the sum of ``log(1 + e^-a)`` and of a times the probability of what y is against: terms without
overflow, of one sign, so that none cancels another.
"""

import numpy as np

from ..types import Array
from .elementary import exp, log1p, sigmoid
from .linear import lane_sum


def loss(y: Array, labels: Array) -> tuple[Array, Array]:
    """Return losses (R,) and ``dy = sigmoid(y) - l`` (R, V) of outputs y (R, V) and labels l (R, V) in [0, 1]."""
    a = np.abs(y)
    against = np.where(y > 0, 1 - labels, labels)
    terms = log1p(exp(-a)) + np.where(against == 0, 0, against * a)
    likely = labels > 0.5
    s = sigmoid(np.where(likely, -y, y))
    return lane_sum(terms), np.where(likely, (1 - labels) - s, s - labels)
