"""Parameters from and to Keras: the lists that ``get_weights`` gives and ``set_weights`` takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, overload

import numpy as np
import numpy.typing as npt

from ..cells import CELLS, rows_in_letters
from ..params import Params, require_params
from ..sizes import DIRECTIONS, Reset, cell_name
from ..types import AnyArray, Array
from ..values import SEQUENCES, as_flag, as_numbers
from ..words import kind_of, what
from .arrays import (
    Foreign,
    Part,
    as_checked_arrays,
    as_tokens,
    identity_embedding,
    params_of,
    real_dtype,
    recurrent_arrays,
    require_one_hidden,
)

GATES = {"gru": "zrn", "gru_reset_before": "zrn"}
"""The orders of gates that are not ours, in our letters."""

NAMES = ("kernel", "recurrent_kernel", "bias")
DENSE = ("dense kernel", "dense bias")


def from_keras(
    cell: str,
    weights: Sequence[npt.ArrayLike] | Sequence[Sequence[npt.ArrayLike]],
    dense: Sequence[npt.ArrayLike] | None = None,
    *,
    bidirectional: bool = False,
    merge_mode: str | None = "concat",
    embedding: Sequence[npt.ArrayLike] | npt.ArrayLike | None = None,
    reset: Reset | None = None,
    tokens: bool | None = None,
    dtype: npt.DTypeLike | None = None,
) -> Params:
    """Return parameters from ``layer.get_weights()`` of a SimpleRNN, LSTM or GRU, and of the Dense after it.

    cell: "rnn" or "rnn_relu" for a SimpleRNN with the activation tanh or relu; "lstm"; "gru", for a GRU with
    reset_after=True, which has been the default since TensorFlow 2; "gru" with ``reset="before"`` for one with
    reset_after=False. The arrays do not tell activations: recurrent_activation must be sigmoid, and in the first
    versions of Keras it was hard_sigmoid. Nor do they tell go_backwards, which must be False.

    weights: kernel (X, G*H), recurrent_kernel (H, G*H) and, unless use_bias=False, bias (G*H,), of reset_after=True
    (2, 3H), of which the second row is b_h; that of reset_after=False is b_x, and b_h zeros. For a stack, a list of
    such lists, one for each layer, which must have one H. bidirectional: whether they are of a Bidirectional, which
    gives the arrays of its forward layer and then those of its backward layer. merge_mode: that of each Bidirectional;
    "concat", its default, is what two directions are here. dense: kernel (D*H, V) and, unless use_bias=False, bias
    (V,).

    embedding: ``get_weights()`` of an Embedding before them, or its array (X, E). W_xh of the first layer is then
    the product of kernel and embedding, in float64 and rounded once, and the net reads tokens. tokens: whether a
    net without an embedding reads tokens, or None.

    The gates are in the order i, f, c, o, where c is our g, and z, r, h, where h is our n. Source:
    keras/src/layers/rnn/lstm.py, gru.py and bidirectional.py of Keras 3.

    >>> import numpy as np
    >>> gru = [np.ones((3, 6)), np.zeros((2, 6)), np.zeros((2, 6))]
    >>> from_keras("gru", gru, [np.ones((2, 5))])
    Params('gru', inputs=3, hidden=2, outputs=5, dtype=float64)
    >>> from_keras("gru", [gru, [np.ones((2, 6)), *gru[1:]]])
    Params('gru', inputs=3, hidden=2, outputs=0, layers=2, dtype=float64)
    """
    cell, both, reads = cell_name(cell, reset), as_flag("bidirectional", bidirectional), as_tokens(tokens, embedding)
    _require_concat(merge_mode)
    found = _parts_of(weights, both)
    labels = _labels(len(found) // (1 + both), both)
    given = _all_arrays(found, labels, dense, embedding)
    for label in labels:
        _require_bias_of_cell(cell, f"bias{label}", given.get(f"bias{label}"))
    require_one_hidden({f"recurrent_kernel{label}": given.get(f"recurrent_kernel{label}") for label in labels})
    needed = [f"{name}{label}" for label in labels for name in NAMES[:2]]
    needed += [name for name, one in (("dense kernel", dense), ("embedding", embedding)) if one is not None]
    arrays = as_checked_arrays(given, _letters_of(cell, labels, 1 + both, embedding is not None), needed)
    W_hy = arrays["dense kernel"].T if "dense kernel" in arrays else None
    parts = [_part(cell, arrays, label) for label in labels]
    net = Foreign(cell, _gates_of(cell), parts, both, W_hy, arrays.get("dense bias"), arrays.get("embedding"))
    return params_of(net, reads, real_dtype(arrays, dtype))


@overload
def to_keras(params: Params, *, embedding: Literal[False] = False) -> tuple[list[Any], list[Array] | None]: ...


@overload
def to_keras(params: Params, *, embedding: Literal[True]) -> tuple[list[Array], list[Any], list[Array] | None]: ...


def to_keras(params: Params, *, embedding: bool = False) -> tuple[list[Any] | None, ...]:
    """Return what ``set_weights`` of the layer and of its Dense take; the second is None for a net without outputs.

    The first is one list for a net of one layer, which in two directions is that of a Bidirectional, and a list of
    such lists, layer by layer, for a net of several. Of "gru_reset_before" the one bias is b_x + b_h, with the
    rounding of one addition.

    embedding: whether that of an Embedding stands before them, for a net that reads tokens. It is the identity
    (X, X), since W_xh has taken up any other; freeze it. A UserWarning says that training then moves the product.

    >>> import rnncore
    >>> params = rnncore.init_params("lstm", inputs=3, hidden=2, outputs=5)
    >>> weights, dense = to_keras(params)
    >>> [array.shape for array in weights]
    [(3, 8), (2, 8), (8,)]
    >>> from_keras("lstm", weights, dense) == params
    True
    """
    require_params("params", params)
    parts = [_keras_arrays(params.cell, part) for part in recurrent_arrays(params, _gates_of(params.cell))]
    if params.bidirectional:
        parts = [[*one, *other] for one, other in zip(parts[::2], parts[1::2], strict=True)]
    weights: list[Any] = parts if len(parts) > 1 else parts[0]
    dense = [np.ascontiguousarray(params.W_hy.T), params.b_y.copy()] if params.outputs else None
    if as_flag("embedding", embedding):
        return [identity_embedding(params, 2)], weights, dense
    return weights, dense


def _keras_arrays(cell: str, part: list[Array]) -> list[Array]:
    W_xh, W_hh, b_x, b_h = part
    with np.errstate(all="ignore"):
        bias = np.stack([b_x, b_h]) if cell == "gru" else b_x + b_h
    return [np.ascontiguousarray(W_xh.T), np.ascontiguousarray(W_hh.T), bias]


def _part(cell: str, arrays: Mapping[str, AnyArray], label: str) -> Part:
    kernel, recurrent_kernel, bias = (f"{name}{label}" for name in NAMES)
    both = arrays.get(bias)
    b_x, b_h = both if both is not None and cell == "gru" else (both, None)
    return Part(arrays[kernel].T, arrays[recurrent_kernel].T, b_x, b_h)


def _gates_of(cell: str) -> str:
    return GATES.get(cell, CELLS[cell].gates)


def _labels(layers: int, bidirectional: bool) -> list[str]:
    """Return what the names of the arrays of each part end with in messages: nothing, if there is one part."""
    if layers == 1 and not bidirectional:
        return [""]
    ways = [f", {way}" for way in DIRECTIONS] if bidirectional else [""]
    return [f" of layer {layer}{way}" for layer in range(layers) for way in ways]


def _letters_of(cell: str, labels: Sequence[str], directions: int, embedded: bool) -> dict[str, str]:
    rows, width = rows_in_letters(cell), "H" if directions == 1 else "2H"
    letters = {"dense kernel": f"({width}, V)", "dense bias": "(V,)", "embedding": "(X, E)"}
    for part, label in enumerate(labels):
        read = width if part >= directions else "E" if embedded else "X"
        letters[f"kernel{label}"] = f"({read}, {rows})"
        letters[f"recurrent_kernel{label}"] = f"(H, {rows})"
        letters[f"bias{label}"] = f"(2, {rows})" if cell == "gru" else f"({rows},)"
    return letters


def _all_arrays(
    parts: Sequence[Mapping[str, object]], labels: Sequence[str], dense: object, embedding: object
) -> dict[str, object]:
    """Return all arrays of a net by name."""
    pairs = zip(parts, labels, strict=True)
    given = {f"{name}{label}": array for part, label in pairs for name, array in part.items()}
    if dense is not None:
        given |= _by_name("dense", dense, DENSE)
    if isinstance(embedding, SEQUENCES) and len(embedding) == 1 and _axes(embedding) > 2:
        embedding = embedding[0]
    return given if embedding is None else {**given, "embedding": embedding}


def _parts_of(weights: object, bidirectional: bool) -> list[dict[str, object]]:
    """Return the arrays of each part by name. A stack has lists of arrays, where one layer has arrays."""
    layers = {"weights": weights}
    if isinstance(weights, SEQUENCES) and weights and _axes(weights[0]) > 2:
        layers = {f"weights[{number}]": layer for number, layer in enumerate(weights)}
    parts = []
    for name, layer in layers.items():
        parts += _ways(name, layer) if bidirectional else [_by_name(name, layer, NAMES)]
    return parts


def _axes(value: object) -> int:
    """Return how many axes there are, lists of arrays included."""
    if isinstance(value, SEQUENCES):
        return 1 + (_axes(value[0]) if value else 0)
    return int(getattr(value, "ndim", 0))


def _ways(name: str, layer: object) -> list[dict[str, object]]:
    """Return the arrays of each direction of a Bidirectional by name."""
    count = len(layer) if isinstance(layer, SEQUENCES) else 0
    if not isinstance(layer, SEQUENCES) or count not in (4, 6):
        raise (ValueError if count else TypeError)(
            f"{name} must be the list that get_weights() gives for a Bidirectional, {', '.join(NAMES)} if there is "
            f"one, forward and then backward, got {f'{count} arrays' if count else what(layer)}"
        )
    return [dict(zip(NAMES, half, strict=False)) for half in (layer[: count // 2], layer[count // 2 :])]


def _by_name(name: str, value: object, names: Sequence[str]) -> dict[str, object]:
    """Return the arrays of get_weights() by name; the last one, the bias, may be missing."""
    if not isinstance(value, SEQUENCES):
        raise TypeError(f"{name} must be the list that get_weights() gives, {', '.join(names)}, got {what(value)}")
    if len(value) not in (len(names) - 1, len(names)):
        more = "; bidirectional=True takes those of a Bidirectional, and a list of such lists is a stack"
        raise ValueError(
            f"{name} must be the list that get_weights() gives for one layer in one direction, {', '.join(names)} "
            f"if there is one, got {len(value)} arrays{more if names == NAMES else ''}"
        )
    return dict(zip(names, value, strict=False))


def _require_concat(merge_mode: object) -> None:
    if merge_mode != "concat":
        raise ValueError(
            f"merge_mode must be 'concat', for two directions lie side by side here, got {what(merge_mode)}; 'sum' is "
            "'concat' if the next kernel (H, n) is np.concatenate([kernel, kernel]), and 'ave' with half of that"
        )


def _require_bias_of_cell(cell: str, name: str, bias: object) -> None:
    """Raise if the bias of a GRU is that of the other GRU; None is of both."""
    if bias is None or not cell.startswith("gru"):
        return
    array = as_numbers(name, bias)
    if array.ndim != (2 if cell == "gru" else 1):
        raise ValueError(
            f"{name} must have shape (2, 3H) with reset='after', which Keras calls reset_after=True, and (3H,) with "
            f"reset='before', reset_after=False, got {kind_of(array)} for cell {cell!r}"
        )
