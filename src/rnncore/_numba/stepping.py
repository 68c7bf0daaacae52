"""One step at a time: from the states before it to what it gives, and the states after it."""

import numpy as np

from ..types import Array, Mask
from .spans import Problem
from .stack import forward


def reset(state: Array, which: Mask) -> Array:
    """Return states (..., B, H), of some sequences, which (B,), zeros."""
    zeros: Array = np.where(which[:, None], np.zeros_like(state), state)
    return zeros


def step(problem: Problem, which: Mask) -> tuple[Array, Array]:
    """Return y (B, V), or h (B, H) of a net without outputs, and the states after the step, as ``problem.state``.

    The problem has one step. which (B,): the sequences that begin with states of zeros.
    """
    y, h, _, last = forward(problem._replace(state=reset(problem.state, which)))
    return (y if problem.net.outputs else h), last
