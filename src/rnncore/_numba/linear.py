"""Products in the one order of additions that every column keeps.

A sum of more than ``BLOCK`` terms is a sum of blocks, each one chain of fma: rounding errors then grow
with the block and not with the layer. Outputs n lie side by side in the lanes of a vector and the sum
over k runs in time, so that the width of the vectors is never seen in the result.

A matrix W (N, K) is read as panels (N/LANES, K, LANES), LANES outputs side by side for each k. What
products are added to has as many columns as its panels have lanes; those past N hold nothing of meaning.
"""

from typing import Any, TypeAlias

import numpy as np
from llvmlite import binding, ir
from numba import types

from ..types import Array, Indices
from . import cgutils, compiled, intrinsic

pointer_to: Any = types.CPointer
tuple_of: Any = types.Tuple

BLOCK = 128

Bare: TypeAlias = tuple[Any, int, int]
"""An array as ``bare`` gives it."""

# The number to add when nothing is to be added: x + -0 is x for every x, and -0 + +0 would not be -0.
NOTHING = -0.0

_FEATURES = binding.get_host_cpu_features()
# A tile's sums stay in registers: 6 x 4 of the 32 vector registers of AVX-512 and of NEON, else 4 x 2 of 16.
# Narrower vectors cost the widest machines speed, wider ones are split by LLVM into several registers.
VECTOR_BYTES = 64 if _FEATURES.get("avx512f") else 32 if _FEATURES.get("avx") else 16
WIDE = bool(_FEATURES.get("avx512f") or _FEATURES.get("neon"))


@compiled
def lanes(size: int) -> int:
    """How many numbers of so many bytes a vector holds."""
    return VECTOR_BYTES // size


