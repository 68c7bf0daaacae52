"""What a module's call is about: which of it rnncore computes, and what is left to PyTorch, for which reason."""

from __future__ import annotations

from operator import attrgetter
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn import Parameter
from torch.nn.utils.rnn import PackedSequence

from .kernels import DTYPES, Plan, Read, plan_for
from .packed import rows_of

PLAIN = (Tensor, Parameter)
SHAPE = attrgetter("shape")


class Refused(NamedTuple):
    """Says that PyTorch's own code answers a call.

    reason: what it is that rnncore does not compute; "" where that code raises an error or has nothing to compute.
    """

    reason: str


def read(module: Any, input: Any, hx: Any) -> tuple[Read, list[Tensor]] | Refused:
    """Return what a call of a module reads, and its weights.

    Or return why PyTorch's own code answers the call.
    """
    weights, packed = weights_of(module), isinstance(input, PackedSequence)
    x = input.data if packed else input
    reason = _reason(module, x, weights)
    if reason is not None:
        return Refused(reason)
    shape = x.shape
    axes = len(shape)
    if axes not in ((2,) if packed else (2, 3)) or shape[-1] != module.input_size or 0 in shape:
        return Refused("")
    h = c = None
    if hx is not None:
        batch = (int(input.batch_sizes[0]),) if packed else shape[:1] if _is_batch_first(module, x) else shape[1:-1]
        wanted = (module.num_layers * (1 + module.bidirectional), *batch, module.hidden_size)
        states = _states(module.mode, hx, x.dtype, wanted)
        if states is None:
            return Refused("")
        h, c = states
    masks = _masks(module, x) if module.training and module.dropout else ()
    return (x, h, c, masks), weights


def plan_of(module: Any, input: Any, x: Tensor, weights: list[Tensor]) -> Plan | None:
    """Return what a call computes, or None if its arguments contradict each other."""
    sizes = module.input_size, module.hidden_size, module.num_layers
    how = module.bidirectional, _is_batch_first(module, x), module.bias
    plan = plan_for(module.mode, *sizes, *how, x.dtype)
    if list(map(SHAPE, weights)) != plan.shapes:
        return None
    if not isinstance(input, PackedSequence):
        return plan
    rows = rows_of(input.batch_sizes, input.sorted_indices, len(x))
    return None if rows is None else plan._replace(rows=rows)


def as_module_has_it(module: Any, input: Any, found: tuple[Tensor, ...]) -> tuple[Any, Any]:
    """Return the output and the last states in the form of the arguments."""
    output: Any = found[0]
    if isinstance(input, PackedSequence):
        output = PackedSequence(output, input.batch_sizes, input.sorted_indices, input.unsorted_indices)
    return output, found[1:] if module.mode == "LSTM" else found[1]


def _is_batch_first(module: Any, x: Tensor) -> bool:
    """Return whether x is (B, T, X)."""
    return module.batch_first and x.dim() == 3


def weights_of(module: Any) -> list[Any]:
    """Return a module's weights as they are now, in PyTorch's order; None for one that is missing."""
    names = module._flat_weights_names
    try:
        return list(map(module._parameters.__getitem__, names))
    except KeyError:
        return [getattr(module, name, None) for name in names]


def _reason(module: Any, x: Any, weights: list[Any]) -> str | None:
    """Return why PyTorch's own code answers a call; None if rnncore may."""
    if type(x) not in PLAIN:
        return f"tensors of type {type(x).__name__}" if isinstance(x, Tensor) else ""
    dtype = x.dtype
    if dtype not in DTYPES:
        return f"the dtype {dtype}"
    if not x.is_cpu or x.layout is not torch.strided:
        return f"the device {x.device.type!r}" if not x.is_cpu else f"the layout {x.layout}"
    if module.proj_size:
        return "proj_size"
    for weight in weights:
        if type(weight) not in PLAIN or weight.dtype is not dtype or not weight.is_cpu:
            return f"weights of type {type(weight).__name__}" if type(weight) not in PLAIN else ""
    if torch._C._is_any_autocast_enabled() and torch.is_autocast_enabled("cpu"):  # the second takes longer
        return "autocast"
    if forward_ad._current_level >= 0:
        return "forward-mode differentiation"
    return _transform() if torch._C._are_functorch_transforms_active() else None


def _transform() -> str | None:
    """Return which of torch.func's transforms rnncore does not take part in."""
    stack = torch._C._functorch.get_interpreter_stack() or []
    kinds = [level.key().name for level in stack]
    if kinds == ["Grad"]:
        return None
    return f"torch.func with {', '.join(kinds)}"


def _states(mode: str, hx: Any, dtype: torch.dtype, wanted: tuple[int, ...]) -> tuple[Tensor, Tensor | None] | None:
    """Return the initial states h and c, or None if they are not what the module takes."""
    if mode == "LSTM":
        if type(hx) not in (tuple, list) or len(hx) != 2:
            return None
        h, c = hx
        return (h, c) if _is_state(h, dtype, wanted) and _is_state(c, dtype, wanted) else None
    return (hx, None) if _is_state(hx, dtype, wanted) else None


def _is_state(state: Any, dtype: torch.dtype, wanted: tuple[int, ...]) -> bool:
    return type(state) in PLAIN and state.shape == wanted and state.dtype is dtype and state.is_cpu


def _masks(module: Any, x: Tensor) -> tuple[Tensor, ...]:
    """Return the masks between the layers of a module with dropout, drawn as PyTorch draws them: the steps first."""
    first, keep, width = _is_batch_first(module, x), 1 - module.dropout, (1 + module.bidirectional) * module.hidden_size
    steps = (x.transpose(0, 1) if first else x).shape[:-1]
    masks = [x.new_empty((*steps, width)) for _ in range(module.num_layers - 1)]
    for mask in masks:
        if keep:
            mask.bernoulli_(keep).div_(keep)
        else:
            mask.zero_()
    return tuple(mask.transpose(0, 1).contiguous() for mask in masks) if first else tuple(masks)
