"""Optimizers and clipping over one flat vector, in place.

x is the vector of the parameters (``params.flat``) and dx the gradient of the cost by it (``grads.flat``).
rnncore's J is the sum over all steps of all sequences, so J and dx grow with the length of a chunk and with
the batch. Divide dx by the number of steps that carry a loss, and one learning rate fits chunks of every size::

    optimizer = Adam(params.flat, learning_rate=0.002)
    ...
    dx = result.grads.flat
    dx /= labels.size
    clip_by_norm(dx, 1.0)
    optimizer.step(params.flat, dx)

Only + - * / and sqrt are used, element by element, and sums in a fixed order: the same bits on every machine.
"""

import math
from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np

from .types import Array

State: TypeAlias = dict[str, Any]  # arrays, numbers and strings by name: what a file has to hold to continue


class Adagrad:
    """Steps that shrink where the gradients have been large.

    ``s += dx²``, then ``x -= learning_rate * dx / (sqrt(s) + epsilon)``, for every element by itself.

    Source: Duchi, Hazan, Singer (2011), Adaptive Subgradient Methods for Online Learning and Stochastic
    Optimization, JMLR 12, section 1.1 (the diagonal case).
    """

    def __init__(self, x: Array, learning_rate: float = 0.05, epsilon: float = 1e-8) -> None:
        """x tells the length and the dtype; it is neither kept nor changed. ValueError for a number out of range."""
        self.learning_rate = positive("learning_rate", learning_rate)
        self.epsilon = positive("epsilon", epsilon)
        self.s = np.zeros_like(vector("x", x))
        self._work = np.empty_like(self.s)

    def step(self, x: Array, dx: Array) -> None:
        """Changes x by one step against the gradient dx. ValueError if either is not as the x of ``__init__``."""
        fits(x, dx, self.s)
        work = self._work
        with np.errstate(all="ignore"):
            np.multiply(dx, dx, out=work)
            self.s += work
            np.sqrt(self.s, out=work)
            work += self.epsilon
            np.divide(dx, work, out=work)
            work *= self.learning_rate
            x -= work

    def state_dict(self) -> State:
        """Copies of all that the next steps depend on."""
        return {"learning_rate": self.learning_rate, "epsilon": self.epsilon, "s": self.s.copy()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues where ``state_dict`` was taken. ValueError if the vector has another length or dtype."""
        s = same_kind("s", state["s"], self.s)
        self.learning_rate = positive("learning_rate", state["learning_rate"])
        self.epsilon = positive("epsilon", state["epsilon"])
        self.s[:] = s


class Adam:
    """Steps along the running mean of the gradients, measured by their running size.

    ::

        m = beta1 * m + (1 - beta1) * dx
        v = beta2 * v + (1 - beta2) * dx²
        x -= learning_rate * m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + epsilon)

    for every element by itself, at the t-th step; the powers undo that m and v started from 0.

    Source: Kingma, Ba (2015), Adam: A Method for Stochastic Optimization, ICLR, algorithm 1.
    """

    def __init__(
        self,
        x: Array,
        learning_rate: float = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
    ) -> None:
        """x tells the length and the dtype; it is neither kept nor changed. ValueError for a number out of range."""
        self.learning_rate = positive("learning_rate", learning_rate)
        self.beta1 = fraction("beta1", beta1)
        self.beta2 = fraction("beta2", beta2)
        self.epsilon = positive("epsilon", epsilon)
        # beta^t is multiplied up step by step: pow() may differ in its last bit from one libm to the next.
        self.beta1_t = 1.0
        self.beta2_t = 1.0
        self.m = np.zeros_like(vector("x", x))
        self.v = np.zeros_like(self.m)
        self._work = np.empty_like(self.m)

    def step(self, x: Array, dx: Array) -> None:
        """Changes x by one step against the gradient dx. ValueError if either is not as the x of ``__init__``."""
        fits(x, dx, self.m)
        m, v, work = self.m, self.v, self._work
        self.beta1_t *= self.beta1
        self.beta2_t *= self.beta2
        with np.errstate(all="ignore"):
            m *= self.beta1
            np.multiply(dx, 1 - self.beta1, out=work)
            m += work
            v *= self.beta2
            np.multiply(dx, dx, out=work)
            work *= 1 - self.beta2
            v += work
            np.divide(v, 1 - self.beta2_t, out=work)
            np.sqrt(work, out=work)
            work += self.epsilon
            np.divide(m, work, out=work)
            work *= self.learning_rate / (1 - self.beta1_t)
            x -= work

    def state_dict(self) -> State:
        """Copies of all that the next steps depend on."""
        numbers = {name: getattr(self, name) for name in ADAM_NUMBERS}
        return {**numbers, "m": self.m.copy(), "v": self.v.copy()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues where ``state_dict`` was taken. ValueError if the vectors have another length or dtype."""
        m, v = same_kind("m", state["m"], self.m), same_kind("v", state["v"], self.v)
        for name, check in ADAM_NUMBERS.items():
            setattr(self, name, check(name, state[name]))
        self.m[:], self.v[:] = m, v


