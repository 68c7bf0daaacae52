"""A call to verify, in canonical form, and all that an engine computes of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from ..arguments import Batch
from ..cells import CELLS
from ..engines import Engine, Forward
from ..gradients import Asked, bptt
from ..net import Net
from ..params import Params
from ..problem import DEFAULT, Options, as_tuple, options_of, reading, with_masks
from ..types import AnyArray, Array, States
from .own import Function, Own

Tensors: TypeAlias = dict[str, AnyArray]

BY_STEP = ("losses", "y", "h", "dinputs", "loss: dy", "loss: dh")
"""The tensors whose first axes count steps."""


class Case(NamedTuple):
    """A call: of which net, on which sequences, with the loss of a name or a function, and which options."""

    params: Params
    batch: Batch
    loss: str | Function
    asked: Asked

    @property
    def about(self) -> str:
        """Return what is verified, in a line."""
        steps, x = self.batch.steps, with_masks(self.batch.inputs)[0]
        name = self.loss if isinstance(self.loss, str) else "a loss of your own"
        loss = [name] if name != DEFAULT.loss else []
        options = [f"{name}={value!r}" for name, value in self.asked._asdict().items() if value not in (None, False)]
        T = len(x) if steps is None else steps.T
        return ", ".join([repr(self.params), f"T={T}", f"B={self.sequences}", *loss, *options])

    @property
    def net(self) -> Net:
        """Return the net, which reads what the inputs are."""
        return reading(self.params._net, self.batch.inputs)

    @property
    def vectors(self) -> bool:
        """Return whether the inputs are vectors."""
        return with_masks(self.batch.inputs)[0].dtype.kind == "f"

    @property
    def sequences(self) -> int:
        """Return how many sequences there are."""
        x, steps = with_masks(self.batch.inputs)[0], self.batch.steps
        if steps is not None:
            return steps.B
        return int(x.shape[1]) if self.step_axes == 2 else 1

    @property
    def step_axes(self) -> int:
        """Return how many axes of inputs count steps and sequences."""
        return int(with_masks(self.batch.inputs)[0].ndim - self.vectors)

    @property
    def label_axes(self) -> int:
        """Return how many axes of labels count steps or sequences."""
        steps = self.batch.steps
        if not self.batch.last:
            return self.step_axes
        return self.step_axes - 1 if steps is None else len(steps.batch)

    def options(self, threads: int = 1) -> Options:
        """Return the options of an engine's call. Negative: so many threads, however little work there is."""
        name = self.loss if isinstance(self.loss, str) else DEFAULT.loss
        return options_of(self.vectors, threads, name, self.batch.last)

    def forward(self, by: Engine, threads: int = 1) -> Forward:
        """Return what an engine's ``forward`` does."""
        inputs, state, steps, _, _ = self.batch
        found = by.forward(self.net, self.params.flat, inputs, state, steps, self.options(threads))
        assert found is not None  # as the arguments are canonical
        return found

    def place(self, tensor: str, at: tuple[int, ...]) -> str:
        """Return where an element of a tensor is, as users index it: in lists the sequence comes first."""
        steps = self.batch.steps
        sequences = self.batch.last and tensor in ("losses", "y")
        if steps is not None and steps.form == "list" and tensor in BY_STEP and not sequences:
            stops = np.cumsum(steps.lengths)
            b = int(np.searchsorted(stops, at[0], side="right"))
            return f"[{b}]{_brackets((at[0] - int(stops[b] - steps.lengths[b]), *at[1:]))}"
        return _brackets(at)


def _brackets(at: tuple[int, ...]) -> str:
    return f"[{', '.join(map(str, at))}]" if at else ""


def tensors_of(by: Engine, case: Case, threads: int, own: Own | None) -> Tensors:
    """Return all that an engine computes of a call, in its form; own: the gradients of a loss that is a function."""
    y, h, last, kept = case.forward(by, threads)
    params, options = case.params, case.options(threads)
    outputs = {"y": y, "h": h} if params.outputs else {"h": h}
    if own is not None:
        found = by.backward(kept, params.flat, *own.gradients, options)
        assert found is not None  # as the arguments are canonical
        return outputs | _gradients(params, last, *found)
    learned, each = bptt(by, case.net, params.flat, case.batch, options, case.asked)
    loss, losses, _, grads, last, dstate, dinputs = learned
    tensors = {"loss": np.array(loss), "losses": losses, **outputs, **_gradients(params, last, grads, dstate, dinputs)}
    of_each = {} if each is None else {"loss": each.loss, "grads": each.grads, "norms": each.norms}
    return tensors | {f"per_sequence.{name}": array for name, array in of_each.items() if array is not None}


def _gradients(params: Params, last: States, grads: Array, dstate: States, dinputs: Array | None) -> Tensors:
    """Return last states and gradients by name."""
    tensors = by_state("state", params, last) | by_state("dstate", params, dstate)
    tensors |= {f"grads.{name}": array for name, array in params._net.views(grads).items()}
    return tensors if dinputs is None else tensors | {"dinputs": dinputs}


def by_state(name: str, params: Params, states: States) -> Tensors:
    """Return the states of a net, each by its name, unless there is but one."""
    letters, arrays = CELLS[params.cell].states, as_tuple(states)
    if len(letters) == 1:
        return {name: arrays[0]}
    return {f"{name} {letter}": one for letter, one in zip(letters, arrays, strict=True)}


def each_of(change: Callable[[AnyArray], AnyArray], arrays: Any) -> Any:
    """Return labels or inputs, or a tuple of these and of what they come with, with each array changed."""
    return tuple(each_of(change, array) for array in arrays) if isinstance(arrays, tuple) else change(arrays)


def in_float64(case: Case) -> Case:
    """Return a copy of a call with its real numbers in float64, and with states where there were none."""
    params = case.params.astype(np.float64)
    inputs, state, steps, labels, last = case.batch
    labels = None if labels is None else each_of(_widened, labels)
    label: Any = labels[0] if isinstance(labels, tuple) else labels
    if case.loss == "cross_entropy" and label.dtype.kind == "f":  # p - l is the gradient if l sums to 1, in float64 now
        sums = label.sum(axis=-1, keepdims=True)
        np.divide(label, sums, out=label, where=sums != 0)
    state = _zeros(case) if state is None else each_of(_widened, state)
    return case._replace(params=params, batch=Batch(each_of(_widened, inputs), state, steps, labels, last))


def _widened(array: AnyArray) -> AnyArray:
    return array.astype(np.float64) if array.dtype.kind == "f" else array.copy()


def _zeros(case: Case) -> States:
    """Return initial states of zeros, in float64."""
    net, steps, x = case.params._net, case.batch.steps, with_masks(case.batch.inputs)[0]
    batch = steps.batch if steps is not None else x.shape[1 : case.step_axes]
    shape = (*([net.parts] if net.parts > 1 else []), *batch, net.hidden)
    states = tuple(np.zeros(shape) for _ in CELLS[net.cell].states)
    return states if len(states) > 1 else states[0]
