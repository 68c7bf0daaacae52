"""Time, cut into pieces: what a call in little memory goes through, one after the other.

A piece has as many whole blocks of the sums over steps as have the steps asked for, so that the sums go on from piece
to piece as in one call, to the bit. In the reverse direction a sequence is turned round: its first step is its last.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from .arguments import Batch
from .cells import CELLS
from .net import Net
from .problem import with_masks
from .steps import Steps
from .types import AnyArray, Indices, States
from .values import as_integer
from .windows import NOTHING
from .words import what

BLOCK = 128
"""The rows that a block of the sums over steps has at most: docs/arithmetic.md, section 6."""

ALL = slice(None)


class Piece(NamedTuple):
    """Some steps of all sequences: [start, end), their Steps, and where the arrays of the call have them.

    places: steps of the first axis, or, where these are not side by side, numbers that count along the first ``axes``.
    cut: the sequences to which nothing goes back from here, as their states were reset.
    """

    number: int
    start: int
    end: int
    steps: Steps | None
    places: slice | Indices
    axes: int
    cut: Indices

    def take(self, arrays: Any, columns: slice = ALL) -> Any:
        """Return what belongs to these steps, of an array of the call or of those in a tuple; of vectors some columns.

        It is contiguous.
        """
        if isinstance(arrays, tuple):
            return tuple(self.take(array) for array in arrays)
        own = self._merged(arrays)[self.places]
        return np.ascontiguousarray(own if columns is ALL else own[..., columns])

    def put(self, array: AnyArray, own: AnyArray, columns: slice = ALL) -> None:
        """Write what belongs to these steps into an array of the call, or into some columns of it."""
        key = (self.places,) if columns is ALL else (self.places, ..., columns)
        self._merged(array)[key] = own

    def _merged(self, array: AnyArray) -> AnyArray:
        if isinstance(self.places, slice):
            return array
        return array.reshape(math.prod(array.shape[: self.axes]), *array.shape[self.axes :])


class Timeline:
    """A batch, cut into pieces of time. axes: those that count steps; lengths (B,); n: steps of a piece."""

    def __init__(self, batch: Batch, every: object, turned: bool = False) -> None:
        """every: after how many steps, as the user says it. turned: whether in the order of the reverse direction."""
        x, _ = with_masks(batch.inputs)
        self.steps, self.turned = batch.steps, turned
        self.axes = x.shape[: x.ndim - (x.dtype.kind != "i")] if batch.steps is None else batch.steps.axes
        B = batch.steps.B if batch.steps is not None else 1 if len(self.axes) == 1 else self.axes[1]
        self.lengths = np.full(B, self.axes[0]) if batch.steps is None else batch.steps.lengths
        self.longest, own = int(self.lengths.max()), max(1, BLOCK // B)
        self.n = -(-steps_asked_for(every, self.longest) // own) * own
        self.count = -(-max(self.longest, 1) // self.n)  # one even of no steps

    def forward(self) -> Iterator[Piece]:
        """Return the pieces, each made when it is its turn: what says where they lie takes memory too."""
        return map(self._piece, range(self.count))

    def back(self) -> Iterator[Piece]:
        """Return the pieces, from the last to the first."""
        return map(self._piece, reversed(range(self.count)))

    def _piece(self, number: int) -> Piece:
        start, end = number * self.n, min((number + 1) * self.n, self.longest)
        steps, axes, nobody = self.steps, len(self.axes), np.empty(0, np.int64)
        if steps is None:
            return Piece(number, start, end, None, self._side_by_side(start, end), axes, nobody)
        lengths, form = np.clip(steps.lengths - start, 0, end - start), steps.form
        places: slice | Indices = self._side_by_side(start, end)
        if form != "one" and (steps.packed or self.turned):
            form, places = form if steps.packed else "flat", self._addresses(lengths, start)
        own, cut = Steps(lengths, end - start, form), nobody
        if steps.resets is not None:
            resets = np.ascontiguousarray(steps.resets[places])
            own = own.with_resets(resets)
            cut = np.flatnonzero(own.to_grid(resets)[0] & (lengths > 0)) if 0 < start < end else nobody
        return Piece(number, start, end, own, places, axes, cut)

    def _side_by_side(self, start: int, end: int) -> slice:
        """Return where steps of the first axis are; turned round, from the last one on."""
        if not self.turned:
            return slice(start, end)
        last = self.axes[0] - 1
        return slice(last - start, last - end if end <= last else None, -1)

    def _addresses(self, counts: Indices, start: int) -> Indices:
        """Return where so many steps of each sequence are, one sequence after the other, from its step ``start`` on."""
        assert self.steps is not None
        B, lengths = self.steps.B, self.steps.lengths
        begins, stride = (np.cumsum(lengths) - lengths, 1) if self.steps.packed else (np.arange(B), B)
        sequence = np.repeat(np.arange(B), counts)
        step = start + np.arange(len(sequence)) - np.repeat(np.cumsum(counts) - counts, counts)
        addresses: Indices = begins[sequence] + stride * (lengths[sequence] - 1 - step if self.turned else step)
        return addresses

    def nothing(self, net: Net) -> States:
        """Return the gradients with respect to the last states of a net where nothing comes from outside."""
        one = len(self.axes) == 1 if self.steps is None else self.steps.form == "one"
        lead = (net.parts,) if net.parts > 1 else ()
        array = np.full((*lead, len(self.lengths), net.hidden), NOTHING, net.dtype)
        array[..., self.lengths == 0, :] = 0
        states = tuple((array[..., 0, :] if one else array).copy() for _ in CELLS[net.cell].states)
        return states if len(states) > 1 else states[0]


def steps_asked_for(every: object, longest: int) -> int:
    """Return after how many steps states are kept, as the user says it."""
    if isinstance(every, str):
        if every != "auto":
            raise TypeError(f"checkpoint must be an integer or 'auto', got {what(every)}")
        return max(math.isqrt(longest), 1)
    return as_integer("checkpoint", every, 1)
