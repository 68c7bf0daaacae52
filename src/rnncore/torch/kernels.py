"""An engine of rnncore on PyTorch's tensors: forward and backward of a whole module, without autograd.

Arrays and tensors share their memory. The compiled core also reads the weights where they lie, apart from each other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor

from ..cells import CELLS, parts
from ..convert.torch import MODES
from ..engines import Engine, current
from ..net import Net, net_of
from ..problem import options_of
from ..steps import Steps
from ..types import AnyArray, States
from .packed import Rows

Tensors: TypeAlias = "tuple[Tensor | None, ...]"

DTYPES: dict[Any, np.dtype[Any]] = {torch.float32: np.dtype(np.float32), torch.float64: np.dtype(np.float64)}


class Plan(NamedTuple):
    """Says what a call computes: the net, of which of PyTorch's modes, whether it has biases, and the rows of a
    PackedSequence.

    sums: whether two biases become one, their sum. shapes: those of the weights in PyTorch's order: W_ih, W_hh, b_ih,
    b_hh of each part. places: where the gradient of each lies in ``flat``, and its shape.
    """

    net: Net
    mode: str
    bias: bool
    sums: bool
    shapes: list[tuple[int, ...]]
    places: list[tuple[slice, tuple[int, ...]]]
    rows: Rows | None = None


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
    """Holds what backward needs of what forward finds: h of each step, and the tape."""

    output: Tensor
    tape: Tensor


@lru_cache(maxsize=256)
def plan_for(
    mode: str, inputs: int, hidden: int, layers: int, bidirectional: bool, bias: bool, dtype: torch.dtype
) -> Plan:
    """Return the plan of a module, whose net has no outputs of its own, for what is no PackedSequence."""
    net = net_of(MODES[mode], inputs, hidden, 0, DTYPES[dtype], layers, bidirectional, False)
    own = CELLS[net.cell].own_recurrent_bias
    names = ("W_xh", "W_hh", "b_x" if own else "b_h", "b_h")[: 4 if bias else 2]
    arrays = [net.places[prefix + name] for prefix in parts(layers, bidirectional) for name in names]
    places = [(slice(offset, offset + math.prod(shape)), shape) for offset, shape in arrays]
    return Plan(net, mode, bias, bias and not own, [shape for _, shape in arrays], places)


def forward(plan: Plan, given: Given, weights: Sequence[Tensor]) -> tuple[tuple[Tensor, ...], Tensor]:
    """Return what a module computes, the output and the last states; and the tape."""
    engine, arrays = current(None), arrays_of(plan, weights)
    options = options_of(False, torch.get_num_threads())
    found = engine.forward(plan.net, _parameters(engine, plan, arrays), *_read(plan, given), options)
    assert found is not None  # as the arguments are canonical
    _, h, last, (*_, tape, _) = found
    output = torch.from_numpy(_writable(h) if plan.rows is None else plan.rows.from_engine(h))
    return (output, *_as_tensors(plan.net, last)), torch.from_numpy(tape)


def backward(
    plan: Plan, given: Given, kept: Kept, weights: Sequence[Tensor], by: Sequence[Tensor | None], need_dx: bool
) -> tuple[Tensor | None, tuple[Tensor, ...], AnyArray]:
    """Return the gradients with respect to x, the initial states, if these were given, and the weights, a vector.

    by: those with respect to the output and the last states, of which one may not be None.
    """
    doutput, *dlast = by
    engine, arrays = current(None), arrays_of(plan, weights)
    what = plan.net, *_read(plan, given), _array(kept.output, plan.rows), kept.tape.numpy(), False
    dh, dstate = None if doutput is None else _array(doutput, plan.rows), _states(plan.net, *_all_or_none(dlast))
    options = options_of(need_dx, torch.get_num_threads())
    found = engine.backward(what, _parameters(engine, plan, arrays), None, dh, dstate, options)
    assert found is not None  # as the arguments are canonical
    dflat, dfirst, dx = found
    if dx is not None:
        dx = torch.from_numpy(dx if plan.rows is None else plan.rows.from_engine(dx))
    return dx, () if given.h is None else _as_tensors(plan.net, dfirst), dflat


def arrays_of(plan: Plan, weights: Sequence[Tensor]) -> list[Tensor]:
    """Return the arrays of each part as rnncore has them, contiguous: two matrices, and one or two biases."""
    own = [w if w.is_contiguous() and not w.is_neg() else w.contiguous().resolve_neg() for w in weights]
    if plan.sums:
        own[2::4] = [b_ih + b_hh for b_ih, b_hh in zip(own[2::4], own[3::4], strict=True)]
        del own[3::4]
    if plan.bias:
        return own
    zeros = [own[0].new_zeros(len(own[0]))] * (1 + CELLS[plan.net.cell].own_recurrent_bias)
    return [array for matrices in zip(own[::2], own[1::2], strict=True) for array in (*matrices, *zeros)]


def _parameters(engine: Engine, plan: Plan, arrays: list[Tensor]) -> Any:
    """Return the arrays as an engine takes them: by their addresses, or as one vector, matrices first."""
    if engine.reads_addresses:
        return tuple([array.data_ptr() for array in arrays])
    each = len(arrays) // plan.net.parts
    matrices = [array for i, array in enumerate(arrays) if i % each < 2]
    biases = [array for i, array in enumerate(arrays) if i % each >= 2]
    return np.concatenate([_array(array) for array in matrices + biases], axis=None)


def weights_of(plan: Plan, flat: AnyArray) -> list[Tensor]:
    """Return the gradients of the weights, in PyTorch's order, as views of a vector in rnncore's order.

    The gradient with respect to a sum of two biases is that with respect to each; one of them is a copy, since
    PyTorch's users change gradients in place.
    """
    found = [flat[place].reshape(shape) for place, shape in plan.places]
    if plan.sums:
        found[3::4] = [bias.copy() for bias in found[3::4]]
    return [torch.from_numpy(array) for array in found]


def _array(tensor: Tensor, rows: Rows | None = None) -> AnyArray:
    """Return a tensor as a contiguous array, of its memory, if that is so already; rows in the order of the engine."""
    if tensor.requires_grad:
        tensor = tensor.detach()
    array: AnyArray = (tensor if tensor.is_contiguous() else tensor.contiguous()).numpy()
    return array if rows is None else rows.to_engine(array)


def _read(plan: Plan, given: Given) -> tuple[Any, States, Steps | None]:
    """Return inputs, initial states and steps, as problem.py has them."""
    x, h, c, masks = given
    rows, read = plan.rows, _array(x, plan.rows)
    inputs = (read, tuple(_array(mask, rows) for mask in masks)) if masks else read
    return inputs, _states(plan.net, h, c), None if rows is None else rows.steps


def _all_or_none(gradients: list[Tensor | None]) -> list[Tensor | None]:
    """Return the gradients with respect to the last states, with zeros for what is None, unless all are."""
    one = gradients[0] if gradients[-1] is None else gradients[-1]  # there are at most two
    if one is None:
        return gradients
    return [torch.zeros_like(one) if gradient is None else gradient for gradient in gradients]


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
    return tuple([torch.from_numpy(array[None] if net.parts == 1 else array) for array in arrays])


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
