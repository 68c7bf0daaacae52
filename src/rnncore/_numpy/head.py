"""The output layer: ``y_t = b_y + W_hy h_t``, the loss, and back.

R rows, one for each step, H hidden units, V outputs.
"""

from functools import cache
from importlib import import_module
from typing import Any

import numpy as np

from ..net import HeadArrays
from ..types import Array, Labels
from .linear import Sums, outer_sum, product, row_sum


@cache
def loss_of(name: str) -> Any:
    """Return the file of a loss."""
    return import_module(f".{name}", __package__)


def forward(arrays: HeadArrays, h: Array) -> Array:
    """Return the outputs y (R, V) of hidden states h (R, H)."""
    return product(arrays.b_y, h, arrays.W_hy)


def loss(name: str, y: Array, labels: Labels, weights: Array | None) -> tuple[Array, Array]:
    """Return losses (R,) and dy (R, V) of outputs y (R, V), times the weights (R,): +0 where a weight is 0."""
    if weights is None:
        losses, dy = loss_of(name).loss(y, labels)
        return losses, dy
    losses, dy, r = np.zeros(len(y), y.dtype), np.zeros_like(y), weights != 0
    losses[r], dy[r] = loss_of(name).loss(y[r], labels[r])
    losses[r], dy[r] = losses[r] * weights[r], dy[r] * weights[r, None]
    return losses, dy


def backward(arrays: HeadArrays, dy: Array) -> Array:
    """Return ``dh = W_hy^T dy`` (R, H) of dy (R, V)."""
    return product(np.zeros(arrays.W_hy.shape[1], dy.dtype), dy, arrays.W_hy.T)


def weight_gradients(grads: HeadArrays, dy: Array, h: Array, sums: Sums) -> None:
    """Write ``dW_hy = sum dy_t h_t^T`` and ``db_y = sum dy_t`` into grads."""
    W_hy, b_y = grads if sums.begun else (None, None)
    grads.W_hy[:] = outer_sum(dy, h, sums.blocks, W_hy)
    grads.b_y[:] = row_sum(dy, sums.blocks, b_y)
