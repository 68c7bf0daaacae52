"""Products in the one order of additions that every column keeps.

A sum of more than ``BLOCK`` terms is a sum of blocks, each one chain of fma: rounding errors then grow
with the block and not with the layer.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from ..types import Array, Indices
from .fma import fma

BLOCK = 128

Mask: TypeAlias = npt.NDArray[np.bool_]
"""Which steps of a grid exist, (T, B)."""

# The number to add when nothing is to be added: x + -0 is x for every x, and -0 + +0 would not be -0.
NOTHING: Any = -0.0


class Sums(NamedTuple):
    """Says what the sums over steps add up: blocks of rows; begun: to the sums of the blocks after these."""

    blocks: Sequence[Indices]
    begun: bool = False


def product(acc: Array, A: Array, W: Array) -> Array:
    """Return ``out[r, n] = acc[n] + sum_k A[r, k] W[n, k]``, k ascending.

    acc (N,), A (R, K), W (N, K) -> (R, N). The first block's chain continues from ``acc``; each later
    one starts from +0 and is added when it is whole.
    """
    out = np.broadcast_to(acc, (len(A), len(W)))
    for start in range(0, A.shape[1], BLOCK):
        part = out if start == 0 else np.zeros_like(out)
        for k in range(start, min(start + BLOCK, A.shape[1])):
            part = fma(A[:, k, None], W[None, :, k], part)
        out = part if start == 0 else out + part
    return out


def row_blocks(exist: Mask) -> list[Indices]:
    """Return the blocks of the sums over steps: in each, the rows r = t*B + b that exist, r ascending.

    exist (T, B). Up to 128 sequences, a block is as many whole steps as fit into 128 rows. Beyond, it is 128 sequences
    of one step. A block is a place in the grid: which of its rows exist does not move it. None is empty.
    """
    B = exist.shape[1]
    rows = np.flatnonzero(exist)
    t, b = rows // B, rows % B
    block = t // (BLOCK // B) if B <= BLOCK else t * -(-B // BLOCK) + b // BLOCK
    return np.split(rows, np.flatnonzero(np.diff(block)) + 1)


def outer_sum(D: Array, E: Array, blocks: Sequence[Indices], later: Array | None = None) -> Array:
    """Return ``out[i, j] = sum_r D[r, i] E[r, j]``: the gradient of a weight matrix.

    D (R, I), E (R, J), blocks of rows r -> (I, J). A block is a chain of fma from +0, r ascending. Blocks are added
    from the last to the first, the order in which the loop back through time meets them. later (I, J): the sum of the
    blocks after these, if there are any; so in all sums here.
    """
    out = np.zeros((D.shape[1], E.shape[1]), D.dtype) if later is None else later
    for n, rows in enumerate(reversed(blocks)):
        part = np.zeros_like(out)
        for r in rows:
            part = fma(D[r, :, None], E[r, None, :], part)
        out = part if n == 0 and later is None else out + part
    return out


def token_sum(D: Array, tokens: Indices, X: int, blocks: Sequence[Indices], later: Array | None = None) -> Array:
    """Return ``out[i, k] = sum of D[r, i]`` over the rows r whose token is k: outer_sum with one-hot rows.

    D (R, I), tokens (R,) -> (I, X).
    """
    out = np.zeros((D.shape[1], X), D.dtype) if later is None else later
    for rows in reversed(blocks):
        part = np.zeros_like(out)
        for r in rows:
            part[:, tokens[r]] += D[r]
        out = out + part
    return out


def row_sum(D: Array, blocks: Sequence[Indices], later: Array | None = None) -> Array:
    """Return ``out[i] = sum_r D[r, i]``: the gradient of a bias; plain additions. D (R, I) -> (I,)."""
    out = np.zeros(D.shape[1], D.dtype) if later is None else later
    for rows in reversed(blocks):
        part = np.zeros_like(out)
        for r in rows:
            part = part + D[r]
        out = out + part
    return out


def lane_sum(terms: Array) -> Array:
    """Return the sum over the last axis in sixteen lanes, term v in lane v mod 16, folded 8, 4, 2, 1."""
    lanes = np.zeros((*terms.shape[:-1], 16), terms.dtype)
    for start in range(0, terms.shape[-1], 16):
        run = terms[..., start : start + 16]
        lanes[..., : run.shape[-1]] += run
    for half in (8, 4, 2, 1):
        lanes = lanes[..., :half] + lanes[..., half : 2 * half]
    return lanes[..., 0]
