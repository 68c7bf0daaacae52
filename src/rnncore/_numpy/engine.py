"""The NumPy column as an engine: one thread, and every batch as a grid."""

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from .. import rounding
from ..cells import CELLS
from ..held import Held
from ..labels import count_of
from ..net import Net
from ..problem import Kept, Options, as_tuple, copy_of, with_masks
from ..steps import Steps
from ..types import AnyArray, Array, Indices, Inputs, Labels, States
from . import elementary, layers, optim, sampling, softmax, stack, stepping
from .layer import Gates
from .layers import Problem, Trace, as_rows
from .linear import Mask
from .stack import Given


class NumpyEngine:
    """See :class:`rnncore.engines.Engine`."""

    name = "numpy"
    reads_raw = reads_addresses = False

    def forward(
        self, net: Net, flat: Array, inputs: Inputs, state: States, steps: Steps | None, options: Options
    ) -> tuple[Array, Array, States, Kept]:
        """Return outputs y, hidden states h, the last states, and what ``backward`` needs."""
        form = Form(net, inputs, steps, options.last)
        with _ieee():
            y, trace, last = stack.forward(form.problem(flat, inputs, state))
        h = form.from_grid(trace.given[-1])
        h.flags.writeable = False
        kept = net, copy_of(inputs), copy_of(state), steps, h, form.tape_of(trace), options.last
        return form.from_outputs(y), h, form.from_states(last), kept

    def backward(
        self,
        kept: Kept,
        flat: Array,
        dy: Array | None,
        dh: Array | None,
        dstate: States,
        options: Options,
        later: Array | None = None,
    ) -> tuple[Array, States, Array | None]:
        """Return the gradients with respect to the parameters, the initial states, and the inputs if needed."""
        form, problem, trace = _restored(kept, flat)
        given = form.given(dy, dh, dstate)._replace(later=later)
        with _ieee():
            found = stack.backward(problem, trace, given, options.need_dinputs)
        grads, first, dinputs = found
        return grads, form.from_states(first), form.from_dinputs(dinputs)

    def gates(
        self,
        kept: Kept,
        flat: Array,
        given: tuple[Array | None, Array | None, States],
        options: Options,
        states: bool = False,
    ) -> tuple[Array, States, Array | None]:
        """Return the gradients with respect to gates, the initial states, and, if so wanted, the states after steps."""
        form, problem, trace = _restored(kept, flat)
        with _ieee():
            of, first, _ = stack.gates(problem, trace, form.given(*given), False)
        return form.from_gates(of), form.from_states(first), form.from_dstates(of) if states else None

    def sums(
        self, kept: Kept, flat: Array, dy: Array | None, gates: Array, options: Options, each: range | None = None
    ) -> tuple[Array, Array | None]:
        """Return the gradients with respect to the parameters, of all or some sequences each, and inputs if needed."""
        form, problem, trace = _restored(kept, flat)
        of, given = form.gates(gates), form.given(dy, None, None)
        with _ieee():
            if each is None:
                grads = stack.sums(problem, trace, given, of)
            else:
                grads = np.stack([stack.sums(problem, trace, given, of, b) for b in each])
            dinputs = layers.read_gradients(problem, 0, of) if options.need_dinputs else None
        return grads, form.from_dinputs(dinputs)

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
    ) -> tuple[float, Array, int, Array, States, States, Array | None]:
        """Return J, losses, how many steps have one, gradients, last states, gradients of initial states and inputs."""
        form = Form(net, inputs, steps, options.last)
        label, weights = form.labels(labels)
        dstate, later = (None, None) if after is None else after
        given = form.given(None, None, dstate)._replace(later=later)
        with _ieee():
            loss, losses, grads, last, first, dinputs = stack.bptt(
                form.problem(flat, inputs, state), options.loss, label, weights, given, options.need_dinputs
            )
        states = form.from_states(last), form.from_states(first)
        count = count_of(label, weights, options.loss, form.exist_outputs())
        return loss, form.from_outputs(losses), count, grads, *states, form.from_dinputs(dinputs)

    def each(self, *_: object) -> None:
        """Return None: there is no faster way than by sums."""

    def outputs(
        self, flat: Array, h: Array, labels: Labels, steps: Steps | None, options: Options, later: Array | None = None
    ) -> tuple[Array, int, Array, Array]:
        """Return losses, how many steps have one, gradients with respect to flat and to h, of an output layer alone."""
        form = Form(None, h, steps)
        label, weights = form.labels(labels)
        given = label, weights, form.exist
        with _ieee():
            losses, grads, dh = stack.outputs(flat, form.grid(h), options.loss, given, later)
        count = count_of(label, weights, options.loss, form.exist)
        return form.from_grid(losses), count, grads, form.from_grid(dh)

    def loss(self, name: str, y: Array, labels: Labels, steps: Steps | None) -> tuple[Array, Array]:
        """Return losses and dy of outputs y."""
        form = Form(None, y, steps)
        label, weights = form.labels(labels)
        with _ieee():
            losses, dy = stack.loss(name, form.grid(y), label, weights, form.exist)
        return form.from_grid(losses), form.from_grid(dy)

    def softmax(self, y: Array) -> Array:
        """Return the probabilities (R, V) of rows y (R, V)."""
        with _ieee():
            return softmax.softmax(y)

    def sample(
        self, net: Net, flat: Array, first: Indices, uniforms: Array, state: States, temperature: float
    ) -> tuple[Indices, States]:
        """Return tokens (T, B) drawn by uniforms float64 (T, B) after tokens first (B,) and the states; last states."""
        form = Form(net, first[None], None)
        with _ieee():
            tokens, last = sampling.sample(form.problem(flat, first[None], state), uniforms, temperature)
        return tokens, form.from_states(last)

    def hold(self, net: Net, flat: Array, batch: int | None) -> Held:
        """Return a net that is held from step to step, with a copy of flat and states of zeros."""
        return Held(_take_step, net, flat, batch)

    def norm(self, x: Array) -> float:
        """Return the length of a vector x (n,)."""
        with _ieee():
            return optim.norm(x)

    def clip(self, dx: Array, longest: float, limit: float) -> float:
        """Clip dx (n,) in place, by its length unless longest is NaN, then by value; return the length it had."""
        with _ieee():
            return optim.clip(dx, longest, limit)

    def add_shortened(self, total: Array, rows: Array, longest: float) -> Array:
        """Add rows (k, n) to total (n,), in order, each first shortened; return the lengths that they have."""
        with _ieee():
            return optim.add_shortened(total, rows, longest)

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
        with _ieee():
            return optim.step(rule, x, dx, memory, numbers, scale, longest, limit)

    def elementary(self, name: str, x: Array) -> Array:
        """Return exp, tanh, sigmoid, log or log1p of each element of x (n,)."""
        with _ieee():
            result: Array = getattr(elementary, name)(x)
        return result


