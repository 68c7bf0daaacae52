"""Softmax and its cross-entropy, a row at a time.

``p = softmax(y)``, ``J_t = -log p[label]``, and the gradient that makes the pair famous, ``dy = p - label``.
"""

from typing import NamedTuple

import numpy as np

from ..types import Array, Indices
from . import ONE, compiled
from .elementary import exp, log
from .linear import lane_sum


class Labels(NamedTuple):
    """Classes (R,), -1 for none, or distributions (R, V), a row of zeros for none; what they are not is empty."""

    are_classes: bool
    classes: Indices
    distributions: Array


@compiled
def softmax(y: Array, p: Array) -> None:
    """Write ``p_v = exp(y_v - M) / s`` with ``M = max y`` and ``s = sum_v exp(y_v - M)``. y (R, V) -> p (R, V)."""
    lanes = np.empty(16, y.dtype)
    for r in range(len(y)):
        _softmax(y[r], p[r], lanes)


@compiled
def cross_entropy(y: Array, labels: Labels, first: int, end: int, losses: Array, dy: Array) -> None:
    """Write losses (R,) and ``dy = p - label`` (R, V) of outputs y (R, V), for the rows from ``first`` to ``end``.

    losses and dy are +0 before, and stay so in a row without a label.
    """
    lanes, terms = np.empty(16, y.dtype), np.empty(y.shape[1], y.dtype)
    for r in range(first, end):
        if labels.are_classes:
            if labels.classes[r] >= 0:
                losses[r] = _class_loss(y[r], labels.classes[r], dy[r], lanes)
        elif _has_weight(labels.distributions[r]):
            losses[r] = _distribution_loss(y[r], labels.distributions[r], dy[r], terms, lanes)


@compiled
def _softmax(y: Array, p: Array, lanes: Array) -> tuple[float, float]:
    """Write p (V,); return M and log s for the loss."""
    M = y[0]
    for v in range(1, len(y)):
        M = y[v] if y[v] > M else (y[v] if y[v] != y[v] else M)
    for v in range(len(y)):
        p[v] = exp(y[v] - M)
    s = lane_sum(p, lanes)
    share = ONE / s
    for v in range(len(y)):
        p[v] *= share
    return M, log(s)


@compiled
def _class_loss(y: Array, label: int, dy: Array, lanes: Array) -> float:
    """Return ``loss = log s + (M - y_label)``, and dy."""
    M, log_s = _softmax(y, dy, lanes)
    dy[label] -= ONE
    loss: float = log_s + (M - y[label])
    return loss


@compiled
def _distribution_loss(y: Array, label: Array, dy: Array, terms: Array, lanes: Array) -> float:
    """Return ``loss = sum_v l_v (log s + (M - y_v))``, and write dy.

    Classes without weight are left out, since an impossible class may have y = -Inf.
    """
    M, log_s = _softmax(y, dy, lanes)
    for v in range(len(y)):
        terms[v] = label[v] * (log_s + (M - y[v])) if label[v] != 0 else 0
        dy[v] -= label[v]
    return lane_sum(terms, lanes)


@compiled
def _has_weight(label: Array) -> bool:
    """Return whether a label is a distribution, and not the row of zeros that means none."""
    weights = 0
    for v in range(len(label)):
        weights += label[v] != 0
    return weights > 0
