"""An engine of rnncore on PyTorch's tensors: forward and backward of a whole module, without autograd.

Arrays and tensors share their memory. The compiled core reads all tensors where they lie, by their addresses.
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
from ..engines import current
from ..net import Net, net_of
from ..problem import options_of
from ..steps import Steps
from ..types import Addresses, AnyArray, States
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
    engine: Any = current(None)
    options, steps, read = options_of(False, torch.get_num_threads()), _steps(plan), _read(plan, given)
    if engine.reads_addresses:
        tensors = _contiguous([*read, *weights])
        h, tape, last = engine.module_forward(plan.net, given.x.shape, _addresses(tensors), steps, options)
    else:
        found = engine.forward(plan.net, _flat(plan, weights), *_arrays(plan, read), steps, options)
        _, h, last, (*_, tape, _) = found
        h.flags.writeable = True  # autograd sees what is changed
    return (torch.from_numpy(h), *_as_tensors(plan.net, last)), torch.from_numpy(tape)


def backward(
    plan: Plan, given: Given, kept: Kept, weights: Sequence[Tensor], by: Sequence[Tensor | None], need_dx: bool
) -> tuple[Tensor | None, tuple[Tensor, ...], AnyArray]:
    """Return the gradients with respect to x, the initial states, if these were given, and the weights, a vector.

    by: those with respect to the output and the last states, of which one may not be None.
    """
    engine: Any = current(None)
    options, steps, read = options_of(need_dx, torch.get_num_threads()), _steps(plan), _read(plan, given)
    dh, dlast = by[0], _all_or_none(by[1:])
    if engine.reads_addresses:
        tensors = _contiguous([*read, *kept, dh, *dlast, *weights])
        found = engine.module_backward(plan.net, given.x.shape, _addresses(tensors), steps, options)
    else:
        what = plan.net, *_arrays(plan, read), steps, *map(_array, kept), False
        found = engine.backward(what, _flat(plan, weights), None, _array(dh), _states(plan.net, dlast), options)
    dflat, dfirst, dx = found
    dstates = () if given.h is None else _as_tensors(plan.net, dfirst)
    return None if dx is None else torch.from_numpy(dx), dstates, dflat


def _steps(plan: Plan) -> Steps | None:
    """Return the steps of a call; None for all of a grid."""
    return None if plan.rows is None else plan.rows.steps


def _read(plan: Plan, given: Given) -> list[Tensor | None]:
    """Return what an engine reads: x, the initial states, and a mask for each layer but the first; None for none."""
    x, h, c, masks = given
    states = [h, c] if plan.mode == "LSTM" else [h]
    return [x, *states, *(masks or [None] * (plan.net.layers - 1))]


def _contiguous(tensors: Sequence[Tensor | None]) -> list[Any]:
    """Return tensors as they are read in place; the caller holds them meanwhile."""
    return [t if t is None or (t.is_contiguous() and not t.is_neg()) else t.resolve_neg().contiguous() for t in tensors]


def _addresses(tensors: list[Any]) -> Addresses:
    """Return where tensors lie; 0 for None."""
    return tuple([0 if tensor is None else tensor.data_ptr() for tensor in tensors])


def weights_of(plan: Plan, flat: AnyArray) -> list[Tensor]:
    """Return the gradients of the weights, in PyTorch's order, as views of a vector in rnncore's order.

    The gradient with respect to a sum of two biases is that with respect to each; one of them is a copy, since
    PyTorch's users change gradients in place.
    """
    found = [flat[place].reshape(shape) for place, shape in plan.places]
    if plan.sums:
        found[3::4] = [bias.copy() for bias in found[3::4]]
    return [torch.from_numpy(array) for array in found]


def _flat(plan: Plan, weights: Sequence[Tensor]) -> AnyArray:
    """Return the weights as one vector, as engines have them that do not read addresses: matrices first."""
    arrays = [_array(weight) for weight in weights]
    if plan.sums:
        arrays[2::4] = [b_ih + b_hh for b_ih, b_hh in zip(arrays[2::4], arrays[3::4], strict=True)]
        del arrays[3::4]
    each = len(arrays) // plan.net.parts
    biases = [array for i, array in enumerate(arrays) if i % each >= 2]
    if not biases:
        biases = [np.zeros(plan.net.size - sum(array.size for array in arrays), plan.net.dtype)]
    return np.concatenate([array for i, array in enumerate(arrays) if i % each < 2] + biases, axis=None)


def _array(tensor: Any) -> Any:
    """Return a tensor as a contiguous array, of its memory, if that is so already; None as None."""
    return None if tensor is None else tensor.detach().resolve_neg().contiguous().numpy()


def _arrays(plan: Plan, read: list[Tensor | None]) -> tuple[Any, States]:
    """Return inputs and initial states, as problem.py has them."""
    first = len(read) - plan.net.layers + 1  # of the masks
    x, *masks = map(_array, (read[0], *read[first:]))
    inputs = (x, tuple(masks)) if masks and masks[0] is not None else x
    return inputs, _states(plan.net, read[1:first])


def _all_or_none(gradients: Sequence[Tensor | None]) -> Sequence[Tensor | None]:
    """Return the gradients with respect to the last states, with zeros for what is None, unless all are."""
    one = gradients[0] if gradients[-1] is None else gradients[-1]  # there are at most two
    if one is None:
        return gradients
    return [torch.zeros_like(one) if gradient is None else gradient for gradient in gradients]


def _states(net: Net, states: Sequence[Tensor | None]) -> States:
    """Return states as problem.py has them: without their first axis, if that is 1."""
    if states[0] is None:
        return None
    arrays = tuple([_array(state)[0] if net.parts == 1 else _array(state) for state in states])
    return arrays if len(arrays) > 1 else arrays[0]


def _as_tensors(net: Net, states: Any) -> tuple[Tensor, ...]:
    """Return an engine's states as PyTorch has them, with a first axis for layers and directions."""
    arrays = states if isinstance(states, tuple) else (states,)
    return tuple([torch.from_numpy(array[None] if net.parts == 1 else array) for array in arrays])
