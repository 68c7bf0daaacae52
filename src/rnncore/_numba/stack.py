"""A whole net: the layers, the output layer and the loss.

N rows, as ``linear.Rows`` says, B sequences, X inputs, H hidden units, D directions, V outputs, S states, P parts.

A net of one part whose output layer reads every step is computed by ``spans``, all of it at once, chunk by chunk. Else
the layers come first (``layers``), and then the output layer, detached from them. Here too, the work of a compiled
function is bounded.
"""

from typing import NamedTuple

import numpy as np

from ..net import HeadArrays, head_alone
from ..types import Array, Indices
from . import compiled, head, inlined, layer, layers, spans
from .buffers import OF_A_UNIT, Job, most_rows
from .entries import entry
from .layer import Gates
from .linear import (
    NO_INDICES,
    NOTHING,
    Labels,
    Rows,
    batch_start,
    chunk_start,
    fold,
    grid_rows,
    lane_sum,
    row_blocks,
    rows_by_place,
    where,
)
from .memory import at_line
from .rows import Inputs
from .spans import Given, Problem, Task
from .tile import fill_panels, panels_in, whole_vectors


class Detached(NamedTuple):
    """What the way back through a detached output layer computes with.

    job: what of it is to be done. panels: a scratch buffer. dy (N, V), dh (N, D*H or more). bounds: where the blocks of
    the sums begin and end.
    """

    job: Job
    panels: Array
    dy: Array
    dh: Array
    bounds: Indices


def forward(problem: Problem) -> tuple[Array, Array, Array, Array]:
    """Return outputs y (N, V), hidden states h (N, D*H), the tape, and the last states, as ``problem.state`` has them.

    If the output layer reads last states only, y has a row for each, and so does what belongs to outputs.
    """
    if not is_detached(problem):
        return spans.forward(problem)
    tape = spans.new_tape(problem.net, problem.sizes[0])
    trace, last = layers.forward(problem, tape)
    h = trace.given[-1]
    y = outputs_of(problem.net.head(problem.flat), read_by_head(problem, h))
    return y, h, tape, last.reshape(problem.state.shape)


def is_detached(problem: Problem) -> bool:
    """Return whether the output layer is computed apart from the layers."""
    return problem.head_rows is not None or problem.net.parts > 1


def outputs_of(arrays: HeadArrays, read: Array) -> Array:
    """Return the outputs (R, V) of what the output layer reads (R, D*H)."""
    dtype = read.dtype
    V, width = arrays.W_hy.shape
    y, panels = np.empty((len(read), V), dtype), at_line(whole_vectors(V, dtype) * width, dtype)
    most = most_rows(2 * arrays.W_hy.size)
    for r in range(0, len(read), most):
        entry(forward_head)(dtype, arrays, panels, read, y, r, min(r + most, len(read)))
    return y


@compiled
def forward_head(arrays: HeadArrays, panels: Array, read: Array, y: Array, first: int, end: int) -> None:
    """Write the outputs of some rows of what the output layer reads."""
    V, width = arrays.W_hy.shape
    own = head.Head(arrays, panels_in(panels, 0, V, width))
    if first == 0:
        fill_panels(own.W_hy, arrays.W_hy)
    head.forward(own, read, first, end, y)


def read_by_head(problem: Problem, h: Array) -> Array:
    """Return what the output layer reads: all hidden states (N, D*H), or the last ones (R, D*H)."""
    if problem.head_rows is None:
        return h
    final, H = h[problem.last], problem.net.hidden
    if problem.net.bidirectional:
        final[:, H:] = h[: len(final), H:]  # the reverse direction ends at the first step
    return final


def add_to_last(problem: Problem, dstate: Array | None, dh: Array) -> Array:
    """Return the gradient with respect to the last states (S, P, B, H), with what comes through the outputs.

    That is dh (R, D*H), and belongs to the last layer.
    """
    net, H, R, total = problem.net, problem.net.hidden, len(dh), np.empty_like(problem.states)
    total[:] = NOTHING if dstate is None else dstate
    if dstate is None:
        total[:, :, R:] = 0  # of sequences without steps
    for way, part in enumerate(layers.parts_of(net, net.layers - 1)):
        total[0, part, :R] = dh[:, way * H : (way + 1) * H] + total[0, part, :R]
    return total


