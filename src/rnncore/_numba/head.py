"""The output layer: ``y_t = b_y + W_hy h_t``, the loss, and back.

H hidden units, V outputs; rows are those of ``layer``.
"""

from typing import Any, NamedTuple

import numpy as np

from ..losses import NUMBERS
from ..net import HeadArrays
from ..types import Array
from . import ONE, binary_cross_entropy, compiled, cross_entropy, inlined, squared_error
from .layer import Batch, Trace
from .linear import Labels, outer_sum, product, row_sum
from .memory import row_of, uncounted, view
from .rows import by_place, copy_rows, repeat
from .tile import row_panels

CROSS_ENTROPY, SQUARED_ERROR = NUMBERS["cross_entropy"], NUMBERS["squared_error"]


class Head(NamedTuple):
    """An output layer: its parameters, and the panels of W_hy, or, for the way back, of its transpose."""

    arrays: HeadArrays
    W_hy: Array


class Sums(NamedTuple):
    """The gradients of the parameters while they are summed up: W_hy as wide as whole vectors, b_y (V,)."""

    W_hy: Array
    b_y: Array


@inlined
def forward(head: Head, h: Array, first: int, end: int, y: Array) -> None:
    """Write the outputs y (N, V) of the rows of h (N, H) from ``first`` to ``end``."""
    y_rows = repeat(head.arrays.b_y, end - first)
    product(y_rows, h[first:end], head.W_hy)
    copy_rows(y_rows, y, first, end)


@compiled
def loss(number: int, y: Array, labels: Labels, first: int, end: int, losses: Array, dy: Array) -> None:
    """Write losses (N,) and dy (N, V) of the rows of outputs y (N, V) from ``first`` to ``end``, times the weights.

    losses and dy are +0 before, and stay so where a weight is 0.
    """
    row_losses(number, y, labels, first, end, losses, dy, np.empty(16 + y.shape[1], y.dtype))


@compiled
def row_losses(
    number: int, y: Array, labels: Labels, first: int, end: int, losses: Array, dy: Array, scratch: Array
) -> None:
    """Do what ``loss`` does, with a scratch buffer (16 + V,).

    Nothing that a row needs has its references counted: that took longer than all else where there are few classes.
    """
    are_classes, classes, reals, weights = labels
    own = Labels(are_classes, uncounted(classes), uncounted(reals), uncounted(weights))
    lanes, terms, has_weights = view(scratch, 0, (16,)), view(scratch, 16, (y.shape[1],)), len(weights) > 0
    for r in range(first, end):
        weight = weights[r] if has_weights else ONE
        if weight != 0:
            dy_row = row_of(dy, r)
            losses[r] = row_loss(number, row_of(y, r), own, r, dy_row, terms, lanes)
            if has_weights:
                losses[r] *= weight
                for v in range(len(terms)):
                    dy_row[v] *= weight


@compiled
def row_loss(number: int, y: Array, labels: Labels, r: int, dy: Array, terms: Array, lanes: Array) -> float:
    """Return the loss of outputs y (V,), those of row r, by the loss of a number, and write dy (V,)."""
    if number == CROSS_ENTROPY:
        return cross_entropy.loss(y, labels, r, dy, terms, lanes)
    if number == SQUARED_ERROR:
        return squared_error.loss(y, row_of(labels.reals, r), dy, terms, lanes)
    return binary_cross_entropy.loss(y, row_of(labels.reals, r), dy, terms, lanes)


@inlined
def backward(head: Head, dy: Array, first: int, end: int, dh: Array) -> None:
    """Write ``dh = W_hy^T dy`` of the rows of dy (N, V) from ``first`` to ``end`` into dh, from its first row on."""
    for i in range(end - first):
        for j in range(dh.shape[1]):
            dh[i, j] = 0
    product(dh[: end - first], dy[first:end], head.W_hy)


@inlined
def weight_gradients(sums: Sums, trace: Trace, dy: Array, batch: Batch) -> None:
    """Add some blocks of ``dW_hy = sum dy_t h_t^T`` and ``db_y = sum dy_t``."""
    start: Any = np.int64(0)  # 0 is a literal, for which outer_sum would be compiled once more
    dy_rows = by_place(dy, trace.rows, batch.order, start)
    h = row_panels(trace.h, batch.order, 1, 0, trace.h.shape[1])
    outer_sum(sums.W_hy, dy_rows, start, h, batch.bounds, batch.is_last)
    row_sum(sums.b_y, dy_rows, batch.bounds)
