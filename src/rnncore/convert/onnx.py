"""Parameters from and to ONNX: a node's arrays and attributes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ..cells import CELLS, rows_in_letters
from ..params import Params, require_params
from ..types import Array
from ..values import SEQUENCES, as_choice, as_integer, as_numbers
from ..words import kind_of, what
from .arrays import as_parameter_arrays, params_from_arrays, recurrent_arrays

GATES = {"lstm": "iofg", "gru": "zrn", "gru_reset_before": "zrn"}
"""The orders of gates that are not ours, in our letters."""

NODES: dict[str, tuple[str, dict[str, Any]]] = {
    "rnn": ("RNN", {"activations": ["Tanh"]}),
    "rnn_relu": ("RNN", {"activations": ["Relu"]}),
    "lstm": ("LSTM", {}),
    "gru": ("GRU", {"linear_before_reset": 1}),
    "gru_reset_before": ("GRU", {"linear_before_reset": 0}),
}
"""What each cell is in ONNX: the op_type and the attributes that say which cell it is."""

ACTIVATIONS = {"RNN": [["Tanh"], ["Relu"]], "LSTM": [["Sigmoid", "Tanh", "Tanh"]], "GRU": [["Sigmoid", "Tanh"]]}
"""The activations that cells here have, by op_type, ONNX's default first."""

COMMON = ("activation_alpha", "activation_beta", "activations", "clip", "direction", "hidden_size", "layout")
ATTRIBUTES = {"RNN": COMMON, "LSTM": (*COMMON, "input_forget"), "GRU": (*COMMON, "linear_before_reset")}


def from_onnx(
    op: str,
    W: npt.ArrayLike,
    R: npt.ArrayLike,
    B: npt.ArrayLike | None = None,
    P: npt.ArrayLike | None = None,
    *,
    W_hy: npt.ArrayLike | None = None,
    b_y: npt.ArrayLike | None = None,
    dtype: npt.DTypeLike | None = None,
    **attributes: Any,
) -> Params:
    """Return parameters from a node of ONNX: its op_type, its inputs W, R, B and P, and its attributes.

    op: "RNN", "LSTM" or "GRU". W (1, G*H, X), R (1, G*H, H), B (1, 2*G*H), the biases of W and then those of R.
    P, peepholes, must be zeros. W_hy (V, H) and b_y (V,): the output layer, which is another node, such as a Gemm with
    transB=1; None for a net without outputs.

    attributes: those of the node, by name, all that it has; one that it does not have is what ONNX says: of an RNN,
    ``activations=["Tanh"]``, and ["Relu"] is "rnn_relu"; of a GRU, ``linear_before_reset=0`` is "gru_reset_before", and
    1 is "gru". direction must be forward, clip absent, input_forget 0; layout, hidden_size and the activations' alpha
    and beta, which none of these use, change nothing. Texts may be bytes, as onnx.helper.get_attribute_value gives.

    The gates are in the order i, o, f, c, where c is our g, and z, r, h, where h is our n. Source: the ONNX operators
    RNN, LSTM and GRU, version 22.

    >>> import numpy as np
    >>> W, R = np.ones((1, 6, 3), "float32"), np.zeros((1, 6, 2), "float32")
    >>> from_onnx("GRU", W, R, hidden_size=2)
    Params('gru_reset_before', inputs=3, hidden=2, outputs=0, dtype=float32)
    >>> from_onnx("GRU", W, R, hidden_size=2, linear_before_reset=1)
    Params('gru', inputs=3, hidden=2, outputs=0, dtype=float32)
    """
    cell = _cell_of(op, attributes)
    given = {"W": W, "R": R, "B": B, "P": P, "W_hy": W_hy, "b_y": b_y}
    arrays = as_parameter_arrays(given, _letters_of(cell), ("W", "R"), dtype)
    _require_hidden_size(attributes.get("hidden_size"), arrays["R"].shape[2])
    _require_no_peepholes(P)
    b_x, b_h = np.split(arrays["B"][0], 2) if "B" in arrays else (None, None)
    outputs = arrays.get("W_hy"), arrays.get("b_y")
    return params_from_arrays(cell, _gates_of(cell), arrays["W"][0], arrays["R"][0], b_x, b_h, *outputs)


