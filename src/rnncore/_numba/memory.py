"""Memory: arrays that begin where a cache line does, and arrays that lie in others.

A vector as long as a cache line that crosses two takes two loads. (Intel, AVX-512: products whose panels, sums and
results begin at lines are 7 to 17 % faster, sums of outer products 8 to 15.)
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.np import arrayobj as numba_arrayobj

from ..types import Array
from . import cgutils, compiled, intrinsic

arrayobj: Any = numba_arrayobj

LINE = 64
SHORT = 4096  # arrays of Python of no more bytes than that lie where they come: to look takes as long as it would save


def at_line(shape: int | tuple[int, ...], dtype: Any, make: Callable[..., Any] = np.empty) -> Array:
    """Return an array that ``make``, np.empty or np.zeros, makes, from a line on unless it is short."""
    size = math.prod(shape) if isinstance(shape, tuple) else shape
    array: Array
    if size * dtype.itemsize <= SHORT:
        array = make(shape, dtype)
    else:
        memory = make(size + LINE // dtype.itemsize, dtype)
        first = -memory.__array_interface__["data"][0] % LINE // dtype.itemsize
        array = memory[first : first + size].reshape(shape)
    return array


def allocator(is_zero: bool) -> Any:
    """Return a function for compiled code that makes arrays."""

    @intrinsic()
    def make(_: Any, shape: Any, like: Any) -> Any:
        kind = types.Array(like.dtype, len(shape), "C")

        def generate(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
            lengths = cgutils.unpack_tuple(builder, arguments[0])
            size = ir.Constant(lengths[0].type, context.get_abi_sizeof(context.get_data_type(like.dtype)))
            for length in lengths:
                size = builder.mul(size, length)
            meminfo = context.nrt.meminfo_alloc_aligned(builder, size, LINE)
            data = context.nrt.meminfo_data(builder, meminfo)
            if is_zero:
                cgutils.memset(builder, data, size, 0)
            data = builder.bitcast(data, context.get_data_type(like.dtype).as_pointer())
            return array_at(context, builder, kind, data, lengths, meminfo)

        return kind(shape, like), generate

    return make


empty = allocator(False)
"""``empty(shape, like)`` is a new array from a line on, of the dtype of another."""
zeros = allocator(True)
"""``zeros(shape, like)`` is the same, of +0."""


@intrinsic()
def view(_: Any, memory: Any, start: Any, shape: Any) -> Any:
    """Return an array in C's order that lies in another, from its element ``start`` on; hold that one, too.

    It is passed on without counting references.
    """
    kind = types.Array(memory.dtype, len(shape), "C")

    def generate(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
        whole = context.make_array(memory)(context, builder, arguments[0])
        data = builder.gep(whole.data, [arguments[1]])
        return array_at(context, builder, kind, data, cgutils.unpack_tuple(builder, arguments[2]), None)

    return kind(memory, start, shape), generate


def array_at(context: Any, builder: Any, kind: Any, data: Any, lengths: list[Any], meminfo: Any) -> Any:
    """Return an array of a kind, in C's order, of numbers at a pointer."""
    size = ir.Constant(lengths[0].type, context.get_abi_sizeof(context.get_data_type(kind.dtype)))
    strides = [size]
    for length in reversed(lengths[1:]):
        strides.insert(0, builder.mul(length, strides[0]))
    array = context.make_array(kind)(context, builder)
    arrayobj.populate_array(array, data=data, shape=lengths, strides=strides, itemsize=size, meminfo=meminfo)
    return array._getvalue()


@compiled
def row_of(array: Array, r: int) -> Array:
    """Return ``array[r]`` of an array (R, N) in C's order, as ``view`` does."""
    N = array.shape[1]
    row: Array = view(array, r * N, (N,))
    return row


@compiled
def uncounted(array: Any) -> Any:
    """Return an array in C's order as ``view`` does; who is called by one that holds it may pass it on."""
    return view(array, 0, array.shape)
