"""Tiles: what a product does in registers, written in LLVM's instructions, and the panels that it reads.

A matrix W (N, K) is read as panels (N/LANES, K, LANES), LANES outputs side by side for each k. What products are added
to has as many columns as its panels have lanes; those past N hold nothing of meaning.
"""

import itertools
from typing import Any, NamedTuple, TypeAlias

from llvmlite import binding, ir
from numba import types

from ..types import Array, Indices
from . import cgutils, compiled, intrinsic
from .memory import empty, view

pointer_to: Any = types.CPointer
tuple_of: Any = types.Tuple

Bare: TypeAlias = tuple[Any, int, int]
"""An array as ``bare`` returns it."""

_FEATURES = binding.get_host_cpu_features()
# A tile's sums stay in registers: 6 x 4 of the 32 vector registers of AVX-512 and of NEON, else 4 x 2 of 16.
# Narrower vectors cost the widest machines speed, wider ones are split by LLVM into several registers.
VECTOR_BYTES = 64 if _FEATURES.get("avx512f") else 32 if _FEATURES.get("avx") else 16
WIDE = bool(_FEATURES.get("avx512f") or _FEATURES.get("neon"))


@compiled
def lanes(size: int) -> int:
    """Return how many numbers of so many bytes a vector holds."""
    return VECTOR_BYTES // size


