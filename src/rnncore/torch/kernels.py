"""An engine of rnncore on PyTorch's tensors: forward and backward of a whole module, without autograd.

Arrays and tensors share their memory. Only the weights, which lie apart in PyTorch, are gathered once a call.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch._utils import _flatten_dense_tensors

from ..cells import CELLS, parts
from ..convert.torch import MODES
from ..engines import current
from ..net import Net, net_of
from ..problem import options_of
from ..types import AnyArray, States
from .packed import Rows

Tensors: TypeAlias = "tuple[Tensor | None, ...]"

DTYPES: dict[Any, np.dtype[Any]] = {torch.float32: np.dtype(np.float32), torch.float64: np.dtype(np.float64)}


class Plan(NamedTuple):
    """Says what a call computes: the net, of which of PyTorch's modes, whether it has biases, and the rows of a
    PackedSequence."""

    net: Net
    mode: str
    bias: bool
    rows: Rows | None


class Given(NamedTuple):
    """Holds what a call reads beside the weights.

    x: (T, B, X), or (T, X) for one sequence, or (N, X), the rows of a PackedSequence. h, c: the initial states (P, B,
    H) or (P, H), or None. masks: one for each layer but the first, (..., D*H), or none.
    """

    x: Tensor
    h: Tensor | None
    c: Tensor | None
    masks: tuple[Tensor, ...]


class Kept(NamedTuple):
    """Holds what backward needs of what forward finds: h of each step, the tape, and the weights as one vector."""

    output: Tensor
    tape: Tensor
    flat: Tensor


@lru_cache(maxsize=256)
def net_for(mode: str, inputs: int, hidden: int, layers: int, bidirectional: bool, dtype: torch.dtype) -> Net:
    """Return the net of a module, which has no outputs of its own."""
    return net_of(MODES[mode], inputs, hidden, 0, DTYPES[dtype], layers, bidirectional, False)


def forward(plan: Plan, given: Given, weights: Sequence[Tensor]) -> tuple[tuple[Tensor, ...], Tensor, Tensor]:
    """Return what a module computes, the output and the last states; the tape; and the weights as one vector."""
    net, rows = plan.net, plan.rows
    flat = flat_of(plan, weights)
    options = options_of(False, torch.get_num_threads())
    found = current(None).forward(
        net, flat.numpy(), _inputs(plan, given), _states(net, given.h, given.c), rows and rows.steps, options
    )
    assert found is not None  # as the arguments are canonical
    _, h, last, (*_, tape, _) = found
    output = torch.from_numpy(_writable(h) if rows is None else rows.from_engine(h))
    return (output, *_as_tensors(net, last)), torch.from_numpy(tape), flat


class Gradients(NamedTuple):
    """Holds the gradients with respect to x, the initial states, if these were given, and the weights, an array."""

    x: Tensor | None
    states: tuple[Tensor, ...]
    flat: AnyArray


def backward(plan: Plan, given: Given, kept: Kept, by: Sequence[Tensor | None], need_dx: bool) -> Gradients:
    """Return the gradients, from those with respect to the output and the last states, of which one may not be None."""
    net, rows = plan.net, plan.rows
    doutput, *dlast = by
    given_one = next((d for d in dlast if d is not None), None)
    if given_one is not None:
        dlast = [torch.zeros_like(given_one) if d is None else d for d in dlast]
    dh, dstate = None if doutput is None else _ours(plan, doutput), _states(net, *dlast)
    read = _inputs(plan, given), _states(net, given.h, given.c), rows and rows.steps
    options = options_of(need_dx, torch.get_num_threads())
    gradients = current(None).backward(
        (net, *read, _ours(plan, kept.output), kept.tape.numpy(), False), kept.flat.numpy(), None, dh, dstate, options
    )
    assert gradients is not None  # as the arguments are canonical
    dflat, dfirst, dx = gradients
    if dx is not None and rows is not None:
        dx = rows.from_engine(dx)
    dstates = () if given.h is None else _as_tensors(net, dfirst)
    return Gradients(None if dx is None else torch.from_numpy(dx), dstates, dflat)


def flat_of(plan: Plan, weights: Sequence[Tensor]) -> Tensor:
    """Return the weights as one vector, in rnncore's order: all matrices, then all biases. No gradient goes through."""
    each = 4 if plan.bias else 2
    joined = [weight for pair in zip(weights[::each], weights[1::each], strict=True) for weight in pair]
    with torch.no_grad():
        if not plan.bias:
            joined.append(weights[0].new_zeros(_biases(plan.net)))
        elif CELLS[plan.net.cell].own_recurrent_bias:
            joined += [bias for pair in zip(weights[2::4], weights[3::4], strict=True) for bias in pair]
        else:
            joined += [b_ih + b_hh for b_ih, b_hh in zip(weights[2::4], weights[3::4], strict=True)]
        return _flatten_dense_tensors(joined)


