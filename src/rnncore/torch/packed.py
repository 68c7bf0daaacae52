"""PackedSequence: its steps, whose rows PyTorch and the engines keep in one order.

The rows of step t of all sequences lie side by side, longest sequence first.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..steps import Steps
from ..types import Indices


class Rows(NamedTuple):
    """Holds the steps of a PackedSequence.

    sizes: how many sequences have step t. order: which sequence of the user's batch is at each position.
    """

    steps: Steps
    sizes: Tensor
    order: Tensor


def rows_of(batch_sizes: Tensor, sorted_indices: Tensor | None, count: int) -> Rows | None:
    """Return the rows of a PackedSequence of so many steps, or None if its parts contradict each other.

    batch_sizes: how many sequences have step t. sorted_indices: which sequence of the user's batch is at each
    position, None if they stand as they are.
    """
    sizes = _int64(batch_sizes)
    if sizes is None or sizes.size == 0 or sizes.sum() != count or sizes[-1] < 1 or (np.diff(sizes) > 0).any():
        return None
    B, T = int(sizes[0]), len(sizes)
    order = np.arange(B) if sorted_indices is None else _int64(sorted_indices)
    if order is None or not np.array_equal(np.sort(order), np.arange(B)):
        return None
    lengths = np.empty(B, np.int64)
    lengths[order] = np.searchsorted(-sizes, -np.arange(B), side="left")  # how many sizes are larger than a position
    return Rows(Steps(lengths, T, "rows", count=count, given=order), batch_sizes, torch.from_numpy(order))


def _int64(tensor: Any) -> Indices | None:
    """Return a copy of a vector of int64, or None if it is something else."""
    if not isinstance(tensor, Tensor) or tensor.dtype != torch.int64 or tensor.dim() != 1:
        return None
    array: Indices = tensor.detach().cpu().numpy().copy()
    return array
