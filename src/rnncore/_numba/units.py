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
from ..types import Array, Indices
from . import compiled, inlined, intrinsic

tuple_of: Any = types.UniTuple

READ, WRITTEN = 0, range(1, 17)  # names of places, for LLVM


@intrinsic(prefer_literal=True)
def at(_: Any, array: Any, i: Any, j: Any, stride: Any, count: Any) -> Any:
    """The numbers ``array[i, j]``, ``array[i, j + stride]`` and so on, as many as the literal ``count`` says."""
    numbers = tuple_of(array.dtype, count.literal_value)

    def generate(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
        loads = [builder.load(p) for p in pointers(context, builder, array, arguments, count.literal_value)]
        for load in loads:
            load.set_metadata("alias.scope", places(builder, [READ]))
        return context.make_tuple(builder, numbers, loads)

    return numbers(array, i, j, stride, count), generate


@intrinsic(prefer_literal=True)
def put(_: Any, array: Any, i: Any, j: Any, stride: Any, numbers: Any, place: Any) -> Any:
    """``array[i, j], array[i, j + stride], ... = numbers``.

    Nothing of this is read by ``at`` or overlaps another ``put``. LLVM, which could not find that out, is told: a
    number has its place, counted from the literal ``place``, and no place is in two.
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
    """To the numbers of an array (R, N), in C's order, at [i, j] and ``stride`` further on each."""
    array = context.make_array(kind)(context, builder, arguments[0])
    i, j, stride = arguments[1:4]
    first = builder.add(builder.mul(i, builder.extract_value(array.shape, 1)), j)
    offsets = [builder.add(first, builder.mul(stride, ir.Constant(stride.type, n))) for n in range(count)]
    return [builder.gep(array.data, [offset]) for offset in offsets]


def places(builder: Any, numbers: list[int]) -> Any:
    """LLVM's word for them."""
    domain = builder.module.add_metadata(["rnncore"])
    return builder.module.add_metadata([builder.module.add_metadata([str(n), domain]) for n in numbers])


class Forward(NamedTuple):
    """A step forward of R sequences: which rows and sequences it is, what it has, and where the results go.

    The input part a and the recurrent part u (R, G*H), and the states before, ``last`` (S*B, H). h (T*B, H) and the
    tape; q (R, H) is what a cell with late gates makes of h first.
    """

    rows: Indices
    sequences: Indices
    a: Array
    u: Array
    last: Array
    q: Array
    h: Array
    tape: Array


class Backward(NamedTuple):
    """A step back of R sequences, whose rows are those of a block from ``first`` on.

    dJ by the states after, ``carried`` (S*B, H), and by q (R, H); what the way forward left, and of the block the
    states before (S*rows, H). da and du (rows, G*H), which are one array unless the recurrent part is apart, and dprev
    (S*B, H), dJ by the states before; until that is known, h's place has du of a late gate.
    """

    rows: Indices
    sequences: Indices
    first: int
    carried: Array
    dq: Array
    h: Array
    tape: Array
    before: Array
    da: Array
    du: Array
    dprev: Array


def forward_loop(cell: Cell, file: Any) -> Any:
    """``forward``: h and the tape."""
    G, S, K, forward = len(cell.gates), len(cell.states), len(cell.states) - 1 + len(cell.saved), file.forward

    @compiled
    def loop(step: Forward) -> None:
        H, width, state = step.h.shape[1], step.tape.shape[1], step.last.size // S
        for i in range(len(step.rows)):
            r, b = step.rows[i], step.sequences[i]
            for j in range(H):
                now, saved = forward(at(step.a, i, j, H, G), at(step.u, i, j, H, G), at(step.last, b, j, state, S))
                put(step.h, r, j, 0, now[:1], 1)
                put(step.tape, r * K, j, width, now[1:] + saved, 2)

    return loop


def reset_loop(cell: Cell, file: Any) -> Any:
    """``reset``: q."""
    G, S, reset = len(cell.gates) - cell.late, len(cell.states), file.reset

    @compiled
    def loop(step: Forward) -> None:
        H, state = step.h.shape[1], step.last.size // S
        for i in range(len(step.rows)):
            b = step.sequences[i]
            for j in range(H):
                q = reset(at(step.a, i, j, H, G), at(step.u, i, j, H, G), at(step.last, b, j, state, S))
                put(step.q, i, j, 0, (q,), 1)

    return loop


def reset_backward_loop(cell: Cell, file: Any) -> Any:
    """``reset_backward``: du of the late gate, in dprev."""
    S, C, K, backward = len(cell.states), len(cell.states) - 1, len(cell.saved), file.reset_backward

    @compiled
    def loop(step: Backward) -> None:
        H, width, state, block = step.h.shape[1], step.tape.shape[1], step.carried.size // S, step.before.size // S
        for i in range(len(step.rows)):
            r, b, k = step.rows[i], step.sequences[i], step.rows[i] * (C + K)
            for j in range(H):
                now = at(step.h, r, j, 0, 1) + at(step.tape, k, j, width, C)
                saved, prev = at(step.tape, k + C, j, width, K), at(step.before, step.first + i, j, block, S)
                put(step.dprev, b, j, 0, (backward(at(step.carried, b, j, state, S), now, saved, prev),), 1)

    return loop


def backward_loop(cell: Cell, file: Any) -> Any:
    """``backward``: da, du if it is another array, and dprev."""
    G, S, C, K, backward = len(cell.gates), len(cell.states), len(cell.states) - 1, len(cell.saved), file.backward
    late, apart, du_place, dprev_place = cell.late, cell.apart, 1 + G, 1 + 2 * G

    @compiled
    def loop(step: Backward) -> None:
        H, width, state, block = step.h.shape[1], step.tape.shape[1], step.carried.size // S, step.before.size // S
        for i in range(len(step.rows)):
            n, r, b, k = step.first + i, step.rows[i], step.sequences[i], step.rows[i] * (C + K)
            for j in range(H):
                dstate = at(step.carried, b, j, state, S) + at(step.dq, i, j, 0, late)
                now = at(step.h, r, j, 0, 1) + at(step.tape, k, j, width, C)
                saved, prev = at(step.tape, k + C, j, width, K), at(step.before, n, j, block, S)
                da, du, dprev = backward(dstate, now, saved, prev)
                put(step.da, n, j, H, da, 1)
                if apart:
                    put(step.du, n, j, H, du, du_place)
                put(step.dprev, b, j, state, dprev, dprev_place)

    return loop


def of_every_cell(name: str, loop: Callable[[Cell, Any], Any]) -> Any:
    """A function of a cell's number and a step: the loop of each cell whose file has a function of that name."""
    chosen: Any = nothing
    for number, cell in reversed(list(enumerate(CELLS))):
        file = import_module(f".{cell}", __package__)
        if hasattr(file, name):
            chosen = either(number, loop(CELLS[cell], file), chosen)
    return chosen


@inlined
def nothing(cell: int, step: Any) -> None:
    """There is no such cell."""


def either(number: int, loop: Any, others: Any) -> Any:
    """The loop if the cell is the one of this number, else what others do."""

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
