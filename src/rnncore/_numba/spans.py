"""The spans: a part of a net together with an output layer, chunk by chunk.

N rows, as ``linear.Rows`` says, B sequences, X inputs, H hidden units, V outputs, S states, K rows of the tape a step.
A net of one part is computed here as a whole. The parts of others are computed here one by one, as nets without
outputs: see ``layers``.

Python's functions here prepare arrays and call compiled *spans*, whose work is bounded: between two of them Python
can answer a signal, such as Ctrl-C.
"""

from typing import Any, NamedTuple

import numpy as np

from .. import net as nets
from ..cells import tape_shape
from ..types import Array, Indices
from . import compiled, head, inlined, layer
from .buffers import (
    Gradients,
    Job,
    Net,
    Scratch,
    Sums,
    Weights,
    backward_weights,
    begin,
    finish,
    forward_weights,
    plan_of,
    sums_of,
    with_gates,
    work_of,
)
from .entries import entry
from .linear import (
    BLOCK,
    NO_INDICES,
    NOTHING,
    Rows,
    batch_start,
    chunk_end,
    chunk_start,
    row_blocks,
    rows_by_place,
    where,
)
from .memory import at_line
from .rows import Inputs
from .tile import fill_panels


class Problem(NamedTuple):
    """What every call is about: the net, its parameters ``flat``, and what it runs over.

    inputs: vectors (N, X) or tokens (N,) at their addresses. masks: of each layer but the first, (N, D*H), what its
    inputs are multiplied by; none at all for ones. state (S, B, H): the states before the first step, in the order of
    rows; of a net of several parts (S, P, B, H). last: the last row of each sequence that has one. head_rows: the rows
    of outputs, if these are made of last states only, else None. turned (N,): the rows if each sequence is turned
    round; empty of one direction.
    """

    net: nets.Net
    flat: Array
    inputs: Any
    masks: tuple[Array, ...]
    state: Array
    rows: Rows
    last: Indices
    head_rows: Rows | None
    turned: Indices

    @property
    def sizes(self) -> tuple[int, int]:
        """Return how many rows there are, and how many steps."""
        return int(self.rows.start[-1]), len(self.rows.start) - 1

    @property
    def states(self) -> Array:
        """Return the states before the first step as (S, P, B, H)."""
        return self.state.reshape(-1, self.net.parts, self.rows.B, self.net.hidden)


class Given(NamedTuple):
    """What the way back begins with; None for what J does not depend on directly.

    dy (N, V), dh (M*N, D*H), dstate, like ``Problem.state``: the gradients with respect to the outputs, the hidden
    states, M terms of it one after the other, and the last states. later: the gradients of the parameters, like flat,
    from the steps after these.
    """

    dy: Array | None = None
    dh: Array | None = None
    dstate: Array | None = None
    later: Array | None = None


class Task(NamedTuple):
    """What of the way back is to be done, and where to.

    grads: the gradients of the parameters, like flat: +0 before, or, if they are begun, those of the steps after these.
    gates: None if they are not kept. Of a net of several parts, both arrays have an axis of them first.
    """

    job: Job
    grads: Array
    gates: layer.Gates | None


class Loss(NamedTuple):
    """The gradients with respect to the outputs (N, V), empty if they are not given, and to the hidden states.

    dh (M*N, H): its M terms, one after the other.
    """

    has_dy: bool
    dy: Array
    dh: Array


def new_tape(net: nets.Net, steps: int) -> Array:
    """Return a tape for so many steps: +0 past the last unit, and what will be written."""
    whole = net.hidden == tape_shape(net.cell, 1, net.hidden)[-1]
    return at_line(net.tape_shape(steps), net.dtype, np.empty if whole else np.zeros)


def forward(problem: Problem, tape: Array | None = None) -> tuple[Array, Array, Array, Array]:
    """Return outputs y (N, V), hidden states h (N, H), the tape (N, K, ...) and the last states (S, B, H).

    tape: where to write it, +0 before; None for a new one.
    """
    net, (N, T), dtype, plan = problem.net, problem.sizes, problem.net.dtype, plan_of(problem.net)
    y, h = np.empty((N, net.outputs), dtype), np.empty((N, net.hidden), dtype)
    if tape is None:
        tape = new_tape(net, N)
    trace, panels, t = trace_of(problem, h, tape), at_line(plan.forward, dtype), 0
    while t < T:
        t = entry(forward_span)(dtype, plan.net, problem.flat, panels, trace, y, t, plan.most)
    last, S = problem.state.copy(), len(problem.state)
    last[0, : len(problem.last)] = h[problem.last]
    if S > 1:
        last[1:, : len(problem.last)] = tape[problem.last, : S - 1, : net.hidden].swapaxes(0, 1)
    return y, h, tape, last


@compiled
def forward_span(net: Net, flat: Array, panels: Array, trace: layer.Trace, y: Array, t: int, most: int) -> int:
    """Go forward from step t, for ``most`` rows or a chunk more; return the step to go on from."""
    start, weights = trace.rows.start, forward_weights(net, flat, panels)
    if t == 0:
        layer.fill_forward_panels(weights.layer)
        fill_panels(weights.head.W_hy, weights.head.arrays.W_hy)
    limit = start[t] + most
    while t < len(start) - 1 and start[t] < limit:
        end = chunk_end(start, t, min(most, BLOCK))
        layer.forward(weights.layer, trace, t, end)
        head.forward(weights.head, trace.h, start[t], start[end], y)
        t = end
    return t


