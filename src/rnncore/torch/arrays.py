"""Forward and backward of a module on an engine that takes arrays, Numba or NumPy: kernels.py calls it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from ..engines import Engine
from ..net import Net
from ..problem import Options, as_tuple
from ..steps import Steps
from ..types import AnyArray, States

if TYPE_CHECKING:
    from .kernels import Kept, Plan


def forward(
    engine: Engine,
    plan: Plan,
    given: Any,
    weights: Sequence[Tensor],
    shape: tuple[int, ...],
    steps: Steps | None,
    options: Options,
) -> tuple[AnyArray, ...]:
    """Return h, the tape, the last states. shape: that of x for the engine, with the axes of all that has steps."""
    found = engine.forward(plan.net, _flat(plan, weights), *_read(plan, given, shape), steps, options)
    assert found is not None  # as the arguments are canonical
    _, h, last, (*_, tape, _) = found
    h.flags.writeable = True  # autograd sees what is changed
    return h, tape, *_with_axis(plan.net, last)


def backward(
    engine: Engine,
    plan: Plan,
    given: Any,
    kept: Kept,
    weights: Sequence[Tensor],
    by: Sequence[Tensor | None],
    shape: tuple[int, ...],
    steps: Steps | None,
    options: Options,
) -> tuple[Any, ...]:
    """Return the gradients with respect to the weights, to x or None, and to the initial states."""
    h, tape = kept
    what = plan.net, *_read(plan, given, shape), steps, _with_steps(h, shape), _array(tape), False
    dh, *dlast = by
    dstate = _states(plan.net, dlast)
    found = engine.backward(what, _flat(plan, weights), None, _with_steps(dh, shape), dstate, options)
    assert found is not None  # as the arguments are canonical
    dflat, dfirst, dx = found
    if plan.sums:
        dflat = np.concatenate([dflat, dflat[plan.net.size - plan.size :]])
    return dflat, dx, *_with_axis(plan.net, dfirst)


def _flat(plan: Plan, weights: Sequence[Tensor]) -> AnyArray:
    """Return the weights as one vector: matrices first."""
    arrays = [_array(weight) for weight in weights]
    if plan.sums:
        arrays[2::4] = [b_ih + b_hh for b_ih, b_hh in zip(arrays[2::4], arrays[3::4], strict=True)]
        del arrays[3::4]
    each = len(arrays) // plan.net.parts
    biases = [array for i, array in enumerate(arrays) if i % each >= 2]
    if not biases:
        biases = [np.zeros(plan.net.size - sum(array.size for array in arrays), plan.net.dtype)]
    return np.concatenate([array for i, array in enumerate(arrays) if i % each < 2] + biases, axis=None)


def _read(plan: Plan, given: Any, shape: tuple[int, ...]) -> tuple[Any, States]:
    """Return inputs and initial states, as problem.py has them."""
    x, h, c, masks = given
    x, *masks = [_with_steps(tensor, shape) for tensor in (x, *masks)]
    inputs = (x, tuple(masks)) if masks else x
    return inputs, _states(plan.net, [h, c] if plan.mode == "LSTM" else [h])


def _states(net: Net, states: Sequence[Tensor | None]) -> States:
    """Return states as problem.py has them: without their first axis, if that is 1."""
    if states[0] is None:
        return None
    arrays = tuple([_array(state)[0] if net.parts == 1 else _array(state) for state in states])
    return arrays if len(arrays) > 1 else arrays[0]


def _with_axis(net: Net, states: States) -> tuple[AnyArray, ...]:
    """Return states as PyTorch has them, with a first axis for layers and directions."""
    return tuple([array[None] if net.parts == 1 else array for array in as_tuple(states)])


def _with_steps(tensor: Tensor | None, shape: tuple[int, ...]) -> Any:
    """Return what belongs to steps as an array with the axes that these have in x; None as None."""
    return None if tensor is None else _array(tensor).reshape(*shape[:-1], -1)


def _array(tensor: Tensor | None) -> Any:
    """Return a tensor as a contiguous array, of its memory, if that is so already; None as None."""
    return None if tensor is None else tensor.detach().resolve_neg().contiguous().numpy()
