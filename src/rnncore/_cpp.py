"""The compiled core as an engine: the third column of the grid, cpp/, one engine per instruction set."""

import os

import numpy as np

from . import _core
from .cells import CELLS
from .params import Params
from .types import Array, Indices, States, Steps

_NUMBERS: dict[str, int] = dict(_core.instruction_sets())
_CELLS = {name: i for i, (name, *_) in enumerate(_core.cells())}
# In the order of kernels.hpp's Rule.
_RULES = {name: i for i, name in enumerate(("sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adam"))}


def instruction_sets() -> list[str]:
    """The instruction sets that this machine runs, worst to best."""
    return list(_NUMBERS)


def best() -> str:
    """The instruction set that "cpp" stands for: the best here, or the one that RNNCORE_ISA forces."""
    forced = os.environ.get("RNNCORE_ISA")
    if forced is None:
        return instruction_sets()[-1]
    if forced not in _NUMBERS:
        raise ImportError(f"RNNCORE_ISA={forced!r}, but this machine runs only {', '.join(_NUMBERS)}")
    return forced


class CppEngine:
    """The kernels of one instruction set."""

    def __init__(self, isa: str) -> None:
        self.name = f"cpp.{isa}"
        self._isa = _NUMBERS[isa]

    def forward(
        self, params: Params, inputs: Steps, state: Array, lengths: Indices | None, threads: int | None
    ) -> tuple[Array, Array, Array, Array]:
        """See ``backends.Engine``."""
        y, h, tape, last = _core.forward(self._isa, *_net(params), inputs, state, lengths, threads or 0)
        return y, h, tape, last

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
        """See ``backends.Engine``."""
        net = _net(params)
        flat, dstate, dinputs = _core.backward(
            self._isa, *net, inputs, h, tape, state, lengths, dy, dh, dstate, need_dinputs, threads or 0
        )
        return params._like(flat), dstate, dinputs

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
        """See ``backends.Engine``."""
        loss, losses, flat, last, dstate, dinputs = _core.bptt(
            self._isa, *_net(params), inputs, labels, state, lengths, need_dinputs, threads or 0
        )
        return loss, losses, params._like(flat), last, dstate, dinputs

    def bptt_at_once(
        self, params: Params, inputs: object, labels: object, state: object, need_dinputs: object, threads: object
    ) -> tuple[float, Array, Params, States, States, Array | None] | None:
        """See ``backends.Engine``."""
        workers = _threads(threads)
        if workers is None or type(need_dinputs) is not bool:
            return None
        cell, X, H, V, _ = params._net
        found = _core.bptt_at_once(
            self._isa, _CELLS[cell], X, H, V, params.flat, inputs, labels, state, need_dinputs, workers
        )
        if found is None:
            return None
        loss, losses, flat, last, dstate, dinputs = found
        return loss, losses, params._like(flat), _states(cell, last), _states(cell, dstate), dinputs

    def forward_at_once(
        self, params: Params, inputs: object, state: object, threads: object
    ) -> tuple[Array, Array, Array, States, Steps, Array] | None:
        """See ``backends.Engine``."""
        workers = _threads(threads)
        if workers is None:
            return None
        cell, X, H, V, _ = params._net
        found = _core.forward_at_once(self._isa, _CELLS[cell], X, H, V, params.flat, inputs, state, workers)
        if found is None:
            return None
        y, h, tape, last, read, first = found
        return y, h, tape, _states(cell, last), read, first

    def backward_at_once(
        self,
        params: Params,
        inputs: Steps,
        h: Array,
        tape: Array,
        state: Array,
        one: bool,
        dy: object,
        dh: object,
        dstate: object,
        need_dinputs: object,
        threads: object,
    ) -> tuple[Params, States, Array | None] | None:
        """See ``backends.Engine``."""
        workers = _threads(threads)
        if workers is None or type(need_dinputs) is not bool:
            return None
        found = _core.backward_at_once(
            self._isa, *_net(params), inputs, h, tape, state, one, dy, dh, dstate, need_dinputs, workers
        )
        if found is None:
            return None
        flat, by_first, dinputs = found
        return params._like(flat), _states(params.cell, by_first), dinputs

    def cross_entropy(self, y: Array, labels: Steps, lengths: Indices | None) -> tuple[Array, Array]:
        """See ``backends.Engine``."""
        losses, dy = _core.cross_entropy(self._isa, y, labels, lengths)
        return losses, dy

    def softmax(self, y: Array) -> Array:
        """See ``backends.Engine``."""
        p: Array = _core.softmax(self._isa, y)
        return p

    def sample(
        self, params: Params, first: Indices, uniforms: Array, state: Array, temperature: float
    ) -> tuple[Indices, Array]:
        """See ``backends.Engine``."""
        tokens, last = _core.sample(self._isa, *_net(params), first, state, uniforms, temperature)
        return tokens, last

    def norm(self, x: Array) -> float:
        """See ``backends.Engine``."""
        return _core.norm(self._isa, x.itemsize == 8, x.size, x)

    def clip(self, dx: Array, longest: float, limit: float) -> float:
        """See ``backends.Engine``."""
        return _core.clip(self._isa, dx.itemsize == 8, dx.size, dx, longest, limit)

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
        """See ``backends.Engine``."""
        return _core.step(
            self._isa, x.itemsize == 8, x.size, _RULES[rule], x, dx, memory, numbers, scale, longest, limit
        )

    def elementary(self, name: str, x: Array) -> Array:
        """See ``backends.Engine``."""
        values: Array = _core.elementary(self._isa, name, np.ascontiguousarray(x))
        return values


def _threads(given: object) -> int | None:
    """The number of threads as the core takes it, 0 for its own choice; None if it takes a check to tell."""
    if given is None:
        return 0
    return given if type(given) is int and 0 < given < 2**31 else None


def _states(cell: str, states: Array) -> States:
    """States as the user gets them: a tuple of those of a cell that has several."""
    return tuple(states) if len(CELLS[cell].states) > 1 else states


def _net(params: Params) -> tuple[int, int, int, int, Array]:
    cell, X, H, V, _ = params._net
    return _CELLS[cell], X, H, V, params.flat
