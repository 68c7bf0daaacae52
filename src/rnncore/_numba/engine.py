"""The Numba column as an engine: one thread, and every batch as packed rows (see ``steps``).

Arrays of the full grid are rows as they lie. Others are put in the order of rows here, and results back.
"""

import math
from typing import Any

import numpy as np

from .. import rounding
from ..cells import CELLS
from ..held import Held
from ..labels import count_of
from ..losses import NUMBERS
from ..net import Net
from ..problem import Kept, Options, copy_of, with_masks
from ..steps import Steps
from ..types import AnyArray, Array, Indices, Inputs, Labels, Mask, States
from . import compiled, elementary, layers, linear, optim, sampling, softmax, stack, stepping
from .entries import entry
from .layer import Gates
from .linear import NO_INDICES, NO_RESETS, Rows, grid_rows
from .spans import Given, Problem


class NumbaEngine:
    """See :class:`rnncore.engines.Engine`.

    One thread does all the work, whatever the options say: the compiled core is the engine with threads.
    """

    name = "numba"
    reads_raw = reads_addresses = False

    def forward(
        self, net: Net, flat: Array, inputs: Inputs, state: States, steps: Steps | None, options: Options
    ) -> tuple[Array, Array, States, Kept]:
        """Return outputs y, hidden states h, the last states, and what ``backward`` needs."""
        form = Form(net, inputs, steps, options.last)
        with rounding.standard():
            y, h, tape, last = stack.forward(form.problem(flat, inputs, state))
        h = form.from_rows(h)
        h.flags.writeable = False
        kept = net, copy_of(inputs), copy_of(state), steps, h, tape, options.last
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
        form, trace = _restored(kept, flat)
        given = form.given(dy, dh, dstate)._replace(later=later)
        with rounding.standard():
            grads, first, dinputs = stack.backward(*trace, given, options.need_dinputs)
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
        net, (form, trace) = kept[0], _restored(kept, flat)
        N, S = int(form.rows.start[-1]), len(CELLS[net.cell].states) if states else 0
        of = Gates(np.zeros(net.gates_shape(N), net.dtype), np.empty((net.parts, S, N, net.hidden), net.dtype))
        with rounding.standard():
            first, _ = stack.gates(*trace, form.given(*given), of, False)
        return of.rows, form.from_states(first), of.dstates if states else None

    def sums(
        self, kept: Kept, flat: Array, dy: Array | None, gates: Array, options: Options, each: range | None = None
    ) -> tuple[Array, Array | None]:
        """Return the gradients with respect to the parameters, of all or some sequences each, and inputs if needed."""
        net, (form, trace), need = kept[0], _restored(kept, flat), options.need_dinputs
        dy = form.given(dy, None, None).dy
        of = Gates(_plain(gates), np.empty((net.parts, 0, 0, net.hidden), net.dtype))
        with rounding.standard():
            if each is None:
                grads, dinputs = stack.sums(*trace, dy, of, need)
            else:
                grads = stack.sums_of_each(*trace, dy, of, form.positions(each))
                dinputs = stack.sums(*trace, dy, of, True)[1] if need else None
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
        problem, number, label = form.problem(flat, inputs, state), NUMBERS[options.loss], form.labels(labels)
        dstate, later = (None, None) if after is None else after
        given = form.given(None, None, dstate)._replace(later=later)
        with rounding.standard():
            loss, losses, grads, last, first, dinputs = stack.bptt(problem, number, label, given, options.need_dinputs)
        states = form.from_states(last), form.from_states(first)
        count = _count_of(label, options.loss)
        return loss, form.from_outputs(losses), count, grads, *states, form.from_dinputs(dinputs)

    def each(self, *_: object) -> None:
        """Return None: there is no faster way than by sums."""

    def outputs(
        self, flat: Array, h: Array, labels: Labels, steps: Steps | None, options: Options, later: Array | None = None
    ) -> tuple[Array, int, Array, Array]:
        """Return losses, how many steps have one, gradients with respect to flat and to h, of an output layer alone."""
        form = Form(None, h, steps)
        label = form.labels(labels)
        read = form.rows, form.rows_of(h)
        with rounding.standard():
            losses, grads, dh = stack.outputs(_plain(flat), read, NUMBERS[options.loss], label, later)
        return form.from_rows(losses), _count_of(label, options.loss), grads, form.from_rows(dh)

    def loss(self, name: str, y: Array, labels: Labels, steps: Steps | None) -> tuple[Array, Array]:
        """Return losses and dy of outputs y."""
        form = Form(None, y, steps)
        with rounding.standard():
            losses, dy = stack.loss(NUMBERS[name], form.rows_of(y), form.labels(labels))
        return form.from_rows(losses), form.from_rows(dy)

    def softmax(self, y: Array) -> Array:
        """Return the probabilities (R, V) of rows y (R, V)."""
        p = np.empty_like(y)
        with rounding.standard():
            entry(softmax.softmax)(y.dtype, _plain(y), p)
        return p

    def sample(
        self, net: Net, flat: Array, first: Indices, uniforms: Array, state: States, temperature: float
    ) -> tuple[Indices, States]:
        """Return tokens (T, B) drawn by uniforms float64 (T, B) after tokens first (B,) and the states; last states."""
        form = Form(net, first[None], None)
        with rounding.standard():
            tokens, last = sampling.sample(form.problem(flat, first[None], state), _plain(uniforms), temperature)
        return tokens, form.from_states(last)

    def hold(self, net: Net, flat: Array, batch: int | None) -> Held:
        """Return a net that is held from step to step, with a copy of flat and states of zeros."""
        return Held(_take_step, net, flat, batch)

    def norm(self, x: Array) -> float:
        """Return the length of a vector x (n,)."""
        with rounding.standard():
            length: float = entry(optim.norm)(x.dtype, _plain(x))
        return length

    def clip(self, dx: Array, longest: float, limit: float) -> float:
        """Clip dx (n,) in place, by its length unless longest is NaN, then by value; return the length it had."""
        with rounding.standard():
            length: float = entry(optim.clip)(dx.dtype, dx, longest, limit)
        return length

    def add_shortened(self, total: Array, rows: Array, longest: float) -> Array:
        """Add rows (k, n) to total (n,), in order, each first shortened; return the lengths that they have."""
        lengths = np.empty(len(rows))
        with rounding.standard():
            entry(optim.add_shortened)(total.dtype, total, rows, longest, lengths)
        return lengths

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
        c, none = np.zeros(7, x.dtype), np.empty(0, x.dtype)
        a, b = (*memory, none, none)[:2]
        with rounding.standard(), np.errstate(all="ignore"):
            c[: len(numbers)] = numbers
            step = entry(optim.step)
            length: float = step(
                x.dtype, optim.RULES[rule], x, _plain(dx), optim.Memory(a, b), c, scale, longest, limit
            )
        return length

    def elementary(self, name: str, x: Array) -> Array:
        """Return exp, tanh, sigmoid, log or log1p of each element of x (n,)."""
        out = np.empty_like(x)
        with rounding.standard():
            entry(EACH[name])(x.dtype, _plain(x), out)
        return out


