"""What lies by rows, at addresses or by places: how it is picked out. Rows are those of ``linear.Rows``."""

from typing import NamedTuple

import numpy as np

from ..types import Array, Indices
from . import compiled
from .linear import Rows
from .memory import zeros
from .tile import padded


class Inputs(NamedTuple):
    """Tokens (N,) or vectors (N, X) at their addresses; what they are not is empty."""

    are_tokens: bool
    tokens: Indices
    vectors: Array


@compiled
def has_resets(rows: Rows, t: int) -> bool:
    """Return whether any sequence is reset before step t."""
    if len(rows.resets) > 0:
        for row in range(rows.start[t], rows.start[t + 1]):
            if rows.resets[row]:
                return True
    return False


@compiled
def address_of(rows: Rows, row: int) -> int:
    """Return where the inputs of a row are."""
    address: int = row if len(rows.address) == 0 else rows.address[row]
    return address


@compiled
def addresses(rows: Rows, index: Indices) -> Indices:
    """Return where the inputs of some rows are."""
    return index if len(rows.address) == 0 else pick(rows.address, index)


@compiled
def vectors_of(inputs: Inputs, rows: Rows, first: int, end: int) -> Array:
    """Return the vectors of the rows from ``first`` to ``end``, side by side."""
    if len(rows.address) == 0:
        return inputs.vectors[first:end]
    return gather(inputs.vectors, rows.address[first:end], 0)


@compiled
def tokens_of(inputs: Inputs, rows: Rows, index: Indices) -> Indices:
    """Return the tokens of some rows."""
    return pick(inputs.tokens, addresses(rows, index))


@compiled
def by_place(array: Array, rows: Rows, index: Indices, offset: int) -> Array:
    """Return some rows, by place, of an array whose first row is the row ``offset``."""
    if len(rows.by_place) == 0:
        return array[index[0] - offset : index[0] - offset + len(index)]
    return gather(array, index, offset)


@compiled
def pick(numbers: Indices, index: Indices) -> Indices:
    """Return some of the numbers."""
    out = np.empty_like(index)
    for i in range(len(index)):
        out[i] = numbers[index[i]]
    return out


@compiled
def gather(array: Array, index: Indices, offset: int) -> Array:
    """Return some rows, side by side, of an array whose first row is the row ``offset``."""
    out = np.empty((len(index), array.shape[1]), array.dtype)
    for i in range(len(index)):
        r = index[i] - offset
        for j in range(out.shape[1]):
            out[i, j] = array[r, j]
    return out


@compiled
def repeat(b: Array, R: int) -> Array:
    """Return rows that all are b (N,), as wide as whole vectors: (R, padded N)."""
    N = len(b)
    out: Array = zeros((R, padded(N, b.itemsize)), b)
    for r in range(R):
        for n in range(N):
            out[r, n] = b[n]
    return out


@compiled
def copy_rows(source: Array, target: Array, first: int, end: int) -> None:
    """Fill the rows from ``first`` to ``end``. Loops, as slices bring the code for their error messages along."""
    for r in range(first, end):
        for n in range(target.shape[1]):
            target[r, n] = source[r - first, n]
