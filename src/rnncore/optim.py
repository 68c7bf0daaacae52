"""Optimizers and clipping over one flat vector, in place.

x is the vector of the parameters (``params.flat``) and dx the gradient of the cost by it (``grads.flat``).
rnncore's J is the sum over all steps of all sequences, so J and dx grow with the length of a chunk and with
the batch. Scale dx by one over the number of steps that carry a loss, and one learning rate fits chunks of every
size::

    optimizer = Adam(params.flat, learning_rate=0.002)
    ...
    optimizer.step(params.flat, result.grads.flat, scale=1 / labels.size, clip_norm=1.0)

A step reads and writes each vector once, scaling and clipping on the way. Only + - * / and sqrt are used, element by
element, and sums in a fixed order: the same bits from every backend, on every machine.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, TypeAlias, overload

import numpy as np

from . import checks, rounding
from .backends import current
from .types import Array

State: TypeAlias = dict[str, Any]  # arrays, numbers and strings by name: what a file has to hold to continue
Rule: TypeAlias = tuple[str, tuple[Array, ...], tuple[float, ...]]  # see step in _numpy/optim.py: memory, numbers
Check: TypeAlias = Callable[[str, object, "np.dtype[Any]"], Any]


class Optimizer:
    """What all optimizers have in common: numbers, which may be changed between steps, and vectors that remember.

    ``state_dict()`` and ``load_state_dict()`` hand over both, so that a training continues to the bit.
    """

    _numbers: ClassVar[dict[str, Check]]
    _vectors: ClassVar[tuple[str, ...]]
    _dtype: np.dtype[Any]
    _memory: tuple[Array, ...]

    def __init__(self, x: Array, **numbers: float) -> None:
        self._dtype = checks.vector("x", x).dtype
        self._memory = tuple(np.zeros(x.shape, x.dtype) for _ in self._vectors)
        for name, value in numbers.items():
            setattr(self, name, value)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self._vectors:
            raise checks.fixed_name(type(self).__name__, name)
        check = self._numbers.get(name)
        object.__setattr__(self, name, value if check is None else check(name, value, self._dtype))

    def __getattr__(self, name: str) -> Array:
        """The vectors, by their names."""
        if name not in self._vectors:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return self._memory[self._vectors.index(name)]

    def __repr__(self) -> str:
        numbers = ", ".join(f"{name}={getattr(self, name)!r}" for name in self._numbers)
        return f"{type(self).__name__}({self._dtype} of shape {self._memory[0].shape}, {numbers})"

    @overload
    def step(
        self,
        x: Array,
        dx: Array,
        *,
        scale: float = 1.0,
        clip_norm: None = None,
        clip_value: float | None = None,
        backend: str | None = None,
    ) -> None: ...
    @overload
    def step(
        self,
        x: Array,
        dx: Array,
        *,
        scale: float = 1.0,
        clip_norm: float,
        clip_value: float | None = None,
        backend: str | None = None,
    ) -> float: ...
    def step(
        self,
        x: Array,
        dx: Array,
        *,
        scale: float = 1.0,
        clip_norm: float | None = None,
        clip_value: float | None = None,
        backend: str | None = None,
    ) -> float | None:
        """Changes x by one step against the gradient ``g = scale * dx``. dx stays as it is, and must not overlap x.

        clip_norm: g is shortened to this length if it is longer, as by :func:`clip_by_norm`, and the length that it had
        is returned; if that is not finite, nothing is changed. clip_value: the elements of g, shortened or not, are
        brought into [-clip_value, clip_value], as by :func:`clip_by_value`. Both None: g may be of any size, and NaN
        and Inf in it flow through.

        ValueError or TypeError if x or dx is not as the x of ``__init__``, or if a number is not positive.
        """
        if not rounding.is_standard():  # numbers are computed here, too
            with rounding.standard():
                again: Callable[..., float | None] = self.step
                return again(x, dx, scale=scale, clip_norm=clip_norm, clip_value=clip_value, backend=backend)
        dx = checks.step_vectors(x, dx, self._memory[0])
        if scale != 1.0:
            scale = checks.positive("scale", scale)
        longest = math.nan if clip_norm is None else checks.positive_or_inf("clip_norm", clip_norm)
        limit = math.inf if clip_value is None else checks.positive_or_inf("clip_value", clip_value)
        rule, memory, numbers = self._rule()
        length = current(backend).step(rule, x, dx, memory, numbers, scale, longest, limit)
        if clip_norm is None:
            self._taken()
            return None
        if length < math.inf:
            self._taken()
        return length

    def _rule(self) -> Rule:
        """What the step to come is."""
        raise NotImplementedError  # SGD and the others each have their own

    def _taken(self) -> None:
        """A step was taken."""

    def state_dict(self) -> State:
        """Copies of all that the next steps depend on."""
        numbers = {name: getattr(self, name) for name in self._numbers}
        return {**numbers, **{name: getattr(self, name).copy() for name in self._vectors}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues where ``state_dict`` was taken. ValueError if a vector has another length or dtype."""
        vectors = [checks.same_kind(name, state[name], self._memory[0]) for name in self._vectors]
        numbers = {name: check(name, state[name], self._dtype) for name, check in self._numbers.items()}
        for name, value in numbers.items():
            setattr(self, name, value)
        for target, vector in zip(self._memory, vectors, strict=True):
            target[:] = vector


