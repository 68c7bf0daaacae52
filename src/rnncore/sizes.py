"""The cell, the sizes and the arrays of a net, from whatever a user hands over, and what is said if they do not fit."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypeAlias

import numpy as np

from .cells import CELLS, parts, rows_in_letters, shapes
from .layers import Directions, Layer
from .net import Net, net_of
from .types import AnyArray
from .values import SEQUENCES, as_flag, as_integer, as_numbers, as_real_dtype, require_shape
from .words import kind_of, one_of, what

Reset: TypeAlias = Literal["after", "before"]

DIRECTIONS = ("forward", "reverse")
HEAD = ("W_hy", "b_y")

MOST_LAYERS = 10_000
"""The most layers of a net: more are a mistake, and each layer has names of its own."""


def cell_name(value: object, reset: object = None) -> str:
    """Return the name of a cell of the registry; reset may name a variant of "gru"."""
    if not isinstance(value, str):
        raise TypeError(f"cell must be a string, one of {one_of(CELLS)}, got {what(value)}")
    if value not in CELLS:
        raise ValueError(f"cell must be one of {one_of(CELLS)}, got {value!r}")
    if reset is None:
        return value
    if not isinstance(reset, str):
        raise TypeError(f"reset must be None or a string, 'after' or 'before', got {what(reset)}")
    if reset not in ("after", "before"):
        raise ValueError(f"reset must be 'after' or 'before', got {reset!r}")
    if value != "gru":
        raise ValueError(f"reset must be None but for cell 'gru', got {reset!r} for cell {value!r}")
    return value if reset == "after" else "gru_reset_before"


def sized_net(
    cell: str,
    inputs: object,
    hidden: object,
    outputs: object,
    dtype: np.dtype[Any],
    layers: object = 1,
    bidirectional: object = False,
    tokens: object = None,
) -> Net:
    """Return the net of a cell and of a dtype, of sizes that are checked, and that fits into this machine's memory."""
    X, H, V = as_integer("inputs", inputs, 1), as_integer("hidden", hidden, 1), as_integer("outputs", outputs, 0)
    L, both = as_integer("layers", layers, 1), as_flag("bidirectional", bidirectional)
    first, later = shapes(cell, X, H, V, 1, both), shapes(cell, (1 + both) * H, H, 0, 1, both)
    total = _numbers(first) + (L - 1) * _numbers(later)
    if total * 8 > sys.maxsize or L > MOST_LAYERS:
        names, numbers = ("inputs, hidden, outputs and layers", f"{X}, {H}, {V} and {L}")
        if L == 1:
            names, numbers = "inputs, hidden and outputs", f"{X}, {H} and {V}"
        raise ValueError(f"{names} must fit into memory, got {numbers}: {total} parameters")
    return net_of(cell, X, H, V, dtype, L, both, None if tokens is None else as_flag("tokens", tokens))


def restored_net(
    cell: object, X: object, H: object, V: object, dtype: object, layers: object, both: object, tokens: object
) -> Net:
    """Return the net that a pickle names, if it is one: another would spoil what :func:`net_of` has interned."""
    return sized_net(cell_name(cell), X, H, V, as_real_dtype("dtype", dtype), layers, both, tokens)


def _numbers(arrays: Mapping[str, tuple[int, ...]]) -> int:
    return sum(math.prod(shape) for shape in arrays.values())


def letters_of(net: Net, name: str) -> str:
    """Return the shape of a named array of a net in letters."""
    rows, kind = rows_in_letters(net.cell), name.rpartition(".")[2]
    width = "2H" if net.bidirectional else "H"
    read = "X" if name.startswith("layers.0.") or "." not in name else width
    return {
        "W_xh": f"({rows}, {read})",
        "W_hh": f"({rows}, H)",
        "W_hy": f"(V, {width})",
        "b_x": f"({rows},)",
        "b_h": f"({rows},)",
        "b_y": "(V,)",
    }[kind]


def net_of_arrays(
    cell: str, arrays: Mapping[str, AnyArray], layers: int, bidirectional: bool, dtype: np.dtype[Any], tokens: object
) -> Net:
    """Return the net that named arrays are of, and raise unless their shapes fit."""
    first = parts(layers, bidirectional)[0]
    X, H = arrays[f"{first}W_xh"].shape[1], arrays[f"{first}W_hh"].shape[1]
    V = len(arrays["W_hy"]) if "W_hy" in arrays else 0
    net = sized_net(cell, X, H, V, dtype, layers, bidirectional, tokens)
    for name, array in arrays.items():
        require_shape(name, array, letters_of(net, name), net.places[name][1])
    return net


