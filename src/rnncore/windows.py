"""Truncated backpropagation through time, exactly: each loss goes back through a window of k steps and no further.

A window is a piece of a sequence that ends at the step of the loss; in two directions that step is in its middle.
All windows are computed as batches, group by group. What they give at a step is added, the latest window first, and
the gradients of the weights are summed once.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .arguments import Batch
from .cuts import Cut, Pieces, Source
from .engines import Bptt, Engine
from .labels import count_of
from .net import Net
from .problem import Kept, Options, options_of, with_masks
from .steps import Steps, as_step, last_steps
from .types import Array, Mask, States
from .values import as_integer

NOTHING = -0.0
"""What adds nothing to any number, not even to a zero."""


def bptt(engine: Engine, net: Net, flat: Array, batch: Batch, options: Options, truncate: object) -> Bptt:
    """Return what an engine's bptt returns of a canonical batch, with gradients that windows give."""
    inputs, state, steps, labels, last = batch
    k = window_of(net, batch, truncate)
    if k is None:
        found = engine.bptt(net, flat, inputs, state, steps, options, labels, True)
        assert found is not None  # as the arguments are canonical
        return found
    forward = engine.forward(net, flat, inputs, state, steps, options)
    assert forward is not None
    y, _, final, kept = forward
    losses, dy, count = loss_of(engine, y, batch, options)
    gates, dstate = gates_of(engine, kept, flat, dy, k, options)
    grads, dinputs = engine.sums(kept, flat, dy, gates, options)
    return total(losses, None if last else steps), losses, count, grads, final, dstate, dinputs


def window_of(net: Net, batch: Batch, truncate: object) -> int | None:
    """Return how many steps a window has; None if it has all of the longest sequence, or if there are no windows."""
    if truncate is None:
        return None
    k = as_integer("truncate", truncate, 1)
    if net.directions == 2 and batch.last:
        raise ValueError(
            "truncate must be None for one label a sequence and a net of two directions: "
            "its outputs read both ends, so that no window of steps holds what they depend on"
        )
    steps = batch.steps
    longest = len(with_masks(batch.inputs)[0]) if steps is None else int(steps.lengths.max())
    return k if k < longest else None


def loss_of(engine: Engine, y: Array, batch: Batch, options: Options) -> tuple[Array, Array, int]:
    """Return losses and dy of outputs y, in its form, and how many labels have a loss."""
    steps, labels, last = batch.steps, batch.labels, batch.last
    if last and steps is None and len(with_masks(batch.inputs)[0]) == 0:  # y has a row of each sequence all the same
        steps = Steps(np.zeros(len(y) if y.ndim > 1 else 1, np.int64), 0, "grid" if y.ndim > 1 else "one")
    label, weights = labels if isinstance(labels, tuple) else (labels, None)
    exist = None if steps is None or (steps.packed and not last) else existing(steps, last)
    count = count_of(label, weights, options.loss, exist)
    if not last:
        return *engine.loss(options.loss, y, labels, steps), count
    sequences = None if steps is None else last_steps(steps.lengths)
    losses, dy = engine.loss(options.loss, as_step(y, y.ndim - 1), as_step(labels, y.ndim - 1), sequences)
    return losses.reshape(y.shape[:-1]), dy.reshape(y.shape), count


def existing(steps: Steps, last: bool) -> Mask:
    """Return which places of labels exist, in arrays of a call that are not packed, or which sequences have steps."""
    exist: Mask = steps.lengths > 0 if last else np.arange(steps.T)[:, None] < steps.lengths
    return exist.reshape(steps.batch if last else steps.axes)


def total(losses: Array, steps: Steps | None) -> float:
    """Return J: the sum of losses in float64, in sixteen lanes by the places of their steps."""
    terms = losses.reshape(-1).astype(np.float64)
    lane = np.arange(len(terms))
    if steps is not None and steps.packed:
        terms, lane = terms[steps.address[steps.by_place]], steps.place[steps.by_place]
    lanes = np.bincount(lane % 16, terms, 16)
    for half in (8, 4, 2, 1):
        lanes = lanes[:half] + lanes[half:]
    return float(lanes[0])


