"""How far rounding may carry a gradient from the truth: a first-order bound, element by element.

An operation's result is off by at most ``u`` times its magnitude, u = 2^-53 or 2^-24, and an error already
there is carried on by the derivative of what follows. Terms in u^2 are left out. ``e_x`` bounds the error of x.

A sum of n products, in whatever order and with or without fma, is off by at most (n + 2) u times the sum of
the magnitudes (N. J. Higham, Accuracy and Stability of Numerical Algorithms, section 3.1). So the bound holds
for every library that multiplies and adds in this precision and has the cell's equations in this form, and for none
in particular. For the form the definition is asked: its functions of a cell compute here with numbers that know
their error.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from inspect import isfunction
from types import FunctionType, SimpleNamespace
from typing import Any, TypeAlias

import numpy as np
from nets import Array, Net, as_states, named_arrays, named_states, state_arrays

from rnncore._numpy.layer import cell_of
from rnncore.cells import CELLS

ELEMENTARY = 4
"""exp, tanh, sigmoid and log are within 2 units in the last place, each at most 2 u of the magnitude."""


@dataclass
class Grid:
    """A net in plain float64 arrays: vectors x (T, B, X), distributions l (T, B, V), parameters by name."""

    x: Array
    l: Array
    states: tuple[Array, ...]
    w: dict[str, Array]
    dh: Array
    dstates: tuple[Array, ...]


def grid(net: Net) -> Grid:
    """Tokens and classes as one-hot vectors; zeros for what was not given. For nets with labels, without lengths."""
    assert net.labels is not None
    assert net.lengths is None
    params, (T, B) = net.params, net.inputs.shape[:2]
    H, S = params.hidden, len(CELLS[params.cell].states)
    none = as_states([np.zeros((B, H))] * S)
    return Grid(
        wide(one_hot(net.inputs, params.inputs)),
        wide(one_hot(net.labels, params.outputs)),
        tuple(wide(array) for array in state_arrays(none if net.state is None else net.state)),
        {name: wide(array) for name, array in named_arrays(params).items()},
        np.zeros((T, B, H)) if net.dh is None else wide(net.dh),
        tuple(wide(array) for array in state_arrays(none if net.dstate is None else net.dstate)),
    )


def wide(array: Array) -> Array:
    return np.asarray(array, np.float64)


def one_hot(array: Array, size: int) -> Array:
    return array if array.ndim == 3 else array[..., None] == np.arange(size)


@dataclass
class Rounded:
    """Numbers, the bounds of their errors, and the precision in which one computes with them."""

    value: Array
    e: Array
    u: float

    def rounded(self, result: Array, carried: Array) -> "Rounded":
        """The result of an operation, off by what its operands carry into it and by its own rounding."""
        return Rounded(result, carried + self.u * abs(result), self.u)

    def exactly(self, other: "Number") -> "Rounded":
        return other if isinstance(other, Rounded) else exactly(np.asarray(other, np.float64), self.u)

    def __add__(self, other: "Number") -> "Rounded":
        other = self.exactly(other)
        if not other.value.any() and not other.e.any():  # adding nothing is exact
            return self
        return self.rounded(self.value + other.value, self.e + other.e)

    def __sub__(self, other: "Number") -> "Rounded":
        other = self.exactly(other)
        return self.rounded(self.value - other.value, self.e + other.e)

    def __rsub__(self, other: "Number") -> "Rounded":
        return self.exactly(other) - self

    def __mul__(self, other: "Rounded") -> "Rounded":
        carried = abs(self.value) * other.e + abs(other.value) * self.e
        return self.rounded(self.value * other.value, carried)

    def __getitem__(self, index: Any) -> "Rounded":
        return Rounded(self.value[index], self.e[index], self.u)

    def __len__(self) -> int:
        return len(self.value)

    def __iter__(self) -> Iterator["Rounded"]:
        return (self[n] for n in range(len(self)))


Number: TypeAlias = Rounded | float
States: TypeAlias = tuple[Rounded, ...]


def exactly(value: Array, u: float) -> Rounded:
    return Rounded(value, np.zeros_like(value), u)


def joined(arrays: Any, axis: int) -> Rounded:
    arrays = list(arrays)
    value, e = (np.concatenate([getattr(array, part) for array in arrays], axis) for part in ("value", "e"))
    return Rounded(value, e, arrays[0].u)


def tanh(z: Rounded) -> Rounded:
    h = np.tanh(z.value)
    return Rounded(h, (1 - h**2) * z.e + ELEMENTARY * z.u * abs(h), z.u)


def sigmoid(z: Rounded) -> Rounded:
    s = np.exp(-np.logaddexp(0, -z.value))
    return Rounded(s, s * (1 - s) * z.e + ELEMENTARY * z.u * s, z.u)


def same(kept: Rounded) -> Rounded:
    return kept


def one_minus(s: Rounded) -> Rounded:
    return 1 - s


def tanh_slope(h: Rounded) -> Rounded:
    return 1 - h * h


def sigmoid_slope(s: Rounded) -> Rounded:
    return s * (1 - s)


FORMS = {
    "tanh": tanh,
    "tanh_and_kept": lambda x: (tanh(x),) * 2,
    "tanh_of": same,
    "tanh_slope": tanh_slope,
    "sigmoid": sigmoid,
    "sigmoid_and_kept": lambda x: (sigmoid(x),) * 2,
    "sigmoid_of": same,
    "sigmoid_rest": one_minus,
    "sigmoid_slope": sigmoid_slope,
}
"""Derivatives from the rounded value, as other libraries have them; the definition's lose less (test_saturated.py)."""


