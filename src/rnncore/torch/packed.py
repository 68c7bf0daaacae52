"""PackedSequence: the rows of its data, and where the engines have them.

PyTorch keeps the steps t of all sequences side by side, longest sequence first. An engine has one sequence after the
other, in the order of the user's batch.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..steps import Steps, packed_steps
from ..types import AnyArray, Indices


class Rows(NamedTuple):
    """Holds the steps of a PackedSequence.

    address (N,): of each of its rows, where an engine has it. source (N,): of each row of an engine, which of the
    PackedSequence it is. sizes: how many sequences have step t. order: which sequence of the user's batch is at each
    position.
    """

    steps: Steps
    address: Indices
    source: Tensor
    sizes: Tensor
    order: Tensor

    def to_engine(self, tensor: Tensor) -> Tensor:
        """Return rows in the order of an engine."""
        return tensor.index_select(0, self.source)

    def from_engine(self, array: AnyArray) -> AnyArray:
        """Return rows in the order of the PackedSequence."""
        return array.take(self.address, axis=0)


def rows_of(batch_sizes: Tensor, sorted_indices: Tensor | None, count: int) -> Rows | None:
    """Return the rows of a PackedSequence of so many steps, or None if its parts contradict each other.

    batch_sizes: how many sequences have step t. sorted_indices: which sequence of the user's batch is at each
    position, None if they stand as they are.
    """
    sizes = _int64(batch_sizes)
    if sizes is None or sizes.size == 0 or sizes.sum() != count or sizes[-1] < 1 or (np.diff(sizes) > 0).any():
        return None
    B = int(sizes[0])
    order = np.arange(B) if sorted_indices is None else _int64(sorted_indices)
    if order is None or not np.array_equal(np.sort(order), np.arange(B)):
        return None
    lengths = np.empty(B, np.int64)
    lengths[order] = np.searchsorted(-sizes, -np.arange(B), side="left")  # how many sizes are larger than a position
    step = np.repeat(np.arange(len(sizes)), sizes)
    position = np.arange(count) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    address = (np.cumsum(lengths) - lengths)[order[position]] + step
    source = np.empty(count, np.int64)
    source[address] = np.arange(count)
    steps = packed_steps(lengths, "flat")
    return Rows(steps, address, torch.from_numpy(source), batch_sizes, torch.from_numpy(order))


def _int64(tensor: Any) -> Indices | None:
    """Return a vector of int64 as an array, or None if it is something else."""
    if not isinstance(tensor, Tensor) or tensor.dtype != torch.int64 or tensor.dim() != 1:
        return None
    array: Indices = tensor.detach().cpu().numpy()
    return array
