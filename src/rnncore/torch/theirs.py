"""PyTorch's own code for what a plan says: for gradients of gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .kernels import Given, Plan, Tensors

FUNCTIONS = {"RNN_TANH": torch.rnn_tanh, "RNN_RELU": torch.rnn_relu, "LSTM": torch.lstm, "GRU": torch.gru}
"""What nn.RNN, nn.LSTM and nn.GRU call, by ``mode``."""


def forward(plan: Plan, given: Given, weights: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Return the output and the last states, layer by layer, since the masks between layers are given."""
    net, rows, x = plan.net, plan.rows, given.x
    one = rows is None and x.dim() == 2
    x = x.unsqueeze(1) if one else x
    first, lasts = _states(plan, given, x), []
    D, each = net.directions, len(weights) // net.layers
    for layer in range(net.layers):
        here = tuple(state[layer * D : (layer + 1) * D] for state in first)
        found = _layer(plan, x, here, list(weights[layer * each : (layer + 1) * each]))
        output, *last = found
        lasts.append(last)
        if layer < net.layers - 1:
            x = output * given.masks[layer].view_as(output) if given.masks else output
    states = [torch.cat(each) for each in zip(*lasts, strict=True)]
    if rows is not None:
        states = [state.index_select(1, torch.argsort(rows.order)) for state in states]
    if one:
        return output.squeeze(1), *(state.squeeze(1) for state in states)
    return output, *states


def _states(plan: Plan, given: Given, x: Tensor) -> list[Tensor]:
    """Return the first states (P, B, H), sequences in PyTorch's order."""
    net, rows = plan.net, plan.rows
    if given.h is None:
        zeros = x.new_zeros(net.parts, len(rows.order) if rows else x.shape[1], net.hidden)
        return [zeros, zeros] if plan.mode == "LSTM" else [zeros]
    states = [state for state in (given.h, given.c) if state is not None]
    if rows is not None:
        return [state.index_select(1, rows.order) for state in states]
    return [state if state.dim() == 3 else state.unsqueeze(1) for state in states]


def _layer(plan: Plan, x: Tensor, states: tuple[Tensor, ...], weights: list[Tensor]) -> tuple[Tensor, ...]:
    """Return the output and the last states of one layer."""
    function: Any = FUNCTIONS[plan.mode]
    hx = states if plan.mode == "LSTM" else states[0]
    how = plan.bias, 1, 0.0, False, plan.net.bidirectional
    if plan.rows is not None:
        return function(x, plan.rows.sizes, hx, weights, *how)  # type: ignore[no-any-return]
    return function(x, hx, weights, *how, False)  # type: ignore[no-any-return]


def second_gradients(
    plan: Plan, given: Given, weights: Sequence[Tensor], first: Sequence[Tensor | None], by: Sequence[Tensor | None]
) -> tuple[Tensors, Tensors]:
    """Return the gradients, with respect to x, h, c and the weights, and with respect to first, of the gradient.

    first: those of J with respect to the output and the last states. by: those of another J with respect to the
    gradients of the first with respect to x, h, c and the weights.
    """
    more = torch.is_grad_enabled()
    with torch.enable_grad(), torch.backends.mkldnn.flags(enabled=False):  # whose gradient has none
        leaves, seeds = [_leaf(t, more) for t in (*given[:3], *weights)], [_leaf(t, more) for t in first]
        outputs = forward(plan, Given(*leaves[:3], given.masks), leaves[3:])  # type: ignore[arg-type]
        gradients = _gradients(outputs, leaves, seeds, True)
        seconds = _gradients(gradients, [*leaves, *seeds], by, more)
    return seconds[: len(leaves)], seconds[len(leaves) :]


def _leaf(tensor: Tensor | None, more: bool) -> Tensor | None:
    """Return a tensor to differentiate by: itself by another name, if its own gradients are wanted once more."""
    if tensor is None:
        return None
    return tensor.view_as(tensor) if more and tensor.requires_grad else tensor.detach().requires_grad_()


def _gradients(
    outputs: Sequence[Tensor | None], inputs: Sequence[Tensor | None], by: Sequence[Tensor | None], more: bool
) -> Tensors:
    """Return the gradients of outputs with respect to inputs, where all of these may be None."""
    pairs = [(y, dy) for y, dy in zip(outputs, by, strict=True) if y is not None and dy is not None and y.requires_grad]
    if not pairs:
        return (None,) * len(inputs)
    known = [tensor for tensor in inputs if tensor is not None]
    ys, dys = zip(*pairs, strict=True)
    found = iter(torch.autograd.grad(ys, known, dys, create_graph=more, allow_unused=True))
    return tuple(None if tensor is None else next(found) for tensor in inputs)
