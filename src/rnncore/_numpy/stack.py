"""A whole net: the layers, the output layer and the loss, one after the other.

Arrays are grids: T steps, B sequences, X inputs, H hidden units, D directions, V outputs, S states, P parts. Results
are +0 at steps that do not exist.
"""

from typing import NamedTuple

import numpy as np

from ..net import head_alone
from ..types import Array, Indices, Labels
from . import head, layers
from .layer import Gates
from .layers import Problem, Trace, as_rows
from .linear import NOTHING, Mask, Sums, lane_sum, row_blocks


def forward(problem: Problem) -> tuple[Array, Trace, Array]:
    """Return outputs y (T, B, V), what the layers leave, and the last states (S, P, B, H).

    If the output layer reads last states only, y is (1, B, V), and so on in what belongs to outputs.
    """
    trace, last = layers.forward(problem)
    read, there = read_by_head(problem, trace.given[-1])
    y = np.zeros((*there.shape, problem.net.outputs), read.dtype)
    y[there] = head.forward(problem.net.head(problem.flat), read[there])
    return y, trace, last


def read_by_head(problem: Problem, h: Array) -> tuple[Array, Mask]:
    """Return what the output layer reads, a grid of hidden states (..., D*H), and which places of it exist."""
    exist, H = problem.exist, problem.net.hidden
    if not problem.last:
        return h, exist
    lengths, B = exist.sum(axis=0), exist.shape[1]
    there = lengths > 0
    final = np.zeros((B, h.shape[2]), h.dtype)
    b = np.flatnonzero(there)
    final[b, :H] = h[lengths[b] - 1, b, :H]
    final[b, H:] = h[0, b, H:] if len(h) else 0  # the reverse direction ends at the first step
    return final[None], there[None]


def add_to_last(problem: Problem, dstate: Array | None, dh: Array, there: Mask) -> Array:
    """Return the gradient with respect to the last states (S, P, B, H), with what comes through the outputs.

    That is dh (B, D*H), and belongs to the last layer.
    """
    state, net = problem.state, problem.net
    total = np.where(there[:, None], np.full_like(state, NOTHING), 0) if dstate is None else dstate.copy()
    for part, own in zip(layers.parts_of(net, net.layers - 1), np.split(dh, net.directions, axis=1), strict=True):
        total[0, part, there] = own[there] + total[0, part, there]
    return total


class Given(NamedTuple):
    """What the way back begins with; None for what J does not depend on directly.

    dy (T, B, V), dh (T, B, D*H), dstate (S, P, B, H): the gradients with respect to the outputs, the hidden states and
    the last states. later: the gradients of the parameters, like flat, from the steps after these.
    """

    dy: Array | None = None
    dh: Array | None = None
    dstate: Array | None = None
    later: Array | None = None


def gates(problem: Problem, trace: Trace, given: Given, need_dinputs: bool) -> tuple[list[Gates], Array, Array | None]:
    """Return the gradients of what each part computes, of the initial states (S, P, B, H), and of the inputs if needed.

    trace as ``forward`` returned it.
    """
    dhs, dstate = [] if given.dh is None else [given.dh], given.dstate
    if given.dy is not None:
        read, there = read_by_head(problem, trace.given[-1])
        from_outputs = np.zeros_like(read)
        from_outputs[there] = head.backward(problem.net.head(problem.flat), given.dy[there])
        if problem.last:
            dstate = add_to_last(problem, dstate, from_outputs[0], there[0])
        else:
            dhs.insert(0, from_outputs)
    return layers.backward(problem, trace, dhs, dstate, need_dinputs)


def sums(problem: Problem, trace: Trace, given: Given, of: list[Gates], sequence: int | None = None) -> Array:
    """Return the gradients of the parameters, like flat, from those of what each part computes.

    sequence: of that one alone, as if it were the only one; None of all.
    """
    net, begun = problem.net, given.later is not None
    grads = np.zeros_like(problem.flat) if given.later is None else given.later.copy()
    layers.weight_gradients(problem, trace, of, Sums(blocks_of(problem.exist, sequence), begun), grads)
    if given.dy is not None:
        read, there = read_by_head(problem, trace.given[-1])
        blocks = blocks_of(there, sequence)
        head.weight_gradients(net.head(grads), as_rows(given.dy), as_rows(read), Sums(blocks, begun))
    return grads


def blocks_of(exist: Mask, sequence: int | None) -> list[Indices]:
    """Return the blocks of the sums over all steps, or over those of a sequence as if it were the only one."""
    if sequence is None:
        return row_blocks(exist)
    B = exist.shape[1]
    return [rows * B + sequence for rows in row_blocks(exist[:, sequence : sequence + 1])]


def backward(problem: Problem, trace: Trace, given: Given, need_dinputs: bool) -> tuple[Array, Array, Array | None]:
    """Return the gradients of the parameters, like flat, of the initial states (S, P, B, H), and of the inputs if
    needed.

    trace as ``forward`` returned it.
    """
    of, first, dinputs = gates(problem, trace, given, need_dinputs)
    return sums(problem, trace, given, of), first, dinputs


def bptt(
    problem: Problem, name: str, labels: Labels, weights: Array | None, after: Given, need_dinputs: bool
) -> tuple[float, Array, Array, Array, Array, Array | None]:
    """Return J, losses (T, B), and gradients and last states as ``backward`` and ``forward`` do.

    In this order: J, losses, gradients of the parameters, last states, gradients of the initial states, of the inputs.
    after: what the steps after these give, if there are any.
    """
    y, trace, last = forward(problem)
    losses, dy = loss(name, y, labels, weights, read_by_head(problem, trace.given[-1])[1])
    grads, first, dinputs = backward(problem, trace, after._replace(dy=dy), need_dinputs)
    return total(losses), losses, grads, last, first, dinputs


def outputs(
    flat: Array, h: Array, name: str, given: tuple[Labels, Array | None, Mask], later: Array | None
) -> tuple[Array, Array, Array]:
    """Return losses (T, B), and the gradients with respect to flat and to h (T, B, W), of an output layer alone.

    flat: W_hy (V, W) and b_y (V,). given: labels, weights, and which steps exist. later: the gradients with respect to
    flat from the steps after.
    """
    labels, weights, exist = given
    arrays, dh = head_alone(flat, h.shape[2]), np.zeros_like(h)
    y = np.zeros((*exist.shape, len(arrays.b_y)), h.dtype)
    y[exist] = head.forward(arrays, h[exist])
    losses, dy = loss(name, y, labels, weights, exist)
    dh[exist] = head.backward(arrays, dy[exist])
    grads, sums = np.zeros_like(flat) if later is None else later.copy(), Sums(row_blocks(exist), later is not None)
    head.weight_gradients(head_alone(grads, h.shape[2]), as_rows(dy), as_rows(h), sums)
    return losses, grads, dh


def loss(name: str, y: Array, labels: Labels, weights: Array | None, exist: Mask) -> tuple[Array, Array]:
    """Return losses (T, B) and dy (T, B, V) of outputs y (T, B, V) with labels (T, B, ...) and weights (T, B)."""
    losses, dy = np.zeros(y.shape[:2], y.dtype), np.zeros_like(y)
    there = None if weights is None else weights[exist]
    losses[exist], dy[exist] = head.loss(name, y[exist], labels[exist], there)
    return losses, dy


def total(losses: Array) -> float:
    """Return J: the losses (T, B) of all rows r = t*B + b, in float64, in sixteen lanes."""
    return float(lane_sum(losses.astype(np.float64).reshape(-1)))
