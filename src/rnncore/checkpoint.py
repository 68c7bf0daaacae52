"""Long sequences in little memory: the states at some steps are kept, and what lies between is computed again.

Time is cut into pieces. Forward, only the states between these are kept; then each piece, from the last to the first,
goes forward again and back. Two directions go layer by layer: see ``both_ways``.
"""

from __future__ import annotations

import numpy as np

from . import both_ways, rounding
from .engines import Bptt
from .outputs import Outputs
from .problem import as_tuple
from .recurrent import Call, Read, Recurrent, cut_states
from .timeline import Timeline
from .types import Inputs
from .windows import total


def bptt(call: Call) -> Bptt:
    """Return what an engine's bptt returns of a canonical batch, to the bit, in less memory."""
    with rounding.standard(), np.errstate(all="ignore"):
        if call.net.directions == 2:
            return both_ways.bptt(call)
        layers = Recurrent(call, range(call.net.parts), Timeline(call.batch, call.every))
        return from_last_states(call, layers) if call.batch.last else from_each_step(call, layers)


def from_each_step(call: Call, layers: Recurrent) -> Bptt:
    """Return the same of one direction, and of outputs at each step: a piece goes forward and back as a whole net."""
    engine, net, flat, (inputs, state, steps, labels, _), options, _ = call
    timeline, last = layers.timeline, layers.forward(state, reading(inputs))
    losses, count = np.zeros(timeline.axes, net.dtype), 0
    dinputs = np.zeros((*timeline.axes, net.inputs), net.dtype) if options.need_dinputs else None
    dstate, grads = timeline.nothing(net), None
    for piece in timeline.back():
        of_piece, before = (piece.take(inputs), layers.between[piece.number], piece.steps), (dstate, grads)
        found = engine.bptt(net, flat, *of_piece, options, piece.take(labels), True, before)
        assert found is not None  # as the arguments are canonical
        _, own, counted, grads, _, dstate, dread = found
        cut_states(dstate, piece)
        piece.put(losses, own)
        count += counted
        if dinputs is not None:
            assert dread is not None  # as it was asked for
            piece.put(dinputs, dread)
    assert grads is not None  # as there is a piece at least
    return total(losses, steps), losses, count, grads, last, dstate, dinputs


def from_last_states(call: Call, layers: Recurrent) -> Bptt:
    """Return the same of one direction, and of outputs that are made of last states: the way back begins with them."""
    net, timeline, outputs = call.net, layers.timeline, Outputs(call)
    read = reading(call.batch.inputs)
    last, grads, dstate = layers.forward(call.batch.state, read), np.empty_like(call.flat), timeline.nothing(net)
    top = -1 if net.parts > 1 else ...
    losses, dh = outputs.back_from_last(as_tuple(last)[0][top], call.batch.labels, timeline.lengths)
    as_tuple(dstate)[0][top] = dh
    dinputs = np.zeros((*timeline.axes, net.inputs), net.dtype) if call.options.need_dinputs else None
    written = None if dinputs is None else lambda piece, dread: piece.put(dinputs, dread)
    of_layers, first = layers.backward(dstate, read, None, written)
    layers.put_gradients(of_layers, grads)
    outputs.put_gradients(grads)
    return total(losses, None), losses, outputs.count, grads, last, first, dinputs


def reading(inputs: Inputs) -> Read:
    """Return a function that returns what the first layer reads of a piece, and the masks of the others."""
    return lambda piece: piece.take(inputs)