def to_onnx(params: Params) -> tuple[str, dict[str, Array], dict[str, Any]]:
    """Return the op_type of a node of ONNX, its arrays W, R and B, and its attributes, as :func:`from_onnx` takes them.

    W_hy and b_y are among the arrays if there are outputs.

    >>> import rnncore
    >>> params = rnncore.init_params("rnn_relu", inputs=3, hidden=2, outputs=5)
    >>> op, arrays, attributes = to_onnx(params)
    >>> op, attributes
    ('RNN', {'hidden_size': 2, 'activations': ['Relu']})
    >>> from_onnx(op, **arrays, **attributes) == params
    True
    """
    require_params("params", params)
    W_xh, W_hh, b_x, b_h = recurrent_arrays(params, _gates_of(params.cell))
    arrays = {"W": W_xh[None], "R": W_hh[None], "B": np.concatenate([b_x, b_h])[None]}
    if params.outputs:
        arrays |= {"W_hy": params.W_hy.copy(), "b_y": params.b_y.copy()}
    op, attributes = NODES[params.cell]
    return op, arrays, {"hidden_size": params.hidden, **attributes}


def _gates_of(cell: str) -> str:
    return GATES.get(cell, CELLS[cell].gates)


def _letters_of(cell: str) -> dict[str, str]:
    rows, biases = rows_in_letters(cell), 2 * len(CELLS[cell].gates)
    W, R, B = f"(1, {rows}, X)", f"(1, {rows}, H)", f"(1, {biases}H)"
    return {"W": W, "R": R, "B": B, "P": "(1, 3H)", "W_hy": "(V, H)", "b_y": "(V,)"}


def _cell_of(op: object, attributes: Mapping[str, Any]) -> str:
    """Return the cell that a node is with these attributes; one that is None counts as absent."""
    kind = as_choice("op", op, tuple(ATTRIBUTES))
    for name in attributes:
        if name not in ATTRIBUTES[kind]:
            raise TypeError(f"attributes of {kind} are {', '.join(ATTRIBUTES[kind])}, got {name!r}")
    given = {name: _as_text(value) for name, value in attributes.items() if value is not None}
    _require_plain(given)
    activations = _activations_of(kind, given)
    if kind == "RNN":
        return "rnn" if activations == ["Tanh"] else "rnn_relu"
    if kind == "LSTM":
        return "lstm"
    after = given.get("linear_before_reset", 0)
    if after not in (0, 1):
        raise ValueError(f"linear_before_reset must be 0 or 1, got {what(after)}")
    return "gru" if after else "gru_reset_before"


def _require_plain(given: dict[str, Any]) -> None:
    """Raise if an attribute asks for what no cell here does."""
    if given.get("direction", "forward") != "forward":
        raise ValueError(f"direction must be 'forward', for a Params has no other, got {what(given['direction'])}")
    if "clip" in given:
        raise ValueError(f"clip must be None, for no cell here clips, got {what(given['clip'])}")
    if given.get("input_forget", 0) != 0:
        raise ValueError(
            f"input_forget must be 0, for no cell here couples its gates, got {what(given['input_forget'])}"
        )


def _activations_of(op: str, given: dict[str, Any]) -> list[str]:
    """Return the names of the activations, in ONNX's spelling, which ignores case."""
    known = ACTIVATIONS[op]
    listed = given.get("activations", known[0])
    activations = [str(name).capitalize() for name in listed] if isinstance(listed, SEQUENCES) else []
    if activations not in known:
        raise ValueError(f"activations of {op} must be {' or '.join(map(str, known))}, got {what(listed)}")
    return activations


def _require_hidden_size(hidden_size: object, H: int) -> None:
    if hidden_size is not None and as_integer("hidden_size", hidden_size, 1) != H:
        raise ValueError(f"hidden_size must be H = {H}, the columns of R, got {hidden_size}")


def _require_no_peepholes(P: object) -> None:
    if P is not None and as_numbers("P", P).any():
        raise ValueError(f"P must be None or zeros, for no cell here has peepholes, got {kind_of(as_numbers('P', P))}")


def _as_text(value: Any) -> Any:
    """Return texts as str: onnx.helper.get_attribute_value gives them as bytes."""
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return [_as_text(one) for one in value] if isinstance(value, SEQUENCES) else value
