"""The output layer by itself, on the way back in little memory: from h to the losses, and to dh."""

from __future__ import annotations

import numpy as np

from .net import head_alone
from .problem import options_of
from .recurrent import Call
from .steps import Steps, as_step, last_steps
from .types import Array, Indices, Labels


class Outputs:
    """An output layer, and what it has found so far, from the last steps on.

    count: of how many steps or sequences there is a loss. grads: the gradients with respect to W_hy and b_y, one after
    the other.
    """

    def __init__(self, call: Call) -> None:
        self.net, self.engine = call.net, call.engine
        self.flat = np.concatenate([array.reshape(-1) for array in call.net.head(call.flat)])
        self.options = options_of(False, call.options.threads, call.options.loss)
        self.count = 0
        self.grads: Array | None = None

    def back(self, h: Array, labels: Labels, steps: Steps | None) -> tuple[Array, Array]:
        """Return losses, and dh of h, of the steps that come before those that have been taken."""
        losses, counted, self.grads, dh = self.engine.outputs(self.flat, h, labels, steps, self.options, self.grads)
        self.count += counted
        return losses, dh

    def back_from_last(self, h: Array, labels: Labels, lengths: Indices) -> tuple[Array, Array]:
        """Return the same of last states h (B, W) or (W,): a step of the sequences that have any."""
        axes = h.ndim - 1
        losses, dh = self.back(as_step(h, axes), as_step(labels, axes), last_steps(lengths))
        return losses.reshape(h.shape[:-1]), dh.reshape(h.shape)

    def put_gradients(self, whole: Array) -> None:
        """Write the gradients of W_hy and b_y into those of the whole net."""
        assert self.grads is not None  # as there is a piece at least
        for of, to in zip(head_alone(self.grads, self.net.width), self.net.head(whole), strict=True):
            to[:] = of
