"""V questions with the answers yes and no: ``J_t = sum_v log(1 + e^y_v) - l_v y_v``, ``dy = sigmoid(y) - l``.

With a = |y|, J_t is the sum of ``log(1 + e^-a)`` and of a times the probability of what y is against: terms without
overflow, of one sign, so that none cancels another.
"""

from ..types import Array
from . import ONE, ZERO, compiled
from .elementary import constants, exp, log1p, sigmoid
from .linear import lane_sum


@compiled
def loss(y: Array, label: Array, dy: Array, terms: Array, lanes: Array) -> float:
    """Return the loss of outputs y (V,) and label l (V,) in [0, 1], and write ``dy = sigmoid(y) - l`` (V,)."""
    for v in range(len(y)):
        a, l = abs(y[v]), label[v]
        against = ONE - l if y[v] > 0 else l
        terms[v] = log1p(exp(-a)) + (ZERO if against == 0 else against * a)
    for v in range(len(y)):
        l = label[v]
        likely = l > constants(l).half
        s = sigmoid(-y[v] if likely else y[v])
        dy[v] = (ONE - l) - s if likely else s - l
    return lane_sum(terms, lanes)