@lru_cache(maxsize=256)
def _biases(net: Net) -> int:
    """Return how many numbers all biases of a net have."""
    return sum(math.prod(shape) for name, (_, shape) in net.places.items() if name.rpartition(".")[2][0] == "b")


def weights_of(plan: Plan, flat: AnyArray) -> list[Tensor]:
    """Return the gradients of the weights, in PyTorch's order, as views of a vector in rnncore's order.

    The gradient with respect to a sum of two biases is that with respect to each; one of them is a copy, since
    PyTorch's users change gradients in place.
    """
    found = [flat[start:stop].reshape(shape) for start, stop, shape in places_of(plan.net, plan.bias)]
    if plan.bias and not CELLS[plan.net.cell].own_recurrent_bias:
        found[3::4] = [bias.copy() for bias in found[3::4]]
    return [torch.from_numpy(array) for array in found]


@lru_cache(maxsize=256)
def places_of(net: Net, bias: bool) -> list[tuple[int, int, tuple[int, ...]]]:
    """Return where the gradients of a module's weights begin and end in ``flat``, and their shapes."""
    names = ("W_xh", "W_hh", "b_x" if CELLS[net.cell].own_recurrent_bias else "b_h", "b_h")[: 4 if bias else 2]
    found = []
    for prefix in parts(net.layers, net.bidirectional):
        for offset, shape in (net.places[prefix + name] for name in names):
            found.append((offset, offset + math.prod(shape), shape))
    return found


def _array(tensor: Tensor) -> AnyArray:
    """Return a tensor as a contiguous array: of its memory, if that is so already."""
    if tensor.requires_grad:
        tensor = tensor.detach()
    array: AnyArray = (tensor if tensor.is_contiguous() else tensor.contiguous()).numpy()
    return array


def _ours(plan: Plan, tensor: Tensor) -> AnyArray:
    """Return numbers of each step as an array, in the order of the engine."""
    array = _array(tensor)
    return array if plan.rows is None else plan.rows.to_engine(array)


def _inputs(plan: Plan, given: Given) -> Any:
    """Return x, or a tuple of it and of the masks, as problem.py has them."""
    x = _ours(plan, given.x)
    return (x, tuple(_ours(plan, mask) for mask in given.masks)) if given.masks else x


def _states(net: Net, h: Tensor | None, c: Tensor | None = None) -> States:
    """Return states as an engine has them: without their first axis, if that is 1."""
    if h is None:
        return None
    one = net.parts == 1
    arrays = tuple(_array(state)[0] if one else _array(state) for state in (h, c) if state is not None)
    return arrays if len(arrays) > 1 else arrays[0]


def _as_tensors(net: Net, states: Any) -> tuple[Tensor, ...]:
    """Return an engine's states as PyTorch has them, with a first axis for layers and directions."""
    arrays = states if isinstance(states, tuple) else (states,)
    return tuple(torch.from_numpy(array[None] if net.parts == 1 else array) for array in arrays)


class _Memory:
    """The memory of an array that may be written to."""

    def __init__(self, array: AnyArray) -> None:
        interface = dict(array.__array_interface__)
        self.__array_interface__ = {**interface, "data": (interface["data"][0], False)}
        self.array = array


def _writable(h: AnyArray) -> AnyArray:
    """Return an engine's h as an array that may be written to, of the same memory: autograd sees what is changed."""
    if h.base is None:
        h.flags.writeable = True
        return h
    return np.asarray(_Memory(h))