@compiled
def padded(N: int, size: int) -> int:
    """N rounded up to whole vectors of numbers of so many bytes."""
    return -(-N // lanes(size)) * lanes(size)


@compiled
def panels(W: Array) -> Array:
    """W (N, K) as panels (N/LANES, K, LANES): ``panels[p, k, l] = W[p * LANES + l, k]``, +0 past N."""
    N, K = W.shape
    L = lanes(W.itemsize)
    out = np.zeros((padded(N, W.itemsize) // L, K, L), W.dtype)
    whole = N // L
    for p in range(whole):  # of L outputs, a number that LLVM knows: it reads and writes vectors
        for k in range(K):
            for lane in range(L):
                out[p, k, lane] = W[p * L + lane, k]
    for n in range(whole * L, N):
        for k in range(K):
            out[whole, k, n - whole * L] = W[n, k]
    return out


@intrinsic()
def bare(_: Any, array: Any) -> Any:
    """Where an array begins, and its first two strides: what is passed on without counting who refers to the array.

    Counting costs a small tile dear. Whoever holds this must hold the array, too.
    """
    kind = tuple_of([pointer_to(array.dtype)] + [types.intp] * 2)

    def generate(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
        whole = context.make_array(array)(context, builder, arguments[0])
        return context.make_tuple(builder, kind, [whole.data, *cgutils.unpack_tuple(builder, whole.strides)[:2]])

    return kind(array), generate


def element(builder: Any, array: Any, i: Any, j: Any, kind: Any) -> Any:
    """A pointer of a kind to the element [i, j] of a bare array."""
    start, row, column = array
    offset = builder.add(builder.mul(i, row), builder.mul(j, column))
    return cgutils.pointer_add(builder, start, offset, kind)


def broadcast(builder: Any, number: Any, vector: Any) -> Any:
    """A vector of a number in all lanes."""
    lane, index = ir.IntType(32), ir.VectorType(ir.IntType(32), vector.count)
    first = builder.insert_element(ir.Constant(vector, ir.Undefined), number, ir.Constant(lane, 0))
    return builder.shuffle_vector(first, first, ir.Constant(index, None))


def ask_for(builder: Any, pointer: Any) -> None:
    """Asks for the line of memory at a pointer to be brought into the caches."""
    byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
    kind = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
    prefetch = builder.module.declare_intrinsic("llvm.prefetch", [byte], kind)
    to_read, close, data = (ir.Constant(number, n) for n in (0, 3, 1))
    builder.call(prefetch, [builder.bitcast(pointer, byte), to_read, close, data])


def panel_ahead(builder: Any, w: Any, nth: Any, p: Any, k: Any, is_last: Any, vectors: int, kind: Any) -> Any:
    """What the nth tile asks for: a panel of W's next block, or, once each is asked for, one of this, which is near."""
    width, block, zero = (ir.Constant(k.type, n) for n in (vectors, BLOCK, 0))
    p_next = builder.add(builder.select(is_last, builder.add(p, width), p), nth)
    k_next = builder.select(is_last, zero, builder.add(k, block))
    is_left = builder.icmp_signed("<", nth, width)
    return builder.select(is_left, element(builder, w, p_next, k_next, kind), element(builder, w, p, k, kind))


@intrinsic(prefer_literal=True)
def tile(
    _: Any, out: Any, A: Any, W: Any, r: Any, p: Any, k: Any, K: Any, first: Any, far: Any, rows: Any, vectors: Any
) -> Any:
    """``out[r', n] += sum_k' A[r', k'] W[n, k']`` for some rows from r on, some panels from p on and a block from k on.

    out (R, N), A (R, K) and W, panels, are bare. ``rows`` and ``vectors`` are literal: their product is the
    number of chains of fma that run side by side in registers. The chains continue from ``out`` if the
    block is the first; those of a later block start from +0 and are then added.

    The caches are asked beforehand for what lies far away: for ``out``, if it is said to, and for the block of W after
    this one, of which each of the first tiles asks for a panel.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        builder.function.attributes.add("noinline")  # one copy of the tiles, however many the callers
        builder.function.attributes.add("optsize")  # LLVM would unroll the loop, and run out of registers
        o, a, w = (cgutils.unpack_tuple(builder, argument) for argument in arguments[:3])
        r, p, k, K, first, far = arguments[3:9]
        dtype = out[0].dtype
        real = context.get_data_type(dtype)
        size = VECTOR_BYTES // context.get_abi_sizeof(real)
        vector = ir.VectorType(real, size)
        kind = f"v{size}f{dtype.bitwidth}"
        fma = cgutils.get_or_insert_function(builder.module, ir.FunctionType(vector, [vector] * 3), f"llvm.fma.{kind}")

        def at(array: Any, i: Any, j: Any) -> Any:
            return element(builder, array, i, j, vector.as_pointer())

        def constant(n: int) -> Any:
            return ir.Constant(k.type, n)

        def plus(i: Any, n: int) -> Any:
            return builder.add(i, constant(n))

        def load(pointer: Any) -> Any:
            return builder.load(pointer, align=context.get_abi_sizeof(real))

        tiles = [(i, j) for i in range(rows.literal_value) for j in range(vectors.literal_value)]
        places = [at(o, plus(r, i), builder.mul(plus(p, j), constant(size))) for i, j in tiles]
        with builder.if_then(far):
            for place in places:
                ask_for(builder, place)
        sums = [cgutils.alloca_once(builder, vector) for _ in tiles]
        for place, total in zip(places, sums, strict=True):
            builder.store(builder.select(first, load(place), ir.Constant(vector, None)), total)
        left = builder.sub(K, k)
        is_last = builder.icmp_signed("<=", left, constant(BLOCK))
        count = builder.select(is_last, left, constant(BLOCK))
        nth = builder.udiv(r, constant(rows.literal_value))
        ahead = panel_ahead(builder, w, nth, p, k, is_last, vectors.literal_value, vector.as_pointer())
        with cgutils.for_range(builder, count) as loop:
            ask_for(builder, builder.gep(ahead, [loop.index]))
            k_now = builder.add(k, loop.index)
            w_k = [load(at(w, plus(p, j), k_now)) for j in range(vectors.literal_value)]
            numbers = [element(builder, a, plus(r, i), k_now, real.as_pointer()) for i in range(rows.literal_value)]
            a_k = [broadcast(builder, builder.load(number), vector) for number in numbers]
            for (i, j), total in zip(tiles, sums, strict=True):
                builder.store(builder.call(fma, [a_k[i], w_k[j], builder.load(total)]), total)
        for place, total in zip(places, sums, strict=True):
            part = builder.load(total)
            whole = builder.select(first, part, builder.fadd(load(place), part))
            builder.store(whole, place, align=context.get_abi_sizeof(real))
        return context.get_dummy_value()

    return types.none(out, A, W, r, p, k, K, types.boolean, types.boolean, rows, vectors), generate


@compiled
def product(out: Array, A: Array, W: Array) -> None:
    """``out[r, n] += sum_k A[r, k] W[n, k]``, k ascending.

    out (R, N), A (R, K or more), W panels. The first block's chain continues from ``out``; each later one starts
    from +0 and is added when it is whole.
    """
    add_blocks(out, A[:, :], W, bool(1))  # in the types of outer_sum, for which it is compiled anyway


@compiled
def add_blocks(out: Array, A: Array, W: Array, first: bool) -> None:
    """``product``, or, if its first block is not the first of the sum, ``out``, far away, plus the product from +0."""
    R, P, K = len(out), W.shape[0], W.shape[1]
    o, a, w = bare(out), bare(A), bare(W)
    rows = R - R % 4
    groups = -(-P // (4 if WIDE else 2)) if rows > 0 else 0
    for group in range(groups):
        # As even as can be: a narrow tile has too few chains to keep the units busy.
        p = P * group // groups
        vectors = P * (group + 1) // groups - p
        sixes = rows - rows % 12 if vectors == 4 else 0
        for k in range(0, K, BLOCK):
            for r in range(0, sixes, 6):
                six_rows(o, a, w, r, p, k, K, first and k == 0, not first)
            for r in range(sixes, rows, 4):
                four_rows(o, a, w, r, p, k, K, first and k == 0, not first, vectors)
    for r in range(rows, R):
        one_row(o, a, w, r, P, K, first)


@compiled
def six_rows(out: Bare, A: Bare, W: Bare, r: int, p: int, k: int, K: int, first: bool, far: bool) -> None:
    """A block of six rows, four vectors wide."""
    tile(out, A, W, r, p, k, K, first, far, 6, 4)


@compiled
def four_rows(
    out: Bare, A: Bare, W: Bare, r: int, p: int, k: int, K: int, first: bool, far: bool, vectors: int
) -> None:
    """A block of four rows, some vectors wide."""
    if vectors == 1:
        tile(out, A, W, r, p, k, K, first, far, 4, 1)
    elif vectors == 2:
        tile(out, A, W, r, p, k, K, first, far, 4, 2)
    elif vectors == 3:
        tile(out, A, W, r, p, k, K, first, far, 4, 3)
    else:
        tile(out, A, W, r, p, k, K, first, far, 4, 4)


@compiled
def one_row(out: Bare, A: Bare, W: Bare, r: int, P: int, K: int, first: bool) -> None:
    """All blocks of one row, eight vectors wide where it can be: a single chain waits for itself."""
    for k in range(0, K, BLOCK):
        is_first = first and k == 0
        p = 0
        while P - p >= 8:
            tile(out, A, W, r, p, k, K, is_first, not first, 1, 8)
            p += 8
        if P - p >= 4:
            tile(out, A, W, r, p, k, K, is_first, not first, 1, 4)
            p += 4
        if P - p >= 2:
            tile(out, A, W, r, p, k, K, is_first, not first, 1, 2)
            p += 2
        if P - p >= 1:
            tile(out, A, W, r, p, k, K, is_first, not first, 1, 1)


@compiled
def row_blocks(T: int, B: int, lengths: Indices) -> tuple[Indices, Indices]:
    """The rows r = t*B + b that exist, block by block, and where each block starts among them.

    rows (R,), starts (blocks + 1,). Up to 128 sequences, a block is as many whole steps as fit into 128 rows;
    beyond, it is 128 sequences of one step. A block is a place in the grid: which of its rows exist does
    not move it.
    """
    steps, width = (BLOCK // B, B) if B <= BLOCK else (1, BLOCK)
    rows = np.empty(T * B, np.int64)
    starts = np.zeros(-(-T // steps) * -(-B // width) + 1, np.int64)
    n = block = 0
    for t_block in range(0, T, steps):
        for b_block in range(0, B, width):
            for t in range(t_block, min(t_block + steps, T)):
                for b in range(b_block, min(b_block + width, B)):
                    if t < lengths[b]:
                        rows[n] = t * B + b
                        n += 1
            block += 1
            starts[block] = n
    return rows[:n], starts


@compiled
def outer_sum(out: Array, D: Array, start: int, E: Array, first: bool) -> None:
    """``out[i, j] = sum_r D[r, i] E[r, j]``: the gradient of a weight matrix, a block at a time.

    out (I, J), D (R, I) from the column ``start`` on, E (R, J), the rows r of one block. In a block an fma chain from
    +0, r ascending; the blocks are added from the last to the first, the order in which the loop back through time
    meets them. ``out`` is +0 before the first.
    """
    add_blocks(out, D.T[start:, :], panels(E.T), first)


@compiled
def token_sum(out: Array, D: Array, tokens: Indices, rows: Indices, part: Array) -> None:
    """``out[k, i] += sum of D[r, i] over the rows r whose token is k``: outer_sum with one-hot rows.

    out (X, I), D (R, I), the tokens of these rows; part (X, I) is +0 between calls. A sum that starts from +0 by plain
    additions is never -0, so that tokens without a row need no addition.
    """
    for r in range(len(D)):
        k = tokens[rows[r]]
        for i in range(D.shape[1]):
            part[k, i] += D[r, i]
    for r in range(len(D)):
        k = tokens[rows[r]]
        for i in range(D.shape[1]):
            out[k, i] += part[k, i]
            part[k, i] = 0


@compiled
def row_sum(out: Array, D: Array) -> None:
    """``out[i] += sum_r D[r, i]``: the gradient of a bias, a block at a time; plain additions. D (R, I)."""
    part = np.zeros_like(out)
    for r in range(len(D)):
        for i in range(len(out)):
            part[i] += D[r, i]
    for i in range(len(out)):
        out[i] += part[i]


@compiled
def lane_sum(terms: Array, lanes: Array) -> float:
    """The sum of terms (V,) in sixteen lanes, term v in lane v mod 16, folded 8, 4, 2, 1. lanes (16,) is for that."""
    lanes[:] = 0
    V = len(terms)
    for start in range(0, V - 15, 16):
        for v in range(16):
            lanes[v] += terms[start + v]
    for v in range(V % 16):
        lanes[v] += terms[V - V % 16 + v]
    for half in (8, 4, 2, 1):
        for v in range(half):
            lanes[v] += lanes[v + half]
    total: float = lanes[0]
    return total