class Form:
    """The form in which a call has its arrays (see problem.py), and the way to rows (N, ...) and back."""

    def __init__(self, net: Net | None, inputs: Inputs, steps: Steps | None, last: bool = False) -> None:
        """inputs: as the user has them; or y, where there is no net. last: whether outputs are of last states only."""
        inputs, _ = with_masks(inputs)
        self.net, self.dtype = net, inputs.dtype if net is None else net.dtype
        self.steps = None if steps is None or steps.full else steps  # None: the full grid
        axes = inputs.ndim - (inputs.dtype.kind != "i")
        self.one = axes == 1 if steps is None else steps.form == "one"
        self.shape: tuple[int, ...] = inputs.shape[:axes] if steps is None else steps.axes
        self.places = math.prod(self.shape)
        resets = NO_RESETS if steps is None or steps.resets is None else steps.resets.reshape(-1)
        if self.steps is None:
            T, B = self.shape[0], 1 if self.one else self.shape[1]
            self.rows = grid_rows(B, T, resets)
            self.last = np.arange(T * B - B, T * B) if T else NO_INDICES
        else:
            own = self.steps
            resets = resets[own.address] if len(resets) else resets
            self.rows = Rows(own.B, own.start, own.address, own.place, own.by_place, resets)
            lengths = own.lengths[own.order]
            lengths = lengths[lengths > 0]
            self.last = own.start[lengths - 1] + np.arange(len(lengths))
        self.head_rows = self.rows_of_last() if last else None

    def problem(self, flat: Array, inputs: Inputs, state: States) -> Problem:
        """Return what the call is about."""
        net, (x, masks) = self.net, with_masks(inputs)
        assert net is not None
        read = _plain(x).reshape(self.places, *x.shape[len(self.shape) :])
        own, states = tuple(map(self.rows_of, masks)), self.states(state)
        turned = layers.turned_rows(self.rows) if net.bidirectional else NO_INDICES
        return Problem(net, _plain(flat), read, own, states, self.rows, self.last, self.head_rows, turned)

    def rows_of_last(self) -> Rows:
        """Return the rows of outputs that are made of last states: one step of the sequences that have any."""
        if self.steps is None:
            return grid_rows(self.rows.B, 1 if len(self.last) else 0)
        order = self.steps.order[: len(self.last)].copy()
        return Rows(self.rows.B, np.array([0, len(order)]), order, order, np.argsort(order), NO_RESETS)

    def outputs(self, array: AnyArray) -> Any:
        """Return an array of the call that belongs to outputs as rows."""
        if self.head_rows is None:
            return self.rows_of(array)
        of_sequences = _plain(array)[None] if self.one else _plain(array)
        address = self.head_rows.address
        return of_sequences[: len(self.last)] if self.steps is None else of_sequences.take(address, axis=0)

    def from_outputs(self, rows: AnyArray) -> Any:
        """Return the opposite of ``outputs``, zeros for a sequence without steps."""
        if self.head_rows is None:
            return self.from_rows(rows)
        array = np.zeros((self.rows.B, *rows.shape[1:]), rows.dtype)
        array[slice(len(rows)) if self.steps is None else self.head_rows.address] = rows
        return array[0, ...] if self.one else array

    def rows_of(self, array: AnyArray) -> Any:
        """Return an array of the call as rows."""
        if self.steps is None:
            return _plain(array).reshape(self.places, *array.shape[len(self.shape) :])
        return array.reshape(self.places, *array.shape[len(self.shape) :]).take(self.steps.address, axis=0, mode="clip")

    def from_rows(self, rows: AnyArray) -> Any:
        """Return the opposite of ``rows_of``, zeros where there is no step."""
        if self.steps is None:
            return rows.reshape(*self.shape, *rows.shape[1:])
        array = (np.empty if self.steps.packed else np.zeros)((*self.shape, *rows.shape[1:]), rows.dtype)
        array.reshape(self.places, *rows.shape[1:])[self.steps.address] = rows
        return array

    def from_dinputs(self, dinputs: Array | None) -> Array | None:
        """Return gradients of inputs, if there are any, as the user has these."""
        return None if dinputs is None else self.from_rows(dinputs)

    def given(self, dy: Array | None, dh: Array | None, dstate: States) -> Given:
        """Return what the way back begins with."""
        dy, dh = None if dy is None else self.outputs(dy), None if dh is None else self.rows_of(dh)
        return Given(dy, dh, None if dstate is None else self.states(dstate))

    def labels(self, labels: Labels) -> linear.Labels:
        """Return labels and weights as rows."""
        label, weights = labels if isinstance(labels, tuple) else (labels, None)
        rows = self.outputs(label)
        of_rows = np.empty(0, self.dtype) if weights is None else self.outputs(weights)
        if rows.ndim == 1:
            return linear.Labels(True, rows, np.empty((0, 0), self.dtype), of_rows)
        return linear.Labels(False, NO_INDICES, rows, of_rows)

    def states(self, states: States) -> Array:
        """Return states (S, B, H), or (S, P, B, H) of several parts, in the order of rows: zeros for None."""
        net, B = self.net, self.rows.B
        assert net is not None
        each = (B, net.hidden) if net.parts == 1 else (net.parts, B, net.hidden)
        shape = len(CELLS[net.cell].states), *each
        if states is None:
            return np.zeros(shape, self.dtype)
        array = np.stack(states) if isinstance(states, tuple) else _plain(states)[None]
        return array.reshape(shape) if self.steps is None else array.take(self.steps.order, axis=-2)

    def from_states(self, states: Array) -> States:
        """Return the opposite of ``states``."""
        if self.steps is not None:
            ordered = np.empty_like(states)
            ordered[..., self.steps.order, :] = states
            states = ordered
        arrays = tuple(states[..., 0, :] if self.one else states)
        return arrays if len(arrays) > 1 else arrays[0]

    def positions(self, sequences: range) -> list[int]:
        """Return where some sequences are in the order of rows."""
        if self.steps is None:
            return list(sequences)
        numbers: list[int] = np.argsort(self.steps.order)[sequences.start : sequences.stop].tolist()
        return numbers


