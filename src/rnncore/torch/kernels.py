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
from ..steps import Steps, packed_steps
from ..types import Addresses, AnyArray
from . import arrays
from .packed import Rows

Tensors: TypeAlias = "tuple[Tensor | None, ...]"

DTYPES: dict[Any, np.dtype[Any]] = {torch.float32: np.dtype(np.float32), torch.float64: np.dtype(np.float64)}


class Plan(NamedTuple):
    """Says what a call computes: the net, of which of PyTorch's modes, whether it has biases, and the rows of a
    PackedSequence.

    sums: whether two biases become one, their sum. shapes: those of the weights in PyTorch's order: W_ih, W_hh, b_ih,
    b_hh of each part. places: where the gradient of each lies in a vector of so many numbers, ``size``: it is ``flat``
    and, behind it, copies of the gradients of the biases, if these are sums: PyTorch's users change gradients in place.
    batch_first: whether what belongs to steps is (B, T, ...).
    """

    net: Net
    mode: str
    bias: bool
    sums: bool
    shapes: list[tuple[int, ...]]
    places: list[slice]
    size: int
    batch_first: bool
    rows: Rows | None = None


class Given(NamedTuple):
    """Holds what a call reads beside the weights.

    x: (T, B, X), or (B, T, X) if the plan says so, or (T, X) for one sequence, or (N, X), the rows of a PackedSequence.
    h, c: the initial states (P, B, H) or (P, H), or None. masks: one for each layer but the first, (..., D*H), or none.
    """

    x: Tensor
    h: Tensor | None
    c: Tensor | None
    masks: tuple[Tensor, ...]


Read: TypeAlias = "tuple[Tensor, Tensor | None, Tensor | None, tuple[Tensor, ...]]"
"""The same as a plain tuple, which takes less time to make."""

Kept: TypeAlias = "tuple[Tensor, Tensor]"
"""What backward needs of what forward finds: h of each step, and the tape."""


@lru_cache(maxsize=256)
def plan_for(
    mode: str,
    inputs: int,
    hidden: int,
    layers: int,
    bidirectional: bool,
    batch_first: bool,
    bias: bool,
    dtype: torch.dtype,
) -> Plan:
    """Return the plan of a module, whose net has no outputs of its own, for what is no PackedSequence."""
    net = net_of(MODES[mode], inputs, hidden, 0, DTYPES[dtype], layers, bidirectional, False)
    own = CELLS[net.cell].own_recurrent_bias
    sums = bias and not own
    names = ("W_xh", "W_hh", "b_x" if own else "b_h", "b_h")[: 4 if bias else 2]
    found = [net.places[prefix + name] for prefix in parts(layers, bidirectional) for name in names]
    shapes, copies = [shape for _, shape in found], net.parts * found[3][1][0] if sums else 0
    starts = [start + (copies if i % 4 == 3 else 0) for i, (start, _) in enumerate(found)]
    places = [slice(start, start + math.prod(shape)) for start, shape in zip(starts, shapes, strict=True)]
    return Plan(net, mode, bias, sums, shapes, places, net.size + copies, batch_first)


def forward(plan: Plan, given: Read, weights: Sequence[Tensor]) -> tuple[tuple[Tensor, ...], Tensor]:
    """Return what a module computes, the output and the last states; and the tape."""
    engine: Any = current(None)
    options, (shape, steps) = options_of(False, torch.get_num_threads()), _steps(plan, given[0])
    if engine.reads_addresses:
        tensors = [*_read(plan, given), *weights]
        found = engine.module_forward(plan.net, shape, _addresses(tensors), steps, options)
    else:
        found = arrays.forward(engine, plan, given, weights, shape, steps, options)
    if plan.batch_first:
        found = found[0].reshape(*given[0].shape[:-1], plan.net.width), *found[1:]
    output, tape, *last = map(torch.from_numpy, found)
    return (output, *last), tape


def backward(
    plan: Plan, given: Read, kept: Kept, weights: Sequence[Tensor], by: Sequence[Tensor | None], need_dx: bool
) -> tuple[Tensor | None, tuple[Tensor, ...], AnyArray]:
    """Return the gradients with respect to x, the initial states, if these were given, and the weights, a vector.

    by: those with respect to the output and the last states, of which one may not be None.
    """
    engine: Any = current(None)
    x, options = given[0], options_of(need_dx, torch.get_num_threads())
    shape, steps = _steps(plan, x)
    by = _with_zeros(by)
    if engine.reads_addresses:
        tensors = [*_read(plan, given), *kept, *by, *weights]
        found = engine.module_backward(plan.net, shape, _addresses(tensors), steps, options)
    else:
        found = arrays.backward(engine, plan, given, kept, weights, by, shape, steps, options)
    dflat, dx, *dfirst = found
    dstates = () if given[1] is None else tuple(map(torch.from_numpy, dfirst))
    return None if dx is None else torch.from_numpy(dx.reshape(x.shape)), dstates, dflat


def _steps(plan: Plan, x: Tensor) -> tuple[tuple[int, ...], Steps | None]:
    """Return the shape in which engines see x, and the steps: sequences lie one after the other where B comes first."""
    if not plan.batch_first:
        return x.shape, None if plan.rows is None else plan.rows.steps
    B, T, X = x.shape
    return ((T, 1, X), None) if B == 1 else ((B * T, X), _one_after_the_other(B, T))


@lru_cache(maxsize=8)  # each has tables of B*T numbers
def _one_after_the_other(B: int, T: int) -> Steps:
    return packed_steps(np.full(B, T, np.int64), "flat")


def _read(plan: Plan, given: Read) -> tuple[Tensor | None, ...]:
    """Return what an engine reads: x, the initial states, and a mask for each layer but the first."""
    x, h, c, masks = given
    masks = masks or (None,) * (plan.net.layers - 1)
    return (x, h, c, *masks) if plan.mode == "LSTM" else (x, h, *masks)


def _addresses(tensors: list[Tensor | None]) -> Addresses:
    """Return where tensors lie that an engine reads in place, 0 for None; the caller holds them meanwhile.

    Those that are not contiguous become copies.
    """
    at = []
    for i, tensor in enumerate(tensors):
        if tensor is None:
            at.append(0)
            continue
        if not tensor.is_contiguous() or tensor.is_neg():
            tensor = tensors[i] = tensor.resolve_neg().contiguous()
        at.append(tensor.data_ptr())
    return tuple(at)


def _with_zeros(by: Sequence[Tensor | None]) -> Sequence[Tensor | None]:
    """Return gradients with zeros for one that is None of the last states, unless all of these are."""
    one = by[1] if by[-1] is None else by[-1]  # there are at most two
    if one is None:
        return by
    return [by[0], *[torch.zeros_like(one) if gradient is None else gradient for gradient in by[1:]]]


def weights_of(plan: Plan, flat: AnyArray) -> list[Tensor]:
    """Return the gradients of the weights, in PyTorch's order, as views of the vector that ``backward`` returns."""
    arrays = map(np.ndarray.reshape, map(flat.__getitem__, plan.places), plan.shapes)
    return list(map(torch.from_numpy, arrays))
