"""The output layer: ``y_t = b_y + W_hy h_t``, and back. ``softmax`` has the loss between.

R rows, one for each step, H hidden units, V outputs.
"""

from collections.abc import Sequence

import numpy as np

from ..net import HeadArrays
from ..types import Array, Indices
from .linear import outer_sum, product, row_sum


def forward(arrays: HeadArrays, h: Array) -> Array:
    """Return the outputs y (R, V) of hidden states h (R, H)."""
    return product(arrays.b_y, h, arrays.W_hy)


def backward(arrays: HeadArrays, dy: Array) -> Array:
    """Return ``dh = W_hy^T dy`` (R, H) of dy (R, V)."""
    return product(np.zeros(arrays.W_hy.shape[1], dy.dtype), dy, arrays.W_hy.T)


def weight_gradients(grads: HeadArrays, dy: Array, h: Array, blocks: Sequence[Indices]) -> None:
    """Write ``dW_hy = sum dy_t h_t^T`` and ``db_y = sum dy_t`` into grads; blocks hold the rows that exist."""
    grads.W_hy[:] = outer_sum(dy, h, blocks)
    grads.b_y[:] = row_sum(dy, blocks)