def clip_by_value(dx: Array, limit: float) -> None:
    """Brings every element of dx into [-limit, limit], in place. NaN stays NaN. ValueError unless limit > 0."""
    np.clip(dx, -positive("limit", limit, inf=True), limit, out=dx)


def clip_by_norm(dx: Array, limit: float) -> float:
    """Shortens dx to the length ``limit`` if it is longer, in place, and returns the length that it had.

    ``if |dx| > limit: dx *= limit / |dx|``: a step off a cliff of the cost keeps its direction and loses its size.
    A gradient with NaN or Inf has no length: what is returned is then not finite, and dx is left as it is.
    ValueError unless limit > 0.

    Source: Pascanu, Mikolov, Bengio (2013), On the difficulty of training recurrent neural networks, ICML,
    algorithm 1.
    """
    positive("limit", limit, inf=True)
    length = norm(dx)
    if limit < length < math.inf:
        dx *= limit / length
    return length


LANES = 16


def norm(x: Array) -> float:
    """``sqrt(sum of x²)`` of a vector, in float64, summed in a fixed order.

    Element k is added to lane k mod 16, ascending; then lane i takes lane i + 8, i + 4, i + 2, i + 1.
    """
    lanes = np.zeros((-(-x.size // LANES), LANES))
    lanes.reshape(-1)[: x.size] = x
    peak = float(np.abs(lanes).max(initial=0.0))
    # A float64 square overflows from 1e154 on, and loses digits below 1e-146: measure such vectors by their peak.
    scale = peak if math.isfinite(peak) and not (peak == 0 or 1e-140 < peak < 1e140) else 1.0
    if scale != 1:
        lanes /= scale
    lanes *= lanes
    total = np.add.reduce(lanes, axis=0)
    for half in (8, 4, 2, 1):
        total = total[:half] + total[half:]
    return scale * math.sqrt(total[0])


def positive(name: str, value: float, inf: bool = False) -> float:
    """value, if it is greater than 0 and not infinite (unless inf)."""
    if not 0 < value < math.inf and not (inf and value == math.inf):
        raise ValueError(f"{name} must be {'positive' if inf else 'positive and finite'}, got {value}")
    return float(value)


def fraction(name: str, value: float) -> float:
    """value, if it is in [0, 1)."""
    if not 0 <= value < 1:
        raise ValueError(f"{name} must be in [0, 1), got {value}")
    return float(value)


def power(name: str, value: float) -> float:
    """value, if it can be a power of a fraction: in [0, 1]."""
    if not 0 <= value <= 1:
        raise ValueError(f"{name} must be in [0, 1], got {value}")
    return float(value)


ADAM_NUMBERS = {
    "learning_rate": positive,
    "beta1": fraction,
    "beta2": fraction,
    "epsilon": positive,
    "beta1_t": power,
    "beta2_t": power,
}


def vector(name: str, x: Array) -> Array:
    """x, if it is a vector of float32 or float64."""
    if not isinstance(x, np.ndarray) or x.ndim != 1 or x.dtype not in (np.float32, np.float64):
        given = f"{x.dtype} of shape {x.shape}" if isinstance(x, np.ndarray) else type(x).__name__
        raise ValueError(f"{name} must be a vector of float32 or float64, got {given}")
    return x


def same_kind(name: str, x: Array, like: Array) -> Array:
    """x, if it has the shape and dtype of ``like``."""
    if x.shape != like.shape or x.dtype != like.dtype:
        raise ValueError(f"{name} must be {like.dtype} of shape {like.shape}, got {x.dtype} of shape {x.shape}")
    return x


def fits(x: Array, dx: Array, like: Array) -> None:
    """Refuses parameters or gradients that the optimizer was not made for."""
    same_kind("x", x, like)
    same_kind("dx", dx, like)