def gates(
    problem: Problem, h: Array, tape: Array, given: Given, of: Gates, need_dinputs: bool
) -> tuple[Array, Array | None]:
    """Return the gradients of the initial states, and of the inputs if needed; write those of each part into ``of``.

    h and tape as ``forward`` returned them. States are as ``problem.state``.
    """
    job = Job(goes_back=True, sums=False, begun=False, need_dinputs=need_dinputs)
    return way_back(problem, h, tape, given, Task(job, np.zeros_like(problem.flat), of))


def sums(
    problem: Problem, h: Array, tape: Array, dy: Array | None, of: Gates, need_dinputs: bool
) -> tuple[Array, Array | None]:
    """Return the gradients of the parameters, like flat, from those of what each part computes; of inputs if needed."""
    job = Job(goes_back=False, sums=True, begun=False, need_dinputs=need_dinputs)
    grads = at_line(problem.flat.size, problem.flat.dtype, np.zeros)
    _, dinputs = way_back(problem, h, tape, Given(dy), Task(job, grads, of))
    return grads, dinputs


def sums_of_each(problem: Problem, h: Array, tape: Array, dy: Array | None, of: Gates, positions: list[int]) -> Array:
    """Return the gradients of the parameters of some sequences, each as if it were the only one, (M, size)."""
    net, rows = problem.net, problem.rows
    grads = np.empty((len(positions), net.size), net.dtype)
    count = np.diff(rows.start)  # of the sequences that have a step
    for m, b in enumerate(positions):
        index = rows.start[: np.searchsorted(-count, -b)] + b
        own = alone(problem, index, b), h[index], tape_of_one(problem, tape, index)
        dy_b = None if dy is None else dy[index if problem.head_rows is None else slice(b, b + 1)]
        gates = Gates(np.ascontiguousarray(of.rows[:, :, index]), of.dstates)
        grads[m], _ = sums(*own, dy_b, gates, False)
    return grads


def alone(problem: Problem, index: Indices, b: int) -> Problem:
    """Return the problem of the b-th sequence in the order of rows by itself, whose rows have these numbers."""
    own, steps = problem.rows, len(index)
    rows = grid_rows(1, steps, own.resets[index] if len(own.resets) > 0 else own.resets)
    return problem._replace(
        inputs=problem.inputs[own.address[index] if len(own.address) > 0 else index],
        masks=tuple(mask[index] for mask in problem.masks),
        state=np.ascontiguousarray(problem.state[..., b : b + 1, :]),
        rows=rows,
        last=np.arange(steps)[-1:],
        head_rows=None if problem.head_rows is None else grid_rows(1, min(steps, 1)),
        turned=layers.turned_rows(rows) if problem.net.bidirectional else NO_INDICES,
    )


def tape_of_one(problem: Problem, tape: Array, index: Indices) -> Array:
    """Return the tape of a sequence by itself, whose rows have these numbers."""
    given, tapes = layers.cut_tape(problem, tape)
    numbers = np.concatenate([array[index].reshape(-1) for array in (*given, *tapes)])
    return numbers.reshape(problem.net.tape_shape(len(index)))


def backward(
    problem: Problem, h: Array, tape: Array, given: Given, need_dinputs: bool
) -> tuple[Array, Array, Array | None]:
    """Return the gradients of the parameters, like flat, of the initial states, and of the inputs if needed.

    h and tape as ``forward`` returned them. States are as ``problem.state``.
    """
    job = Job(goes_back=True, sums=True, begun=given.later is not None, need_dinputs=need_dinputs)
    grads = at_line(problem.flat.size, problem.flat.dtype, np.zeros)
    if given.later is not None:
        grads[:] = given.later
    return grads, *way_back(problem, h, tape, given, Task(job, grads, None))


def way_back(problem: Problem, h: Array, tape: Array, given: Given, task: Task) -> tuple[Array, Array | None]:
    """Return the gradients of the initial states, and of the inputs if needed; the task says what else, and where."""
    if not is_detached(problem):
        return spans.backward(problem, h, tape, given, layers.task_of(task, 0))
    dhs, dstate = [] if given.dh is None else [given.dh], given.dstate
    dstate = None if dstate is None else dstate.reshape(problem.states.shape)
    outputs, tapes = layers.cut_tape(problem, tape)
    with np.errstate(all="ignore"):
        if given.dy is not None:
            arrays, grads = problem.net.head(problem.flat), problem.net.head(task.grads)
            read = problem.head_rows or problem.rows, read_by_head(problem, h)
            from_outputs = through_outputs(arrays, grads, read, given.dy, task.job)
            if task.job.goes_back and problem.head_rows is not None:
                dstate = add_to_last(problem, dstate, from_outputs)
            elif task.job.goes_back:
                dhs.insert(0, from_outputs)
        first, dinputs = layers.backward(problem, layers.Trace([*outputs, h], tapes), dhs, dstate, task)
    return first.reshape(problem.state.shape), dinputs


