"""Parameters from and to Keras: the lists that ``get_weights`` gives and ``set_weights`` takes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ..cells import CELLS, rows_in_letters
from ..params import Params, Reset, cell_name, require_params
from ..types import Array
from ..values import SEQUENCES, as_numbers
from ..words import kind_of, what
from .arrays import as_parameter_arrays, params_from_arrays, recurrent_arrays

GATES = {"gru": "zrn", "gru_reset_before": "zrn"}
"""The orders of gates that are not ours, in our letters."""


def from_keras(
    cell: str,
    weights: Sequence[npt.ArrayLike],
    dense: Sequence[npt.ArrayLike] | None = None,
    *,
    reset: Reset | None = None,
    dtype: npt.DTypeLike | None = None,
) -> Params:
    """Return parameters from ``layer.get_weights()`` of a SimpleRNN, LSTM or GRU, and of the Dense after it.

    cell: "rnn" or "rnn_relu" for a SimpleRNN with the activation tanh or relu; "lstm"; "gru", for a GRU with
    reset_after=True, which has been the default since TensorFlow 2; "gru" with ``reset="before"`` for one with
    reset_after=False. The arrays do not tell activations: recurrent_activation must be sigmoid, and in the first
    versions of Keras it was hard_sigmoid.

    weights: kernel (X, G*H), recurrent_kernel (H, G*H) and, unless use_bias=False, bias (G*H,), of reset_after=True
    (2, 3H), of which the second row is b_h; that of reset_after=False is b_x, and b_h zeros. dense: kernel (H, V) and,
    unless use_bias=False, bias (V,). The gates are in the order i, f, c, o, where c is our g, and z, r, h, where h is
    our n. Source: keras/src/layers/rnn/lstm.py and gru.py of Keras 3.

    >>> import numpy as np
    >>> from_keras("gru", [np.ones((3, 6)), np.zeros((2, 6)), np.zeros((2, 6))], [np.ones((2, 5))])
    Params('gru', inputs=3, hidden=2, outputs=5, dtype=float64)
    """
    cell = cell_name(cell, reset)
    given = _by_name("weights", weights, ("kernel", "recurrent_kernel", "bias"))
    if dense is not None:
        given |= _by_name("dense", dense, ("dense kernel", "dense bias"))
    _require_bias_of_cell(cell, given.get("bias"))
    needed = ("kernel", "recurrent_kernel", *(() if dense is None else ("dense kernel",)))
    arrays = as_parameter_arrays(given, _letters_of(cell), needed, dtype)
    W_xh, W_hh = arrays["kernel"].T, arrays["recurrent_kernel"].T
    W_hy = arrays["dense kernel"].T if "dense kernel" in arrays else None
    bias = arrays.get("bias")
    b_x, b_h = bias if bias is not None and cell == "gru" else (bias, None)
    return params_from_arrays(cell, _gates_of(cell), W_xh, W_hh, b_x, b_h, W_hy, arrays.get("dense bias"))


def to_keras(params: Params) -> tuple[list[Array], list[Array] | None]:
    """Return what ``set_weights`` of the layer and of its Dense take; the second is None for a net without outputs.

    Of "gru_reset_before" the one bias is b_x + b_h, with the rounding of one addition.

    >>> import rnncore
    >>> params = rnncore.init_params("lstm", inputs=3, hidden=2, outputs=5)
    >>> weights, dense = to_keras(params)
    >>> [array.shape for array in weights]
    [(3, 8), (2, 8), (8,)]
    >>> from_keras("lstm", weights, dense) == params
    True
    """
    require_params("params", params)
    W_xh, W_hh, b_x, b_h = recurrent_arrays(params, _gates_of(params.cell))
    with np.errstate(all="ignore"):
        bias = np.stack([b_x, b_h]) if params.cell == "gru" else b_x + b_h
    weights = [np.ascontiguousarray(W_xh.T), np.ascontiguousarray(W_hh.T), bias]
    return weights, [np.ascontiguousarray(params.W_hy.T), params.b_y.copy()] if params.outputs else None


def _gates_of(cell: str) -> str:
    return GATES.get(cell, CELLS[cell].gates)


def _letters_of(cell: str) -> dict[str, str]:
    rows = rows_in_letters(cell)
    return {
        "kernel": f"(X, {rows})",
        "recurrent_kernel": f"(H, {rows})",
        "bias": f"(2, {rows})" if cell == "gru" else f"({rows},)",
        "dense kernel": "(H, V)",
        "dense bias": "(V,)",
    }


def _by_name(name: str, value: object, names: Sequence[str]) -> dict[str, object]:
    """Return the arrays of get_weights() by name; the last one, the bias, may be missing."""
    if not isinstance(value, SEQUENCES):
        raise TypeError(f"{name} must be the list that get_weights() gives, {', '.join(names)}, got {what(value)}")
    if len(value) not in (len(names) - 1, len(names)):
        raise ValueError(
            f"{name} must be the list that get_weights() gives for one layer in one direction, {', '.join(names)} "
            f"if there is one, got {len(value)} arrays"
        )
    return dict(zip(names, value, strict=False))


def _require_bias_of_cell(cell: str, bias: object) -> None:
    """Raise if the bias of a GRU is that of the other GRU; None is of both."""
    if bias is None or not cell.startswith("gru"):
        return
    array = as_numbers("bias", bias)
    if array.ndim != (2 if cell == "gru" else 1):
        raise ValueError(
            "bias must have shape (2, 3H) with reset='after', which Keras calls reset_after=True, and (3H,) with "
            f"reset='before', reset_after=False, got {kind_of(array)} for cell {cell!r}"
        )
