"""Recurrent layers by themselves, piece by piece: forward, where only the states between pieces are kept, and back.

They are all layers of a net of one direction, or one layer in one direction of any net. They have no outputs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .arguments import Batch
from .engines import Engine
from .net import LayerArrays, Net, net_of
from .problem import Options, as_tuple, options_of
from .timeline import Piece, Timeline
from .types import Array, Inputs, States
from .windows import NOTHING

Read = Callable[[Piece], Inputs]
"""Returns what is read of a piece."""
Written = Callable[[Piece, Array], None]
"""Takes what is made of a piece."""


class Call(NamedTuple):
    """What is asked: an engine's bptt of a canonical batch, and after how many steps states are kept."""

    engine: Engine
    net: Net
    flat: Array
    batch: Batch
    options: Options
    every: object


class Recurrent:
    """Some layers of a net. between: the states before each piece that has been gone through."""

    def __init__(self, call: Call, parts: range, timeline: Timeline) -> None:
        """parts: those that these layers are, all of one direction, or one alone."""
        self.engine, self.whole, self.threads = call.engine, call.net, call.options.threads
        self.parts, self.timeline, self.between = parts, timeline, list[Any]()
        net, is_first = call.net, parts.start < call.net.directions
        inputs, tokens = (net.inputs, net.tokens) if is_first else (net.width, False)
        self.net = net_of(net.cell, inputs, net.hidden, 0, net.dtype, len(parts), False, tokens)
        self.flat = np.empty(self.net.size, net.dtype)
        for to, part in zip(self._layers(self.flat), parts, strict=True):
            copy_arrays(net.layer(call.flat, part), to)

    def forward(self, state: States, read: Read, written: Written | None = None) -> States:
        """Return the last states. read: returns what is read of a piece; written: takes what the last layer gives."""
        for piece in self.timeline.forward():
            self.between.append(state)
            h, state, _ = self._run(piece, read)
            if written is not None:
                written(piece, h)
        return state

    def backward(
        self, dstate: States, read: Read, given: Read | None = None, written: Written | None = None
    ) -> tuple[Array, States]:
        """Return the gradients with respect to the parameters of these layers, and to their initial states.

        dstate: those with respect to the last states. given: returns those with respect to what the last layer gives of
        a piece; None if nothing comes to it but through the last states. written: takes those with respect to what was
        read, of vectors; None if they are not wanted.
        """
        grads, asked = None, options_of(written is not None, self.threads)
        for piece in self.timeline.back():
            _, _, kept = self._run(piece, read)
            dh = None if given is None else given(piece)
            found = self.engine.backward(kept, self.flat, None, dh, dstate, asked, grads)
            assert found is not None  # as the arguments are canonical
            grads, dstate, dread = found
            cut_states(dstate, piece)
            if written is not None:
                assert dread is not None  # as it was asked for
                written(piece, dread)
        assert grads is not None  # as there is a piece at least
        return grads, dstate

    def put_gradients(self, grads: Array, whole: Array) -> None:
        """Write the gradients with respect to the parameters of these layers into those of the whole net."""
        for of, part in zip(self._layers(grads), self.parts, strict=True):
            copy_arrays(of, self.whole.layer(whole, part))

    def _layers(self, flat: Array) -> list[LayerArrays]:
        return [self.net.layer(flat, number) for number in range(self.net.parts)]

    def _run(self, piece: Piece, read: Read) -> tuple[Array, States, Any]:
        """Return h, the states after a piece, and what its way back needs."""
        asked, state = options_of(False, self.threads), self.between[piece.number]
        found = self.engine.forward(self.net, self.flat, read(piece), state, piece.steps, asked)
        assert found is not None  # as the arguments are canonical
        return found[1:]


def copy_arrays(of: LayerArrays, to: LayerArrays) -> None:
    """Copy the arrays of a layer."""
    for source, target in zip(of, to, strict=True):
        if target is not None:
            target[:] = source


def cut_states(dstate: States, piece: Piece) -> None:
    """Let nothing go back from a piece where states were reset: an engine takes its first step for the first of all."""
    for array in as_tuple(dstate) if len(piece.cut) else ():
        if piece.steps is not None and piece.steps.form == "one":
            array[:] = NOTHING
        else:
            array[..., piece.cut, :] = NOTHING
