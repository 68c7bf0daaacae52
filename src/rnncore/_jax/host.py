"""What a compiled program of JAX calls: NumPy arrays in, NumPy arrays out, computed by an engine.

Nothing here touches an array of JAX. In a call from a compiled program that could wait for the thread that makes the
call, for ever where there is only one.

Every batch is a grid (T, B, ...), also one of a single sequence. The tape crosses JAX as arrays with these axes, and so
each sequence can be taken out of it: JAX may cut, join and keep what lies between the way forward and the way back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from .. import api, arguments
from .._numpy.stack import total
from ..cells import CELLS
from ..engines import engine
from ..net import Net
from ..params import Params
from ..problem import Kept
from ..results import ForwardResult
from ..steps import Steps, grid_steps
from ..types import AnyArray, Array, States


class Call(NamedTuple):
    """What is asked of a call, and how it is done. JAX compiles one program for each.

    loss: its name; None where h and the last states are asked for. last: whether there is one label a sequence. groups:
    how many losses J there are, each of as many sequences, which lie side by side.
    """

    net: Net
    backend: str
    threads: int | None
    loss: str | None = None
    last: bool = False
    groups: int = 1


class Given(NamedTuple):
    """The arrays of a call, or anything else of each of them; None for those that there are not.

    flat (P,), inputs (T, B) or (T, B, X), states each (B, H) or (L*D, B, H), lengths (B,), masks each (T, B, D*H),
    labels (T, B), (T, B, V), (B,) or (B, V), weights (T, B) or (B,).
    """

    flat: Any
    inputs: Any
    states: Any
    lengths: Any
    masks: Any
    labels: Any = None
    weights: Any = None


Shapes = list[tuple[int, ...]]


@dataclass(frozen=True)
class Forward:
    """Computes h and the last states; and, to keep, the tape."""

    call: Call
    keep: bool

    def shapes(self, given: Given) -> Shapes:
        """Return the shapes of the results."""
        h, *tape = kept_shapes(self.call.net, given)
        return [h, *state_shapes(self.call.net, given), *(tape if self.keep else [])]

    def run(self, given: Given) -> list[Array]:
        """Return h, the last states, and the tape."""
        out = forward(self.call, given, last=True)  # the outputs, which nobody asks for, are then few
        return [out.h, *as_list(out.state), *(tape_grids(out) if self.keep else [])]


@dataclass(frozen=True)
class Losses:
    """Computes J of each group; and, to keep, dy, h and the tape."""

    call: Call
    keep: bool

    def shapes(self, given: Given) -> Shapes:
        """Return the shapes of the results."""
        lead = given.inputs.shape[1 if self.call.last else 0 : 2]
        kept = [(*lead, self.call.net.outputs), *kept_shapes(self.call.net, given)]
        return [(self.call.groups,), *(kept if self.keep else [])]

    def run(self, given: Given) -> list[Array]:
        """Return J of each group, and dy, h and the tape."""
        out, weights, lengths = forward(self.call, given, self.call.last), given.weights, given.lengths
        if self.call.last:
            weights, lengths = weights_of_sequences(given), None
        loss = getattr(api, str(self.call.loss))
        losses, dy = loss(out.y, given.labels, lengths, weights=weights, backend=self.call.backend)
        by_group = losses.reshape(-1, self.call.groups, losses.shape[-1] // self.call.groups)
        J = np.array([total(by_group[:, g]) for g in range(self.call.groups)], out.y.dtype)
        return [J, *([dy, out.h, *tape_grids(out)] if self.keep else [])]


@dataclass(frozen=True)
class Gradient:
    """Computes J of one group, and the gradient with respect to flat, states and inputs, in one pass."""

    call: Call
    need_dinputs: bool

    def shapes(self, given: Given) -> Shapes:
        """Return the shapes of the results."""
        return [(1,), *gradient_shapes(self.call.net, given, self.need_dinputs)]

    def run(self, given: Given) -> list[Array]:
        """Return J and the gradients."""
        call = self.call
        found = api.bptt(
            params_of(call, given),
            given.inputs,
            given.labels,
            state=as_states(given.states),
            lengths=given.lengths,
            loss=str(call.loss),
            weights=given.weights,
            dropout_masks=given.masks or None,
            need_dinputs=self.need_dinputs,
            backend=call.backend,
            threads=call.threads,
        )
        J = np.array([found.loss], call.net.dtype)
        return [J, *gradients(given, found.grads.flat, found.dstate, found.dinputs)]


@dataclass(frozen=True)
class Backward:
    """Computes the gradient with respect to flat, states and inputs, from what ``keep`` has kept."""

    call: Call
    need_dinputs: bool

    def shapes(self, given: Given, kept: Any, dy: Any, dh: Any, dlast: Any) -> Shapes:
        """Return the shapes of the results."""
        return gradient_shapes(self.call.net, given, self.need_dinputs)

    def run(
        self, given: Given, kept: tuple[Array, Array, Array], dy: Array | None, dh: Array | None, dlast: Any
    ) -> list[Array]:
        """Return the gradients. kept: h and the tape. dlast: the gradients with respect to the last states, or ()."""
        net, last, given = self.call.net, self.call.last or self.call.loss is None, canonical(given)
        h, *tape = kept
        steps = None if given.lengths is None else grid_steps(given.lengths, len(h))
        inputs: Any = (given.inputs, given.masks) if given.masks else given.inputs
        own: Kept = net, inputs, as_states(given.states), steps, h, tape_of(net, steps, tape), last
        options = arguments.options(self.need_dinputs, self.call.threads, last=last)
        found = engine(self.call.backend).backward(own, given.flat, dy, dh, as_states(dlast), options)
        assert found is not None  # as the arguments are canonical
        return gradients(given, *found)


def forward(call: Call, given: Given, last: bool) -> ForwardResult:
    """Return outputs, h, last states and the tape."""
    return api.forward(
        params_of(call, given),
        given.inputs,
        state=as_states(given.states),
        lengths=given.lengths,
        last=last,
        dropout_masks=given.masks or None,
        backend=call.backend,
        threads=call.threads,
    )


def params_of(call: Call, given: Given) -> Params:
    """Return the parameters, around flat; of a net that reads tokens, if these are."""
    net = call.net.of_tokens() if given.inputs.ndim == 2 else call.net
    return Params._of(net, given.flat)


def canonical(given: Given) -> Given:
    """Return the arrays in the types that engines take; their values are those that the way forward has checked."""
    inputs = given.inputs.astype(np.int64) if given.inputs.ndim == 2 else given.inputs
    return given._replace(inputs=inputs, lengths=None if given.lengths is None else given.lengths.astype(np.int64))


def weights_of_sequences(given: Given) -> Array | None:
    """Return the weights of labels of sequences, 0 where an empty sequence has no loss; None where all are 1."""
    T, B = given.inputs.shape[:2]
    exist = np.full(B, T) > 0 if given.lengths is None else given.lengths > 0
    if exist.all():
        weights: Array | None = given.weights
        return weights
    return np.where(exist, 1 if given.weights is None else given.weights, 0).astype(given.flat.dtype)


def gradients(given: Given, grads: Array, dstate: States, dinputs: Array | None) -> list[Array]:
    """Return the gradients with respect to flat, the states that are given, and the inputs if needed."""
    return [grads, *(as_list(dstate) if given.states else []), *([] if dinputs is None else [dinputs])]


def gradient_shapes(net: Net, given: Given, need_dinputs: bool) -> Shapes:
    """Return the shapes of those."""
    dstates = state_shapes(net, given) if given.states else []
    return [(net.size,), *dstates, *([given.inputs.shape] if need_dinputs else [])]


def state_shapes(net: Net, given: Given) -> Shapes:
    """Return the shapes of the states."""
    lead = (net.parts,) if net.parts > 1 else ()
    return [(*lead, given.inputs.shape[1], net.hidden)] * len(CELLS[net.cell].states)


def kept_shapes(net: Net, given: Given) -> Shapes:
    """Return the shapes of h and of the tape: what each layer but the last gives, and the tape of each part."""
    T, B = given.inputs.shape[:2]
    _, K, width = net.part(0).tape_shape(T * B)
    return [(T, B, net.width), (net.layers - 1, T, B, net.width), (net.parts, T, B, K, width)]


def tape_grids(out: ForwardResult) -> list[Array]:
    """Return the tape of ``forward`` as two grids: see ``kept_shapes``."""
    net, _, _, steps, h, tape, _ = out._kept
    T, B = h.shape[:2]

    def grids(rows: list[Array]) -> Array:
        """Return rows as grids, one after the other."""
        if steps is not None:
            return np.stack([steps.grid_of(own) for own in rows])
        return (rows[0][None] if len(rows) == 1 else np.stack(rows)).reshape(len(rows), T, B, *rows[0].shape[1:])

    below, tapes = net.cut_tape(tape, T * B if steps is None else steps.count)
    return [grids(below) if below else np.empty((0, T, B, net.width), net.dtype), grids(tapes)]


def tape_of(net: Net, steps: Steps | None, grids: list[Array]) -> Array:
    """Return the tape as ``forward`` made it."""
    below, tapes = grids
    rows: list[AnyArray] = [grid if steps is None else steps.rows_of(grid) for grid in (*below, *tapes)]
    count = tapes.shape[1] * tapes.shape[2] if steps is None else steps.count
    vector = rows[0] if len(rows) == 1 else np.concatenate(rows, axis=None)
    return vector.reshape(net.tape_shape(count))


def as_states(arrays: tuple[Array, ...]) -> States:
    """Return states as rnncore has them: None, an array, or a tuple of several."""
    return None if not arrays else arrays[0] if len(arrays) == 1 else tuple(arrays)


def as_list(states: States) -> list[Array]:
    """Return states one after the other."""
    return list(states) if isinstance(states, tuple) else [states]
