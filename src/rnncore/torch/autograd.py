"""A module's call as a node of PyTorch's graph; and its gradient as another, for gradients of gradients."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from . import kernels
from .kernels import Found, Given, Plan, Tensors
from .theirs import second_gradients


def call(plan: Plan, given: Given, weights: list[Tensor]) -> tuple[Tensor, ...]:
    """Return the output and the last states, with gradients where they are needed."""
    if torch._C._are_functorch_transforms_active():
        found = Call.apply(plan, *given, *weights)
    elif torch.is_grad_enabled() and _any_needs_gradient(given, weights):
        found = _apply(plan, *given, *weights)
    else:
        output, states, _, _ = kernels.forward(plan, given, weights)
        return output, *states
    return found[:-2]


def _any_needs_gradient(given: Given, weights: list[Tensor]) -> bool:
    x, h, c, _ = given
    if any(weight.requires_grad for weight in weights):
        return True
    return any(tensor is not None and tensor.requires_grad for tensor in (x, h, c))


class Call(torch.autograd.Function):
    """Computes a call forward: (plan, x, h, c, masks, *weights) to (output, *states, tape, flat).

    What backward needs is saved by PyTorch, which frees it, moves it, or computes it again, as its users ask; and which
    sees when one of these tensors has been changed in place.
    """

    @staticmethod
    def forward(plan: Plan, x: Tensor, h: Tensor | None, c: Tensor | None, masks: Any, *weights: Tensor) -> Any:
        """Return the output, the last states, the tape, and the weights as one vector."""
        output, states, tape, flat = kernels.forward(plan, Given(x, h, c, masks), weights)
        return output, *states, tape, flat

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Save what backward needs."""
        plan, x, h, c, masks, *weights = inputs
        ctx.plan, ctx.masks = plan, len(masks)
        ctx.mark_non_differentiable(*output[-2:])
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, h, c, *output, *masks, *weights)

    @staticmethod
    def backward(ctx: Any, *by: Any) -> Any:
        """Return the gradients with respect to the inputs of forward that need one."""
        saved, plan, needs = ctx.saved_tensors, ctx.plan, ctx.needs_input_grad
        x, h, c = saved[:3]
        outputs, rest = 3 + len(by), 3 + len(by) + ctx.masks
        masks, weights = saved[outputs:rest], saved[rest:]
        by = by[:-2]
        if all(gradient is None for gradient in by):
            return (None,) * len(needs)
        given, found = Given(x, h, c, masks), Found(saved[3], saved[4 : outputs - 2], *saved[outputs - 2 : outputs])
        if torch.is_grad_enabled():
            gradients = Gradient.apply(plan, needs[1], given, found, x, h, c, len(weights), *weights, *by)
        else:
            gradients = flattened(plan, kernels.backward(plan, given, found, by, needs[1]))
        return _needed(gradients, needs)


_apply: Any = super(torch.autograd.Function, Call).apply
"""Function.apply without its first lines in Python, which look at signatures and take longer than a small net."""


def _needed(gradients: Tensors, needs: tuple[bool, ...]) -> Tensors:
    """Return the gradients in the place of the arguments of ``Call``, None where none is needed."""
    dx, dh, dc, *dweights = gradients
    placed = None, dx, dh, dc, None, *dweights
    return tuple(gradient if need else None for gradient, need in zip(placed, needs, strict=True))


def flattened(plan: Plan, gradients: kernels.Gradients) -> Tensors:
    """Return gradients in a row: of x, h, c and the weights."""
    dh, dc = (*gradients.states, None, None)[:2]
    return gradients.x, dh, dc, *kernels.weights_of(plan, gradients.flat)


class Gradient(torch.autograd.Function):
    """Computes the gradient of a call, with the bits that it has without ``create_graph``.

    Its own gradient is that of PyTorch's code, which computes forward and back once more.
    """

    @staticmethod
    def forward(plan: Plan, need_dx: bool, given: Given, found: Found, *tensors: Any) -> Any:
        """Return the gradients of x, h, c and the weights. tensors: x, h, c, how many weights, these, and dJ."""
        by = tensors[4 + tensors[3] :]
        gradients = flattened(plan, kernels.backward(plan, given, found, by, need_dx))
        return tuple(None if gradient is None else gradient.clone() for gradient in gradients)  # and no views

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Save what backward needs."""
        plan, _, given, _, x, h, c, count, *tensors = inputs
        ctx.plan, ctx.count, ctx.masks = plan, count, given.masks
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, h, c, *tensors)

    @staticmethod
    def backward(ctx: Any, *by: Any) -> Any:
        """Return the gradients with respect to x, h, c, the weights, and dJ."""
        x, h, c, *tensors = ctx.saved_tensors
        weights, first = tensors[: ctx.count], tensors[ctx.count :]
        (dx, dh, dc, *dweights), dfirst = second_gradients(ctx.plan, Given(x, h, c, ctx.masks), weights, first, by)
        return None, None, None, None, dx, dh, dc, None, *dweights, *dfirst
