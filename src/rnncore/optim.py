"""Optimizers and clipping over one flat vector, in place.

x is the vector of the parameters (``params.flat``), and dx the gradient with respect to it (``grads.flat``).
rnncore's J is the sum over all steps of all sequences, so J and dx grow with the length of a piece of text and with
the batch. Scale dx by one over the number of steps that have a loss: then one learning rate fits pieces of every
size::

    optimizer = Adam(params.flat, learning_rate=0.002)
    ...
    optimizer.step(params.flat, result.grads.flat, scale=1 / labels.size, clip_norm=1.0)

A step reads and writes each vector once; it scales and clips on the way. Only + - * / and sqrt are used, element by
element, and sums in a fixed order: the same bits from every backend, on every machine.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, TypeAlias, overload

import numpy as np

from . import rounding
from .engines import current
from .types import Array, Arrays
from .values import as_contiguous, as_flag, as_number, as_numbers, as_real, real_dtype_of
from .words import cannot_change_error, what

State: TypeAlias = dict[str, Any]
"""Arrays, numbers and strings by name: what a file must hold so that a training can continue."""
Rule: TypeAlias = tuple[str, Arrays, tuple[float, ...]]
"""The name of a rule, its memory and its numbers: see ``step`` in _numpy/optim.py."""


Check: TypeAlias = Callable[[str, object, "np.dtype[Any]"], Any]


def _positive(name: str, value: object, finite: bool = False) -> float:
    """Return a number greater than 0; it may be Inf unless it must be finite."""
    given = as_number(name, value)
    if not given > 0 or (finite and given == math.inf):
        raise ValueError(f"{name} must be positive{' and finite' if finite else ''}, got {given}")
    return given


def _range(rule: str, holds: Callable[[float], bool]) -> Check:
    """Return the check that a number is in a range, in a dtype as well."""

    def check(name: str, value: object, dtype: np.dtype[Any]) -> float:
        given = as_number(name, value)
        with np.errstate(all="ignore"):
            rounded = float(dtype.type(given))
        for number, where in ((given, ""), (rounded, f" in {dtype}")):
            if not holds(number):
                raise ValueError(f"{name} must be {rule}{where}, got {given}")
        return given

    return check


def _flag(name: str, value: object, dtype: np.dtype[Any]) -> bool:
    return as_flag(name, value)


_rate = _range("at least 0 and finite", lambda number: 0 <= number < math.inf)
_positive_in = _range("positive and finite", lambda number: 0 < number < math.inf)
_fraction = _range("in [0, 1)", lambda number: 0 <= number < 1)
_power = _range("in [0, 1]", lambda number: 0 <= number <= 1)


def _is_array(name: str, x: object) -> bool:
    """Return whether x is an array; raise if it has a mask."""
    if isinstance(x, np.ma.MaskedArray):
        raise TypeError(f"{name} must be an array without a mask, got {what(x)}")
    return isinstance(x, np.ndarray)


def _vector_like(name: str, x: Array, like: Array) -> Array:
    """Return x, if it is a vector of the length and dtype of another."""
    if not _is_array(name, x) or x.shape != like.shape or x.dtype != like.dtype:
        raise ValueError(f"{name} must be {like.dtype} of shape {like.shape}, got {what(x)}")
    return x


def _require_in_place(name: str, x: Array) -> None:
    """Raise unless x can be written to as one run of numbers."""
    if not _is_array(name, x) or x.dtype not in (np.float32, np.float64):
        raise TypeError(f"{name} must be an array of float32 or float64, got {what(x)}")
    if not x.flags.carray:
        raise ValueError(f"{name} must be C-contiguous, aligned and writable, for it is changed in place")


def _step_gradient(x: Array, dx: Array, like: Array) -> Array:
    """Return dx, contiguous, if it and x have the length and dtype of ``like``, and x can be written to."""
    quick = (  # nearly always, and small nets do not wait for more
        type(x) is type(dx) is np.ndarray
        and x.dtype is dx.dtype is like.dtype
        and x.shape == dx.shape == like.shape
        and x.flags.carray
        and dx.flags.carray
    )
    if not quick:
        _require_in_place("x", _vector_like("x", x, like))
        _vector_like("dx", dx, like)
    # Two arrays that own their memory are apart: only others need the slower look.
    if (x is dx and x.size) or ((x.base is not None or dx.base is not None) and np.shares_memory(x, dx)):
        raise ValueError("dx must not overlap x: x is changed in place, and dx stays as it is")
    return dx if quick else as_contiguous(dx, like.dtype)


class Optimizer:
    """The base of all optimizers: numbers, which may be changed between steps, and vectors that remember.

    ``state_dict()`` and ``load_state_dict()`` hand over both, so that a training continues to the bit.
    """

    _numbers: ClassVar[dict[str, Check]]
    _vectors: ClassVar[tuple[str, ...]]
    _dtype: np.dtype[Any]
    _memory: Arrays

    def __init__(self, x: Array, **numbers: float) -> None:
        if type(self) is Optimizer:
            raise TypeError("Optimizer is what SGD, Adagrad, RMSprop and Adam have in common: make one of those")
        if not _is_array("x", x) or x.ndim != 1 or x.dtype not in (np.float32, np.float64):
            raise ValueError(f"x must be a vector of float32 or float64, got {what(x)}")
        vars(self)["_dtype"] = x.dtype  # past __setattr__, which lets numbers pass only
        vars(self)["_memory"] = tuple(np.zeros(x.shape, x.dtype) for _ in self._vectors)
        for name, value in numbers.items():
            setattr(self, name, value)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self._vectors:
            raise cannot_change_error(type(self).__name__, name)
        if name not in self._numbers:
            raise AttributeError(f"{type(self).__name__} has the numbers {', '.join(self._numbers)}, not {name!r}")
        vars(self)[name] = self._numbers[name](name, value, self._dtype)

    def __getattr__(self, name: str) -> Array:
        """Return a vector by its name."""
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
        """Change x by one step against the gradient ``g = scale * dx``. dx stays as it is, and must not overlap x.

        clip_norm: g is shortened to this length if it is longer, as by :func:`clip_by_norm`, and the length that it had
        is returned; if that is not finite, nothing is changed. clip_value: the elements of g, shortened or not, are
        brought into [-clip_value, clip_value], as by :func:`clip_by_value`. Both None: g may be of any size, and NaN
        and Inf in it flow through.

        Raises ValueError or TypeError if x or dx is not like that of ``__init__``, they overlap, or a number is <= 0.
        """
        if not rounding.is_standard():  # numbers are computed here, too
            with rounding.standard():
                again: Callable[..., float | None] = self.step
                return again(x, dx, scale=scale, clip_norm=clip_norm, clip_value=clip_value, backend=backend)
        dx = _step_gradient(x, dx, self._memory[0])
        if type(scale) is not float or scale != 1.0:
            scale = _positive("scale", scale, finite=True)
        longest = math.nan if clip_norm is None else _positive("clip_norm", clip_norm)
        limit = math.inf if clip_value is None else _positive("clip_value", clip_value)
        rule, memory, numbers = self._rule()
        length = current(backend).step(rule, x, dx, memory, numbers, scale, longest, limit)
        if clip_norm is None or length < math.inf:
            self._taken()
        return None if clip_norm is None else length

    def _rule(self) -> Rule:
        """Return the rule, the memory and the numbers of the next step."""
        raise NotImplementedError  # SGD and the others each have their own

    def _taken(self) -> None:
        """Note that a step was taken."""

    def state_dict(self) -> State:
        """Return copies of all that the next steps depend on."""
        numbers = {name: getattr(self, name) for name in self._numbers}
        return {**numbers, **{name: getattr(self, name).copy() for name in self._vectors}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where ``state_dict`` was taken. Numbers may be arrays of no axes, as ``np.load`` gives them.

        Raises ValueError or TypeError, and changes nothing, if an entry is missing or foreign, a vector has another
        length or dtype, or a number is out of range.
        """
        given = self._entries(state)
        vectors = [_vector_like(name, given[name], self._memory[0]) for name in self._vectors]
        numbers = {name: check(name, _scalar(given[name]), self._dtype) for name, check in self._numbers.items()}
        vars(self).update(numbers)
        for target, vector in zip(self._memory, vectors, strict=True):
            target[:] = vector

    def _entries(self, state: object) -> State:
        """Return the entries of a state, if they are those of this optimizer."""
        names = (*self._numbers, *self._vectors)
        wanted = f"state of {type(self).__name__} must have the entries {', '.join(names)}"
        if not isinstance(state, Mapping):
            raise TypeError(f"{wanted}, got {what(state)}")
        for name in (*state, *names):
            if name not in names:
                raise ValueError(f"{wanted}, got {name!r} as well")
            if name not in state:
                raise ValueError(f"{wanted}, and {name!r} is missing")
        return dict(state)