class SGD(Optimizer):
    """Steps against the gradient; with momentum, steps that remember those before.

    ``x -= learning_rate * dx``; with momentum ``v = momentum * v + dx``, then ``x -= learning_rate * v``; with nesterov
    as well, ``x -= learning_rate * (momentum * v + dx)``, which looks one step of the momentum ahead.

    Sources: Polyak (1964), Some methods of speeding up the convergence of iteration methods, USSR Computational
    Mathematics and Mathematical Physics 4 (5); for nesterov, Bengio, Boulanger-Lewandowski, Pascanu (2013), Advances
    in optimizing recurrent networks, ICASSP, section 3.5.
    """

    _numbers: ClassVar[dict[str, Check]] = {
        "learning_rate": checks.positive_in,
        "momentum": checks.fraction,
        "nesterov": checks.optimizer_flag,
    }
    _vectors = ("v",)
    learning_rate: float
    momentum: float
    nesterov: bool

    def __init__(self, x: Array, learning_rate: float = 0.1, momentum: float = 0.0, nesterov: bool = False) -> None:
        """x tells the length and the dtype; it is neither kept nor changed. ValueError for a number out of range."""
        super().__init__(x, learning_rate=learning_rate, momentum=momentum, nesterov=nesterov)

    def _rule(self) -> Rule:
        if self.momentum == 0:
            return "sgd", (), (self.learning_rate,)
        return "nesterov" if self.nesterov else "momentum", self._memory, (self.learning_rate, self.momentum)


class Adagrad(Optimizer):
    """Steps that shrink where the gradients have been large.

    ``s += dx²``, then ``x -= learning_rate * dx / (sqrt(s) + epsilon)``, for every element by itself.

    Source: Duchi, Hazan, Singer (2011), Adaptive Subgradient Methods for Online Learning and Stochastic
    Optimization, JMLR 12, section 1.1 (the diagonal case).
    """

    _numbers: ClassVar[dict[str, Check]] = {"learning_rate": checks.positive_in, "epsilon": checks.positive_in}
    _vectors = ("s",)
    learning_rate: float
    epsilon: float

    def __init__(self, x: Array, learning_rate: float = 0.05, epsilon: float = 1e-8) -> None:
        """x tells the length and the dtype; it is neither kept nor changed. ValueError for a number out of range."""
        super().__init__(x, learning_rate=learning_rate, epsilon=epsilon)

    def _rule(self) -> Rule:
        return "adagrad", self._memory, (self.learning_rate, self.epsilon)


