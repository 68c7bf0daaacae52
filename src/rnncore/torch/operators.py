"""A module's call as an operator of PyTorch, for torch.compile: with a kernel, a fake one for shapes, and a gradient.

torch.library reads the types in the signatures.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from . import kernels
from .kernels import Given, Plan, Read


def call(
    mode: str, layers: int, bidirectional: bool, batch_first: bool, given: Read, weights: list[Tensor]
) -> tuple[Tensor, ...]:
    """Return the output and the last states, by the operator."""
    x, h, c, masks = given
    states = [state for state in (h, c) if state is not None]
    found = torch.ops.rnncore.forward(x, states, list(masks), weights, mode, layers, bidirectional, batch_first)
    output, h_last, c_last, _ = found
    return (output, h_last, c_last) if mode == "LSTM" else (output, h_last)


@torch.library.custom_op("rnncore::forward", mutates_args=())
def forward(
    x: Tensor,
    states: Sequence[Tensor],
    masks: Sequence[Tensor],
    weights: Sequence[Tensor],
    mode: str,
    layers: int,
    bidirectional: bool,
    batch_first: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the output, the last states h and c, and the tape."""
    plan = _plan(x, weights, mode, layers, bidirectional, batch_first)
    results, tape = kernels.forward(plan, _given(x, states, masks), weights)
    output, h, c = (*results, x.new_empty(0))[:3]
    return output, h, c, tape


@forward.register_fake
def _(x, states, masks, weights, mode, layers, bidirectional, batch_first):  # type: ignore[no-untyped-def]  # as the operator has them
    net = _plan(x, weights, mode, layers, bidirectional, batch_first).net
    batch = x.shape[:1] if batch_first else x.shape[1:-1]
    state, steps = (net.parts, *batch, net.hidden), x.shape[:-1].numel()
    c = state if mode == "LSTM" else (0,)
    shapes = (*x.shape[:-1], net.width), state, c, net.tape_shape(steps)
    return tuple(x.new_empty(shape) for shape in shapes)


@torch.library.custom_op("rnncore::backward", mutates_args=())
def backward(
    by: Sequence[Tensor],
    x: Tensor,
    states: Sequence[Tensor],
    masks: Sequence[Tensor],
    weights: Sequence[Tensor],
    found: Sequence[Tensor],
    mode: str,
    layers: int,
    bidirectional: bool,
    batch_first: bool,
    need_dx: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients with respect to x, if needed, to h and c, and to the weights as one vector."""
    plan = _plan(x, weights, mode, layers, bidirectional, batch_first)
    dx, dstates, dflat = kernels.backward(plan, _given(x, states, masks), (found[0], found[1]), weights, by, need_dx)
    dh, dc = (*dstates, x.new_empty(0), x.new_empty(0))[:2]
    return x.new_empty(0) if dx is None else dx, dh, dc, torch.from_numpy(dflat)


@backward.register_fake
def _(by, x, states, masks, weights, found, mode, layers, bidirectional, batch_first, need_dx):  # type: ignore[no-untyped-def]  # likewise
    dx = torch.empty_like(x, memory_format=torch.contiguous_format) if need_dx else x.new_empty(0)
    dh, dc = (*(torch.empty_like(state) for state in states), x.new_empty(0), x.new_empty(0))[:2]
    return dx, dh, dc, x.new_empty(_plan(x, weights, mode, layers, bidirectional, batch_first).size)


def _save(ctx: Any, inputs: Any, output: Any) -> None:
    """Save what the gradient needs."""
    x, states, masks, weights, *ctx.how = inputs
    ctx.counts = len(states), len(masks), len(weights)
    h, _, _, tape = output
    ctx.save_for_backward(x, *states, *masks, *weights, h, tape)


def _gradient(ctx: Any, *by: Any) -> Any:
    """Return the gradients with respect to the arguments of the operator."""
    x, *saved = ctx.saved_tensors
    lists, start = [], 0
    for count in (*ctx.counts, len(saved)):
        lists.append(saved[start : start + count])
        start += count
    states, masks, weights, _ = lists
    by = by[: 3 if ctx.how[0] == "LSTM" else 2]
    dx, dh, dc, dflat = torch.ops.rnncore.backward(by, x, *lists, *ctx.how, ctx.needs_input_grad[0])
    plan = _plan(x, weights, *ctx.how)
    dweights = [dflat[place].view(shape) for place, shape in zip(plan.places, plan.shapes, strict=True)]
    dstates = [dh, dc][: len(states)]
    return dx if ctx.needs_input_grad[0] else None, dstates, [None] * len(masks), dweights, None, None, None, None


forward.register_autograd(_gradient, setup_context=_save)


def _plan(x: Tensor, weights: Sequence[Tensor], mode: str, layers: int, bidirectional: bool, batch_first: bool) -> Plan:
    """Return the plan of a call with these weights; raise RuntimeError if they are not those of such a module."""
    sizes = int(weights[0].shape[1]), int(weights[1].shape[1]), layers, bidirectional, batch_first
    plan = kernels.plan_for(mode, *sizes, len(weights) == 4 * layers * (1 + bidirectional), weights[0].dtype)
    if [weight.shape for weight in weights] != plan.shapes or any(weight.dtype != x.dtype for weight in weights):
        raise RuntimeError(f"the weights of a {mode} must have the shapes {plan.shapes} and the dtype {x.dtype}")
    return plan


def _given(x: Tensor, states: Sequence[Tensor], masks: Sequence[Tensor]) -> Given:
    h, c = (*states, None, None)[:2]
    return Given(x, h, c, tuple(masks))
