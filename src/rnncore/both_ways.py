"""Two directions in little memory: layer by layer, and each direction piece by piece from its own first step on.

The reverse direction begins at the end, and a layer above reads both directions of the one below at every step. So
what each layer gives is kept for all steps, but no tape: on the way back a piece computes its own once more.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .engines import Bptt
from .outputs import Outputs
from .problem import as_tuple, with_masks
from .recurrent import Call, Read, Recurrent
from .timeline import Piece, Timeline
from .types import Array, States
from .windows import total


def bptt(call: Call) -> Bptt:
    """Return what an engine's bptt returns of a canonical batch and a net of two directions."""
    layers, outputs = Layers(call), Outputs(call)
    last = layers.forward()
    losses, dtop = loss_of_last(layers, outputs, last) if call.batch.last else loss_of_steps(layers, outputs)
    grads, first, dinputs = layers.backward(dtop)
    outputs.put_gradients(grads)
    steps = None if call.batch.last else call.batch.steps
    return total(losses, steps), losses, outputs.count, grads, joined(last), joined(first), dinputs


class Layers:
    """The layers of a net, and the parts that they are made of, each layer in each direction by itself.

    given: what each gives, (..., 2H), but where nothing reads it; on the way back, once a layer's turn has come, the
    gradient with respect to that takes its place, and it goes when the layer is done.
    """

    def __init__(self, call: Call) -> None:
        self.call, self.net = call, call.net
        self.timelines = [Timeline(call.batch, call.every, turned) for turned in (False, True)]
        self.axes = self.timelines[0].axes
        self.inputs, self.masks = with_masks(call.batch.inputs)
        self.given: list[Array | None] = []
        ranges = (range(part, part + 1) for part in range(call.net.parts))
        self.parts = [Recurrent(call, part, self.timelines[part.start % 2]) for part in ranges]

    def _reading(self, part: int) -> Read:
        """Return a function that returns what a part reads of a piece."""
        below = part // 2 - 1
        if below < 0:
            return lambda piece: piece.take(self.inputs)
        given = self.given[below]
        if not self.masks:
            return lambda piece: piece.take(given)
        return lambda piece: piece.take(given) * piece.take(self.masks[below])

    def _columns(self, part: int) -> slice:
        """Return where a part has its numbers in what its layer gives."""
        first = part % 2 * self.net.hidden
        return slice(first, first + self.net.hidden)

    def forward(self) -> list[States]:
        """Return the last states of each part."""
        return [self._part_forward(part) for part in range(self.net.parts)]

    def _part_forward(self, part: int) -> States:
        state, is_read = self.call.batch.state, part < self.net.parts - 2 or not self.call.batch.last
        if part % 2 == 0:
            self.given.append(np.zeros((*self.axes, self.net.width), self.net.dtype) if is_read else None)
        to, columns = self.given[-1], self._columns(part)
        own = as_states([array[part] for array in as_tuple(state)]) if state is not None else None
        written = None if to is None else lambda piece, h: piece.put(to, h, columns)
        return self.parts[part].forward(own, self._reading(part), written)

    def backward(self, dtop: Array | None) -> tuple[Array, list[States], Array | None]:
        """Return the gradients of the parameters, of the initial states of each part, and of the inputs if needed.

        dtop: the gradient with respect to the last states of the last layer, (B, 2H) or (2H,), if outputs are made of
        these. If not, what the last layer gave has been replaced by its gradient before.
        """
        net, grads, first = self.net, np.empty_like(self.call.flat), [None] * self.net.parts
        dread = None
        for number in reversed(range(net.layers)):
            width, wanted = (net.width, True) if number > 0 else (net.inputs, self.call.options.need_dinputs)
            dread = np.zeros((*self.axes, width), net.dtype) if wanted else None
            for part in (2 * number, 2 * number + 1):
                first[part] = self._part_backward(part, dtop if number == net.layers - 1 else None, dread, grads)
            self.given.pop()
            if number > 0:
                self.given[-1] = dread
        return grads, first, dread

    def _part_backward(self, part: int, dlast: Array | None, dread: Array | None, grads: Array) -> States:
        """Return the gradients with respect to the initial states of a part, and write the others to their places."""
        alone, dgiven, columns = self.parts[part], self.given[-1], self._columns(part)
        dstate = alone.timeline.nothing(alone.net)
        if dlast is not None:
            as_tuple(dstate)[0][...] = dlast[..., columns]
        given = None if dgiven is None else lambda piece: piece.take(dgiven, columns)
        written = None if dread is None else lambda piece, own: self._add(part, piece, own, dread)
        of_part, first = alone.backward(dstate, self._reading(part), given, written)
        alone.put_gradients(of_part, grads)
        return first

    def _add(self, part: int, piece: Piece, own: Array, dread: Array) -> None:
        """Write what a part hands back of a piece: the forward direction begins, the reverse adds, the mask ends."""
        if part % 2 == 1:
            np.add(piece.take(dread), own, out=own)
            if self.masks and part > 1:
                np.multiply(own, piece.take(self.masks[part // 2 - 1]), out=own)
        piece.put(dread, own)


def loss_of_steps(layers: Layers, outputs: Outputs) -> tuple[Array, None]:
    """Return the losses of outputs at each step; the gradient of what the last layer gave takes the place of that."""
    timeline, top = layers.timelines[0], layers.given[-1]
    assert top is not None  # as it is read
    losses = np.zeros(timeline.axes, top.dtype)
    for piece in timeline.back():
        own, dh = outputs.back(piece.take(top), piece.take(layers.call.batch.labels), piece.steps)
        piece.put(losses, own)
        piece.put(top, dh)
    return losses, None


def loss_of_last(layers: Layers, outputs: Outputs, last: list[States]) -> tuple[Array, Array]:
    """Return the losses of outputs that are made of last states, and the gradient with respect to these."""
    top = np.concatenate([as_tuple(states)[0] for states in last[-2:]], axis=-1)
    return outputs.back_from_last(top, layers.call.batch.labels, layers.timelines[0].lengths)


def as_states(arrays: Sequence[Array]) -> States:
    """Return the arrays of one or several states as a call has them."""
    return tuple(arrays) if len(arrays) > 1 else arrays[0]


def joined(of_parts: Sequence[States]) -> States:
    """Return the states of a net from those of its parts."""
    return as_states([np.stack(arrays) for arrays in zip(*map(as_tuple, of_parts), strict=True)])