def structure_of(names: Iterable[str]) -> tuple[int, bool]:
    """Return how many layers there are by the names of a net's arrays, and whether they have two directions."""
    words = [name.split(".") for name in names if name.startswith("layers.")]
    return max(1, len({word[1] for word in words})), any("reverse" in word for word in words)


def as_named_arrays(cell: str, arrays: Mapping[str, object], layers: int, bidirectional: bool) -> dict[str, AnyArray]:
    """Return the arrays of a net that are not None; W_xh and W_hh must be there, and matrices have two axes."""
    if parts(layers, bidirectional) == [""]:
        plain = {name.removeprefix("layers.0."): array for name, array in arrays.items()}
        if len(plain) < len(arrays):
            raise TypeError(f"an array of Params was given twice, with and without 'layers.0.': {', '.join(arrays)}")
        arrays = plain
    known = shapes(cell, 1, 1, 1, layers, bidirectional)
    for name in arrays:
        if name not in known:
            raise TypeError(f"Params of cell {cell!r} has the arrays {', '.join(known)}, got {name!r}")
    given = {name: as_numbers(name, array, widen=False) for name, array in arrays.items() if array is not None}
    one = net_of(cell, 1, 1, 1, np.dtype(np.float64), layers, bidirectional)
    for name in known:
        kind = name.rpartition(".")[2]
        if kind in ("W_xh", "W_hh") and name not in given:
            raise TypeError(f"{name} must be an array, got None")
        if kind.startswith("W") and name in given and given[name].ndim != 2:
            raise ValueError(f"{name} must have shape {letters_of(one, name)}, got {kind_of(given[name])}")
    return given


def of_layers(layers: object, others: Mapping[str, object]) -> tuple[dict[str, object], int, bool]:
    """Return the arrays of a list of layers by their names in a net, how many layers there are, and whether each has
    two directions.

    A layer is a dict of arrays by name, or, with two directions, {"forward": {...}, "reverse": {...}}; or what
    ``Params.layers`` has. others: the arrays beside them, by name, which are those of the output layer.
    """
    if not isinstance(layers, SEQUENCES) or not layers:
        raise TypeError(f"layers must be a list of dicts of arrays, one for each layer, got {what(layers)}")
    for name in others:
        if name not in HEAD:
            raise TypeError(f"beside layers there are the arrays {', '.join(HEAD)}, got {name!r}")
    bidirectional = any(_has_directions(layer) for layer in layers)
    ways = [_ways(number, layer, bidirectional) for number, layer in enumerate(layers)]
    prefixes = parts(len(layers), bidirectional)
    flat = [arrays for way in ways for arrays in way]
    named = {prefix + name: array for prefix, way in zip(prefixes, flat, strict=True) for name, array in way.items()}
    return {**named, **others}, len(layers), bidirectional


def _has_directions(layer: object) -> bool:
    return isinstance(layer, Directions) or (isinstance(layer, Mapping) and any(way in layer for way in DIRECTIONS))


def _ways(number: int, layer: Any, bidirectional: bool) -> list[dict[str, object]]:
    """Return the arrays of each direction of a layer."""
    if not bidirectional:
        return [_arrays(f"layers[{number}]", layer)]
    if isinstance(layer, Directions):
        layer = layer._asdict()
    if not isinstance(layer, Mapping) or set(layer) != set(DIRECTIONS):
        raise TypeError(
            f"layers[{number}] must be a dict with a dict of arrays for each of 'forward' and 'reverse': "
            f"all layers have both directions, or none has; got {what(layer)}"
        )
    return [_arrays(f"layers[{number}][{way!r}]", layer[way]) for way in DIRECTIONS]


def _arrays(where: str, layer: object) -> dict[str, object]:
    """Return the arrays of one layer in one direction."""
    if not isinstance(layer, Mapping | Layer):
        raise TypeError(f"{where} must be a dict of arrays by name, got {what(layer)}")
    arrays = dict(layer)
    for name in arrays:
        if not isinstance(name, str) or name in HEAD:
            raise TypeError(f"{where} must be a dict of the arrays of a layer by name, got {name!r}")
    return arrays
