"""The compiled core as an engine: the third column of the grid, cpp/, one engine per instruction set."""

import os
from typing import Any

import numpy as np

from . import _core
from .engines import Bptt
from .losses import NUMBERS
from .net import Net
from .problem import Kept, Options
from .steps import Steps, full_steps
from .types import Addresses, Array, Indices, Inputs, Labels, States

_NUMBERS: dict[str, int] = dict(_core.instruction_sets())
_CELLS = {name: number for number, (name, *_) in enumerate(_core.cells())}
# In the order of problem.hpp's Rule.
_RULES = {name: i for i, name in enumerate(("sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adam"))}
# Whether a call takes as many threads as its caller allows, however little work there is: for tests and measurements.
_ALWAYS = os.environ.get("RNNCORE_THREADS_ALWAYS") == "1"

release_memory = _core.release_memory


def instruction_sets() -> list[str]:
    """Return the instruction sets that this machine runs, worst to best."""
    return list(_NUMBERS)


def best() -> str:
    """Return the instruction set that "cpp" stands for: the best here, or the one that RNNCORE_ISA forces."""
    forced = os.environ.get("RNNCORE_ISA")
    if forced is None:
        return instruction_sets()[-1]
    if forced not in _NUMBERS:
        raise ImportError(f"RNNCORE_ISA={forced!r}, but this machine runs only {', '.join(_NUMBERS)}")
    return forced


