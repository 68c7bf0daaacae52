"""Parameters from and to ONNX: a node's arrays and attributes."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..cells import CELLS, rows_in_letters
from ..params import Params, require_params
from ..types import AnyArray, Array
from ..values import SEQUENCES, as_choice, as_integer
from ..words import kind_of, what
from .arrays import (
    Foreign,
    Part,
    as_checked_arrays,
    as_tokens,
    params_of,
    real_dtype,
    recurrent_arrays,
    require_one_hidden,
)

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


INPUTS = ("W", "R", "B", "P")


class Node(NamedTuple):
    """Holds a node of ONNX, and what the names of its arrays and attributes end with in messages."""

    label: str
    op: object
    arrays: Mapping[str, Any]
    attributes: Mapping[str, Any]


def from_onnx(
    op: str,
    W: npt.ArrayLike,
    R: npt.ArrayLike,
    B: npt.ArrayLike | None = None,
    P: npt.ArrayLike | None = None,
    *,
    W_hy: npt.ArrayLike | None = None,
    b_y: npt.ArrayLike | None = None,
    embedding: npt.ArrayLike | None = None,
    tokens: bool | None = None,
    dtype: npt.DTypeLike | None = None,
    **attributes: Any,
) -> Params:
    """Return parameters from a node of ONNX: its op_type, its inputs W, R, B and P, and its attributes.

    op: "RNN", "LSTM" or "GRU". W (D, G*H, X), R (D, G*H, H), B (D, 2*G*H), the biases of W and then those of R; D is
    2 with direction="bidirectional", forward before reverse, and else 1. P, peepholes, must be zeros. W_hy (V, D*H) and
    b_y (V,): the output layer, which is another node, such as a Gemm with transB=1; None for a net without outputs.
    :func:`from_onnx_nodes` takes a stack.

    embedding: the data (X, E) of a Gather before it, or None. W_xh is then W E^T, in float64 and rounded once, and the
    net reads tokens. tokens: whether a net without an embedding reads tokens, or None.

    attributes: those of the node, by name, all that it has; one that it does not have is what ONNX says: of an RNN,
    ``activations=["Tanh"]``, and ["Relu"] is "rnn_relu"; of a GRU, ``linear_before_reset=0`` is "gru_reset_before", and
    1 is "gru". direction must be forward or bidirectional. Of a node in reverse, give direction="forward" and turn each
    sequence round before the net, and its h and y after it: ``x[::-1]``. clip must be absent, and input_forget 0;
    layout, hidden_size and the activations' alpha and beta, which none of these use, change nothing. Texts may be
    bytes, as onnx.helper.get_attribute_value gives.

    The gates are in the order i, o, f, c, where c is our g, and z, r, h, where h is our n. Source: the ONNX operators
    RNN, LSTM and GRU, version 22.

    >>> import numpy as np
    >>> W, R = np.ones((1, 6, 3), "float32"), np.zeros((1, 6, 2), "float32")
    >>> from_onnx("GRU", W, R, hidden_size=2)
    Params('gru_reset_before', inputs=3, hidden=2, outputs=0, dtype=float32)
    >>> from_onnx("GRU", W, R, hidden_size=2, linear_before_reset=1)
    Params('gru', inputs=3, hidden=2, outputs=0, dtype=float32)
    """
    nodes = [Node("", op, {"W": W, "R": R, "B": B, "P": P}, attributes)]
    return _params_of(nodes, W_hy, b_y, embedding, tokens, dtype)


def from_onnx_nodes(
    nodes: Sequence[tuple[str, Mapping[str, Any], Mapping[str, Any]]],
    *,
    W_hy: npt.ArrayLike | None = None,
    b_y: npt.ArrayLike | None = None,
    embedding: npt.ArrayLike | None = None,
    tokens: bool | None = None,
    dtype: npt.DTypeLike | None = None,
) -> Params:
    """Return parameters from the nodes of a stack, the first layer first.

    nodes: for each its op_type, a dict of its inputs W, R, B and P, and a dict of its attributes, as :func:`from_onnx`
    takes them, and the other arguments too. All have one cell, one H and the same directions. Between nodes a graph
    brings Y (T, D, B, H), with layout=0, to (T, B, D*H): a Transpose with perm=[0, 2, 1, 3] and a Reshape to
    [0, 0, -1].

    >>> import numpy as np
    >>> arrays = {"W": np.ones((2, 8, 4)), "R": np.zeros((2, 8, 2))}
    >>> from_onnx_nodes([("LSTM", arrays, {"direction": "bidirectional"})] * 2)
    Params('lstm', inputs=4, hidden=2, outputs=0, layers=2, bidirectional=True, dtype=float64)
    """
    if not isinstance(nodes, SEQUENCES) or not nodes:
        raise TypeError(f"nodes must be a list of (op_type, arrays, attributes), one for each layer, got {what(nodes)}")
    return _params_of(
        [_as_node(f"nodes[{number}]", node) for number, node in enumerate(nodes)], W_hy, b_y, embedding, tokens, dtype
    )


def to_onnx(params: Params) -> tuple[str, dict[str, Array], dict[str, Any]]:
    """Return the op_type of a node of ONNX, its arrays W, R and B, and its attributes, as :func:`from_onnx` takes them.

    W_hy and b_y are among the arrays if there are outputs. A net of several layers is several nodes:
    :func:`to_onnx_nodes`.

    >>> import rnncore
    >>> params = rnncore.init_params("rnn_relu", inputs=3, hidden=2, outputs=5)
    >>> op, arrays, attributes = to_onnx(params)
    >>> op, attributes
    ('RNN', {'hidden_size': 2, 'activations': ['Relu']})
    >>> from_onnx(op, **arrays, **attributes) == params
    True
    """
    require_params("params", params)
    if len(params.layers) > 1:
        raise ValueError(f"params must have one layer, got {len(params.layers)}; to_onnx_nodes makes a node for each")
    nodes, output = to_onnx_nodes(params)
    op, arrays, attributes = nodes[0]
    return op, {**arrays, **output}, attributes


def to_onnx_nodes(
    params: Params,
) -> tuple[list[tuple[str, dict[str, Array], dict[str, Any]]], dict[str, Array]]:
    """Return a node for each layer, and a dict with W_hy and b_y, empty for a net without outputs.

    A node is its op_type, its arrays W, R and B, and its attributes. ``from_onnx_nodes(nodes, **output)`` takes them
    back; its docstring says what stands between nodes. A graph of a net that reads tokens begins with a Gather from
    the identity (X, X), or a OneHot.

    >>> import rnncore
    >>> nodes, output = to_onnx_nodes(rnncore.init_params("lstm", inputs=3, hidden=2, outputs=5))
    >>> [(op, sorted(arrays), attributes) for op, arrays, attributes in nodes]
    [('LSTM', ['B', 'R', 'W'], {'hidden_size': 2})]
    >>> sorted(output)
    ['W_hy', 'b_y']
    """
    require_params("params", params)
    op, plain = NODES[params.cell]
    directions = 1 + params.bidirectional
    attributes: dict[str, Any] = {"hidden_size": params.hidden, **plain}
    if "activations" in plain:
        attributes["activations"] = plain["activations"] * directions
    if params.bidirectional:
        attributes["direction"] = "bidirectional"
    parts, nodes = recurrent_arrays(params, _gates_of(params.cell)), []
    for first in range(0, len(parts), directions):
        W, R, b_x, b_h = (np.stack(arrays) for arrays in zip(*parts[first : first + directions], strict=True))
        nodes.append((op, {"W": W, "R": R, "B": np.concatenate([b_x, b_h], axis=1)}, copy.deepcopy(attributes)))
    return nodes, {"W_hy": params.W_hy.copy(), "b_y": params.b_y.copy()} if params.outputs else {}


def _as_node(name: str, value: object) -> Node:
    """Return a node that is given as a tuple."""
    if not isinstance(value, SEQUENCES) or len(value) != 3:
        raise TypeError(f"{name} must be (op_type, arrays, attributes), got {what(value)}")
    op, arrays, attributes = value
    for kind, given in (("arrays", arrays), ("attributes", attributes)):
        if not isinstance(given, Mapping):
            raise TypeError(f"the {kind} of {name} must be a dict, got {what(given)}")
    for key in arrays:
        if key not in INPUTS:
            raise TypeError(f"the arrays of {name} are {', '.join(INPUTS)}, got {what(key)}")
    return Node(f" of {name}", op, arrays, attributes)


def _params_of(
    nodes: Sequence[Node], W_hy: object, b_y: object, embedding: object, tokens: object, dtype: Any
) -> Params:
    """Return parameters from nodes; W_hy, b_y and embedding may be None."""
    reads = as_tokens(tokens, embedding)
    cells = [_cell_of(node) for node in nodes]
    for node, found in zip(nodes, cells, strict=True):
        if found != cells[0]:
            raise ValueError(
                f"nodes must be of one cell in the same directions, got {described(cells[0])}{nodes[0].label} and "
                f"{described(found)}{node.label}"
            )
    cell, directions = cells[0]
    given = {f"{name}{node.label}": node.arrays.get(name) for node in nodes for name in INPUTS}
    require_one_hidden({f"R{node.label}": given[f"R{node.label}"] for node in nodes})
    given |= {"W_hy": W_hy, "b_y": b_y, "embedding": embedding}
    letters = _letters_of(cell, [node.label for node in nodes], directions, embedding is not None)
    arrays = as_checked_arrays(given, letters, [f"{name}{node.label}" for node in nodes for name in ("W", "R")])
    for node in nodes:
        R = arrays[f"R{node.label}"]
        _require_hidden_size(node, R.shape[2])
        _require_no_peepholes(f"P{node.label}", arrays.get(f"P{node.label}"))
    parts = [part for node in nodes for part in _parts(arrays, node.label, directions)]
    net = Foreign(cell, _gates_of(cell), parts, directions == 2, *(arrays.get(n) for n in ("W_hy", "b_y", "embedding")))
    return params_of(net, reads, real_dtype(arrays, dtype))


def _parts(arrays: Mapping[str, AnyArray], label: str, directions: int) -> list[Part]:
    """Return the parts that a node is."""
    W, R, B = arrays[f"W{label}"], arrays[f"R{label}"], arrays.get(f"B{label}")
    biases = [(None, None)] * directions if B is None else [np.split(row, 2) for row in B]
    return [Part(W[way], R[way], *biases[way]) for way in range(directions)]


def _gates_of(cell: str) -> str:
    return GATES.get(cell, CELLS[cell].gates)


def _letters_of(cell: str, labels: Sequence[str], directions: int, embedded: bool) -> dict[str, str]:
    rows, biases, D = rows_in_letters(cell), 2 * len(CELLS[cell].gates), directions
    width = "H" if directions == 1 else "2H"
    letters = {"W_hy": f"(V, {width})", "b_y": "(V,)", "embedding": "(X, E)"}
    for layer, label in enumerate(labels):
        read = width if layer else "E" if embedded else "X"
        shapes = f"({D}, {rows}, {read})", f"({D}, {rows}, H)", f"({D}, {biases}H)", f"({D}, 3H)"
        letters |= {f"{name}{label}": shape for name, shape in zip(INPUTS, shapes, strict=True)}
    return letters


def _cell_of(node: Node) -> tuple[str, int]:
    """Return the cell that a node is, and in how many directions; an attribute that is None counts as absent."""
    kind = as_choice(f"op{node.label}", node.op, tuple(ATTRIBUTES))
    for name in node.attributes:
        if name not in ATTRIBUTES[kind]:
            raise TypeError(f"attributes of {kind} are {', '.join(ATTRIBUTES[kind])}, got {name!r}")
    given = {name: _as_text(value) for name, value in node.attributes.items() if value is not None}
    directions = _directions_of(given.get("direction", "forward"), node.label)
    _require_plain(given, node.label)
    activations = _activations_of(kind, given, directions, node.label)
    if kind == "RNN":
        return ("rnn" if activations == ["Tanh"] else "rnn_relu"), directions
    if kind == "LSTM":
        return "lstm", directions
    after = given.get("linear_before_reset", 0)
    if after not in (0, 1):
        raise ValueError(f"linear_before_reset{node.label} must be 0 or 1, got {what(after)}")
    return ("gru" if after else "gru_reset_before"), directions


def _directions_of(direction: object, label: str) -> int:
    if direction not in ("forward", "bidirectional"):
        raise ValueError(
            f"direction{label} must be 'forward' or 'bidirectional', got {what(direction)}; of a node in 'reverse', "
            "say direction='forward' and turn the sequences round, x[::-1], and the outputs back"
        )
    return 1 if direction == "forward" else 2


def _require_plain(given: dict[str, Any], label: str) -> None:
    """Raise if an attribute asks for what no cell here does."""
    if "clip" in given:
        raise ValueError(f"clip{label} must be None, for no cell here clips, got {what(given['clip'])}")
    if given.get("input_forget", 0) != 0:
        raise ValueError(
            f"input_forget{label} must be 0, for no cell here couples its gates, got {what(given['input_forget'])}"
        )


def _activations_of(op: str, given: dict[str, Any], directions: int, label: str) -> list[str]:
    """Return the names of the activations of each direction, in ONNX's spelling, which ignores case."""
    known = ACTIVATIONS[op]
    listed = given.get("activations", known[0] * directions)
    activations = [str(name).capitalize() for name in listed] if isinstance(listed, SEQUENCES) else []
    allowed = [names * directions for names in known]
    if activations not in allowed:
        raise ValueError(f"activations of {op}{label} must be {' or '.join(map(str, allowed))}, got {what(listed)}")
    return known[allowed.index(activations)]


def _require_hidden_size(node: Node, H: int) -> None:
    given = node.attributes.get("hidden_size")
    if given is not None and as_integer(f"hidden_size{node.label}", given, 1) != H:
        raise ValueError(f"hidden_size{node.label} must be H = {H}, the columns of R, got {given}")


def _require_no_peepholes(name: str, P: AnyArray | None) -> None:
    if P is not None and P.any():
        raise ValueError(f"{name} must be None or zeros, for no cell here has peepholes, got {kind_of(P)}")


def described(cell: tuple[str, int]) -> str:
    """Return a cell and its directions in words."""
    return f"{cell[0]!r} in {cell[1]} direction{'s' if cell[1] > 1 else ''}"


def _as_text(value: Any) -> Any:
    """Return texts as str: onnx.helper.get_attribute_value gives them as bytes."""
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return [_as_text(one) for one in value] if isinstance(value, SEQUENCES) else value