@compiled
def padded(N: int, size: int) -> int:
    """Return N rounded up to whole vectors of numbers of so many bytes."""
    return -(-N // lanes(size)) * lanes(size)


def whole_vectors(N: int, dtype: Any) -> int:
    """Return N rounded up to whole vectors of a dtype, like ``padded`` in compiled code."""
    L: int = VECTOR_BYTES // dtype.itemsize
    return -(-N // L) * L


@compiled
def panels_in(memory: Array, start: int, N: int, K: int) -> Array:
    """Return the place for the panels of a matrix (N, K) in a vector, from its element ``start`` on."""
    L = lanes(memory.itemsize)
    panels: Array = view(memory, start, (padded(N, memory.itemsize) // L, K, L))
    return panels


@compiled
def fill_panels(out: Array, W: Array) -> None:
    """Fill the panels of W (N, K): ``out[p, k, l] = W[p * LANES + l, k]``, +0 past N."""
    N, K = W.shape
    L = lanes(W.itemsize)
    whole = N // L
    for p in range(whole):  # of L outputs, a number that LLVM knows: it reads and writes vectors
        for k in range(K):
            for lane in range(L):
                out[p, k, lane] = W[p * L + lane, k]
    if whole < len(out):
        for k in range(K):
            for lane in range(L):
                out[whole, k, lane] = W[whole * L + lane, k] if whole * L + lane < N else 0


@compiled
def row_panels(E: Array, index: Indices, each: int, place: int, J: int) -> Array:
    """Return the panels of E^T for the rows ``index[k] * each + place`` of E (..., J or more)."""
    L, R = lanes(E.itemsize), len(index)
    out: Array = empty((padded(J, E.itemsize) // L, R, L), E)
    whole = J // L
    for k in range(R):
        r = index[k] * each + place
        for p in range(whole):
            for lane in range(L):
                out[p, k, lane] = E[r, p * L + lane]
        if whole < len(out):
            for lane in range(L):
                out[whole, k, lane] = E[r, whole * L + lane] if whole * L + lane < J else 0
    return out


@intrinsic()
def bare(_: Any, array: Any) -> Any:
    """Return where an array begins, and its first two strides: it is passed on without counting references to it.

    Counting takes longer than a small tile. Whoever holds this must hold the array, too.
    """
    kind = tuple_of([pointer_to(array.dtype)] + [types.intp] * 2)

    def generate(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
        whole = context.make_array(array)(context, builder, arguments[0])
        return context.make_tuple(builder, kind, [whole.data, *cgutils.unpack_tuple(builder, whole.strides)[:2]])

    return kind(array), generate


def element(builder: Any, array: Any, i: Any, j: Any, kind: Any) -> Any:
    """Return a pointer of a kind to the element [i, j] of a bare array."""
    start, row, column = array
    offset = builder.add(builder.mul(i, row), builder.mul(j, column))
    return cgutils.pointer_add(builder, start, offset, kind)


def broadcast(builder: Any, number: Any, vector: Any) -> Any:
    """Return a vector of a number in all lanes."""
    lane, index = ir.IntType(32), ir.VectorType(ir.IntType(32), vector.count)
    first = builder.insert_element(ir.Constant(vector, ir.Undefined), number, ir.Constant(lane, 0))
    return builder.shuffle_vector(first, first, ir.Constant(index, None))


def prefetch(builder: Any, pointer: Any) -> None:
    """Prefetch the line of memory at a pointer into the caches."""
    byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
    kind = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
    function = builder.module.declare_intrinsic("llvm.prefetch", [byte], kind)
    to_read, close, data = (ir.Constant(number, n) for n in (0, 3, 1))
    builder.call(function, [builder.bitcast(pointer, byte), to_read, close, data])


class Block(NamedTuple):
    """A block of all sums of a product: ``out[r, n] += sum of A[r, k] W[n, k]`` over k from ``start`` to ``end``.

    out (R, N), A (R, K) and W, panels, are bare. The chains continue from ``out`` if the block is the first; those of
    a later block start from +0 and are then added. last: whether end is K. far: whether out is to be prefetched.
    """

    out: Bare
    A: Bare
    W: Bare
    start: int
    end: int
    first: bool
    last: bool
    far: bool


def panel_ahead(builder: Any, block: Any, nth: Any, p: Any, vectors: int, kind: Any) -> Any:
    """Return a pointer to what the nth tile prefetches: a panel of W's next block; once each is, one that is near."""
    W, start, end, last = block
    width, zero = ir.Constant(start.type, vectors), ir.Constant(start.type, 0)
    p_next = builder.add(builder.select(last, builder.add(p, width), p), nth)
    k_next = builder.select(last, zero, end)
    is_left = builder.icmp_signed("<", nth, width)
    return builder.select(is_left, element(builder, W, p_next, k_next, kind), element(builder, W, p, start, kind))


@intrinsic(prefer_literal=True)
def tile(_: Any, block: Any, r: Any, p: Any, rows: Any, vectors: Any) -> Any:
    """Add a block of the sums for some rows from r on and some panels from p on.

    ``rows`` and ``vectors`` are literal: their product is the number of chains of fma that run side by side in
    registers. Each of the first tiles prefetches a panel of the block of W after this one.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        builder.function.attributes.add("noinline")  # one copy of the tiles, however many the callers
        builder.function.attributes.add("optsize")  # LLVM would unroll the loop, and run out of registers
        fields = cgutils.unpack_tuple(builder, arguments[0])
        out, A, W = (cgutils.unpack_tuple(builder, bare) for bare in fields[:3])
        start, end, first, last, far = fields[3:]
        r, p = arguments[1:3]
        numbers = Vectors(context, builder, block.types[0].types[0].dtype)
        columns = [builder.add(p, ir.Constant(p.type, j)) for j in range(vectors.literal_value)]
        lines = [builder.add(r, ir.Constant(r.type, i)) for i in range(rows.literal_value)]
        first_lanes = [builder.mul(column, ir.Constant(p.type, numbers.size)) for column in columns]
        places = [numbers.at(out, line, lane) for line in lines for lane in first_lanes]
        with builder.if_then(far):
            for place in places:
                prefetch(builder, place)
        sums = [numbers.variable(builder.select(first, numbers.load(place), numbers.zero)) for place in places]
        nth = builder.udiv(r, ir.Constant(r.type, rows.literal_value))
        ahead = panel_ahead(builder, (W, start, end, last), nth, p, vectors.literal_value, numbers.pointer)

        def add_term(n: Any) -> None:
            prefetch(builder, builder.gep(ahead, [n]))
            k = builder.add(start, n)
            W_k = [numbers.load(numbers.at(W, column, k)) for column in columns]
            A_k = [numbers.broadcast(element(builder, A, line, k, numbers.real.as_pointer())) for line in lines]
            for (a, w), total in zip(itertools.product(A_k, W_k), sums, strict=True):
                builder.store(numbers.fma(a, w, builder.load(total)), total)

        count, one = builder.sub(end, start), ir.Constant(start.type, 1)
        with cgutils.for_range(builder, builder.lshr(count, one)) as loop:  # two terms a turn
            n = builder.shl(loop.index, one)
            add_term(n)
            add_term(builder.add(n, one))
        with builder.if_then(builder.trunc(count, ir.IntType(1))):
            add_term(builder.sub(count, one))
        for place, total in zip(places, sums, strict=True):
            part = builder.load(total)
            numbers.store(builder.select(first, part, builder.fadd(numbers.load(place), part)), place)
        return context.get_dummy_value()

    return types.none(block, r, p, rows, vectors), generate


class Vectors:
    """Makes vectors of numbers of a dtype, and the instructions on them."""

    def __init__(self, context: Any, builder: Any, dtype: Any) -> None:
        self.builder, self.real = builder, context.get_data_type(dtype)
        self.bytes = context.get_abi_sizeof(self.real)
        self.size = VECTOR_BYTES // self.bytes
        self.vector = ir.VectorType(self.real, self.size)
        self.pointer = self.vector.as_pointer()
        self.zero = ir.Constant(self.vector, None)
        name = f"llvm.fma.v{self.size}f{dtype.bitwidth}"
        kind = ir.FunctionType(self.vector, [self.vector] * 3)
        self._fma = cgutils.get_or_insert_function(builder.module, kind, name)

    def at(self, array: Any, i: Any, j: Any) -> Any:
        """Return a pointer to the vector that begins with the element [i, j] of a bare array."""
        return element(self.builder, array, i, j, self.pointer)

    def load(self, pointer: Any) -> Any:
        """Return the vector at a pointer."""
        return self.builder.load(pointer, align=self.bytes)

    def store(self, vector: Any, pointer: Any) -> None:
        """Store a vector at a pointer."""
        self.builder.store(vector, pointer, align=self.bytes)

    def variable(self, vector: Any) -> Any:
        """Return a variable with this value, which LLVM keeps in a register."""
        place = cgutils.alloca_once(self.builder, self.vector)
        self.builder.store(vector, place)
        return place

    def broadcast(self, pointer: Any) -> Any:
        """Return a vector of the number at a pointer in all lanes."""
        return broadcast(self.builder, self.builder.load(pointer), self.vector)

    def fma(self, a: Any, b: Any, c: Any) -> Any:
        """Return ``a * b + c`` rounded once."""
        return self.builder.call(self._fma, [a, b, c])
