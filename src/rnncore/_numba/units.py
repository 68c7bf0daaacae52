"""The loops over units: what a cell's file says of one unit is done for all units of a step.

There the equations are between numbers, in tuples of one for each gate, state or saved row, as the definition has
arrays. Here the numbers are read from arrays and written to others, in loops that LLVM turns into vectors. Each cell
has loops of its own; which of them runs is chosen at run time, so that what does not depend on the cell is compiled
once.
"""

from collections.abc import Callable
from importlib import import_module
from typing import Any, NamedTuple

from llvmlite import ir
from numba import types

from ..cells import CELLS, Cell
from ..types import Array
from . import compiled, inlined, intrinsic

tuple_of: Any = types.UniTuple

READ, WRITTEN = 0, range(1, 17)  # names of places, for LLVM


@intrinsic(prefer_literal=True)
def at(_: Any, array: Any, i: Any, j: Any, stride: Any, count: Any) -> Any:
    """Return the numbers ``array[i, j]``, ``array[i, j + stride]`` and so on, as many as the literal ``count`` says."""
    numbers = tuple_of(array.dtype, count.literal_value)

    def generate(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
        loads = [builder.load(p) for p in pointers(context, builder, array, arguments, count.literal_value)]
        for load in loads:
            load.set_metadata("alias.scope", places(builder, [READ]))
        return context.make_tuple(builder, numbers, loads)

    return numbers(array, i, j, stride, count), generate


@intrinsic(prefer_literal=True)
def put(_: Any, array: Any, i: Any, j: Any, stride: Any, numbers: Any, place: Any) -> Any:
    """Store ``array[i, j], array[i, j + stride], ... = numbers``.

    Nothing of this is read by ``at`` or overlaps another ``put``. LLVM cannot find that out, so it is told: each number
    has a place of its own, counted from the literal ``place``.
    """

    def generate(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
        for n, pointer in enumerate(pointers(context, builder, array, arguments, len(numbers))):
            number = builder.extract_value(arguments[4], n)
            store = builder.store(context.cast(builder, number, numbers[n], array.dtype), pointer)
            own = place.literal_value + n
            store.set_metadata("alias.scope", places(builder, [own]))
            store.set_metadata("noalias", places(builder, [READ, *(other for other in WRITTEN if other != own)]))
        return context.get_dummy_value()

    return types.none(array, i, j, stride, numbers, place), generate


def pointers(context: Any, builder: Any, kind: Any, arguments: Any, count: int) -> list[Any]:
    """Return pointers to the numbers of an array (R, N), in C's order, at [i, j] and ``stride`` further on each."""
    array = context.make_array(kind)(context, builder, arguments[0])
    i, j, stride = arguments[1:4]
    first = builder.add(builder.mul(i, builder.extract_value(array.shape, 1)), j)
    offsets = [builder.add(first, builder.mul(stride, ir.Constant(stride.type, n))) for n in range(count)]
    return [builder.gep(array.data, [offset]) for offset in offsets]


def places(builder: Any, numbers: list[int]) -> Any:
    """Return LLVM's metadata for places of these numbers."""
    domain = builder.module.add_metadata(["rnncore"])
    return builder.module.add_metadata([builder.module.add_metadata([str(n), domain]) for n in numbers])


class Before(NamedTuple):
    """Says where the states before a step are: in rows from ``row`` on of h (rows, H), and of a tape the others."""

    h: Array
    tape: Array
    row: int


class Forward(NamedTuple):
    """Describes a step forward of R sequences: what it reads, and where the results go.

    The input part a and the recurrent part u (R, G*H), of which a is read from the row ``first`` on. h and
    the tape, written from the row ``row`` on. q (R, H) is what a cell with gates after the reset makes of h first.
    """

    R: int
    first: int
    row: int
    a: Array
    u: Array
    before: Before
    q: Array
    h: Array
    tape: Array


class Backward(NamedTuple):
    """Describes a step back of R sequences: what it reads, and where the results go.

    h and the tape, read from the row ``row`` on. The gradients with respect to the states after the step, ``carried``
    (S*B, H), and with respect to q (R, H). da and du (rows, G*H), written from the row ``first`` on; they are one
    array of a cell with one bias. dprev (S*B, H), with respect to the states before; until that is known, the place of
    h holds du of the gate after the reset.
    """

    R: int
    first: int
    row: int
    before: Before
    h: Array
    tape: Array
    carried: Array
    dq: Array
    da: Array
    du: Array
    dprev: Array


def forward_loop(cell: Cell, file: Any) -> Any:
    """Return the loop of ``forward``, which writes h and the tape."""
    G, C, K, forward = len(cell.gates), len(cell.states) - 1, cell.kept, file.forward

    def loop(step: Forward) -> None:
        H, width, before = step.h.shape[1], step.tape.shape[1], step.before
        for i in range(step.R):
            n, r, b = step.first + i, step.row + i, before.row + i
            for j in range(H):
                prev = at(before.h, b, j, 0, 1) + at(before.tape, b * K, j, width, C)
                now, saved = forward(at(step.a, n, j, H, G), at(step.u, i, j, H, G), prev)
                put(step.h, r, j, 0, now[:1], 1)
                put(step.tape, r * K, j, width, now[1:] + saved, 2)

    return loop


def reset_loop(cell: Cell, file: Any) -> Any:
    """Return the loop of ``reset``, which writes q."""
    G, C, K, reset = len(cell.gates) - cell.gates_after_reset, len(cell.states) - 1, cell.kept, file.reset

    def loop(step: Forward) -> None:
        H, width, before = step.h.shape[1], step.tape.shape[1], step.before
        for i in range(step.R):
            n, b = step.first + i, before.row + i
            for j in range(H):
                prev = at(before.h, b, j, 0, 1) + at(before.tape, b * K, j, width, C)
                q = reset(at(step.a, n, j, H, G), at(step.u, i, j, H, G), prev)
                put(step.q, i, j, 0, (q,), 1)

    return loop


def reset_backward_loop(cell: Cell, file: Any) -> Any:
    """Return the loop of ``reset_backward``, which writes du of the gate after the reset into dprev."""
    S, C, K, backward = len(cell.states), len(cell.states) - 1, cell.kept, file.reset_backward
    count = len(cell.saved)

    def loop(step: Backward) -> None:
        H, width, state, before = step.h.shape[1], step.tape.shape[1], step.carried.size // S, step.before
        for i in range(step.R):
            r, b = step.row + i, before.row + i
            for j in range(H):
                now = at(step.h, r, j, 0, 1) + at(step.tape, r * K, j, width, C)
                saved = at(step.tape, r * K + C, j, width, count)
                prev = at(before.h, b, j, 0, 1) + at(before.tape, b * K, j, width, C)
                put(step.dprev, i, j, 0, (backward(at(step.carried, i, j, state, S), now, saved, prev),), 1)

    return loop


def backward_loop(cell: Cell, file: Any) -> Any:
    """Return the loop of ``backward``, which writes da, du if it is another array, and dprev."""
    G, S, C, K, backward = len(cell.gates), len(cell.states), len(cell.states) - 1, cell.kept, file.backward
    count = len(cell.saved)
    after_reset, two_biases, du_place, dprev_place = cell.gates_after_reset, cell.own_recurrent_bias, 1 + G, 1 + 2 * G

    def loop(step: Backward) -> None:
        H, width, state, before = step.h.shape[1], step.tape.shape[1], step.carried.size // S, step.before
        for i in range(step.R):
            n, r, b = step.first + i, step.row + i, before.row + i
            for j in range(H):
                dstate = at(step.carried, i, j, state, S) + at(step.dq, i, j, 0, after_reset)
                now = at(step.h, r, j, 0, 1) + at(step.tape, r * K, j, width, C)
                saved = at(step.tape, r * K + C, j, width, count)
                prev = at(before.h, b, j, 0, 1) + at(before.tape, b * K, j, width, C)
                da, du, dprev = backward(dstate, now, saved, prev)
                put(step.da, n, j, H, da, 1)
                if two_biases:
                    put(step.du, n, j, H, du, du_place)
                put(step.dprev, i, j, state, dprev, dprev_place)

    return loop


def of_every_cell(name: str, loop: Callable[[Cell, Any], Any]) -> Any:
    """Return a function of a cell's number and a step: the loop of each cell whose file has a function of that name."""
    chosen: Any = nothing
    for number, cell in reversed(list(enumerate(CELLS))):
        file = import_module(f".{cell}", __package__)
        if hasattr(file, name):
            own = loop(CELLS[cell], file)
            own.__qualname__ = f"{name}_{cell}"
            chosen = either(number, compiled(own), chosen)
    return chosen


@inlined
def nothing(cell: int, step: Any) -> None:
    """Do nothing: there is no such cell."""


def either(number: int, loop: Any, others: Any) -> Any:
    """Return a function that runs the loop if the cell is the one of this number, else ``others``."""

    @inlined
    def choice(cell: int, step: Any) -> None:
        if cell == number:
            loop(step)
        else:
            others(cell, step)

    return choice


forward = of_every_cell("forward", forward_loop)
reset = of_every_cell("reset", reset_loop)
reset_backward = of_every_cell("reset_backward", reset_backward_loop)
backward = of_every_cell("backward", backward_loop)
