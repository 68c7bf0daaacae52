"""How far rounding may carry what a stack of layers gives, and its gradients: ``rounding`` for layers and directions.

Sequences are taken one by one, as arrays (T_b, 1, ...), since no number of one depends on another but in the sums over
all steps.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
from rounding import Array, Cell, Rounded, States, exactly, joined, outer_bound, row_bound, sigmoid, tanh, transposed

Weights = dict[str, Array]
"""W_xh, W_hh, b_h and b_x of one layer in one direction."""


@dataclass
class Stack:
    """A batch for a stack: the parts' weights in order, sequences x (T_b, X), states and their gradients, a tuple of
    (P, B, H), masks between layers [l][b] (T_b, D*H), and dh (T_b, D*H) of each sequence."""

    cell: str
    directions: int
    parts: Sequence[Weights]
    x: Sequence[Array]
    states: tuple[Array, ...]
    masks: Sequence[Sequence[Array]]
    dh: Sequence[Array]
    dstates: tuple[Array, ...]

    @property
    def hidden(self) -> int:
        return self.parts[0]["W_hh"].shape[1]


class GruOfTorch:
    """PyTorch's form of the cell: n + z (h - n), and what differentiation makes of it."""

    @staticmethod
    def forward(a: Rounded, u: Rounded, prev: States) -> tuple[States, States]:
        (a_r, a_z, a_n), (u_r, u_z, u_n), (h,) = a, u, prev
        r, z = sigmoid(a_r + u_r), sigmoid(a_z + u_z)
        n = tanh(a_n + r * u_n)
        return ((h - n) * z + n,), (r, z, n, u_n)

    @staticmethod
    def backward(dstate: States, state: States, saved: States, prev: States) -> tuple[Any, Any, States]:
        (dh,), (r, z, n, u_n), (h,) = dstate, saved, prev
        da_n = (dh - dh * z) * (1 - n * n)
        da_z = (dh * (h - n)) * (z * (1 - z))
        da_r = (da_n * u_n) * (r * (1 - r))
        return (da_r, da_z, da_n), (da_r, da_z, da_n * r), (dh * z,)


@dataclass
class Pass:
    """One sequence through one part, in the order of its own steps."""

    x: Rounded
    states: list[States]
    saved: list[States]

    @property
    def h(self) -> Rounded:
        return joined((state[0][None] for state in self.states), 0)


def part_forward(cell: Cell, x: Rounded, first: States) -> Pass:
    states, saved = [first], []
    for x_t in x:
        now, kept = cell.forward(x_t, states[-1])
        states.append(now)
        saved.append(kept)
    return Pass(x, states, saved)


def part_backward(cell: Cell, done: Pass, dh: Rounded, last: States) -> tuple[Rounded, Rounded, Rounded, States]:
    """da and du, dx, and dJ by the first states."""
    das, dus, carried = [], [], last
    for t in reversed(range(len(dh))):
        now = (dh[t] + carried[0], *carried[1:])
        da, du, carried = cell.backward(now, done.states[t + 1], done.saved[t], done.states[t])
        das.insert(0, da[None])
        dus.insert(0, du[None])
    da = joined(das, 0)
    dx = joined((transposed(da_t, cell.w["W_xh"])[None] for da_t in da), 0)
    return da, joined(dus, 0), dx, carried


def stack_bounds(stack: Stack, u: float, form: Any = None) -> dict[str, Any]:
    """The bounds on the errors of output and dx (lists), of the last states and dstates (P, B, H), and of the weights.

    form: the cell in another form than the definition's.
    """
    known: Any = SimpleNamespace(params=SimpleNamespace(hidden=stack.hidden, cell=stack.cell))
    cells = [Cell(known, weights) for weights in stack.parts]
    for cell in cells:
        cell.own = form or cell.own
    shape = (len(cells), len(stack.x), stack.hidden)
    bounds: dict[str, Any] = {"output": [], "dx": []}
    bounds |= {name: [np.zeros(shape) for _ in stack.states] for name in ("state", "dstate")}
    terms: list[list[tuple[Rounded, Rounded, Rounded, Rounded]]] = [[] for _ in cells]
    for b in range(len(stack.x)):
        one_sequence(stack, cells, b, u, bounds, terms)
    bounds["weights"] = [weight_bounds(of_part) for of_part in terms]
    return bounds


def one_sequence(stack: Stack, cells: list[Cell], b: int, u: float, bounds: Any, terms: Any) -> None:
    D, H, layers = stack.directions, stack.hidden, len(cells) // stack.directions
    turned: list[Callable[[Rounded], Rounded]] = [lambda rows: rows, lambda rows: rows[::-1]]
    x, passes = exactly(stack.x[b][:, None], u), []
    for layer in range(layers):
        for d in range(D):
            part = layer * D + d
            first = tuple(exactly(state[part, b][None], u) for state in stack.states)
            passes.append(part_forward(cells[part], turned[d](x), first))
            for state, last in zip(bounds["state"], passes[-1].states[-1], strict=True):
                state[part, b] = last.e[0]
        given = joined((turned[d](passes[layer * D + d].h[1:]) for d in range(D)), 2)
        x = given * exactly(stack.masks[layer][b][:, None], u) if stack.masks and layer < layers - 1 else given
    bounds["output"].append(given.e[:, 0])
    dh = exactly(stack.dh[b][:, None], u)
    for layer in reversed(range(layers)):
        dxs = []
        for d in range(D):
            part = layer * D + d
            last = tuple(exactly(dstate[part, b][None], u) for dstate in stack.dstates)
            own = turned[d](dh[..., d * H : (d + 1) * H])
            da, du, dx, carried = part_backward(cells[part], passes[part], own, last)
            terms[part].append((da, du, passes[part].x, passes[part].h[:-1]))
            dxs.append(turned[d](dx))
            for dstate, dfirst in zip(bounds["dstate"], carried, strict=True):
                dstate[part, b] = dfirst.e[0]
        dx = dxs[0] if D == 1 else dxs[0] + dxs[1]
        dh = dx * exactly(stack.masks[layer - 1][b][:, None], u) if stack.masks and layer else dx
    bounds["dx"].append(dx.e[:, 0])


def weight_bounds(terms: list[tuple[Rounded, Rounded, Rounded, Rounded]]) -> dict[str, Array]:
    """Of the weights of one part, from da, du, x and the states before of each sequence."""
    da, du, x, before = (joined(column, 0) for column in zip(*terms, strict=True))
    return {
        "W_xh": outer_bound(da, x),
        "W_hh": outer_bound(du, before),
        "b_x": row_bound(da),
        "b_h": row_bound(du),
    }
