"""Where arrays lie: those of a net in the vector of its parameters, and those of a call in scratch buffers.

Buffers come from Python, so that they keep their contents from span to span. They are few, as each costs a small net
time; compiled code cuts them up.
"""

from functools import lru_cache
from typing import Any, NamedTuple

from .. import net as nets
from ..cells import CELLS
from ..types import Array, Indices
from . import compiled, head, inlined, layer
from .memory import view
from .rows import copy_rows
from .tile import padded, panels_in, whole_vectors

OPERATIONS = 2**28  # that a span may take: a few hundredths of a second, also where memory is the bound
OF_A_UNIT = 32  # how many operations an exp or a tanh counts for, with all that is done beside it


class Net(NamedTuple):
    """A net as compiled code has it: the number of its cell, and its sizes."""

    cell: int
    X: int
    H: int
    V: int


class Plan(NamedTuple):
    """What is the same in all calls of a net: how many rows a span has, and how long scratch buffers are.

    forward, backward: the panels of one way, but those for input gradients. inputs: those. sums: the sums that are not
    where the gradients are, but those of W_xh. vectors, tokens: those, of either kind of inputs. row: the way back, for
    each row of a chunk.
    """

    net: Net
    most: int
    forward: int
    backward: int
    inputs: int
    sums: int
    vectors: int
    tokens: int
    row: int


class Weights(NamedTuple):
    """The parameters of a net, and the panels of its matrices."""

    layer: layer.Layer
    head: head.Head


class Job(NamedTuple):
    """What of the way back is to be done.

    goes_back: the steps. sums: the gradients of the parameters; begun: to which those of the steps after these are
    already added up. need_dinputs: the gradients of the inputs. If one of the first two is left out, the gradients with
    respect to gates are kept: they are what the steps give and the others take.
    """

    goes_back: bool
    sums: bool
    begun: bool
    need_dinputs: bool


class Gradients(NamedTuple):
    """What the way back computes: the gradients of the parameters, like flat, of the states, and of the inputs.

    carried (S*B, H): see ``layer.Work``. dinputs (N, X), or empty if they are not needed. sums: a scratch buffer, +0 at
    first. bounds: where the blocks of the sums begin and end.
    """

    job: Job
    flat: Array
    carried: Array
    dinputs: Array
    gates: layer.Gates
    sums: Array
    bounds: Indices


class Scratch(NamedTuple):
    """Buffers that keep their contents from span to span: panels, and what the way back has of a chunk."""

    panels: Array
    work: Array


class Sums(NamedTuple):
    """The gradients of the parameters while they are summed up."""

    layer: layer.Sums
    head: head.Sums


@compiled
def arrays_of(net: Net, flat: Array) -> tuple[nets.LayerArrays, nets.HeadArrays]:
    """Return the arrays of a net, in the order of ``cells.shapes``; b_x is b_h where a cell has but one bias."""
    cell, X, H, V = layer.NUMBERS[net.cell], net.X, net.H, net.V
    GH = cell.gates * H
    W_hh, W_hy, b_x = GH * X, GH * (X + H), GH * (X + H) + V * H
    b_h = b_x + GH * cell.own_recurrent_bias
    own = nets.LayerArrays(
        view(flat, 0, (GH, X)), view(flat, W_hh, (GH, H)), view(flat, b_x, (GH,)), view(flat, b_h, (GH,))
    )
    return own, nets.HeadArrays(view(flat, W_hy, (V, H)), view(flat, b_h + GH, (V,)))


@compiled
def forward_weights(net: Net, flat: Array, panels: Array) -> Weights:
    """Return the weights with panels for the way forward, in a scratch buffer."""
    (own, output), X, H, V = arrays_of(net, flat), net.X, net.H, net.V
    GH, after = len(own.b_h), layer.NUMBERS[net.cell].gates_after_reset * H
    W_xh = panels_in(panels, 0, GH, X)
    before_reset = panels_in(panels, W_xh.size, GH - after, H)
    after_reset = panels_in(panels, W_xh.size + before_reset.size, after, H)
    W_hy = panels_in(panels, W_xh.size + before_reset.size + after_reset.size, V, H)
    return Weights(layer.Layer(net.cell, own, W_xh, before_reset, after_reset), head.Head(output, W_hy))


@compiled
def backward_weights(net: Net, flat: Array, panels: Array, need_dinputs: bool) -> Weights:
    """Return the weights with panels for the way back, in a scratch buffer; none of W_xh if they are not needed."""
    (own, output), X, H, V = arrays_of(net, flat), net.X, net.H, net.V
    GH, after = len(own.b_h), layer.NUMBERS[net.cell].gates_after_reset * H
    W_hy = panels_in(panels, 0, H, V)
    before_reset = panels_in(panels, W_hy.size, H, GH - after)
    after_reset = panels_in(panels, W_hy.size + before_reset.size, H, after)
    W_xh = panels_in(panels, W_hy.size + before_reset.size + after_reset.size, X if need_dinputs else 0, GH)
    return Weights(layer.Layer(net.cell, own, W_xh, before_reset, after_reset), head.Head(output, W_hy))


