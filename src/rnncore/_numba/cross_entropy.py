"""Cross-entropy of the softmax, ``J_t = -log p[label]``, and the gradient that makes the pair famous, ``p - label``.

Where the net is nearly certain, and right, both would cancel: p is near 1. There the sum of the other e, which does not
cancel, says how far from 1 it is.
"""

from ..types import Array
from . import ONE, ZERO, compiled
from .elementary import constants, log, log1p
from .linear import Labels, lane_sum
from .memory import row_of
from .softmax import normalise, others, parts


@compiled
def class_loss(y: Array, label: int, dy: Array, lanes: Array) -> float:
    """Return ``loss = log s + (M - y_label)``, and write dy."""
    M, s = parts(y, dy, lanes)
    t, certain = others(dy, label, lanes), dy[label] == 1
    normalise(dy, s)
    dy[label] = ZERO - t * (ONE / s) if certain else dy[label] - ONE
    loss: float = (log1p(t) if certain else log(s)) + (M - y[label])
    return loss


@compiled
def distribution_loss(y: Array, label: Array, dy: Array, terms: Array, lanes: Array) -> float:
    """Return ``loss = sum_v l_v (log s + (M - y_v))``, and write dy.

    Classes without weight are left out, since an impossible class may have y = -Inf.
    """
    M, s = parts(y, dy, lanes)
    c = _largest(label)
    t, l, certain = others(dy, c, lanes), label[c], dy[c] == 1 and label[c] > constants(s).half
    log_s = log1p(t) if certain else log(s)
    normalise(dy, s)
    for v in range(len(y)):
        terms[v] = label[v] * (log_s + (M - y[v])) if label[v] != 0 else ZERO
        dy[v] -= label[v]
    if certain:
        dy[c] = (ONE - l) - t * (ONE / s)
    return lane_sum(terms, lanes)


@compiled
def _largest(label: Array) -> int:
    """Return the place of the largest number, the first of equal ones."""
    c = 0
    for v in range(1, len(label)):
        c = v if label[v] > label[c] else c
    return c


@compiled
def loss(y: Array, labels: Labels, r: int, dy: Array, terms: Array, lanes: Array) -> float:
    """Return the loss of outputs y (V,), those of row r, and write ``dy = p - label`` (V,).

    Labels are classes, -1 for none, or distributions, a row of zeros for none: a row without a label has loss +0, and
    leaves dy, which is +0 before.
    """
    if labels.are_classes:
        return class_loss(y, labels.classes[r], dy, lanes) if labels.classes[r] >= 0 else ZERO
    label = row_of(labels.reals, r)
    return distribution_loss(y, label, dy, terms, lanes) if _is_label(label) else ZERO


@compiled
def _is_label(label: Array) -> bool:
    """Return whether a label is a distribution, and not the row of zeros that means none."""
    weights = 0
    for v in range(len(label)):
        weights += label[v] != 0
    return weights > 0
