"""J as a function of parameters, inputs and states, of which the gradients should be the slopes.

Each function computes in float64, from the arrays of a call as they are at that moment.
"""

from __future__ import annotations

import numpy as np

from ..cuts import Cut, Pieces, Source
from ..engines import Engine
from ..problem import Kept, options_of
from ..steps import Steps, packed_steps
from ..types import AnyArray, Array, Indices, Mask, States
from ..windows import loss_of
from .case import Case, each_of
from .own import Function, number, out_of


def by_losses(by: Engine, case: Case) -> tuple[Array, Mask]:
    """Return J of each sequence, and which hidden states are 0."""
    y, _, _, kept = case.forward(by)
    losses, _, _ = loss_of(by, y, case.batch, case.options())
    return sums_by_sequence(losses, case.batch.steps, case.batch.last), switched_off(kept)


def by_function(by: Engine, case: Case, function: Function) -> tuple[Array, Mask]:
    """Return J as a user's function says it of the results of forward, and which hidden states are 0."""
    found = case.forward(by)
    J, _ = function(out_of(found))
    return np.array([number(J)]), switched_off(found[3])


def sums_by_sequence(losses: Array, steps: Steps | None, last: bool) -> Array:
    """Return J of each sequence, (B,)."""
    if last:
        return losses.reshape(-1)
    if steps is not None and steps.packed:
        return np.array([of_one.sum() for of_one in steps.split(losses)])
    sums: Array = losses.sum(axis=0).reshape(-1)
    return sums


def switched_off(kept: Kept) -> Mask:
    """Return which hidden states of all layers are 0."""
    net, _, _, steps, h, tape, _ = kept
    below, _ = net.cut_tape(tape, h.size // net.width if steps is None else steps.count)
    off: Mask = np.concatenate([h.ravel(), *(given.ravel() for given in below)]) == 0
    return off


class Windows:
    """J as ``truncate`` differentiates it: the sum over windows of k steps, each a sequence of its own.

    The states that enter a window from outside are constants: those of the arrays when this is made. Initial states are
    none, where a window begins with them.

    at: which losses of the call these are. sequence: of each window.
    """

    def __init__(self, by: Engine, case: Case, k: int) -> None:
        self.by, self.case = by, case
        self.source = source = Source(case.forward(by)[3])
        rows = np.arange(len(source.step))
        if case.batch.last:
            rows = rows[source.step == source.lengths[source.position] - 1]
        step, position = source.step[rows], source.position[rows]
        first, end = np.maximum(step - (k - 1), source.begun[rows]), step
        if source.net.directions == 2:
            end = np.minimum(step + (k - 1), source.lengths[position] - 1)
        order = np.argsort(first - end, kind="stable")  # longest first, as cuts want them
        self.pieces = Pieces(position, first, end, step).take(order)
        self.constant = Cut(source, self.pieces, case.batch.last).before()
        self.sequence = source.order[self.pieces.position]
        self.at = self.sequence if case.batch.last else source.address[rows[order]]
        self.begins = self._begins()
        self.address, self.label = self._places()

    def _begins(self) -> list[Mask]:
        """Return, for each direction, which windows begin with initial states."""
        source, (position, first, end, _) = self.source, self.pieces
        return [(first == 0) & ~source.reset[position], end == source.lengths[position] - 1]  # row of step 0: position

    def _places(self) -> tuple[Indices, Indices]:
        """Return where the steps of all windows, one after the other, lie in the call; and the labels' among them."""
        source, (position, first, _, label) = self.source, self.pieces
        lengths = self.pieces.lengths
        start = np.cumsum(lengths) - lengths
        step = np.arange(lengths.sum()) + np.repeat(first - start, lengths)
        return source.address[source.start[step] + np.repeat(position, lengths)], start + label - first

    def __call__(self) -> tuple[Array, Mask]:
        """Return J of each sequence, and which hidden states are 0."""
        losses, off = self.losses()
        sums: AnyArray = np.bincount(self.sequence, losses, self.case.sequences)
        return sums, off

    def losses(self) -> tuple[Array, Mask]:
        """Return the loss of each window, and which hidden states are 0."""
        flat, (inputs, _, _, labels, _) = self.case.params.flat, self.case.batch
        read = each_of(lambda array: _rows(array, self.case.step_axes)[self.address], inputs)
        labels = each_of(lambda array: _rows(array, self.case.label_axes)[self.at], labels)
        steps = packed_steps(self.pieces.lengths, "list")
        found = self.by.forward(self.case.net, flat, read, self._states(), steps, options_of(False, 1))
        assert found is not None  # as the arguments are canonical
        y, _, _, kept = found
        losses, _ = self.by.loss(self.case.options().loss, y[self.label], labels, None)
        return losses, switched_off(kept)

    def _states(self) -> States:
        """Return the states before windows."""
        source, ways = self.source, self.source.net.directions
        states = self.constant.copy()
        initial = source.states(self.case.batch.state, len(source.order))[:, :, self.sequence]
        for way in range(ways):
            begins = self.begins[way]
            states[:, way::ways, begins] = initial[:, way::ways, begins]
        return source.from_states(states)


def _rows(array: AnyArray, axes: int) -> AnyArray:
    """Return an array of the call, of which so many axes count steps and sequences, as rows."""
    return array.reshape(-1, *array.shape[axes:])