def positive(x: Rounded, y: Rounded) -> Rounded:
    """y where x is positive, else 0: for x that no error moves over 0."""
    assert ((x.value == 0) & (x.e == 0) | (abs(x.value) > x.e)).all()
    on = x.value > 0
    return Rounded(np.where(on, y.value, 0), np.where(on, y.e, 0), y.u)


def definition(cell: str) -> SimpleNamespace:
    """The definition's functions of a cell, with these elementary functions in the place of its own."""
    file = cell_of(cell)
    names = {**vars(file), **FORMS, "positive": positive}
    own = [f for f in vars(file).values() if isfunction(f) and f.__module__ == file.__name__]
    return SimpleNamespace(**{f.__name__: FunctionType(f.__code__, names) for f in own})


def product(b: Array, x: Rounded, W: Array) -> Rounded:
    """b + W x for each row x."""
    size = abs(b) + abs(x.value) @ abs(W).T
    return Rounded(b + x.value @ W.T, x.e @ abs(W).T + x.u * (W.shape[1] + 2) * size, x.u)


def transposed(d: Rounded, W: Array) -> Rounded:
    """W^T d for each row d."""
    return product(np.zeros(W.shape[1]), d, W.T)


def by_gate(rows: Rounded, H: int) -> Rounded:
    """(B, G*H) as (G, B, H)."""
    return joined((rows[None, :, start : start + H] for start in range(0, rows.value.shape[1], H)), 0)


class Cell:
    """One step of a net's cell, forward and back, as the definition takes it."""

    def __init__(self, net: Net, w: dict[str, Array]) -> None:
        self.w, self.H, self.about = w, net.params.hidden, CELLS[net.params.cell]
        self.own = definition(net.params.cell)
        late = len(w["W_hh"]) - self.about.gates_after_reset * self.H
        self.before_reset, self.after_reset = (
            slice(late),
            slice(late, None),
        )  # the rows of W_hh that read h_{t-1}, and those of q
        none = np.zeros_like(w["b_h"])
        self.b_a, self.b_u = (w["b_x"], w["b_h"]) if self.about.own_recurrent_bias else (w["b_h"], none)

    def forward(self, x: Rounded, prev: States) -> tuple[States, States]:
        """The states after, and what is saved."""
        a = by_gate(product(self.b_a, x, self.w["W_xh"]), self.H)
        part = by_gate(self.recurrent(prev[0], self.before_reset), self.H)
        if self.about.gates_after_reset:
            late = self.recurrent(self.own.reset(a, part, prev), self.after_reset)
            part = joined([part, by_gate(late, self.H)], 0)
        now: tuple[States, States] = self.own.forward(a, part, prev)
        return now

    def recurrent(self, h: Rounded, rows: slice) -> Rounded:
        return product(self.b_u[rows], h, self.w["W_hh"][rows])

    def backward(self, dstate: States, state: States, saved: States, prev: States) -> tuple[Rounded, Rounded, States]:
        """da and du, (B, G*H), and dJ by the states before."""
        if self.about.gates_after_reset:
            du_late = self.own.reset_backward(dstate, state, saved, prev)
            dstate = (*dstate, transposed(du_late, self.w["W_hh"][self.after_reset]))
        da, du, dprev = self.own.backward(dstate, state, saved, prev)
        da, du = joined(da, 1), joined(du, 1)
        return da, du, (transposed(du[:, self.before_reset], self.w["W_hh"][self.before_reset]) + dprev[0], *dprev[1:])


