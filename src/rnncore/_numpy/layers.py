"""The recurrent layers of a net: one after the other, each in one direction or in both.

Arrays are grids: T steps, B sequences, X inputs, H hidden units, D directions, S states, K rows of the tape, P parts,
each of them one layer in one direction. A layer gives D*H numbers a step: those of the forward direction, then those of
the reverse. The reverse direction reads each sequence from its last step to its first: it is a layer that knows of no
direction, on sequences that are turned round.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .. import net as nets
from ..types import AnyArray, Array, Inputs
from . import layer
from .layer import Gates
from .linear import Mask, Sums


class Problem(NamedTuple):
    """What every call is about: the net, its parameters ``flat``, and what it runs over.

    inputs: vectors (T, B, X) or tokens (T, B). masks: of each layer but the first, (T, B, D*H), what its inputs are
    multiplied by; none at all for ones. state (S, P, B, H): the states before the first step. exist (T, B): which steps
    do. resets (T, B): before which of them the states are zero. last: whether the output layer reads the last state of
    each sequence only, a grid of one step.
    """

    net: nets.Net
    flat: Array
    inputs: Inputs
    masks: tuple[Array, ...]
    state: Array
    exist: Mask
    resets: Mask
    last: bool

    @property
    def grid(self) -> layer.Grid:
        """Return which steps there are."""
        return layer.Grid(self.exist, self.resets)


class Trace(NamedTuple):
    """What the way forward leaves: what each layer gives, (T, B, D*H), and the tape of each part, (T, B, K, ...).

    The rows of a part in the reverse direction are in its own order: its first step is the last of each sequence.
    """

    given: list[Array]
    tapes: list[Array]


def forward(problem: Problem) -> tuple[Trace, Array]:
    """Return what the layers leave, and the last states (S, P, B, H)."""
    net, exist, trace, last = problem.net, problem.exist, Trace([], []), np.empty_like(problem.state)
    for number in range(net.layers):
        x, ways = read_by_layer(problem, trace, number), []
        for part in parts_of(net, number):
            turned = turn(x, exist, net, part)
            h, tape, last[:, part] = layer.forward(
                net.cell, net.layer(problem.flat, part), turned, problem.state[:, part], problem.grid
            )
            ways.append(turn(h, exist, net, part))
            trace.tapes.append(tape)
        trace.given.append(np.concatenate(ways, axis=2))
    return trace, last


def parts_of(net: nets.Net, number: int) -> range:
    """Return the parts of a layer: the forward direction, and the reverse if there is one."""
    return range(number * net.directions, (number + 1) * net.directions)


def read_by_layer(problem: Problem, trace: Trace, number: int) -> Inputs:
    """Return what a layer reads: the inputs, or what the layer below gives, times the mask."""
    if number == 0:
        return problem.inputs
    below = trace.given[number - 1]
    return below * problem.masks[number - 1] if problem.masks else below


def turn(grid: AnyArray, exist: Mask, net: nets.Net, part: int) -> AnyArray:
    """Return a grid in the order of a part: of the reverse direction, with the steps of each sequence turned round."""
    if part % net.directions == 0:
        return grid
    turned = np.zeros_like(grid)
    t, b = np.nonzero(exist)
    turned[t, b] = grid[exist.sum(axis=0)[b] - 1 - t, b]
    return turned


def backward(
    problem: Problem, trace: Trace, dhs: Sequence[Array], dstate: Array | None, need_dinputs: bool
) -> tuple[list[Gates], Array, Array | None]:
    """Return the gradients of what each part computes, of the initial states (S, P, B, H), and of the inputs if needed.

    dhs: the terms (T, B, D*H) of the gradient with respect to what the last layer gives, added in this order. dstate
    (S, P, B, H): the gradient with respect to the last states, None if J does not depend on them directly.
    """
    net, first = problem.net, np.empty_like(problem.state)
    gates: list[Any] = [None] * net.parts
    for number in reversed(range(net.layers)):
        for part in parts_of(net, number):
            gates[part], first[:, part] = part_backward(problem, trace, part, dhs, dstate)
        if number > 0 or need_dinputs:
            dhs = [read_gradients(problem, number, gates)]
    return gates, first, dhs[0] if need_dinputs else None


def part_backward(
    problem: Problem, trace: Trace, part: int, dhs: Sequence[Array], dstate: Array | None
) -> tuple[Gates, Array]:
    """Return the gradients of what a part computes, in its order, and of its initial states (S, B, H)."""
    net, exist = problem.net, problem.exist
    h, before = states_of(problem, trace, part)
    own, last = [of_part(dh, exist, net, part) for dh in dhs], None if dstate is None else dstate[:, part]
    arrays, tape = net.layer(problem.flat, part), trace.tapes[part]
    return layer.backward(net.cell, arrays, h, tape, before, problem.grid, own, last)


def states_of(problem: Problem, trace: Trace, part: int) -> tuple[Array, Array]:
    """Return h (T, B, H) of a part, in its order, and the states before each step, (S, T, B, H)."""
    h = of_part(trace.given[part // problem.net.directions], problem.exist, problem.net, part)
    return h, layer.previous_states(h, trace.tapes[part], problem.state[:, part], problem.resets)


def read_gradients(problem: Problem, number: int, gates: Sequence[Gates]) -> Array:
    """Return the gradient with respect to what a layer reads, before its mask, (T, B, ...)."""
    dxs = [input_gradients(problem, part, gates[part].da) for part in parts_of(problem.net, number)]
    dx = dxs[0] if len(dxs) == 1 else dxs[0] + dxs[1]
    return dx * problem.masks[number - 1] if number > 0 and problem.masks else dx


def weight_gradients(problem: Problem, trace: Trace, gates: Sequence[Gates], sums: Sums, grads: Array) -> None:
    """Write the gradients of the layers' parameters into grads, like flat."""
    net, exist = problem.net, problem.exist
    for part in range(net.parts):
        x = turn(read_by_layer(problem, trace, part // net.directions), exist, net, part)
        (_, before), (da, du, _) = states_of(problem, trace, part), gates[part]
        read, h_prev, tape, da_rows, du_rows = map(as_rows, (x, before[0], trace.tapes[part], da, du))
        layer.weight_gradients(net.cell, net.layer(grads, part), read, h_prev, tape, da_rows, du_rows, sums)


def input_gradients(problem: Problem, part: int, da: Array) -> Array:
    """Return the gradient with respect to what a part reads, (T, B, ...)."""
    net, exist = problem.net, problem.exist
    arrays = net.layer(problem.flat, part)
    dx = np.zeros((*exist.shape, arrays.W_xh.shape[1]), da.dtype)
    dx[exist] = layer.input_gradients(arrays, da[exist])
    return turn(dx, exist, net, part)


def of_part(grid: Array, exist: Mask, net: nets.Net, part: int) -> Array:
    """Return what belongs to a part, in its order, of what a layer gives, or of the gradient of that."""
    first = part % net.directions * net.hidden
    return turn(grid[:, :, first : first + net.hidden], exist, net, part)


def as_rows(grid: AnyArray) -> AnyArray:
    """Return a grid (T, B, ...) as rows r = t*B + b."""
    T, B = grid.shape[:2]
    return grid.reshape(T * B, *grid.shape[2:])