class Form:
    """The form in which a call has its arrays (see problem.py), and the way to grids (T, B, ...) and back.

    What belongs to outputs has a grid of one step (1, B, ...) if these are made of last states only.
    """

    def __init__(self, net: Net | None, inputs: AnyArray, steps: Steps | None, last: bool = False) -> None:
        """inputs: as the user has them; or y, where there is no net."""
        self.net, self.steps, self.last = net, steps, last
        inputs, _ = with_masks(inputs)
        axes = inputs.ndim - (inputs.dtype.kind != "i")
        self.one = axes == 1 if steps is None else steps.form == "one"
        T, B = (steps.T, steps.B) if steps else (len(inputs), 1 if self.one else inputs.shape[1])
        self.exist: Mask = np.ones((T, B), bool) if steps is None else np.arange(T)[:, None] < steps.lengths
        resets = None if steps is None else steps.resets
        self.resets: Mask = np.zeros((T, B), bool) if resets is None else self.grid(resets) & self.exist

    def problem(self, flat: Array, inputs: Inputs, state: States) -> Problem:
        """Return what the call is about."""
        assert self.net is not None
        x, masks = with_masks(inputs)
        grids = tuple(self.grid(mask) for mask in masks)
        return Problem(self.net, flat, self.grid(x), grids, self.states(state), self.exist, self.resets, self.last)

    def grid(self, array: AnyArray) -> Any:
        """Return an array of the call as a grid."""
        if self.steps is not None:
            return self.steps.to_grid(array)
        return array[:, None] if self.one else array

    def labels(self, labels: Labels) -> tuple[Labels, Array | None]:
        """Return labels and weights as grids."""
        label, weights = labels if isinstance(labels, tuple) else (labels, None)
        return self.outputs(label), None if weights is None else self.outputs(weights)

    def exist_outputs(self) -> Mask:
        """Return which places of outputs exist."""
        return self.exist.sum(axis=0, keepdims=True) > 0 if self.last else self.exist

    def outputs(self, array: AnyArray) -> Any:
        """Return an array that belongs to outputs as a grid."""
        if not self.last:
            return self.grid(array)
        return array[None, None] if self.one else array[None]

    def from_outputs(self, grid: AnyArray) -> Any:
        """Return the opposite of ``outputs``."""
        if not self.last:
            return self.from_grid(grid)
        return grid[0, 0, ...] if self.one else grid[0]

    def from_grid(self, grid: AnyArray) -> Any:
        """Return the opposite of ``grid``."""
        if self.steps is not None:
            return self.steps.from_grid(grid)
        return grid[:, 0] if self.one else grid

    def from_dinputs(self, dinputs: Array | None) -> Array | None:
        """Return gradients of inputs, if there are any, as the user has these."""
        return None if dinputs is None else self.from_grid(dinputs)

    def given(self, dy: Array | None, dh: Array | None, dstate: States) -> Given:
        """Return what the way back begins with."""
        dy, dh = None if dy is None else self.outputs(dy), None if dh is None else self.grid(dh)
        return Given(dy, dh, None if dstate is None else self.states(dstate))

    def gates(self, array: Array) -> list[Gates]:
        """Return the gradients with respect to gates of each part, without those of states, of what Kept's have."""
        net, none = self.net, np.empty(0)
        assert net is not None
        width = len(CELLS[net.cell].gates) * net.hidden
        grids = [[self._grid_of_rows(np.ascontiguousarray(rows[:, :width])) for rows in part] for part in array]
        return [Gates(grid[0], grid[-1], none) for grid in grids]

    def from_gates(self, gates: list[Gates]) -> Array:
        """Return the opposite of ``gates``."""
        net = self.net
        assert net is not None
        array = np.zeros(net.gates_shape(int(self.exist.sum())), net.dtype)
        for to, of in zip(array, gates, strict=True):
            for rows, grid in zip(to, (of.da, of.du), strict=False):  # one is enough if both are the same
                rows[:, : grid.shape[2]] = self._rows(grid)
        return array

    def from_dstates(self, gates: list[Gates]) -> Array:
        """Return the gradients with respect to the states after each step, by rows (P, S, N, H)."""
        return np.stack([[self._rows(grid) for grid in of.dstates] for of in gates])

    def trace(self, h: Array, tape: Array) -> Trace:
        """Return what the layers leave, of h and the tape that ``forward`` returned."""
        assert self.net is not None
        given, tapes = self.net.cut_tape(tape, int(self.exist.sum()))
        return Trace([*map(self._grid_of_rows, given), self.grid(h)], list(map(self._grid_of_rows, tapes)))

    def tape_of(self, trace: Trace) -> Array:
        """Return the tape of what the layers leave."""
        assert self.net is not None
        rows = [self._rows(grid) for grid in (*trace.given[:-1], *trace.tapes)]
        return np.concatenate(rows, axis=None).reshape(self.net.tape_shape(int(self.exist.sum())))

    def _grid_of_rows(self, rows: Array) -> Array:
        return self.steps.grid_of(rows) if self.steps is not None else rows.reshape(*self.exist.shape, *rows.shape[1:])

    def _rows(self, grid: Array) -> Array:
        return self.steps.rows_of(grid) if self.steps is not None else as_rows(grid)

    def states(self, states: States) -> Array:
        """Return states (S, P, B, H): zeros for None."""
        net = self.net
        assert net is not None
        shape = len(CELLS[net.cell].states), net.parts, self.exist.shape[1], net.hidden
        return np.zeros(shape, net.dtype) if states is None else np.stack(as_tuple(states)).reshape(shape)

    def from_states(self, states: Array) -> States:
        """Return the opposite of ``states``."""
        if self.one:
            states = states[:, :, 0]
        arrays = tuple(states[:, 0] if states.shape[1] == 1 else states)
        return arrays if len(arrays) > 1 else arrays[0]


def _restored(kept: Kept, flat: Array) -> tuple[Form, Problem, Trace]:
    """Return the form, the problem and the trace of what forward kept."""
    net, inputs, state, steps, h, tape, last = kept
    form = Form(net, inputs, steps, last)
    return form, form.problem(flat, inputs, state), form.trace(h, tape)


def _take_step(net: Net, flat: Array, inputs: Inputs, state: States, which: Mask) -> tuple[Array, States]:
    """Return the outputs of the one step that the inputs have, and the states after it."""
    form = Form(net, inputs, None)
    with _ieee():
        out, last = stepping.step(form.problem(flat, inputs, state), which)
    return out[0] if form.one else out, form.from_states(last)


@contextlib.contextmanager
def _ieee() -> Iterator[None]:
    """Set the standard rounding; let Inf and NaN flow without a warning or an error, whatever NumPy was told."""
    with rounding.standard(), np.errstate(all="ignore"):
        yield