def _scalar(value: Any) -> Any:
    """Return the number in an array of no axes; all else as it is."""
    return value.item() if type(value) is np.ndarray and value.ndim == 0 else value


class SGD(Optimizer):
    """Takes steps against the gradient; with momentum, steps that remember those before.

    ``x -= learning_rate * dx``; with momentum ``v = momentum * v + dx``, then ``x -= learning_rate * v``; with nesterov
    as well, ``x -= learning_rate * (momentum * v + dx)``, which looks one step of the momentum ahead.

    Sources: Polyak (1964), Some methods of speeding up the convergence of iteration methods, USSR Computational
    Mathematics and Mathematical Physics 4 (5); for nesterov, Bengio, Boulanger-Lewandowski, Pascanu (2013), Advances
    in optimizing recurrent networks, ICASSP, section 3.5.
    """

    _numbers: ClassVar[dict[str, Check]] = {"learning_rate": _rate, "momentum": _fraction, "nesterov": _flag}
    _vectors = ("v",)
    learning_rate: float
    momentum: float
    nesterov: bool

    def __init__(self, x: Array, learning_rate: float = 0.1, momentum: float = 0.0, nesterov: bool = False) -> None:
        """Take the length and dtype of x, which is neither kept nor changed. ValueError: a number is out of range."""
        super().__init__(x, learning_rate=learning_rate, momentum=momentum, nesterov=nesterov)

    def _rule(self) -> Rule:
        if self.momentum == 0:
            return "sgd", (), (self.learning_rate,)
        return "nesterov" if self.nesterov else "momentum", self._memory, (self.learning_rate, self.momentum)


