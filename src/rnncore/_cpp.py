"""The compiled core as an engine: the third column of the grid, cpp/, one engine per instruction set."""

import os

import numpy as np

from . import _core
from .params import Params
from .types import Array, Indices, Steps

_NUMBERS: dict[str, int] = dict(_core.instruction_sets())
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
    ) -> tuple[Array, Array, Array]:
        """See ``backends.Engine``."""
        y, h, last = _core.forward(self._isa, *_net(params), inputs, state, lengths, threads or 0)
        return y, h, last

    def backward(
        self,
        params: Params,
        inputs: Steps,
        h: Array,
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
            self._isa, *net, inputs, h, state, lengths, dy, dh, dstate, need_dinputs, threads or 0
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
    ) -> tuple[float, Array, Params, Array, Array, Array | None] | None:
        """See ``backends.Engine``."""
        if threads is None:
            threads = 0
        elif type(threads) is not int or not 0 < threads < 2**31:
            return None
        if type(need_dinputs) is not bool:
            return None
        _, X, H, V, _ = params._net
        found = _core.bptt_at_once(self._isa, X, H, V, params.flat, inputs, labels, state, need_dinputs, threads)
        if found is None:
            return None
        loss, losses, flat, last, dstate, dinputs = found
        return loss, losses, params._like(flat), last, dstate, dinputs

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


def _net(params: Params) -> tuple[int, int, int, Array]:
    return params.inputs, params.hidden, params.outputs, params.flat