class CppEngine:
    """The kernels of one instruction set; see :class:`rnncore.engines.Engine`."""

    reads_raw = reads_addresses = True

    def __init__(self, isa: str) -> None:
        self.name = f"cpp.{isa}"
        self._isa = _NUMBERS[isa]

    def forward(
        self, net: Net, flat: Array, inputs: Inputs, state: States, steps: Steps | None, options: Options
    ) -> tuple[Array, Array, States, Kept] | None:
        """Return outputs y, hidden states h, the last states, and what ``backward`` needs."""
        own: Any = _steps(steps) if type(steps) is Steps else steps  # resets stay as they are
        asked = options.core or _options(options)
        found = _core.forward(self._isa, net.core or _net(net), flat, inputs, state, own, asked)
        if found is None:
            return None
        y, h, tape, last, read, first, resets = found
        divided = steps if type(steps) is Steps else None
        if divided is None and resets is not None:
            divided = full_steps(resets)
            divided.core = resets  # as _steps makes it
        return y, h, last, (net, read, first, divided, h, tape, options.last)

    def backward(
        self,
        kept: Kept,
        flat: Array,
        dy: Array | None,
        dh: Array | None,
        dstate: States,
        options: Options,
        later: Array | None = None,
    ) -> tuple[Array, States, Array | None] | None:
        """Return the gradients with respect to the parameters, the initial states, and the inputs if needed."""
        net, inputs, state, steps, h, tape, _ = kept
        own = None if steps is None else _steps(steps)
        arrays, given = (inputs, state, own, h, tape), (dy, dh, dstate)
        asked = options.core or _options(options)
        return _core.backward(self._isa, net.core or _net(net), flat, arrays, given, asked, later)

    def module_forward(
        self, net: Net, shape: tuple[int, ...], at: Addresses, steps: Steps | None, options: Options
    ) -> tuple[Array, ...]:
        """Return h, the tape and the last states of a net without outputs, these with an axis for parts.

        shape: that of x. at: x, the initial states, a mask for each layer but the first, and the weights of each part:
        W_ih, W_hh, and b_ih and b_hh or none. 0 stands for a state or a mask that is None.
        """
        own, asked = None if steps is None else _steps(steps), options.core or _options(options)
        return _core.module_forward(self._isa, net.core or _net(net), net.dtype.itemsize == 8, shape, at, own, asked)

    def module_backward(
        self, net: Net, shape: tuple[int, ...], at: Addresses, steps: Steps | None, options: Options
    ) -> tuple[Any, ...]:
        """Return the gradients with respect to the parameters, to x or None, and to the initial states.

        at: as before, with h, the tape, dh and dstate before the weights.
        """
        own, asked = None if steps is None else _steps(steps), options.core or _options(options)
        return _core.module_backward(self._isa, net.core or _net(net), net.dtype.itemsize == 8, shape, at, own, asked)

    def gates(
        self,
        kept: Kept,
        flat: Array,
        given: tuple[Array | None, Array | None, States],
        options: Options,
        states: bool = False,
    ) -> tuple[Array, States, Array | None]:
        """Return the gradients with respect to gates, the initial states, and, if so wanted, the states after steps."""
        net, inputs, state, steps, h, tape, _ = kept
        own, asked = None if steps is None else _steps(steps), options.core or _options(options)
        return _core.gates(self._isa, net.core or _net(net), flat, (inputs, state, own, h, tape), given, asked, states)

    def sums(
        self, kept: Kept, flat: Array, dy: Array | None, gates: Array, options: Options, each: range | None = None
    ) -> tuple[Array, Array | None]:
        """Return the gradients with respect to the parameters, of all or some sequences each, and inputs if needed."""
        net, inputs, state, steps, h, tape, _ = kept
        own, asked = None if steps is None else _steps(steps), options.core or _options(options)
        arrays, given = (inputs, state, own, h, tape), (dy, None, None)
        return _core.sums(self._isa, net.core or _net(net), flat, arrays, given, gates, asked, *_ends(each))

    def bptt(
        self,
        net: Net,
        flat: Array,
        inputs: Inputs,
        state: States,
        steps: Steps | None,
        options: Options,
        labels: Labels,
        checked: bool = False,
        after: tuple[States, Array | None] | None = None,
    ) -> tuple[float, Array, int, Array, States, States, Array | None] | None:
        """Return J, losses, how many steps have one, gradients, last states, gradients of initial states and inputs."""
        own: Any = _steps(steps) if type(steps) is Steps else steps  # resets stay as they are
        problem, asked = (inputs, state, own), options.core or _options(options)
        return _core.bptt(self._isa, net.core or _net(net), flat, problem, labels, checked, asked, after)

    def each(
        self,
        net: Net,
        flat: Array,
        inputs: Inputs,
        state: States,
        steps: Steps | None,
        options: Options,
        labels: Labels,
        longest: float,
    ) -> tuple[Bptt, Array] | None:
        """Return what bptt does, with the sum of the gradients of sequences, each shortened, and their lengths."""
        problem, asked = (inputs, state, None if steps is None else _steps(steps)), options.core or _options(options)
        found = _core.each(self._isa, net.core or _net(net), flat, problem, labels, asked, longest)
        return None if found is None else (found[:7], found[7])

    def outputs(
        self, flat: Array, h: Array, labels: Labels, steps: Steps | None, options: Options, later: Array | None = None
    ) -> tuple[Array, int, Array, Array]:
        """Return losses, how many steps have one, gradients with respect to flat and to h, of an output layer alone."""
        own, asked = None if steps is None else _steps(steps), options.core or _options(options)
        return _core.outputs(self._isa, flat, h, labels, own, asked, later)

    def loss(self, name: str, y: Array, labels: Labels, steps: Steps | None) -> tuple[Array, Array]:
        """Return losses and dy of outputs y, by the loss of a name."""
        own = None if steps is None else _steps(steps)
        return _core.loss(self._isa, NUMBERS[name], y, labels, own)

    def softmax(self, y: Array) -> Array:
        """Return the probabilities (R, V) of rows y (R, V)."""
        return _core.softmax(self._isa, y)

    def sample(
        self, net: Net, flat: Array, first: Indices, uniforms: Array, state: States, temperature: float
    ) -> tuple[Indices, States]:
        """Return tokens (T, B) drawn by uniforms float64 (T, B) after tokens first (B,) and the states; last states."""
        return _core.sample(self._isa, net.core or _net(net), flat, first, state, uniforms, temperature)

    def hold(self, net: Net, flat: Array, batch: int | None) -> _core.Stepper:
        """Return a net that is held from step to step, with a copy of flat and states of zeros."""
        return _core.Stepper(self._isa, net.core or _net(net), flat, -1 if batch is None else batch)

    def norm(self, x: Array) -> float:
        """Return the length of a vector x (n,)."""
        return _core.norm(self._isa, x)

    def clip(self, dx: Array, longest: float, limit: float) -> float:
        """Clip dx (n,) in place, by its length unless longest is NaN, then by value; return the length it had."""
        return _core.clip(self._isa, dx, longest, limit)

    def add_shortened(self, total: Array, rows: Array, longest: float) -> Array:
        """Add rows (k, n) to total (n,), in order, each first shortened; return the lengths that they have."""
        return _core.add_shortened(self._isa, total, rows, longest)

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
        """Take one step of an optimizer in place of x (n,) and memory; return the length of scale dx."""
        return _core.step(self._isa, _RULES[rule], x, dx, memory, numbers, scale, longest, limit)

    def elementary(self, name: str, x: Array) -> Array:
        """Return exp, tanh, sigmoid, log or log1p of each element of x (n,)."""
        return _core.elementary(self._isa, name, np.ascontiguousarray(x))


def _ends(each: range | None) -> tuple[int, int]:
    """Return the first of some sequences, and the end of them: -1 and -1 for all of them together."""
    return (-1, -1) if each is None else (each.start, each.stop)


def _net(net: Net) -> Any:
    """Return a net as the core has it, made once."""
    tokens = -1 if net.tokens is None else int(net.tokens)
    sizes = net.inputs, net.hidden, net.outputs, net.layers, net.directions
    core = _core.Net(_CELLS[net.cell], *sizes, tokens)
    object.__setattr__(net, "core", core)
    return core


def _steps(steps: Steps) -> Any:
    """Return steps as the core has them, made once; of the full grid the core needs only resets."""
    core = steps.core
    if core is None:
        if steps.full and steps.resets is not None:
            core = steps.resets
        else:
            order = steps.order if steps.form == "rows" else None
            core = _core.Steps(steps.lengths, steps.T, steps.packed, steps.form == "one", steps.resets, order)
        steps.core = core
    return core


def _options(options: Options) -> Any:
    """Return options as the core has them, made once."""
    threads = options.threads or 0
    if _ALWAYS:
        threads = -abs(threads)
    core = _core.Options(options.need_dinputs, options.last, NUMBERS[options.loss], threads)
    object.__setattr__(options, "core", core)
    return core