def through_outputs(arrays: HeadArrays, grads: HeadArrays, at: tuple[Rows, Array], dy: Array, job: Job) -> Array:
    """Return dh (R, D*H) of dy (R, V), and add the gradients of the output layer to grads. at: what it reads."""
    (rows, read), dtype, (V, width) = at, dy.dtype, arrays.W_hy.shape
    wide = whole_vectors(width, dtype)
    sums = head.Sums(grads.W_hy if wide == width else at_line((V, wide), dtype, np.zeros), grads.b_y)
    sums.W_hy[:, :width] = grads.W_hy
    dh, panels = at_line((len(read), wide), dtype), at_line(wide * V, dtype)
    own = Detached(job, panels, dy, dh, row_blocks(rows) if job.sums else NO_INDICES)
    nothing = Inputs(False, NO_INDICES, read)
    trace = layer.Trace(rows, nothing, read[:0], read[:0], read, np.empty((0, 0), dtype))
    end, most = len(rows.start) - 1 if len(read) > 0 else 0, most_rows(4 * arrays.W_hy.size)
    while end > 0:
        end = entry(backward_head)(dtype, arrays, sums, trace, own, end, most)
    grads.W_hy[:] = sums.W_hy[:, :width]
    return np.ascontiguousarray(dh[:, :width])


@compiled
def backward_head(arrays: HeadArrays, sums: head.Sums, trace: layer.Trace, own: Detached, end: int, most: int) -> int:
    """Go back from step ``end``, for ``most`` rows or a chunk more; return the step to go on from."""
    (V, width), start, job, done = arrays.W_hy.shape, trace.rows.start, own.job, 0
    output = head.Head(arrays, panels_in(own.panels, 0, width, V))
    if end == len(start) - 1:
        fill_panels(output.W_hy, arrays.W_hy.T)
    while end > 0 and done < most:
        t = chunk_start(start, end, trace.rows.B)
        if job.goes_back:
            head.backward(output, own.dy, start[t], start[end], own.dh[start[t] :])
        if job.sums:
            head_gradients(sums, trace, own, start[t], start[end])
        done += start[end] - start[t]
        end = t
    return end


@inlined
def head_gradients(sums: head.Sums, trace: layer.Trace, own: Detached, first: int, end: int) -> None:
    """Add the blocks of a chunk of rows to the sums, as ``spans.weight_gradients`` does."""
    bounds = own.bounds
    n = where(bounds, end)
    while bounds[n] > first:
        m = batch_start(bounds, n, first)
        index = rows_by_place(trace.rows, bounds[m], bounds[n])
        batch = layer.Batch(index, bounds[m : n + 1], bounds[0], n == len(bounds) - 1 and not own.job.begun)
        head.weight_gradients(sums, trace, own.dy, batch)
        n = m


def bptt(
    problem: Problem, number: int, labels: Labels, after: Given, need_dinputs: bool
) -> tuple[float, Array, Array, Array, Array, Array | None]:
    """Return J, losses (N,), and gradients and last states as ``backward`` and ``forward`` do.

    In this order: J, losses, gradients of the parameters, last states, gradients of the initial states, of the inputs.
    after: what the steps after these give, if there are any.
    """
    y, h, tape, last = forward(problem)
    losses, dy = loss(number, y, labels)
    grads, first, dinputs = backward(problem, h, tape, after._replace(dy=dy), need_dinputs)
    return entry(total)(y.dtype, losses, problem.head_rows or problem.rows), losses, grads, last, first, dinputs


def outputs(
    flat: Array, at: tuple[Rows, Array], number: int, labels: Labels, later: Array | None
) -> tuple[Array, Array, Array]:
    """Return losses (N,), and the gradients with respect to flat and to h (N, W), of an output layer alone.

    flat: W_hy (V, W) and b_y (V,). at: rows and h. later: the gradients with respect to flat from the steps after.
    """
    width = at[1].shape[1]
    arrays, grads = head_alone(flat, width), np.zeros_like(flat) if later is None else later.copy()
    losses, dy = loss(number, outputs_of(arrays, at[1]), labels)
    job = Job(goes_back=True, sums=True, begun=later is not None, need_dinputs=False)
    return losses, grads, through_outputs(arrays, head_alone(grads, width), at, dy, job)


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
