"""A net and its state between steps, for engines that keep nothing themselves."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from .cells import CELLS
from .net import Net
from .problem import copy_of
from .types import Array, Inputs, Mask, States

TakeStep = Callable[[Net, Array, Inputs, States, Mask], "tuple[Array, States]"]
"""From a net, its parameters ``flat``, inputs and state of one step, and the sequences that begin with states of zeros,
(B,), to the outputs, and the states after it."""


class Held:
    """Holds a net and its state; see :class:`rnncore.engines.Held`. It answers no arguments that are not canonical."""

    def __init__(self, take_step: TakeStep, net: Net, flat: Array, batch: int | None) -> None:
        self._take_step, self._net, self._flat, self._batch = take_step, net, flat.copy(), batch
        self._state = zero_states(net, batch)
        self._lock, self._is_busy = threading.RLock(), False

    def step(self, x: Any, reset: Any) -> Array:
        """Return the outputs of a step."""
        which = np.zeros(self._batch or 1, bool)
        which[:] = False if reset is None else reset
        with self._lock:
            self._require_alone()
            try:  # with no call in its last block, where a signal handler could raise
                self._is_busy = True
                out, self._state = self._take_step(self._net, self._flat, np.asarray(x)[None], self._state, which)
            finally:
                self._is_busy = False
        return out

    def state(self) -> States:
        """Return a copy of the state."""
        with self._lock:
            self._require_alone()
            return copy_of(self._state)

    def put_state(self, state: States) -> None:
        """Take a copy of a state; None is zeros."""
        with self._lock:
            self._require_alone()
            self._state = zero_states(self._net, self._batch) if state is None else copy_of(state)

    def load(self, flat: Array) -> None:
        """Take a copy of other parameters."""
        with self._lock:
            self._require_alone()
            self._flat = flat.copy()

    def _require_alone(self) -> None:
        """Raise within a step of the same thread, as in a signal handler; the lock keeps other threads out."""
        if self._is_busy:
            raise RuntimeError("a Stepper cannot be used within one of its own steps")


def zero_states(net: Net, batch: int | None) -> States:
    """Return states of zeros, as a user has them, of so many sequences, or of one without an axis for it."""
    shape = (*((net.parts,) if net.parts > 1 else ()), *(() if batch is None else (batch,)), net.hidden)
    arrays = tuple(np.zeros(shape, net.dtype) for _ in CELLS[net.cell].states)
    return arrays if len(arrays) > 1 else arrays[0]
