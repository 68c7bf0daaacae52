"""Pieces of the sequences of a batch, cut from what ``forward`` kept of it, as batches of their own.

The way back through a piece treats the states that enter it from outside as constants. N steps that exist, B
sequences, M pieces, L steps of the longest piece, P parts, S states. *Rows* of steps are those of ``Steps``, and of the
full grid places; *positions* of sequences are those of ``Steps.order``. A part in the reverse direction has rows in its
own order: step t of a sequence of T_b steps is its step T_b - 1 - t.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from .cells import CELLS
from .problem import Kept, as_tuple, with_masks
from .steps import Steps
from .types import AnyArray, Array, Indices, Mask, States

GROUP = 2**25
"""Bytes: what is cut at once takes about so much memory. Fewer windows at once would make slower products."""


class Pieces(NamedTuple):
    """Some pieces, in groups longest first: of the sequence at which position, and the first and last step of each.

    label: the step of its sequence whose loss goes back through the piece.
    """

    position: Indices
    first: Indices
    last: Indices
    label: Indices

    def take(self, which: Any) -> Pieces:
        """Return some of them."""
        return Pieces(*(array[which] for array in self))

    @property
    def lengths(self) -> Indices:
        """Return how many steps each has."""
        lengths: Indices = self.last - self.first + 1
        return lengths


class Source:
    """What forward kept of a batch, by rows.

    start (T + 1,): the rows of step t are [start[t], start[t + 1]). step (N,), position (N,): of each row. lengths,
    order (B,): of each position. address (N,): where each row lies in the arrays of the call. given: what each layer
    gives, (N, D*H). tapes, (N, K, ...): of each part. inputs (N, ...). masks, (N, D*H). state (S, P, B, H): the initial
    states. begun (N,): the step from which on a row's states have come, 0 or that of the last reset. reset (N,).
    """

    def __init__(self, kept: Kept) -> None:
        net, inputs, state, steps, h, tape, self.last = kept
        self.net, self.steps, self.one = net, steps, h.ndim == 2 if steps is None else steps.form == "one"
        if steps is None:
            T, B = len(h), 1 if self.one else h.shape[1]
            self.lengths, self.order, self.start = np.full(B, T), np.arange(B), np.arange(T + 1) * B
            self.address = np.arange(T * B)
        else:
            self.lengths, self.order, self.start = steps.lengths[steps.order], steps.order, steps.start
            self.address = steps.address
        N = len(self.address)
        self.step = np.repeat(np.arange(len(self.start) - 1), np.diff(self.start))
        self.position = np.arange(N) - self.start[self.step]
        below, self.tapes = net.cut_tape(tape, N)
        self.given = [*below, self.rows(h, net.width)]
        read, masks = with_masks(inputs)
        self.inputs = self.rows(read, *read.shape[-1:] if read.dtype.kind == "f" else ())
        self.masks = [self.rows(mask, net.width) for mask in masks]
        self.state = self.states(state, len(self.order))[:, :, self.order]
        self.reset, self.begun = self._resets()

    def _resets(self) -> tuple[Mask, Indices]:
        N = len(self.step)
        if self.steps is None or self.steps.resets is None:
            return np.zeros(N, bool), np.zeros(N, np.int64)
        reset, begun = self.steps.resets.reshape(-1)[self.address], np.zeros(N, np.int64)
        since = np.zeros(len(self.order), np.int64)
        for t, (start, stop) in enumerate(zip(self.start[:-1], self.start[1:], strict=True)):
            since[: stop - start][reset[start:stop]] = t
            begun[start:stop] = since[: stop - start]
        return reset, begun

    def rows(self, array: AnyArray, *width: int) -> AnyArray:
        """Return an array of the call as rows (N, width) or (N,)."""
        rows = array.reshape(-1, *width)
        return rows if self.steps is None else rows[self.address]

    def states(self, states: States, sequences: int) -> Array:
        """Return states in the form of a call of so many sequences as (S, P, B, H): zeros for None."""
        shape = len(CELLS[self.net.cell].states), self.net.parts, sequences, self.net.hidden
        return np.zeros(shape, self.net.dtype) if states is None else np.stack(as_tuple(states)).reshape(shape)

    def from_states(self, states: Array, one: bool = False) -> States:
        """Return states (S, P, B, H) in the form of a call, of one sequence if so wanted."""
        states = states[:, :, 0] if one else states
        arrays = tuple(np.ascontiguousarray(of_parts) for of_parts in (states[:, 0] if self.net.parts == 1 else states))
        return arrays if len(arrays) > 1 else arrays[0]

    def own_step(self, part: int, position: Indices, step: Indices) -> Indices:
        """Return which step of a part a step is, or which step a step of a part is."""
        return step if part % self.net.directions == 0 else self.lengths[position] - 1 - step

    def groups(self, pieces: Pieces) -> Iterator[Pieces]:
        """Yield pieces, of which there may be many, in groups from the last to the first, longest first in each."""
        net, tape = self.net, sum(tape[:1].nbytes for tape in self.tapes)
        of_step = tape + net.dtype.itemsize * (2 * net.width * net.layers + np.prod(net.gates_shape(1)))
        most, stop = max(1, GROUP // int(of_step)), len(pieces.first)
        steps = np.concatenate([[0], np.cumsum(pieces.lengths)])
        while stop > 0:
            start = min(int(np.searchsorted(steps, steps[stop] - most)), stop - 1)
            group = pieces.take(slice(start, stop))
            yield group.take(np.argsort(-group.lengths, kind="stable"))
            stop = start


class Cut:
    """Some pieces as a batch: ``kept``, what forward would have kept of them.

    start (L + 1,): the rows of its steps. last: whether outputs are made of last states.
    """

    def __init__(self, source: Source, pieces: Pieces, last: bool) -> None:
        self.source, self.pieces, self.last = source, pieces, last
        lengths = pieces.lengths
        self.there: Mask = np.arange(lengths[0])[:, None] < lengths
        self.start = np.concatenate([[0], np.cumsum(self.there.sum(axis=1))])
        self.full = bool(self.there[-1].all())
        self.kept = self._kept()

    def rows_of(self, part: int) -> Indices:
        """Return the rows of the source, in the order of a part, of the rows here."""
        places = self._places(part)
        rows: Indices = places.reshape(-1) if self.full else places[self.there]
        return rows

    def _places(self, part: int) -> Indices:
        """Return the rows of the source at places (L, M); beyond the end of a piece, some row."""
        source, (position, first, last, _) = self.source, self.pieces
        begin = source.own_step(part, position, first if part % source.net.directions == 0 else last)
        places: Indices = source.start[np.arange(len(self.there))[:, None] * self.there + begin] + position
        return places

    def _kept(self) -> Kept:
        source, net, lengths = self.source, self.source.net, self.pieces.lengths
        rows, places = [self.rows_of(way) for way in range(net.directions)], self._places(0)
        tape = np.empty(net.tape_shape(len(rows[0])), net.dtype)
        given, tapes = net.cut_tape(tape, len(rows[0]))
        for of, to in zip(source.given, given, strict=False):
            np.take(of, rows[0], axis=0, out=to, mode="clip")
        for part, (of, to) in enumerate(zip(source.tapes, tapes, strict=True)):
            np.take(of, rows[part % net.directions], axis=0, out=to, mode="clip")
        steps = None if self.full else Steps(lengths, len(self.there), "grid")
        h, *masks = (np.take(array, places, axis=0) for array in (source.given[-1], *source.masks))
        none = np.zeros(self.there.shape, np.int64)  # the way back reads no inputs: any token will do
        read: Any = (none, tuple(masks)) if masks else none
        return net.of_tokens(), read, source.from_states(self.before()), steps, h, tape, self.last

    def before(self) -> Array:
        """Return the states (S, P, M, H) before the first step of each piece: those that the source has there."""
        source, net, (position, first, last, _) = self.source, self.source.net, self.pieces
        states = source.state[:, :, position]
        for part in range(net.parts):
            layer, way = divmod(part, net.directions)
            begin, step = (first, first - 1) if way == 0 else (last, last + 1)
            own = source.own_step(part, position, begin)
            m = np.flatnonzero(own > 0)
            h = source.given[layer][:, way * net.hidden : (way + 1) * net.hidden]
            states[0, part, m] = h[source.start[step[m]] + position[m]]
            for n in range(1, len(states)):
                rows = source.start[own[m] - 1] + position[m]
                states[n, part, m] = source.tapes[part][rows, n - 1, : net.hidden]
        states[:, :, source.reset[source.start[first] + position]] = 0
        return states

    def rows_at(self, way: int, distance: int) -> tuple[Any, Any]:
        """Return where pieces have the steps so many before their labels, if they have them: in the source, and here.

        way: 0 for parts of the forward direction, 1 for the reverse.
        """
        source, (position, first, last, label) = self.source, self.pieces
        step = label - distance
        m = np.flatnonzero((first <= step) & (step <= last))
        to = source.start[source.own_step(way, position[m], step[m])] + position[m]
        here = self.start[(step - first if way == 0 else last - step)[m]] + m
        return as_slice(to), as_slice(here)


def as_slice(rows: Indices) -> slice | Indices:
    """Return rows that follow each other as a slice, which is a view and no copy."""
    if len(rows) and (np.diff(rows) == 1).all():
        return slice(int(rows[0]), int(rows[-1]) + 1)
    return rows