class RMSprop(Optimizer):
    """Steps measured by the running size of the gradients.

    ``s = decay * s + (1 - decay) * dx²``, then ``x -= learning_rate * dx / (sqrt(s) + epsilon)``, for every element by
    itself.

    Source: Tieleman, Hinton (2012), Lecture 6.5: rmsprop, Neural Networks for Machine Learning, Coursera.
    """

    _numbers: ClassVar[dict[str, Check]] = {
        "learning_rate": checks.positive_in,
        "decay": checks.fraction,
        "epsilon": checks.positive_in,
    }
    _vectors = ("s",)
    learning_rate: float
    decay: float
    epsilon: float

    def __init__(self, x: Array, learning_rate: float = 0.001, decay: float = 0.9, epsilon: float = 1e-8) -> None:
        """x tells the length and the dtype; it is neither kept nor changed. ValueError for a number out of range."""
        super().__init__(x, learning_rate=learning_rate, decay=decay, epsilon=epsilon)

    def _rule(self) -> Rule:
        return "rmsprop", self._memory, (self.learning_rate, self.epsilon, self.decay, 1 - self.decay)


class Adam(Optimizer):
    """Steps along the running mean of the gradients, measured by their running size.

    ::

        m = beta1 * m + (1 - beta1) * dx
        v = beta2 * v + (1 - beta2) * dx²
        x -= learning_rate * m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + epsilon)

    for every element by itself, at the t-th step; the powers undo that m and v started from 0.

    Source: Kingma, Ba (2015), Adam: A Method for Stochastic Optimization, ICLR, algorithm 1.
    """

    _numbers: ClassVar[dict[str, Check]] = {
        "learning_rate": checks.positive_in,
        "beta1": checks.fraction,
        "beta2": checks.fraction,
        "epsilon": checks.positive_in,
        "beta1_t": checks.power,
        "beta2_t": checks.power,
    }
    _vectors = ("m", "v")
    learning_rate: float
    beta1: float
    beta2: float
    epsilon: float
    # beta^t is multiplied up step by step: pow() may differ in its last bit from one libm to the next.
    beta1_t: float
    beta2_t: float

    def __init__(
        self,
        x: Array,
        learning_rate: float = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
    ) -> None:
        """x tells the length and the dtype; it is neither kept nor changed. ValueError for a number out of range."""
        numbers = {"learning_rate": learning_rate, "beta1": beta1, "beta2": beta2, "epsilon": epsilon}
        super().__init__(x, **numbers, beta1_t=1.0, beta2_t=1.0)

    def _rule(self) -> Rule:
        beta1, beta2 = self.beta1, self.beta2
        rate = self.learning_rate / (1 - self.beta1_t * beta1)
        whole = 1 / (1 - self.beta2_t * beta2)
        return "adam", self._memory, (rate, self.epsilon, beta1, 1 - beta1, beta2, 1 - beta2, whole)

    def _taken(self) -> None:
        numbers = vars(self)  # past the checks of __setattr__: powers stay powers
        numbers["beta1_t"] *= self.beta1
        numbers["beta2_t"] *= self.beta2


def clip_by_value(dx: Array, limit: float, *, backend: str | None = None) -> None:
    """Brings every element of dx into [-limit, limit], in place. NaN stays NaN. ValueError unless limit > 0."""
    checks.in_place("dx", dx)
    current(backend).clip(dx.reshape(-1), math.nan, checks.positive_or_inf("limit", limit))


def clip_by_norm(dx: Array, limit: float, *, backend: str | None = None) -> float:
    """Shortens dx to the length ``limit`` if it is longer, in place, and returns the length that it had.

    ``if |dx| > limit: dx *= limit / |dx|``: a step off a cliff of the cost keeps its direction and loses its size.
    A gradient with NaN or Inf has no length: what is returned is then not finite, and dx is left as it is.
    ValueError unless limit > 0.

    Source: Pascanu, Mikolov, Bengio (2013), On the difficulty of training recurrent neural networks, ICML,
    algorithm 1.

    >>> dx = np.array([3.0, 4.0])
    >>> clip_by_norm(dx, 2.5), dx
    (5.0, array([1.5, 2. ]))
    """
    checks.in_place("dx", dx)
    return current(backend).clip(dx.reshape(-1), checks.positive_or_inf("limit", limit), math.inf)


def norm(x: Array, *, backend: str | None = None) -> float:
    """The length of x, ``sqrt(sum of x²)``, in float64 and summed in a fixed order; no square overflows or vanishes."""
    return current(backend).norm(checks.elements("x", x))
