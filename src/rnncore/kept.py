"""What ``forward`` keeps for ``backward``, where it comes from a pickle: engines trust it, so it is looked at first."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .cells import CELLS
from .net import Net
from .problem import Kept
from .ranges import Where, require_tokens
from .steps import Steps
from .types import AnyArray

TAPE_FORM = 2
"""The version of what cells save: 1 was the values of gates, 2 keeps the digits of their derivatives too."""


def require_kept(kept: Any, form: int) -> Kept:
    """Return what forward kept, if all of it is as problem.py has it.

    Raises ValueError if it is damaged, or if its tape is of another form.
    """
    if form != TAPE_FORM:
        raise ValueError("a pickle of a ForwardResult was made by another version of rnncore: call forward again")
    if type(kept) is not tuple or len(kept) != 7:
        raise _damaged_error("what it keeps for backward")
    net, inputs, state, steps, h, tape, last = kept
    if type(net) is not Net or not isinstance(steps, Steps | None) or type(last) is not bool:
        raise _damaged_error("its net, its steps or its options")
    lead = _require_inputs(net, inputs, steps)
    count, batch = (math.prod(lead), lead[1:]) if steps is None else (steps.count, steps.batch)
    _require("h", h, net.dtype, (*lead, net.width))
    _require("tape", tape, net.dtype, net.tape_shape(count))
    if state is not None:
        states, parts = len(CELLS[net.cell].states), (net.parts,) if net.parts > 1 else ()
        _require_each("state", (state,) if states == 1 else state, states, net.dtype, (*parts, *batch, net.hidden))
    return net, inputs, state, steps, h, tape, last


def _require_inputs(net: Net, inputs: Any, steps: Steps | None) -> tuple[int, ...]:
    """Return the axes of the steps, if inputs and masks are canonical."""
    x, masks = inputs if type(inputs) is tuple and len(inputs) == 2 else (inputs, None)
    tokens = getattr(x, "dtype", None) == np.int64
    if not isinstance(x, np.ndarray) or net.tokens not in (None, tokens):
        raise _damaged_error("inputs")
    own = () if tokens else (net.inputs,)
    lead: tuple[int, ...] = x.shape[: x.ndim - len(own)]
    wanted = lead if steps is None else steps.axes
    if len(lead) not in (1, 2) or 0 in lead[1:]:
        raise _damaged_error("inputs")
    _require("inputs", x, np.dtype(np.int64) if tokens else net.dtype, (*wanted, *own))
    if tokens:
        require_tokens(x, net.inputs, Where(steps), x)
    if masks is not None:
        _require_each("masks", masks, net.layers - 1, net.dtype, (*lead, net.width))
    return lead


def _require_each(name: str, arrays: Any, count: int, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    """Raise unless there is a tuple of so many canonical arrays of a dtype and a shape."""
    if type(arrays) is not tuple or len(arrays) != count:
        raise _damaged_error(name)
    for array in arrays:
        _require(name, array, dtype, shape)


def _require(name: str, array: AnyArray, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    """Raise unless an array is canonical, and has a dtype and a shape."""
    good = type(array) is np.ndarray and array.dtype == dtype and array.shape == shape
    good = good and array.dtype.byteorder == "="  # as the compiled core has it; "<" may compare equal
    if not (good and array.flags.c_contiguous and array.flags.aligned):
        raise _damaged_error(name)


def _damaged_error(name: str) -> ValueError:
    return ValueError(f"a pickle of a ForwardResult is damaged: {name}")