@compiled
def work_of(net: Net, grads: Gradients, scratch: Array) -> layer.Work:
    """Return the arrays in which the way back computes, in a scratch buffer that they fill."""
    carried = grads.carried
    cell, H, width = layer.NUMBERS[net.cell], net.H, padded(net.H, carried.itemsize)
    GH, size = cell.gates * H, carried.size
    R = (len(scratch) - size) // (width + GH * (1 + cell.own_recurrent_bias))
    dprev, dh = view(scratch, 0, carried.shape), view(scratch, size, (R, width))
    da = view(scratch, size + dh.size, (R, GH))
    du = view(scratch, size + dh.size + da.size * cell.own_recurrent_bias, (R, GH))
    return layer.Work(carried, dprev, dh, da, du, grads.gates.dstates)


@compiled
def with_gates(work: layer.Work, gates: layer.Gates, N: int, first: int) -> layer.Work:
    """Return the work of the chunk that begins with a row, da and du in the gates of all N rows if these are kept."""
    if len(gates.rows) == 0:
        return work
    da, du = gates.rows[first:], gates.rows[len(gates.rows) - N + first :]
    return layer.Work(work.carried, work.dprev, work.dh, da, du, work.dstates)


@compiled
def sums_of(net: Net, trace: layer.Trace, grads: Gradients) -> Sums:
    """Return the arrays of the sums: the gradients themselves where they are as wide as whole vectors."""
    (own, output), X, sums, tokens = arrays_of(net, grads.flat), net.X, grads.sums, trace.inputs.are_tokens
    b_x: Any = own.b_x
    GH, start = len(own.b_h), 0
    W_hh = wide(own.W_hh, sums, start)
    start += 0 if own.W_hh.shape[1] == W_hh.shape[1] else W_hh.size
    W_hy = wide(output.W_hy, sums, start)
    start += 0 if output.W_hy.shape[1] == W_hy.shape[1] else W_hy.size
    W_xh = wide(own.W_xh, sums, start)
    columns = view(sums, start, (X if tokens else 0, GH))
    part = view(sums, start + columns.size, (X if tokens else 0, GH))
    return Sums(layer.Sums(W_xh, W_hh, b_x, own.b_h, columns, part), head.Sums(W_hy, output.b_y))


@compiled
def wide(grad: Array, sums: Array, start: int) -> Array:
    """Return a gradient, or, if its rows are not whole vectors, an array for its sum."""
    width = padded(grad.shape[1], grad.itemsize)
    return grad if grad.shape[1] == width else view(sums, start, (len(grad), width))


@inlined
def begin(net: Net, trace: layer.Trace, sums: Sums, grads: Gradients) -> None:
    """Copy the gradients to the sums, the opposite of ``finish``."""
    own, output = arrays_of(net, grads.flat)
    if trace.inputs.are_tokens:
        for i in range(len(own.W_xh)):
            for k in range(net.X):
                sums.layer.columns[k, i] = own.W_xh[i, k]
    else:
        widen(own.W_xh, sums.layer.W_xh)
    widen(own.W_hh, sums.layer.W_hh)
    widen(output.W_hy, sums.head.W_hy)


@compiled
def widen(grad: Array, total: Array) -> None:
    """Copy a gradient to its sum, unless that is what ``wide`` took for it."""
    if total.shape[1] != grad.shape[1]:
        for i in range(len(grad)):
            for j in range(grad.shape[1]):
                total[i, j] = grad[i, j]


@inlined
def finish(net: Net, trace: layer.Trace, sums: Sums, grads: Gradients) -> None:
    """Copy the sums to the gradients, shaped like the parameters, where they are not the gradients themselves."""
    own, output = arrays_of(net, grads.flat)
    if trace.inputs.are_tokens:
        for i in range(len(own.W_xh)):
            for k in range(net.X):
                own.W_xh[i, k] = sums.layer.columns[k, i]
    else:
        narrow(sums.layer.W_xh, own.W_xh)
    narrow(sums.layer.W_hh, own.W_hh)
    narrow(sums.head.W_hy, output.W_hy)


@compiled
def narrow(total: Array, grad: Array) -> None:
    """Copy a sum to a gradient, unless that is what ``wide`` took for it."""
    if total.shape[1] != grad.shape[1]:
        copy_rows(total, grad, 0, len(grad))


def operations(net: nets.Net) -> int:
    """Return about how many operations a row takes on one of the ways: two for each weight, and those of its units."""
    GH, H = len(CELLS[net.cell].gates) * net.hidden, net.hidden
    return 2 * (GH * (net.inputs + H) + net.outputs * H) + OF_A_UNIT * (GH + net.outputs)


def most_rows(operations: int) -> int:
    """Return how many rows a span may have if each takes so many operations."""
    return max(1, OPERATIONS // max(1, operations))


@lru_cache(maxsize=64)
def plan_of(net: nets.Net) -> Plan:
    """Return the plan of a net."""
    cell, X, H, V, dtype = CELLS[net.cell], net.inputs, net.hidden, net.outputs, net.dtype
    GH, after, wide_H = len(cell.gates) * H, cell.gates_after_reset * H, whole_vectors(H, dtype)
    forward = sum(whole_vectors(N, dtype) * K for N, K in ((GH, X), (GH - after, H), (after, H), (V, H)))
    backward = wide_H * (V + GH)
    sums = 0 if wide_H == H else (GH + V) * wide_H
    wide_X = whole_vectors(X, dtype)
    vectors, row = 0 if wide_X == X else GH * wide_X, wide_H + GH * (1 + cell.own_recurrent_bias)
    sizes = Net(list(CELLS).index(net.cell), X, H, V)
    return Plan(sizes, most_rows(operations(net)), forward, backward, wide_X * GH, sums, vectors, 2 * X * GH, row)