class Adagrad(Optimizer):
    """Takes steps that shrink where the gradients have been large.

    ``s += dx²``, then ``x -= learning_rate * dx / (sqrt(s) + epsilon)``, for every element by itself.

    Source: Duchi, Hazan, Singer (2011), Adaptive Subgradient Methods for Online Learning and Stochastic
    Optimization, JMLR 12, section 1.1 (the diagonal case).
    """

    _numbers: ClassVar[dict[str, Check]] = {"learning_rate": _rate, "epsilon": _positive_in}
    _vectors = ("s",)
    learning_rate: float
    epsilon: float

    def __init__(self, x: Array, learning_rate: float = 0.05, epsilon: float = 1e-8) -> None:
        """Take the length and dtype of x, which is neither kept nor changed. ValueError: a number is out of range."""
        super().__init__(x, learning_rate=learning_rate, epsilon=epsilon)

    def _rule(self) -> Rule:
        return "adagrad", self._memory, (self.learning_rate, self.epsilon)


class RMSprop(Optimizer):
    """Takes steps measured by the running size of the gradients.

    ``s = decay * s + (1 - decay) * dx²``, then ``x -= learning_rate * dx / (sqrt(s) + epsilon)``, for every element by
    itself.

    Source: Tieleman, Hinton (2012), Lecture 6.5: rmsprop, Neural Networks for Machine Learning, Coursera.
    """

    _numbers: ClassVar[dict[str, Check]] = {"learning_rate": _rate, "decay": _fraction, "epsilon": _positive_in}
    _vectors = ("s",)
    learning_rate: float
    decay: float
    epsilon: float

    def __init__(self, x: Array, learning_rate: float = 0.001, decay: float = 0.9, epsilon: float = 1e-8) -> None:
        """Take the length and dtype of x, which is neither kept nor changed. ValueError: a number is out of range."""
        super().__init__(x, learning_rate=learning_rate, decay=decay, epsilon=epsilon)

    def _rule(self) -> Rule:
        return "rmsprop", self._memory, (self.learning_rate, self.epsilon, self.decay, 1 - self.decay)


class Adam(Optimizer):
    """Takes steps along the running mean of the gradients, measured by their running size.

    ::

        m = beta1 * m + (1 - beta1) * dx
        v = beta2 * v + (1 - beta2) * dx²
        x -= learning_rate * m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + epsilon)

    for every element by itself, at the t-th step; the powers undo that m and v started from 0.

    Source: Kingma, Ba (2015), Adam: A Method for Stochastic Optimization, ICLR, algorithm 1.
    """

    _numbers: ClassVar[dict[str, Check]] = {
        "learning_rate": _rate,
        "beta1": _fraction,
        "beta2": _fraction,
        "epsilon": _positive_in,
        "beta1_t": _power,
        "beta2_t": _power,
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
        self, x: Array, learning_rate: float = 0.001, beta1: float = 0.9, beta2: float = 0.999, epsilon: float = 1e-8
    ) -> None:
        """Take the length and dtype of x, which is neither kept nor changed. ValueError: a number is out of range."""
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
    """Bring every element of dx into [-limit, limit], in place. NaN stays NaN. Raises ValueError unless limit > 0."""
    _require_in_place("dx", dx)
    current(backend).clip(dx.reshape(-1), math.nan, _positive("limit", limit))


def clip_by_norm(dx: Array, limit: float, *, backend: str | None = None) -> float:
    """Shorten dx to the length ``limit`` if it is longer, in place, and return the length that it had.

    ``if |dx| > limit: dx *= limit / |dx|``: a step off a cliff of the cost keeps its direction and loses its size.
    A gradient with NaN or Inf has no length: what is returned is then not finite, and dx is left as it is.
    Raises ValueError unless limit > 0.

    Source: Pascanu, Mikolov, Bengio (2013), On the difficulty of training recurrent neural networks, ICML,
    algorithm 1.

    >>> dx = np.array([3.0, 4.0])
    >>> clip_by_norm(dx, 2.5), dx
    (5.0, array([1.5, 2. ]))
    """
    _require_in_place("dx", dx)
    return current(backend).clip(dx.reshape(-1), _positive("limit", limit), math.inf)


def norm(x: Array, *, backend: str | None = None) -> float:
    """Return the length of x, ``sqrt(sum of x²)``, in float64, in a fixed order. No square overflows or vanishes."""
    given = as_numbers("x", x)
    return current(backend).norm(as_real(given, real_dtype_of(given.dtype)).reshape(-1))
