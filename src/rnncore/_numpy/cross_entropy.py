"""The cross-entropy of the softmax: ``J_t = -log p[label]``, and the famous gradient, ``dy = p - label``.

Where the net is nearly certain, and right, both would cancel: p is near 1. There the sum of the other e, which does not
cancel, says how far from 1 it is.
"""

import numpy as np

from ..types import Array, Indices, Labels
from .elementary import log, log1p
from .linear import lane_sum
from .softmax import normalise, others, parts


def class_loss(y: Array, labels: Indices) -> tuple[Array, Array]:
    """Return ``loss = log s + (M - y_label)``, and dy."""
    losses, dy = np.zeros(len(y), y.dtype), np.zeros_like(y)
    (r,) = np.nonzero(labels >= 0)
    label, at = labels[r], np.arange(len(r))
    M, e, s = found = parts(y[r])
    p, t = normalise(found), others(e, label)
    certain = e[at, label] == 1
    log_s = np.where(certain, log1p(t), log(s[:, 0]))
    losses[r] = log_s + (M[:, 0] - y[r, label])
    p[at, label] = np.where(certain, 0 - t * (1 / s[:, 0]), p[at, label] - 1)
    dy[r] = p
    return losses, dy


def distribution_loss(y: Array, labels: Array) -> tuple[Array, Array]:
    """Return ``loss = sum_v l_v (log s + (M - y_v))``, and dy.

    Classes without weight are left out, since an impossible class may have y = -Inf.
    """
    M, e, s = found = parts(y)
    c, at = labels.argmax(axis=1), np.arange(len(y))
    l, t = labels[at, c], others(e, c)
    certain = (e[at, c] == 1) & (l > 0.5)
    log_s = np.where(certain, log1p(t), log(s[:, 0]))[:, None]
    terms = np.where(labels == 0, 0, labels * (log_s + (M - y)))
    dy = normalise(found) - labels
    dy[at, c] = np.where(certain, (1 - l) - t * (1 / s[:, 0]), dy[at, c])
    labelled = (labels != 0).any(axis=1, keepdims=True)
    return lane_sum(terms), np.where(labelled, dy, 0)


def loss(y: Array, labels: Labels) -> tuple[Array, Array]:
    """Return losses (R,) and ``dy = p - label`` (R, V) of outputs y (R, V).

    Labels are classes (R,), -1 for none, or distributions (R, V), a row of zeros for none: a row without a label has
    loss +0 and dy +0.
    """
    return class_loss(y, labels) if labels.ndim == 1 else distribution_loss(y, labels)
