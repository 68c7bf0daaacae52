"""Long sequences in little memory: the states at some steps are kept, and what lies between is computed again.

Time is cut into pieces. Forward, only the states between these are kept; then each piece, from the last to the first,
goes forward again and back. A piece has as many whole blocks of the sums over steps as have the steps asked for, so
that the sums go on from piece to piece as in one call, to the bit.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from .arguments import Batch
from .engines import Bptt, Engine
from .net import HeadArrays, Net, net_of
from .problem import Options, as_tuple, options_of, with_masks
from .steps import Steps
from .types import AnyArray, Array, Indices, States
from .values import as_integer
from .windows import total

BLOCK = 128
"""The rows that a block of the sums over steps has at most: docs/arithmetic.md, section 6."""

NOTHING = -0.0
"""What is carried back to a sequence that has ended before: it adds nothing to any number, not even to a zero."""


def bptt(engine: Engine, net: Net, flat: Array, batch: Batch, options: Options, every: object) -> Bptt:
    """Return what an engine's bptt returns of a canonical batch, to the bit, in less memory."""
    if net.directions == 2:
        raise ValueError("checkpoint must be None for a net of two directions: the reverse one begins at the end")
    if batch.last:
        raise ValueError(
            "checkpoint must be None for one label a sequence: give one a step, with weights= of 0 but for the last"
        )
    timeline = Timeline(net, batch, every)
    states = states_between(engine, net, flat, timeline, options)
    back = Back(engine, net, flat, options, timeline)
    for piece in reversed(timeline.pieces):
        back.take(piece, states[piece.number])
    dstate, grads = back.after
    return total(back.losses, batch.steps), back.losses, back.count, grads, states[-1], dstate, back.dinputs


class Piece(NamedTuple):
    """Some steps of all sequences: [start, end), their Steps, and where packed arrays have them; None: side by side."""

    number: int
    start: int
    end: int
    steps: Steps | None
    places: Indices | None

    def take(self, arrays: Any) -> Any:
        """Return what belongs to these steps, of an array of the call or of those in a tuple."""
        if isinstance(arrays, tuple):
            return tuple(map(self.take, arrays))
        return arrays[self.start : self.end] if self.places is None else arrays[self.places]

    def put(self, array: AnyArray, own: AnyArray) -> None:
        """Write what belongs to these steps into an array of the call."""
        array[slice(self.start, self.end) if self.places is None else self.places] = own


class Timeline:
    """A batch, cut into pieces of time. lengths (B,); axes: those that count steps; n: steps of a piece."""

    def __init__(self, net: Net, batch: Batch, every: object) -> None:
        x, _ = with_masks(batch.inputs)
        self.batch, self.steps = batch, batch.steps
        self.axes = x.shape[: x.ndim - (x.dtype.kind != "i")] if batch.steps is None else batch.steps.axes
        B = batch.steps.B if batch.steps is not None else 1 if len(self.axes) == 1 else self.axes[1]
        self.lengths = np.full(B, self.axes[0]) if batch.steps is None else batch.steps.lengths
        self.longest, own = int(self.lengths.max()), max(1, BLOCK // B)
        wanted = math.isqrt(self.longest) if every == "auto" else as_integer("checkpoint", every, 1)
        self.n = -(-max(wanted, 1) // own) * own
        starts = range(0, max(self.longest, 1), self.n)  # one even of no steps
        self.pieces = [self._piece(k, start, min(start + self.n, self.longest)) for k, start in enumerate(starts)]

    def _piece(self, number: int, start: int, end: int) -> Piece:
        steps = self.steps
        if steps is None:
            return Piece(number, start, end, None, None)
        lengths, index = np.clip(steps.lengths - start, 0, end - start), None
        if steps.packed:
            begins = np.cumsum(steps.lengths) - steps.lengths
            index = np.concatenate([np.arange(a + start, a + start + n) for a, n in zip(begins, lengths, strict=True)])
        own = Steps(lengths, end - start, steps.form)
        if steps.resets is not None:
            own = own.with_resets(np.ascontiguousarray(steps.resets[index if index is not None else slice(start, end)]))
        return Piece(number, start, end, own, index)

    def ended(self, start: int) -> Indices:
        """Return which sequences have no step from one on."""
        return np.flatnonzero((self.lengths <= start) & (self.longest > 0))


def states_between(engine: Engine, net: Net, flat: Array, timeline: Timeline, options: Options) -> list[States]:
    """Return the states before each piece, and the last ones."""
    without, own = without_outputs(net, flat)
    asked, states = options_of(False, options.threads), [timeline.batch.state]
    for piece in timeline.pieces:
        inputs = piece.take(timeline.batch.inputs)
        found = engine.forward(without, own, inputs, states[-1], piece.steps, asked)
        assert found is not None  # as the arguments are canonical
        states.append(found[2])
    return states


def without_outputs(net: Net, flat: Array) -> tuple[Net, Array]:
    """Return the net without its output layer, and its parameters."""
    alone = net_of(net.cell, net.inputs, net.hidden, 0, net.dtype, net.layers, net.bidirectional, net.tokens)
    own = [view.reshape(-1) for name, view in net.views(flat).items() if name not in HeadArrays._fields]
    return alone, np.concatenate(own)


class Back:
    """The way back, piece by piece: what has been found so far.

    after: of the steps from the last piece on, the gradients with respect to the states before, and to the parameters.
    """

    def __init__(self, engine: Engine, net: Net, flat: Array, options: Options, timeline: Timeline) -> None:
        self.engine, self.net, self.flat, self.options, self.timeline = engine, net, flat, options, timeline
        self.losses = np.zeros(timeline.axes, net.dtype)
        self.dinputs = np.zeros((*timeline.axes, net.inputs), net.dtype) if options.need_dinputs else None
        self.count = 0
        self.after: Any = None

    def take(self, piece: Piece, state: States) -> None:
        """Go forward and back through a piece, from the states before it."""
        batch = self.timeline.batch
        found = self.engine.bptt(
            self.net,
            self.flat,
            piece.take(batch.inputs),
            state,
            piece.steps,
            self.options,
            piece.take(batch.labels),
            True,
            self.after,
        )
        assert found is not None  # as the arguments are canonical
        _, losses, count, grads, _, dstate, dinputs = found
        piece.put(self.losses, losses)
        if self.dinputs is not None:
            assert dinputs is not None  # as it was asked for
            piece.put(self.dinputs, dinputs)
        ended = self.timeline.ended(piece.start)
        for array in as_tuple(dstate) if len(ended) else ():
            array[..., ended, :] = NOTHING if piece.start > 0 else 0
        self.count, self.after = self.count + count, (dstate, grads)
