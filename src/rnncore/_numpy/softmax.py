"""Softmax and its cross-entropy, a row at a time.

``p = softmax(y)``, ``J_t = -log p[label]``, and the gradient that makes the pair famous, ``dy = p - label``.
"""

import numpy as np

from ..types import Array, Indices, Labels
from .elementary import exp, log
from .linear import lane_sum


def softmax(y: Array) -> Array:
    """Return ``p_v = exp(y_v - M) / s`` with ``M = max y`` and ``s = sum_v exp(y_v - M)``. y (R, V) -> (R, V)."""
    p, _, _ = _softmax(y)
    return p


def cross_entropy(y: Array, labels: Labels) -> tuple[Array, Array]:
    """Return losses (R,) and ``dy = p - label`` (R, V) of outputs y (R, V).

    Labels are classes (R,), -1 for none, or distributions (R, V), a row of zeros for none: a row
    without a label has loss +0 and dy +0.
    """
    p, M, log_s = _softmax(y)
    if labels.ndim == 1:
        return _class_loss(y, labels, p, M, log_s)
    return _distribution_loss(y, labels, p, M, log_s)


def _softmax(y: Array) -> tuple[Array, Array, Array]:
    """Return p (R, V), and M and log s (R, 1) for the loss."""
    M = y.max(axis=1, keepdims=True)
    e = exp(y - M)
    s = lane_sum(e)[:, None]
    return e * (1 / s), M, log(s)


def _class_loss(y: Array, labels: Indices, p: Array, M: Array, log_s: Array) -> tuple[Array, Array]:
    """Return ``loss = log s + (M - y_label)``, and dy."""
    losses, dy = np.zeros(len(y), y.dtype), np.zeros_like(y)
    (r,) = np.nonzero(labels >= 0)
    label = labels[r]
    losses[r] = log_s[r, 0] + (M[r, 0] - y[r, label])
    dy[r] = p[r]
    dy[r, label] -= 1
    return losses, dy


def _distribution_loss(y: Array, labels: Array, p: Array, M: Array, log_s: Array) -> tuple[Array, Array]:
    """Return ``loss = sum_v l_v (log s + (M - y_v))``, and dy.

    Classes without weight are left out, since an impossible class may have y = -Inf.
    """
    terms = np.where(labels == 0, 0, labels * (log_s + (M - y)))
    labelled = (labels != 0).any(axis=1, keepdims=True)
    return lane_sum(terms), np.where(labelled, p - labels, 0)
