"""What all conversions share: arrays of another library are checked, their gates reordered, their biases added."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..cells import CELLS, parts
from ..params import Params
from ..types import AnyArray, Array
from ..values import as_flag, as_numbers, as_real, as_real_dtype, common_real_dtype, require_shape
from ..words import kind_of


class Part(NamedTuple):
    """Holds the arrays of one layer in one direction, as ``Params`` has them but for the order of the gates."""

    W_xh: AnyArray
    W_hh: AnyArray
    b_x: AnyArray | None
    b_h: AnyArray | None


class Foreign(NamedTuple):
    """Holds a net of another library.

    order: its order of the gates. parts: layer by layer, forward before reverse. embedding: (X, E), what the first
    layer reads in place of a token, or None.
    """

    cell: str
    order: str
    parts: Sequence[Part]
    bidirectional: bool
    W_hy: AnyArray | None
    b_y: AnyArray | None
    embedding: AnyArray | None


def as_checked_arrays(
    arrays: Mapping[str, object], letters: Mapping[str, str], needed: Iterable[str]
) -> dict[str, AnyArray]:
    """Return the arrays that are not None, of the dtypes that they have, and raise unless their shapes fit.

    Shapes are written in letters, with axes such as "X", "3H" or "1". The first array with an axis of one letter
    alone says what that letter is.
    """
    for name in needed:
        if arrays.get(name) is None:
            raise TypeError(f"{name} must be an array, got None")
    given = {name: as_numbers(name, array, widen=False) for name, array in arrays.items() if array is not None}
    axes = {name: letters[name].strip("(,)").split(", ") for name in given}
    extents = {"": 1}
    for name, array in given.items():
        if array.ndim != len(axes[name]):
            raise ValueError(f"{name} must have shape {letters[name]}, got {kind_of(array)}")
        extents = {**dict(zip(axes[name], array.shape, strict=True)), **extents}
    for name, array in given.items():
        shape = tuple(int(axis.rstrip("EXHV") or 1) * extents[axis.lstrip("0123456789")] for axis in axes[name])
        require_shape(name, array, letters[name], shape)
    return given


def require_one_hidden(recurrent: Mapping[str, object]) -> None:
    """Raise if the recurrent matrices of a stack, by name, are not of one shape."""
    given = {name: as_numbers(name, array, widen=False) for name, array in recurrent.items() if array is not None}
    for name, array in given.items():
        first = next(iter(given))
        if array.shape != given[first].shape:
            raise ValueError(
                f"{name} must have the shape of {first}, {given[first].shape}, for all layers of a Params have one H, "
                f"got {kind_of(array)}"
            )


def real_dtype(arrays: dict[str, AnyArray], dtype: Any) -> np.dtype[Any]:
    """Return the dtype of the result: that which is said, or else that of the arrays."""
    return common_real_dtype(arrays) if dtype is None else as_real_dtype("dtype", dtype)


def as_tokens(tokens: object, embedding: object) -> bool | None:
    """Return what a net reads; one with an embedding reads tokens."""
    said = None if tokens is None else as_flag("tokens", tokens)
    if embedding is None:
        return said
    if said is False:
        raise ValueError("tokens must be None or True with an embedding, which reads tokens, got False")
    return True


def params_of(net: Foreign, tokens: bool | None, dtype: np.dtype[Any]) -> Params:
    """Return the parameters of another library's net, whose arrays have been checked, in a dtype."""
    first = 1 + net.bidirectional
    ways = [_ours(net, part, net.embedding if number < first else None, dtype) for number, part in enumerate(net.parts)]
    layers: list[Any] = ways
    if net.bidirectional:
        layers = [{"forward": one, "reverse": other} for one, other in zip(ways[::2], ways[1::2], strict=True)]
    W_hy, b_y = (None if array is None else as_real(array, dtype) for array in (net.W_hy, net.b_y))
    return Params(net.cell, layers=layers, W_hy=W_hy, b_y=b_y, tokens=tokens, dtype=dtype)


def _ours(net: Foreign, part: Part, embedding: AnyArray | None, dtype: np.dtype[Any]) -> dict[str, Any]:
    """Return the arrays of a part by our names, the gates in our order."""
    W_xh = part.W_xh if embedding is None else folded(part.W_xh, embedding)
    b_x, b_h = (None if bias is None else as_real(bias, dtype) for bias in (part.b_x, part.b_h))
    biases = {"b_x": b_x, "b_h": b_h} if CELLS[net.cell].own_recurrent_bias else {"b_h": _sum(b_x, b_h)}
    arrays = {"W_xh": as_real(W_xh, dtype), "W_hh": as_real(part.W_hh, dtype), **biases}
    wanted = CELLS[net.cell].gates
    return {name: None if array is None else reordered(array, net.order, wanted) for name, array in arrays.items()}


def folded(W_ih: AnyArray, embedding: AnyArray) -> Array:
    """Return W_ih E^T (G*H, X) in float64, of W_ih (G*H, E) and an embedding E (X, E): a token selects a column."""
    with np.errstate(all="ignore"):
        return np.asarray(W_ih, np.float64) @ np.asarray(embedding, np.float64).T


def recurrent_arrays(params: Params, order: str) -> list[list[Array]]:
    """Return copies of W_xh, W_hh and two biases of each part, with rows for the gates in another order."""
    cell, arrays = CELLS[params.cell], []
    for prefix in parts(len(params.layers), params.bidirectional):
        b_h = params[f"{prefix}b_h"]
        biases = (params[f"{prefix}b_x"], b_h) if cell.own_recurrent_bias else (b_h, np.zeros_like(b_h))
        ours = params[f"{prefix}W_xh"], params[f"{prefix}W_hh"], *biases
        arrays.append([reordered(array, cell.gates, order) for array in ours])
    return arrays


def identity_embedding(params: Params, stacklevel: int) -> Array:
    """Return the identity (X, X) as an embedding before W_xh, and warn that it must stay as it is.

    stacklevel: that of ``warnings.warn``, counted from who calls this.
    """
    if params.tokens is False:
        raise ValueError("embedding must be False for a net that reads vectors, tokens=False, got True")
    warnings.warn(
        "the embedding is an identity, to stay frozen: W_xh is the product of the input weights and of whatever "
        "embedding they had, and training moves that product",
        UserWarning,
        stacklevel=stacklevel + 1,
    )
    return np.eye(params.inputs, dtype=params.dtype)


def reordered(array: Array, order: str, wanted: str) -> Array:
    """Return a copy of an array (G*H, ...) in which the gates stand in the wanted order."""
    by_gate = dict(zip(order, np.split(array, len(order)), strict=True))
    return np.concatenate([by_gate[gate] for gate in wanted])


def _sum(b_x: Array | None, b_h: Array | None) -> Array | None:
    """Return the sum of two biases, of which each may be missing."""
    if b_x is None or b_h is None:
        return b_h if b_x is None else b_x
    with np.errstate(all="ignore"):
        return b_x + b_h
