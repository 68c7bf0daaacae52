"""The NumPy column as an engine: one thread, and lengths always written out."""

import contextlib
from collections.abc import Iterator

import numpy as np

from .. import rounding
from ..params import Params
from ..types import Array, Indices, Steps
from . import elementary, optim, sampling, sequence, softmax


class NumpyEngine:
    """See :class:`rnncore.backends.Engine`."""

    name = "numpy"
    bptt_at_once = forward_at_once = backward_at_once = None

    def forward(
        self, params: Params, inputs: Steps, state: Array, lengths: Indices | None, threads: int | None
    ) -> tuple[Array, Array, Array, Array]:
        """Outputs y (T, B, V), hidden states h (T, B, H), the tape, last states (S, B, H)."""
        with _ieee():
            return sequence.forward(params, inputs, state, _lengths(inputs, lengths))

    def backward(
        self,
        params: Params,
        inputs: Steps,
        h: Array,
        tape: Array,
        state: Array,
        lengths: Indices | None,
        dy: Array | None,
        dh: Array | None,
        dstate: Array | None,
        need_dinputs: bool,
        threads: int | None,
    ) -> tuple[Params, Array, Array | None]:
        """Gradients of the parameters, of the initial states (S, B, H), of the inputs (T, B, X) if needed."""
        with _ieee():
            return sequence.backward(
                params, inputs, h, tape, state, _lengths(inputs, lengths), dy, dh, dstate, need_dinputs
            )

    def bptt(
        self,
        params: Params,
        inputs: Steps,
        labels: Steps,
        state: Array,
        lengths: Indices | None,
        need_dinputs: bool,
        threads: int | None,
    ) -> tuple[float, Array, Params, Array, Array, Array | None]:
        """J, losses (T, B), gradients, last states, dstate, dinputs if needed."""
        with _ieee():
            return sequence.bptt(params, inputs, labels, state, _lengths(inputs, lengths), need_dinputs)

    def cross_entropy(self, y: Array, labels: Steps, lengths: Indices | None) -> tuple[Array, Array]:
        """Losses (T, B) and dy (T, B, V) of outputs y (T, B, V)."""
        with _ieee():
            return sequence.sequence_cross_entropy(y, labels, _lengths(y, lengths))

    def softmax(self, y: Array) -> Array:
        """Probabilities (R, V) of rows y (R, V)."""
        with _ieee():
            return softmax.softmax(y)

    def sample(
        self, params: Params, first: Indices, uniforms: Array, state: Array, temperature: float
    ) -> tuple[Indices, Array]:
        """Tokens (T, B) drawn by uniforms float64 (T, B) after tokens first (B,) and states (S, B, H); last states."""
        with _ieee():
            return sampling.sample(params, first, uniforms, state, temperature)

    def norm(self, x: Array) -> float:
        """The length of a vector x (n,)."""
        with _ieee():
            return optim.norm(x)

    def clip(self, dx: Array, longest: float, limit: float) -> float:
        """Clip dx (n,) in place, by its length, then by value; the length that it had. NaN: not by its length."""
        with _ieee():
            return optim.clip(dx, longest, limit)

    def step(
        self,
        rule: str,
        x: Array,
        dx: Array,
        memory: tuple[Array, ...],
        numbers: tuple[float, ...],
        scale: float,
        longest: float,
        limit: float,
    ) -> float:
        """One step of an optimizer in place of x (n,) and memory; the length of scale dx."""
        with _ieee():
            return optim.step(rule, x, dx, memory, numbers, scale, longest, limit)

    def elementary(self, name: str, x: Array) -> Array:
        """exp, tanh, sigmoid or log of each element of x (n,)."""
        with _ieee():
            result: Array = getattr(elementary, name)(x)
        return result


@contextlib.contextmanager
def _ieee() -> Iterator[None]:
    """The standard rounding; Inf and NaN flow through, without a warning or an error, whatever NumPy was told."""
    with rounding.standard(), np.errstate(all="ignore"):
        yield


def _lengths(steps: Steps, lengths: Indices | None) -> Indices:
    """lengths (B,) of steps (T, B, ...)."""
    T, B = steps.shape[:2]
    return np.full(B, T, np.int64) if lengths is None else lengths
