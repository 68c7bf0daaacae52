"""A whole net: the layer, the output layer and the loss, chunk by chunk.

N rows, as ``linear.Rows`` says, B sequences, X inputs, H hidden units, V outputs, S states, K rows of the tape a step.

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
    OF_A_UNIT,
    Gradients,
    Net,
    Scratch,
    Sums,
    Weights,
    arrays_of,
    backward_weights,
    finish,
    forward_weights,
    most_rows,
    narrow,
    plan_of,
    sums_of,
    work_of,
)
from .entries import entry
from .linear import (
    BLOCK,
    NOTHING,
    Labels,
    Rows,
    chunk_end,
    chunk_start,
    fold,
    lane_sum,
    row_blocks,
    rows_by_place,
    where,
)
from .tile import fill_panels, whole_vectors


class Problem(NamedTuple):
    """What every call is about: the net, its parameters ``flat``, and what it runs over.

    inputs: vectors (N, X) or tokens (N,) at their addresses. state (S, B, H): the states before the first step, in the
    order of rows. last: the last row of each sequence that has one. head_rows: the rows of outputs, if these are made
    of last states only, else None.
    """

    net: nets.Net
    flat: Array
    inputs: Any
    state: Array
    rows: Rows
    last: Indices
    head_rows: Rows | None

    @property
    def sizes(self) -> tuple[int, int]:
        """Return how many rows there are, and how many steps."""
        return int(self.rows.start[-1]), len(self.rows.start) - 1


class Loss(NamedTuple):
    """The gradients with respect to the outputs (N, V) and the hidden states (N, H), each empty if it is not given."""

    has_dy: bool
    dy: Array
    dh: Array


def forward(problem: Problem) -> tuple[Array, Array, Array, Array]:
    """Return outputs y (N, V), hidden states h (N, H), the tape (N, K, ...) and the last states (S, B, H).

    If the output layer reads last states only, y has a row for each, and so does what belongs to outputs.
    """
    if problem.head_rows is not None:
        _, h, tape, last = forward(without_head(problem))
        return forward_last(problem, read_by_head(problem, h)), h, tape, last
    net, (N, T), dtype, plan = problem.net, problem.sizes, problem.net.dtype, plan_of(problem.net)
    y, h = np.empty((N, net.outputs), dtype), np.empty((N, net.hidden), dtype)
    tape = np.zeros(tape_shape(net.cell, N, net.hidden), dtype)
    trace, panels, t = trace_of(problem, h, tape), np.empty(plan.forward, dtype), 0
    while t < T:
        t = entry(forward_span)(dtype, plan.net, problem.flat, panels, trace, y, t, plan.most)
    last, S = problem.state.copy(), len(problem.state)
    last[0, : len(problem.last)] = h[problem.last]
    if S > 1:
        last[1:, : len(problem.last)] = tape[problem.last, : S - 1, : net.hidden].swapaxes(0, 1)
    return y, h, tape, last


def without_head(problem: Problem) -> Problem:
    """Return the problem of the recurrent layer alone."""
    net, (begin, end, stop) = problem.net, head_places(problem.net)
    flat = np.concatenate([problem.flat[:begin], problem.flat[end:stop]])
    own = nets.net_of(net.cell, net.inputs, net.hidden, 0, net.dtype)
    return problem._replace(net=own, flat=flat, head_rows=None)


def head_places(net: nets.Net) -> tuple[int, int, int]:
    """Return where W_hy begins and ends in flat, and where b_y begins."""
    begin = net.places["W_hy"][0]
    return begin, begin + net.outputs * net.hidden, net.places["b_y"][0]


def forward_last(problem: Problem, read: Array) -> Array:
    """Return the outputs (R, V) of the hidden states that the output layer reads (R, H)."""
    net, plan = problem.net, plan_of(problem.net)
    y, panels = np.empty((len(read), net.outputs), net.dtype), np.empty(plan.forward, net.dtype)
    most = most_rows(2 * net.hidden * net.outputs)
    for r in range(0, len(read), most):
        entry(forward_head)(net.dtype, plan.net, problem.flat, panels, read, y, r, min(r + most, len(read)))
    return y


@compiled
def forward_head(net: Net, flat: Array, panels: Array, read: Array, y: Array, first: int, end: int) -> None:
    """Write the outputs of some rows of what the output layer reads."""
    weights = forward_weights(net, flat, panels)
    fill_panels(weights.head.W_hy, weights.head.arrays.W_hy)
    head.forward(weights.head, read, first, end, y)


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


def read_by_head(problem: Problem, h: Array) -> Array:
    """Return the hidden states that the output layer reads, where these are the last ones (R, H)."""
    return h[problem.last]


def add_to_last(dstate: Array | None, dh: Array, state: Array) -> Array:
    """Return the gradient with respect to the last states (S, B, H), with what comes through the outputs, dh (R, H)."""
    total = np.full_like(state, NOTHING) if dstate is None else dstate.copy()
    total[0, : len(dh)] = dh + total[0, : len(dh)]
    return total


def backward(
    problem: Problem,
    h: Array,
    tape: Array,
    dy: Array | None,
    dh: Array | None,
    dstate: Array | None,
    need_dinputs: bool,
) -> tuple[Array, Array, Array | None]:
    """Return the gradients of the parameters, like flat, of the initial states (S, B, H), and of the inputs if needed.

    h and tape as ``forward`` returned them. dy (N, V), dh (N, H), dstate (S, B, H): the gradients with respect to the
    outputs, the hidden states and the last states; None for what J does not depend on directly.
    """
    if problem.head_rows is not None:
        return backward_last(problem, h, tape, dy, dh, dstate, need_dinputs)
    net, (N, T), plan = problem.net, problem.sizes, plan_of(problem.net)
    carried, empty = np.empty_like(problem.state), np.empty((0, 0), net.dtype)
    carried[:] = NOTHING if dstate is None else dstate
    loss = Loss(dy is not None, empty if dy is None else dy, empty if dh is None else dh)
    dinputs = np.empty((N, net.inputs), net.dtype) if need_dinputs else empty
    grads, scratch, position = gradients_of(problem, carried, dinputs), scratch_of(problem, need_dinputs), 2 * T + 1
    trace, span = trace_of(problem, h, tape), entry(backward_span)
    while position > 1:
        position = span(net.dtype, plan.net, problem.flat, trace, loss, grads, scratch, position, plan.most)
    if dstate is None:
        carried[:, problem.rows.start[1] if T else 0 :] = 0  # of sequences without steps
    return grads.flat, carried, dinputs if need_dinputs else None


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
    start, done = trace.rows.start, 0
    weights, sums = backward_weights(net, flat, scratch.panels, len(grads.dinputs) > 0), sums_of(net, trace, grads)
    work = work_of(net, grads.carried, scratch.work)
    if position == 2 * len(start) - 1:
        layer.fill_backward_panels(weights.layer)
        fill_panels(weights.head.W_hy, weights.head.arrays.W_hy.T)
    while position > 1 and done < most:
        end = position // 2
        t = chunk_start(start, end, trace.rows.B)
        if position % 2 == 1:
            if loss.has_dy:
                head.backward(weights.head, loss.dy, start[t], start[end], work.dh)
            layer.backward(weights.layer, trace, loss.has_dy, loss.dh, work, t, end)
            position -= 1
        else:
            weight_gradients(weights, trace, loss, work, sums, grads.bounds, t, end)
            if len(grads.dinputs) > 0:
                layer.input_gradients(weights.layer, work.da, start[t], start[end], grads.dinputs)
            position = 2 * t + 1
        done += start[end] - start[t]
    if position == 1:
        finish(net, trace, sums, grads)
    return position


@inlined
def weight_gradients(
    weights: Weights, trace: layer.Trace, loss: Loss, work: layer.Work, sums: Sums, bounds: Indices, t: int, end: int
) -> None:
    """Add the blocks of a chunk to the sums, from the last to the first, as many at a time as have 128 rows."""
    first, n = trace.rows.start[t], where(bounds, trace.rows.start[end])
    while bounds[n] > first:
        m = n - 1
        while bounds[m] > first and bounds[n] - bounds[m - 1] <= BLOCK:
            m -= 1
        index = rows_by_place(trace.rows, bounds[m], bounds[n])
        batch = layer.Batch(index, bounds[m : n + 1], first, n == len(bounds) - 1)
        layer.weight_gradients(weights.layer, trace, work, sums.layer, batch, t)
        if loss.has_dy:
            head.weight_gradients(sums.head, trace, loss.dy, batch)
        n = m


def backward_last(
    problem: Problem,
    h: Array,
    tape: Array,
    dy: Array | None,
    dh: Array | None,
    dstate: Array | None,
    need_dinputs: bool,
) -> tuple[Array, Array, Array | None]:
    """Return what ``backward`` does where outputs are made of last states: through them first, then through time."""
    net, (begin, end, stop) = problem.net, head_places(problem.net)
    flat, given = np.zeros(net.size, net.dtype), dstate is not None
    if dy is not None:
        dstate = add_to_last(dstate, gradients_of_last(problem, h, dy, flat), problem.state)
    grads, first, dinputs = backward(without_head(problem), h, tape, None, dh, dstate, need_dinputs)
    flat[:begin], flat[end:stop] = grads[:begin], grads[begin:]
    if not given:
        first[:, len(problem.last) :] = 0  # of sequences without steps
    return flat, first, dinputs


def gradients_of_last(problem: Problem, h: Array, dy: Array, flat: Array) -> Array:
    """Return dh (R, H) of dy (R, V), and write the gradients of the output layer into flat, +0 before."""
    net, plan, read, rows = problem.net, plan_of(problem.net), read_by_head(problem, h), problem.head_rows
    assert rows is not None
    trace = layer.Trace(
        rows, layer.Inputs(False, np.empty(0, np.int64), read), read[:0], read[:0], read, np.empty((0, 0), net.dtype)
    )
    dh, panels = (
        np.empty((len(read), whole_vectors(net.hidden, net.dtype)), net.dtype),
        np.empty(plan.backward, net.dtype),
    )
    entry(backward_head)(net.dtype, plan.net, problem.flat, panels, dy, dh)
    sums = np.zeros(plan.sums + plan.vectors, net.dtype)
    entry(head_sums)(net.dtype, plan.net, trace, dy, Gradients(flat, dh, dh, sums, row_blocks(rows)))
    return dh[:, : net.hidden]


@compiled
def backward_head(net: Net, flat: Array, panels: Array, dy: Array, dh: Array) -> None:
    """Write dh = W_hy^T dy of all rows."""
    weights = backward_weights(net, flat, panels, False)
    fill_panels(weights.head.W_hy, weights.head.arrays.W_hy.T)
    head.backward(weights.head, dy, 0, len(dy), dh)


@compiled
def head_sums(net: Net, trace: layer.Trace, dy: Array, grads: Gradients) -> None:
    """Write the gradients of the output layer, from the last block to the first."""
    sums, bounds = sums_of(net, trace, grads), grads.bounds
    for n in range(len(bounds) - 1, 0, -1):
        index = rows_by_place(trace.rows, bounds[n - 1], bounds[n])
        head.weight_gradients(
            sums.head, trace, dy, layer.Batch(index, bounds[n - 1 : n + 1], bounds[0], n == len(bounds) - 1)
        )
    _, output = arrays_of(net, grads.flat)
    narrow(sums.head.W_hy, output.W_hy)


def bptt(
    problem: Problem, number: int, labels: Labels, need_dinputs: bool
) -> tuple[float, Array, Array, Array, Array, Array | None]:
    """Return J, losses (N,), and gradients and last states as ``backward`` and ``forward`` do.

    In this order: J, losses, gradients of the parameters, last states, gradients of the initial states, of the inputs.
    """
    y, h, tape, last = forward(problem)
    losses, dy = loss(number, y, labels)
    grads, first, dinputs = backward(problem, h, tape, dy, None, None, need_dinputs)
    return entry(total)(y.dtype, losses, problem.head_rows or problem.rows), losses, grads, last, first, dinputs


def loss(number: int, y: Array, labels: Labels) -> tuple[Array, Array]:
    """Return losses (N,) and dy (N, V) of outputs y (N, V), by the loss of a number."""
    (N, V), dtype = y.shape, y.dtype
    losses, dy, most = np.zeros(N, dtype), np.zeros_like(y), most_rows(OF_A_UNIT * V)
    for r in range(0, N, most):
        entry(head.loss)(dtype, number, y, labels, r, min(r + most, N), losses, dy)
    return losses, dy


@compiled
def total(losses: Array, rows: Rows) -> float:
    """Return J: the losses (N,) by place r = t*B + b, in float64, in sixteen lanes; the place decides the lane."""
    lanes = np.empty(16, np.float64)
    if len(rows.by_place) == 0:
        return lane_sum(losses, lanes)
    for lane in range(16):
        lanes[lane] = 0
    for r in rows.by_place:
        lanes[rows.place[r] % 16] += losses[r]
    return fold(lanes)


def gradients_of(problem: Problem, carried: Array, dinputs: Array) -> Gradients:
    """Return where the way back writes to."""
    net, plan = problem.net, plan_of(problem.net)
    sums = plan.sums + (plan.tokens if problem.inputs.ndim == 1 else plan.vectors)
    flat, rows = np.zeros(net.size, net.dtype), carried.reshape(-1, net.hidden)
    return Gradients(flat, rows, dinputs, np.zeros(sums, net.dtype), row_blocks(problem.rows))


def scratch_of(problem: Problem, need_dinputs: bool) -> Scratch:
    """Return the scratch buffers of the way back."""
    plan, (N, _), dtype = plan_of(problem.net), problem.sizes, problem.net.dtype
    R = min(N, max(BLOCK, problem.rows.B))
    panels = np.empty(plan.backward + (plan.inputs if need_dinputs else 0), dtype)
    return Scratch(panels, np.empty(problem.state.size + R * plan.row, dtype))


def trace_of(problem: Problem, h: Array, tape: Array) -> layer.Trace:
    """Return what a layer runs over, and h and the tape, to be written or read."""
    net, state, inputs = problem.net, problem.state, problem.inputs
    (N, K, width), (S, B, H) = tape.shape, state.shape
    tape_0 = tape
    if S > 1:
        tape_0 = np.empty((B, K, width), net.dtype)
        tape_0[:, : S - 1, :H] = state[1:].swapaxes(0, 1)
    if inputs.ndim == 1:
        read = layer.Inputs(True, inputs, np.empty((0, 0), net.dtype))
    else:
        read = layer.Inputs(False, np.empty(0, np.int64), inputs)
    return layer.Trace(
        problem.rows, read, state[0], tape_0.reshape(-1 if K else 0, width), h, tape.reshape(N * K, width)
    )