def _count_of(label: linear.Labels, loss: str) -> int:
    """Return how many rows have a loss."""
    weights = label.weights if label.weights.size else None
    return count_of(label.classes if label.are_classes else label.reals, weights, loss, None)


def _restored(kept: Kept, flat: Array) -> tuple[Form, tuple[Problem, Array, Array]]:
    """Return the form of what forward kept, and the problem with h and the tape."""
    net, inputs, state, steps, h, tape, last = kept
    form = Form(net, inputs, steps, last)
    return form, (form.problem(flat, inputs, state), form.rows_of(h), _plain(tape))


def _take_step(net: Net, flat: Array, inputs: Inputs, state: States, which: Mask) -> tuple[Array, States]:
    """Return the outputs of the one step that the inputs have, and the states after it."""
    form = Form(net, inputs, None)
    with rounding.standard():
        out, last = stepping.step(form.problem(flat, inputs, state), which)
    return out[0] if form.one else out, form.from_states(last)


def _plain(array: Any) -> Any:
    """Return a writable array: Numba would compile everything once more for read-only ones."""
    return array if array.flags.writeable else array.copy()


@compiled
def exp_each(x: Array, out: Array) -> None:
    """Write exp of each number of x (n,)."""
    for i in range(len(x)):
        out[i] = elementary.exp(x[i])


@compiled
def tanh_each(x: Array, out: Array) -> None:
    """Write tanh of each number of x (n,)."""
    for i in range(len(x)):
        out[i] = elementary.tanh(x[i])


@compiled
def sigmoid_each(x: Array, out: Array) -> None:
    """Write sigmoid of each number of x (n,)."""
    for i in range(len(x)):
        out[i] = elementary.sigmoid(x[i])


@compiled
def log_each(x: Array, out: Array) -> None:
    """Write log of each number of x (n,)."""
    for i in range(len(x)):
        out[i] = elementary.log(x[i])


@compiled
def log1p_each(x: Array, out: Array) -> None:
    """Write log1p of each number of x (n,)."""
    for i in range(len(x)):
        out[i] = elementary.log1p(x[i])


EACH = {"exp": exp_each, "tanh": tanh_each, "sigmoid": sigmoid_each, "log": log_each, "log1p": log1p_each}
