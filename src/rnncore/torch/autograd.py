"""A module's call as a node of PyTorch's graph; and its gradient as another, for gradients of gradients."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from . import kernels
from .kernels import Given, Kept, Plan, Read, Tensors
from .theirs import second_gradients


def call(plan: Plan, given: Read, weights: list[Tensor]) -> tuple[Tensor, ...]:
    """Return the output and the last states, with gradients where they are needed."""
    results: tuple[Tensor, ...]
    if torch._C._are_functorch_transforms_active():
        *results, _ = CallOfTransform.apply(plan, *given, *weights)
        return tuple(results)
    if torch.is_grad_enabled():
        results = Call.apply(plan, *given, *weights)
    else:
        results, _ = kernels.forward(plan, given, weights)
    return results


class Call(torch.autograd.Function):
    """Computes a call forward: (plan, x, h, c, masks, *weights) to (output, *states).

    What backward needs is saved by PyTorch, which frees it, moves it, or computes it again, as its users ask; and which
    sees when one of these tensors has been changed in place.
    """

    @staticmethod
    def forward(ctx: Any, plan: Plan, x: Any, h: Any, c: Any, masks: Any, *weights: Tensor) -> Any:
        """Return the output and the last states."""
        results, tape = kernels.forward(plan, (x, h, c, masks), weights)
        _save(ctx, plan, x, h, c, masks, weights, results[0], tape)
        return results

    @staticmethod
    def backward(ctx: Any, *by: Any) -> Any:
        """Return the gradients with respect to the inputs of forward."""
        if by[0] is None and all(gradient is None for gradient in by):
            return (None,) * len(ctx.needs_input_grad)
        plan, need_dx = ctx.plan, ctx.needs_input_grad[1]
        x, h, c, output, tape, *tensors = ctx.saved_tensors
        masks, weights = tuple(tensors[: ctx.masks]), tensors[ctx.masks :]
        given, kept = (x, h, c, masks), (output, tape)
        if torch.is_grad_enabled():
            gradients = Gradient.apply(plan, need_dx, given, kept, x, h, c, len(weights), *weights, *by)
        else:
            gradients = _gradients(plan, given, kept, weights, by, need_dx)
        dx, dh, dc, *dweights = gradients
        return None, dx, dh, dc, None, *dweights


def _save(ctx: Any, plan: Plan, x: Any, h: Any, c: Any, masks: Any, weights: Any, output: Tensor, tape: Tensor) -> None:
    """Save what backward needs."""
    ctx.plan, ctx.masks = plan, len(masks)
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(x, h, c, output, tape, *masks, *weights)


class CallOfTransform(Call):
    """Computes the same where a transform of torch.func is active: to (output, *states, tape).

    Only a function with ``setup_context`` can be transformed. PyTorch takes several times as long to call one.
    """

    @staticmethod
    def forward(plan: Plan, x: Any, h: Any, c: Any, masks: Any, *weights: Tensor) -> Any:  # type: ignore[override]  # PyTorch says *args
        """Return the output, the last states and the tape."""
        results, tape = kernels.forward(plan, (x, h, c, masks), weights)
        return *results, tape

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Save what backward needs."""
        ctx.mark_non_differentiable(output[-1])
        plan, x, h, c, masks, *weights = inputs
        _save(ctx, plan, x, h, c, masks, weights, output[0], output[-1])

    @staticmethod
    def backward(ctx: Any, *by: Any) -> Any:
        """Return the gradients with respect to the inputs of forward."""
        return Call.backward(ctx, *by[:-1])


def _gradients(plan: Plan, given: Read, kept: Kept, weights: Any, by: Any, need_dx: bool) -> Tensors:
    """Return the gradients with respect to x, h, c and the weights."""
    dx, dfirst, dflat = kernels.backward(plan, given, kept, weights, by, need_dx)
    dh, dc = (*dfirst, None, None)[:2]
    return dx, dh, dc, *kernels.weights_of(plan, dflat)


class Gradient(torch.autograd.Function):
    """Computes the gradient of a call, with the bits that it has without ``create_graph``.

    Its own gradient is that of PyTorch's code, which computes forward and back once more.
    """

    @staticmethod
    def forward(plan: Plan, need_dx: bool, given: Read, kept: Kept, *tensors: Any) -> Any:
        """Return the gradients of x, h, c and the weights. tensors: x, h, c, how many weights, these, and dJ."""
        weights, by = tensors[4 : 4 + tensors[3]], tensors[4 + tensors[3] :]
        gradients = _gradients(plan, given, kept, weights, by, need_dx)
        return tuple(None if gradient is None else gradient.clone() for gradient in gradients)  # and no views

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Save what backward needs."""
        plan, _, given, _, x, h, c, count, *tensors = inputs
        ctx.plan, ctx.count, ctx.masks = plan, count, given[3]
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, h, c, *tensors)

    @staticmethod
    def backward(ctx: Any, *by: Any) -> Any:
        """Return the gradients with respect to x, h, c, the weights, and dJ."""
        x, h, c, *tensors = ctx.saved_tensors
        weights, first = tensors[: ctx.count], tensors[ctx.count :]
        (dx, dh, dc, *dweights), dfirst = second_gradients(ctx.plan, Given(x, h, c, ctx.masks), weights, first, by)
        return None, None, None, None, dx, dh, dc, None, *dweights, *dfirst