def backward(problem: Problem, h: Array, tape: Array, given: Given, task: Task) -> tuple[Array, Array | None]:
    """Return the gradients of the initial states (S, B, H), and of the inputs if needed.

    h and tape as ``forward`` returned them. The others are written to where the task says.
    """
    net, (N, T), plan, job, empty = problem.net, problem.sizes, plan_of(problem.net), task.job, nothing(problem.net)
    carried = np.empty_like(problem.state)
    carried[:] = NOTHING if given.dstate is None else given.dstate
    loss = Loss(given.dy is not None, empty if given.dy is None else given.dy, empty if given.dh is None else given.dh)
    dinputs = np.empty((N, net.inputs), net.dtype) if job.need_dinputs else empty
    grads, scratch = gradients_of(problem, task, carried, dinputs), scratch_of(problem, job.need_dinputs)
    trace, span, position = trace_of(problem, h, tape), entry(backward_span), 2 * T + 1
    while position > 1:
        position = span(net.dtype, plan.net, problem.flat, trace, loss, grads, scratch, position, plan.most)
    if given.dstate is None:
        carried[:, problem.rows.start[1] if T else 0 :] = 0  # of sequences without steps
    return carried, dinputs if job.need_dinputs else None


@compiled
def backward_span(
    net: Net,
    flat: Array,
    trace: layer.Trace,
    loss: Loss,
    grads: Gradients,
    scratch: Scratch,
    position: int,
    most: int,
) -> int:
    """Go back from a position, for ``most`` rows or a chunk more; return the position to go on from.

    At 2t + 1 all steps from t on are done. At 2t, of the chunk that ends at t, the sums are left to do.
    """
    start, done, job = trace.rows.start, 0, grads.job
    weights, sums = backward_weights(net, flat, scratch.panels, job.need_dinputs), sums_of(net, trace, grads)
    work = work_of(net, grads, scratch.work)
    if position == 2 * len(start) - 1:
        layer.fill_backward_panels(weights.layer)
        fill_panels(weights.head.W_hy, weights.head.arrays.W_hy.T)
        if job.begun:
            begin(net, trace, sums, grads)
    while position > 1 and done < most:
        end = position // 2
        t = chunk_start(start, end, trace.rows.B)
        own = with_gates(work, grads.gates, len(trace.h), start[t])
        if position % 2 == 1:
            if job.goes_back:
                if loss.has_dy:
                    head.backward(weights.head, loss.dy, start[t], start[end], own.dh)
                layer.backward(weights.layer, trace, loss.has_dy, loss.dh, own, t, end)
            position -= 1
        else:
            if job.sums:
                weight_gradients(weights, trace, loss, own, sums, grads, t, end)
            if job.need_dinputs:
                layer.input_gradients(weights.layer, own.da, start[t], start[end], grads.dinputs)
            position = 2 * t + 1
        done += start[end] - start[t]
    if position == 1 and job.sums:
        finish(net, trace, sums, grads)
    return position


@inlined
def weight_gradients(
    weights: Weights, trace: layer.Trace, loss: Loss, work: layer.Work, sums: Sums, grads: Gradients, t: int, end: int
) -> None:
    """Add the blocks of a chunk to the sums, from the last to the first, as many at a time as have 128 rows."""
    first, bounds = trace.rows.start[t], grads.bounds
    n = where(bounds, trace.rows.start[end])
    while bounds[n] > first:
        m = batch_start(bounds, n, first)
        index = rows_by_place(trace.rows, bounds[m], bounds[n])
        batch = layer.Batch(index, bounds[m : n + 1], first, n == len(bounds) - 1 and not grads.job.begun)
        layer.weight_gradients(weights.layer, trace, work, sums.layer, batch, t)
        if loss.has_dy:
            head.weight_gradients(sums.head, trace, loss.dy, batch)
        n = m


def gradients_of(problem: Problem, task: Task, carried: Array, dinputs: Array) -> Gradients:
    """Return where the way back writes to."""
    net, plan, job = problem.net, plan_of(problem.net), task.job
    sums = at_line(plan.sums + (plan.tokens if problem.inputs.ndim == 1 else plan.vectors), net.dtype, np.zeros)
    bounds = row_blocks(problem.rows) if job.sums else NO_INDICES
    gates = layer.Gates(nothing(net), nothing(net)) if task.gates is None else task.gates
    return Gradients(job, task.grads, carried.reshape(-1, net.hidden), dinputs, gates, sums, bounds)


def nothing(net: nets.Net) -> Array:
    """Return an array for what there is not."""
    return np.empty((0, 0), net.dtype)


def scratch_of(problem: Problem, need_dinputs: bool) -> Scratch:
    """Return the scratch buffers of the way back."""
    plan, (N, _), dtype = plan_of(problem.net), problem.sizes, problem.net.dtype
    R = min(N, max(BLOCK, problem.rows.B))
    panels = at_line(plan.backward + (plan.inputs if need_dinputs else 0), dtype)
    return Scratch(panels, at_line(problem.state.size + R * plan.row, dtype))


def trace_of(problem: Problem, h: Array, tape: Array) -> layer.Trace:
    """Return what a layer runs over, and h and the tape, to be written or read."""
    net, state, inputs = problem.net, problem.state, problem.inputs
    (N, K, width), (S, B, H) = tape.shape, state.shape
    tape_0 = tape
    if S > 1:
        tape_0 = np.empty((B, K, width), net.dtype)
        tape_0[:, : S - 1, :H] = state[1:].swapaxes(0, 1)
    if inputs.ndim == 1:
        read = Inputs(True, inputs, np.empty((0, 0), net.dtype))
    else:
        read = Inputs(False, np.empty(0, np.int64), inputs)
    return layer.Trace(
        problem.rows, read, state[0], tape_0.reshape(-1 if K else 0, width), h, tape.reshape(N * K, width)
    )
