"""The gradient of each sequence by itself: whole, only its length, or shortened before all are added."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from .arguments import Batch
from .engines import Bptt, Engine
from .net import Net
from .problem import Kept, Options, options_of, with_masks
from .results import PerSequence
from .steps import Steps
from .types import Array
from .windows import NOTHING, gates_of, loss_of, total

GROUP = 2**20
"""Bytes: about as much memory do the gradients take that are there at once, unless all are asked for: they are read
twice, and so little is still in the cache."""

KINDS = (False, True, "norms", "clipped")


class Wanted(NamedTuple):
    """What is asked for: all gradients, or their lengths; to which length they are shortened; windows of how many steps
    they go through, None for all.
    """

    rows: bool
    limit: float
    window: int | None


def bptt(
    engine: Engine, net: Net, flat: Array, batch: Batch, options: Options, wanted: Wanted
) -> tuple[Bptt, PerSequence]:
    """Return what an engine's bptt returns, with the sum of the gradients of the sequences, and these by themselves."""
    inputs, state, steps, labels, last = batch
    if wanted.window is None and not wanted.rows:
        at_once = engine.each(net, flat, inputs, state, steps, options, labels, wanted.limit)
        if at_once is not None:
            plain, lengths = at_once
            return plain, PerSequence(losses_of(plain[1], steps, last), None, lengths)
    forward = engine.forward(net, flat, inputs, state, steps, options)
    assert forward is not None  # as the arguments are canonical
    y, _, final, kept = forward
    losses, dy, count = loss_of(engine, y, batch, options)
    if wanted.window is None:
        gates, dstate, _ = engine.gates(kept, flat, (dy, None, None), options)
    else:
        gates, dstate = gates_of(engine, kept, flat, dy, wanted.window, options)
    sums = Sums(engine, kept, flat, dy, gates, options)
    grads, of_each = sums.all_rows() if wanted.rows else sums.shortened(wanted.limit)
    rows, norms = (of_each, None) if wanted.rows else (None, of_each)
    found = total(losses, None if last else steps), losses, count, grads, final, dstate, sums.dinputs
    return found, PerSequence(losses_of(losses, steps, last), rows, norms)


def sequences_of(kept: Kept) -> int:
    """Return how many sequences there are."""
    inputs, steps = with_masks(kept[1])[0], kept[3]
    if steps is not None:
        return steps.B
    return inputs.shape[1] if inputs.ndim - (inputs.dtype.kind != "i") == 2 else 1


class Sums:
    """The gradients of the sequences of a batch, some at a time."""

    def __init__(self, engine: Engine, kept: Kept, flat: Array, dy: Array, gates: Array, options: Options) -> None:
        self.engine, self.size, self.dtype, self.B = engine, flat.size, flat.dtype, sequences_of(kept)
        self.arguments, self.options = (kept, flat, dy, gates), options
        self.dinputs: Any = None

    def all_rows(self) -> tuple[Array, Array]:
        """Return the sum of the gradients, and all of them, (B, size)."""
        rows, added = self._rows(range(self.B)), self._nothing()
        self.engine.add_shortened(added, rows, math.inf)
        return added, rows

    def shortened(self, limit: float) -> tuple[Array, Array]:
        """Return the sum of the gradients, each shortened to a length, and the lengths that they had."""
        norms, added = np.empty(self.B), self._nothing()
        many = max(1, GROUP // added.nbytes)
        for first in range(0, self.B, many):
            some = range(first, min(first + many, self.B))
            norms[first : some.stop] = self.engine.add_shortened(added, self._rows(some), limit)
        return added, norms

    def _nothing(self) -> Array:
        return np.full(self.size, NOTHING, self.dtype)

    def _rows(self, some: range) -> Array:
        """Return the gradients of some sequences, and, with those of the first, keep what all inputs have."""
        if some.start == 0:
            rows, self.dinputs = self.engine.sums(*self.arguments, self.options, some)
            return rows
        asked = options_of(False, self.options.threads, self.options.loss, self.options.last)
        return self.engine.sums(*self.arguments, asked, some)[0]


def losses_of(losses: Array, steps: Steps | None, last: bool) -> Array:
    """Return J of each sequence by itself, float64 (B,): the sum of its losses in sixteen lanes."""
    if last:
        return losses.reshape(-1).astype(np.float64)
    grid = steps.to_grid(losses) if steps is not None else losses.reshape(*losses.shape, *[1] * (2 - losses.ndim))
    T, B = grid.shape
    terms = np.zeros((T // 16 + 2, 16, B))  # begins with zeros, and ends with them
    terms[1:].reshape(-1, B)[:T] = grid
    lanes: Array = np.add.accumulate(terms, axis=0)[-1]
    for half in (8, 4, 2, 1):
        lanes = lanes[:half] + lanes[half:]
    total_of_each: Array = lanes[0]
    return total_of_each
