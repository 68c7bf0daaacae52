"""The recurrent layers of a net: one after the other, each in one direction or in both.

N rows, as ``linear.Rows`` says, B sequences, X inputs, H hidden units, D directions, S states, P parts, each of them
one layer in one direction. A layer gives D*H numbers a row: those of the forward direction, then those of the reverse.
The reverse direction reads each sequence from its last step to its first: it is a layer that knows of no direction, on
sequences that are turned round. Their rows are the same, and only what they read lies at other addresses.

Each part is computed by ``spans`` as a net by itself, without outputs.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from .. import net as nets
from ..cells import parts
from ..net import LayerArrays
from ..types import Array, Indices
from . import spans
from .layer import Gates
from .linear import NO_INDICES, Rows
from .spans import Given, Problem, Task


class Alone(NamedTuple):
    """A part by itself: its net, and where in ``flat`` of the whole net the arrays of its own lie, in their order."""

    net: nets.Net
    places: list[slice]


class Trace(NamedTuple):
    """What the way forward leaves: what each layer gives, (N, D*H), and the tape of each part, (N, K, ...).

    The rows of a part in the reverse direction are in its own order: its first step is the last of each sequence.
    """

    given: list[Array]
    tapes: list[Array]


def forward(problem: Problem, tape: Array) -> tuple[Trace, Array]:
    """Return what the layers leave, and the last states (S, P, B, H). The tape (``problem.Kept``) is +0 before."""
    net, last = problem.net, np.empty_like(problem.states)
    between, tapes = cut_tape(problem, tape)
    trace = Trace([], tapes)
    for number in range(net.layers):
        x, ways = read_by_layer(problem, trace, number), []
        for part in parts_of(net, number):
            _, h, _, last[:, part] = spans.forward(part_problem(problem, part, x), tapes[part])
            ways.append(turn(h, problem, part))
        given = ways[0] if len(ways) == 1 else np.concatenate(ways, axis=1)
        trace.given.append(given)
        if number < len(between):
            between[number][:] = given
    return trace, last


def cut_tape(problem: Problem, tape: Array) -> tuple[list[Array], list[Array]]:
    """Return what each layer but the last has given, and the tape of each part, as views of the tape."""
    return problem.net.cut_tape(tape, problem.sizes[0]) if problem.net.parts > 1 else ([], [tape])


def parts_of(net: nets.Net, number: int) -> range:
    """Return the parts of a layer: the forward direction, and the reverse if there is one."""
    return range(number * net.directions, (number + 1) * net.directions)


def read_by_layer(problem: Problem, trace: Trace, number: int) -> Any:
    """Return what a layer reads: the inputs, at their addresses, or what the layer below gives, times the mask."""
    if number == 0:
        return problem.inputs
    below = trace.given[number - 1]
    return masked(below, problem, number) if problem.masks else below


def masked(rows: Array, problem: Problem, number: int) -> Array:
    """Return rows times the mask of a layer."""
    with np.errstate(all="ignore"):
        return rows * problem.masks[number - 1]


def part_problem(problem: Problem, part: int, x: Any) -> Problem:
    """Return the problem of a part by itself, which reads x."""
    alone, flat, state, rows = alone_of(problem.net, part), problem.flat, problem.state, problem.rows
    if problem.net.parts > 1:
        state, rows = np.ascontiguousarray(state[:, part]), rows._replace(address=addresses(problem, part))
    own = np.concatenate([flat[place] for place in alone.places])
    return Problem(alone.net, own, x, (), state, rows, problem.last, None, NO_INDICES)


@lru_cache(maxsize=256)
def alone_of(net: nets.Net, part: int) -> Alone:
    """Return what a part is by itself."""
    names = [f"{parts(net.layers, net.bidirectional)[part]}{name}" for name in LayerArrays._fields]
    ends = [(net.places[name][0], math.prod(net.places[name][1])) for name in names if name in net.places]
    return Alone(net.part(part), [slice(start, start + size) for start, size in ends])


def addresses(problem: Problem, part: int) -> Indices:
    """Return where what a part reads lies, of each of its rows; none if it lies in their order."""
    address, turned = problem.rows.address, problem.turned if part % problem.net.directions else NO_INDICES
    if len(address) == 0 or part >= problem.net.directions:
        return turned
    return address[turned] if len(turned) > 0 else address


def turn(rows: Any, problem: Problem, part: int) -> Any:
    """Return rows in the order of a part: of the reverse direction, with the steps of each sequence turned round."""
    return rows.take(problem.turned, axis=0) if part % problem.net.directions else rows


def turned_rows(rows: Rows) -> Indices:
    """Return, of each row, the one that has its place if each sequence is turned round."""
    count = np.diff(rows.start)  # of the sequences that have a step
    step = np.repeat(np.arange(len(count)), count)
    sequence = np.arange(len(step)) - rows.start[step]
    length = np.searchsorted(-count, -np.arange(rows.B))
    turned: Indices = rows.start[length[sequence] - 1 - step] + sequence
    return turned


def backward(
    problem: Problem, trace: Trace, dhs: Sequence[Array], dstate: Array | None, task: Task
) -> tuple[Array, Array | None]:
    """Return the gradients of the initial states (S, P, B, H), and of the inputs if needed.

    The others are written to where the task says. dhs: the terms (N, D*H) of the gradient with respect to what the last
    layer gives, added in this order. dstate (S, P, B, H): the gradient with respect to the last states, None if J does
    not depend on them directly.
    """
    net, first, job = problem.net, np.empty_like(problem.states), task.job
    for number in reversed(range(net.layers)):
        need = job.goes_back if number > 0 else job.need_dinputs
        x, own, dxs = read_by_layer(problem, trace, number), task._replace(job=job._replace(need_dinputs=need)), []
        for part in parts_of(net, number):
            first[:, part], dx = part_backward(problem, trace, part, x, dhs, dstate, own)
            dxs.append(dx)
        if need:
            dhs = [read_gradients(problem, number, dxs)]
    return first, dhs[0] if job.need_dinputs else None


def part_backward(
    problem: Problem, trace: Trace, part: int, x: Any, dhs: Sequence[Array], dstate: Array | None, task: Task
) -> tuple[Array, Array | None]:
    """Return the gradients of the initial states (S, B, H) of a part that reads x, and of x if needed, in its order."""
    net, own = problem.net, [of_part(dh, problem, part) for dh in dhs]
    h, last = of_part(trace.given[part // net.directions], problem, part), None if dstate is None else dstate[:, part]
    itself, given = part_problem(problem, part, x), Given(None, np.concatenate(own) if own else None, last)
    places = alone_of(net, part).places
    alone = task_of(task, part)._replace(grads=np.concatenate([task.grads[place] for place in places]))
    first, dx = spans.backward(itself, h, trace.tapes[part], given, alone)
    start = 0
    for place in places:
        end = start + place.stop - place.start
        task.grads[place], start = alone.grads[start:end], end
    return first, dx


def task_of(task: Task, part: int) -> Task:
    """Return the task with the gates of a part, if they are kept."""
    if task.gates is None:
        return task
    return task._replace(gates=Gates(*(array[part].reshape(-1, array.shape[-1]) for array in task.gates)))


def read_gradients(problem: Problem, number: int, dxs: Sequence[Any]) -> Array:
    """Return the gradient with respect to what a layer reads, before its mask, from those of its parts."""
    turned = [input_gradients(problem, part, dx) for part, dx in zip(parts_of(problem.net, number), dxs, strict=True)]
    dx = turned[0] if len(turned) == 1 else turned[0] + turned[1]
    return masked(dx, problem, number) if number > 0 and problem.masks else dx


def input_gradients(problem: Problem, part: int, dx: Array) -> Array:
    """Return the gradient with respect to what a part reads, (N, ...), of that in the order of the part."""
    in_order: Array = turn(dx, problem, part)
    return in_order


def of_part(rows: Array, problem: Problem, part: int) -> Array:
    """Return what belongs to a part, in its order, of what a layer gives, or of the gradient of that."""
    H = problem.net.hidden
    if problem.net.directions == 1:
        return rows
    first = part % problem.net.directions * H
    return np.ascontiguousarray(turn(rows[:, first : first + H], problem, part))
