"""PyTorch's own code for what a plan says: for gradients of gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor

from .kernels import Given, Plan, Tensors

FUNCTIONS: dict[str, Any] = {
    "RNN_TANH": torch.rnn_tanh,
    "RNN_RELU": torch.rnn_relu,
    "LSTM": torch.lstm,
    "GRU": torch.gru,
}
"""What nn.RNN, nn.LSTM and nn.GRU call, by ``mode``."""


def forward(plan: Plan, given: Given, weights: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Return the output and the last states, layer by layer, since the masks between layers are given.

    Every batch goes as a PackedSequence: of others, float32 LSTMs go to oneDNN, whose gradient has none.
    """
    net, rows = plan.net, plan.rows
    if plan.batch_first:
        x, h, c, masks = given
        given = Given(x.transpose(0, 1), h, c, tuple(mask.transpose(0, 1) for mask in masks))
    lead, B = given.x.shape[:-1], _sequences(plan, given.x)
    sizes = torch.full((lead[0],), B) if rows is None else rows.sizes
    x, first, lasts = given.x.reshape(-1, given.x.shape[-1]), _states(plan, given, B), []
    D, each = net.directions, len(weights) // net.layers
    for layer in range(net.layers):
        here = tuple(state[layer * D : (layer + 1) * D] for state in first)
        of_layer = list(weights[layer * each : (layer + 1) * each])
        output, *last = FUNCTIONS[plan.mode](
            x, sizes, here if len(here) > 1 else here[0], of_layer, plan.bias, 1, 0.0, False, net.bidirectional
        )
        lasts.append(last)
        masked = given.masks and layer < net.layers - 1
        x = output * given.masks[layer].reshape(output.shape) if masked else output
    states = [torch.cat(layers) for layers in zip(*lasts, strict=True)]
    if rows is not None:
        states = [state.index_select(1, torch.argsort(rows.order)) for state in states]
    one = (net.parts, net.hidden) if rows is None and len(lead) == 1 else (net.parts, B, net.hidden)
    output = output.view(*lead, net.width)
    return output.transpose(0, 1) if plan.batch_first else output, *(state.view(one) for state in states)


def _sequences(plan: Plan, x: Tensor) -> int:
    """Return how many sequences a call is about."""
    if plan.rows is not None:
        return len(plan.rows.order)
    return x.shape[1] if x.dim() == 3 else 1


def _states(plan: Plan, given: Given, B: int) -> list[Tensor]:
    """Return the first states (P, B, H), sequences in PyTorch's order."""
    net = plan.net
    if given.h is None:
        zeros = given.x.new_zeros(net.parts, B, net.hidden)
        return [zeros, zeros] if plan.mode == "LSTM" else [zeros]
    states = [state.reshape(net.parts, B, net.hidden) for state in (given.h, given.c) if state is not None]
    return states if plan.rows is None else [state.index_select(1, plan.rows.order) for state in states]


def second_gradients(
    plan: Plan, given: Given, weights: Sequence[Tensor], first: Sequence[Tensor | None], by: Sequence[Tensor | None]
) -> tuple[Tensors, Tensors]:
    """Return the gradients, with respect to x, h, c and the weights, and with respect to first, of the gradient.

    first: those of J with respect to the output and the last states. by: those of another J with respect to the
    gradients of the first with respect to x, h, c and the weights.
    """
    more = torch.is_grad_enabled()
    with torch.enable_grad():
        leaves, seeds = [_leaf(t, more) for t in (*given[:3], *weights)], [_leaf(t, more) for t in first]
        x, h, c, *own = leaves
        outputs = forward(plan, Given(cast(Tensor, x), h, c, given.masks), cast(Any, own))
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