def bounds(net: Net, u: float) -> dict[str, Array]:
    """The bound on the error of each array of ``bptt``, or of ``backward`` for a loss of the user's own as well."""
    g = grid(net)
    cell, T = Cell(net, g.w), len(g.x)
    states, saved = [tuple(exactly(array, u) for array in g.states)], []
    for t in range(T):
        now, kept = cell.forward(exactly(g.x[t], u), states[t])
        states.append(now)
        saved.append(kept)
    h = joined((now[0][None] for now in states), 0)
    e_loss, dy = softmax_bounds(g, h[1:])

    das, dus, carried = [], [], tuple(exactly(array, u) for array in g.dstates)
    for t in reversed(range(T)):
        dh = transposed(dy[t], g.w["W_hy"]) + carried[0] + exactly(g.dh[t], u)
        da, du, carried = cell.backward((dh, *carried[1:]), states[t + 1], saved[t], states[t])
        das.insert(0, da[None])
        dus.insert(0, du[None])

    da, du = joined(das, 0), joined(dus, 0)
    by_W_hh = outer_bound(du[..., cell.before_reset], h[:-1])
    if cell.about.gates_after_reset:
        q = joined((kept[-1][None] for kept in saved), 0)
        by_W_hh = np.concatenate([by_W_hh, outer_bound(du[..., cell.after_reset], q)])
    return {
        "loss": e_loss,
        "grads.W_xh": outer_bound(da, exactly(g.x, u)),
        "grads.W_hh": by_W_hh,
        "grads.W_hy": outer_bound(dy, h[1:]),
        **({"grads.b_x": row_bound(da)} if cell.about.own_recurrent_bias else {}),
        "grads.b_h": row_bound(du),
        "grads.b_y": row_bound(dy),
        **named_states("dstate", net.params.cell, as_states(array.e for array in carried)),
        "dinputs": transposed(da, g.w["W_xh"]).e,
    }


def outer_bound(D: Rounded, E: Rounded) -> Array:
    """The error of the sum over all steps and sequences of D E^T."""
    d, e_d, e, e_e = (abs(array).reshape(-1, array.shape[-1]) for array in (D.value, D.e, E.value, E.e))
    return e_d.T @ e + d.T @ e_e + D.u * (len(d) + 2) * d.T @ e


def row_bound(D: Rounded) -> Array:
    """The error of the sum over all steps and sequences of D."""
    return outer_bound(D, exactly(np.ones((*D.value.shape[:-1], 1)), D.u))[:, 0]


def softmax_bounds(g: Grid, h: Rounded) -> tuple[Array, Rounded]:
    """The error of J, and dy."""
    V, u = len(g.w["b_y"]), h.u
    y = product(g.w["b_y"], h, g.w["W_hy"])
    y_M = y.value - y.value.max(axis=-1, keepdims=True)
    e_y = y.e + u * abs(y_M)
    s = np.exp(y_M).sum(axis=-1, keepdims=True)
    p = np.exp(y_M) / s
    e_s = (p * e_y).sum(axis=-1, keepdims=True) + u * (V + ELEMENTARY)  # relative to s
    e_p = p * (e_y + e_s + u * (ELEMENTARY + 2))
    labelled = g.l.any(axis=-1, keepdims=True)
    terms = np.where(g.l == 0, 0, np.log(s) - y_M)
    e_terms = e_y + e_s + u * (ELEMENTARY * abs(np.log(s)) + (V + len(g.x) + 4) * abs(terms))
    return (g.l * e_terms).sum(), Rounded(labelled * (p - g.l), labelled * (e_p + u * abs(p - g.l)), u)
