"""What all conversions share: arrays of another library are checked, their gates reordered, their biases added."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from ..cells import CELLS
from ..params import Params
from ..types import Array
from ..values import as_numbers, as_real, as_real_dtype, common_real_dtype, require_shape
from ..words import kind_of


def as_parameter_arrays(
    arrays: Mapping[str, object], letters: Mapping[str, str], needed: Iterable[str], dtype: Any
) -> dict[str, Array]:
    """Return the arrays that are not None in one dtype, float32 or float64, and raise unless their shapes fit.

    Shapes are written in letters, with axes such as "X", "3H" or "1". The first array with an axis of one letter
    alone says what that letter is.
    """
    for name in needed:
        if arrays.get(name) is None:
            raise TypeError(f"{name} must be an array, got None")
    given = {name: as_numbers(name, array) for name, array in arrays.items() if array is not None}
    axes = {name: letters[name].strip("(,)").split(", ") for name in given}
    extents = {"": 1}
    for name, array in given.items():
        if array.ndim != len(axes[name]):
            raise ValueError(f"{name} must have shape {letters[name]}, got {kind_of(array)}")
        extents = {**dict(zip(axes[name], array.shape, strict=True)), **extents}
    for name, array in given.items():
        shape = tuple(int(axis.rstrip("XHV") or 1) * extents[axis.lstrip("0123456789")] for axis in axes[name])
        require_shape(name, array, letters[name], shape)
    real = common_real_dtype(given) if dtype is None else as_real_dtype("dtype", dtype)
    return {name: as_real(array, real) for name, array in given.items()}


def params_from_arrays(
    cell: str,
    order: str,
    W_xh: Array,
    W_hh: Array,
    b_x: Array | None,
    b_h: Array | None,
    W_hy: Array | None,
    b_y: Array | None,
) -> Params:
    """Return parameters from arrays with rows for the gates in another order, and with two biases."""
    biases = {"b_x": b_x, "b_h": b_h} if CELLS[cell].own_recurrent_bias else {"b_h": _sum(b_x, b_h)}
    arrays: dict[str, Any] = {
        name: None if array is None else reordered(array, order, CELLS[cell].gates)
        for name, array in {"W_xh": W_xh, "W_hh": W_hh, **biases}.items()
    }
    return Params(cell, **arrays, W_hy=W_hy, b_y=b_y)


def recurrent_arrays(params: Params, order: str) -> list[Array]:
    """Return copies of W_xh, W_hh and two biases, with rows for the gates in another order."""
    cell, b_h = CELLS[params.cell], params.b_h
    biases = (params.b_x, b_h) if cell.own_recurrent_bias else (b_h, np.zeros_like(b_h))
    return [reordered(array, cell.gates, order) for array in (params.W_xh, params.W_hh, *biases)]


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
