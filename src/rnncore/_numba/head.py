"""The output layer: ``y_t = b_y + W_hy h_t``, and back. ``softmax`` has the loss between.

H hidden units, V outputs; rows are those of ``layer``.
"""

from typing import Any, NamedTuple

import numpy as np

from ..net import HeadArrays
from ..types import Array
from . import inlined
from .layer import Batch, Trace, by_place, copy_rows, repeat
from .linear import outer_sum, product, row_sum
from .tile import row_panels


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