def gates_of(engine: Engine, kept: Kept, flat: Array, dy: Array, k: int, options: Options) -> tuple[Array, States]:
    """Return the gradients with respect to gates, of all windows together, and to the initial states."""
    source, net, last = Source(kept), kept[0], kept[-1]
    gates, ways = np.full(net.gates_shape(len(source.step)), NOTHING, net.dtype), net.directions
    dstate, reached = np.full_like(source.state, NOTHING), np.zeros(source.state.shape[1:3], bool)
    pieces = windows(source, k, last)
    for cut, own, first, _ in way_back(engine, source, flat, dy, pieces, options):
        for way in range(ways):
            add_gates(gates[way::ways], own[way::ways], cut, way)
        add_states(dstate, reached, source.states(first, len(cut.pieces.first)), cut)
    if last:
        gates[:, :, outside(source, pieces)] = 0
    dstate[:, ~reached] = 0
    in_order = np.empty_like(dstate)
    in_order[:, :, source.order] = dstate
    short = source.lengths <= k  # no window cuts these: they have the same bits beside longer ones as by themselves
    if short.any():
        plain = options_of(False, options.threads, options.loss, last)
        take_sequences(source, short, engine.gates(kept, flat, (dy, None, None), plain)[:2], (gates, in_order))
    return gates, source.from_states(in_order, source.one)


def way_back(
    engine: Engine, source: Source, flat: Array, dy: Array, pieces: Pieces, options: Options, states: bool = False
) -> Iterator[tuple[Cut, Array, States, Array | None]]:
    """Yield pieces, in groups from the last to the first, with what an engine's gates returns of them.

    dy: the gradients with respect to outputs of the whole batch, of which each piece has that at its label.
    """
    last, V = source.last, source.net.outputs
    by_last = last or source.net.directions == 1  # whether the outputs of a piece are made of its last states
    rows = dy.reshape(-1, V)[source.order] if last else source.rows(dy, V)
    asked = options_of(False, options.threads, options.loss, by_last)
    for group in source.groups(pieces):
        cut = Cut(source, group, by_last)
        ends = rows[group.position if last else source.start[group.label] + group.position]
        yield cut, *engine.gates(cut.kept, flat, (given(cut, ends), None, None), asked, states)


def take_sequences(source: Source, which: Mask, found: tuple[Array, States], to: tuple[Array, Array]) -> None:
    """Write what an engine's ``gates`` has found for some sequences, by positions, into gates and (S, P, B, H)."""
    rows, sequences = which[source.position], source.order[which]
    to[0][:, :, rows] = found[0][:, :, rows]
    to[1][:, :, sequences] = source.states(found[1], len(source.order))[:, :, sequences]


def windows(source: Source, k: int, last: bool) -> Pieces:
    """Return the windows of k steps of all losses, one a step or one a sequence, in the order of rows."""
    rows = np.arange(len(source.step))
    if last:
        rows = rows[source.step == source.lengths[source.position] - 1]
    label, position = source.step[rows], source.position[rows]
    first, end = np.maximum(label - k + 1, source.begun[rows]), label
    if source.net.directions == 2:
        end = np.minimum(label + k - 1, source.lengths[position] - 1)
    return Pieces(position, first, end, label)


def given(cut: Cut, dy: Array) -> Array:
    """Return the gradients (M, V) with respect to outputs at the labels of pieces as these have outputs."""
    if cut.last:
        return dy
    label, first = cut.pieces.label, cut.pieces.first
    grid = np.zeros((*cut.there.shape, dy.shape[1]), dy.dtype)
    grid[label - first, np.arange(len(dy))] = dy
    return grid


def add_gates(gates: Array, own: Array, cut: Cut, way: int) -> None:
    """Add the gradients of windows with respect to gates, for parts of one direction, to those of all; latest first."""
    label, first, last = cut.pieces.label, cut.pieces.first, cut.pieces.last
    for distance in range(int((label - first).max()), -int((last - label).max()) - 1, -1):
        to, here = cut.rows_at(way, distance)
        gates[:, :, to] += own[:, :, here]


def add_states(dstate: Array, reached: Mask, own: Array, cut: Cut) -> None:
    """Add the gradients (S, P, M, H) of windows with respect to initial states, where these enter; latest first."""
    source, (position, first, last, label) = cut.source, cut.pieces
    begins = (first == 0) & ~source.reset[position], last == source.lengths[position] - 1  # row of step 0: position
    for way in range(source.net.directions):
        for t in np.unique(label[begins[way]])[::-1]:
            m = np.flatnonzero(begins[way] & (label == t))
            dstate[:, way :: source.net.directions, position[m]] += own[:, way :: source.net.directions, m]
            reached[way :: source.net.directions, position[m]] = True


def outside(source: Source, pieces: Pieces) -> Mask:
    """Return which rows are in none of the windows, of which each sequence has one."""
    first = np.zeros(len(source.order), np.int64)
    first[pieces.position] = pieces.first
    rows: Mask = source.step < first[source.position]
    return rows
