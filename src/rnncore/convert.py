"""Parameters from and to the arrays of PyTorch, Keras and ONNX: the orders of their gates, and their biases.

Plain functions on arrays, none of which imports any of those libraries. Each takes what a user of the library holds,
and each ``to_`` gives what its ``from_`` takes.

What all have in common: cell names are those of :class:`rnncore.Params`. Shapes are checked. dtype is that of the
arrays, float32 if all are, float64 if any one is; arrays of another real dtype must say ``dtype=``, and are converted
to it. Arrays are copied. Where a library has two biases and the cell here has one (all but both "gru"), they are added,
with the rounding of one addition; on the way out the second one is zeros. Hence these functions are for parameters,
not for gradients: the derivative by a sum is that by each of its terms, and not their sum.

Errors are ValueError for shapes and for what no cell here can represent (several layers, both directions, projections,
peepholes, clipping, other activations), TypeError for dtypes and names.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from . import checks
from .cells import CELLS, rows_in_letters
from .params import Params, Reset
from .types import Array

KERAS_GATES = {"gru": "zrn", "gru_reset_before": "zrn"}
ONNX_GATES = {"lstm": "iofg", "gru": "zrn", "gru_reset_before": "zrn"}
"""The orders of gates that are not ours, in our letters."""

ONNX_NODES: dict[str, tuple[str, dict[str, Any]]] = {
    "rnn": ("RNN", {"activations": ["Tanh"]}),
    "rnn_relu": ("RNN", {"activations": ["Relu"]}),
    "lstm": ("LSTM", {}),
    "gru": ("GRU", {"linear_before_reset": 1}),
    "gru_reset_before": ("GRU", {"linear_before_reset": 0}),
}
"""What each cell is in ONNX."""

TORCH_RECURRENT = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
TORCH_LINEAR = ("weight", "bias")


def from_torch(
    weights: Mapping[str, Any],
    linear: Mapping[str, Any] | None = None,
    *,
    cell: str | None = None,
    dtype: npt.DTypeLike | None = None,
) -> Params:
    """Parameters from the state dicts of an nn.RNN, nn.LSTM or nn.GRU, and of the nn.Linear that reads its outputs.

    weights: weight_ih_l0 (G*H, X), weight_hh_l0 (G*H, H) and, unless there are none, bias_ih_l0 and bias_hh_l0 (G*H,),
    arrays or tensors. linear: weight (V, H) and, unless there is none, bias (V,). cell: "rnn" or "rnn_relu", which
    these arrays do not tell; "lstm" and "gru" they do.

    The gates are in the order i, f, g, o and r, z, n, as here. Of "gru", bias_ih_l0 is b_x and bias_hh_l0 is b_h; of
    the others b_h is their sum. Source: the documentation of torch.nn.RNN, torch.nn.LSTM and torch.nn.GRU, "Variables".

    >>> import numpy as np
    >>> from_torch({"weight_ih_l0": np.ones((8, 3)), "weight_hh_l0": np.zeros((8, 2))})
    Params('lstm', inputs=3, hidden=2, outputs=0, dtype=float64)
    """
    given = _tensors(checks.torch_names("weights", weights, TORCH_RECURRENT, "of one layer in one direction"), dtype)
    cell = checks.torch_cell(cell, given.get("weight_hh_l0"))
    if linear is not None:
        output = _tensors(checks.torch_names("linear", linear, TORCH_LINEAR, "of one nn.Linear"), dtype)
        given |= {f"linear.{name}": output.get(name) for name in TORCH_LINEAR}
    rows = rows_in_letters(cell)
    recurrent = f"({rows}, X)", f"({rows}, H)", f"({rows},)", f"({rows},)"
    letters = {**dict(zip(TORCH_RECURRENT, recurrent, strict=True)), "linear.weight": "(V, H)", "linear.bias": "(V,)"}
    needed = ("weight_ih_l0", "weight_hh_l0", *(() if linear is None else ("linear.weight",)))
    arrays = checks.foreign(given, letters, needed, dtype)
    W_xh, W_hh, b_x, b_h, W_hy, b_y = (arrays.get(name) for name in letters)
    return _params(cell, CELLS[cell].gates, W_xh, W_hh, b_x, b_h, W_hy, b_y)


def to_torch(params: Params) -> tuple[dict[str, Array], dict[str, Array] | None]:
    """The state dicts that :func:`from_torch` takes; the second one is None for a net without outputs.

    ValueError for "gru_reset_before": nn.GRU resets after the product. :meth:`rnncore.Params.to_torch` makes modules.

    >>> import rnncore
    >>> weights, linear = to_torch(rnncore.init_params("gru", inputs=3, hidden=2, outputs=0))
    >>> {name: array.shape for name, array in weights.items()}
    {'weight_ih_l0': (6, 3), 'weight_hh_l0': (6, 2), 'bias_ih_l0': (6,), 'bias_hh_l0': (6,)}
    >>> from_torch(weights, linear)
    Params('gru', inputs=3, hidden=2, outputs=0, dtype=float32)
    """
    if not isinstance(params, Params):
        raise checks.not_params("params", params)
    cell = checks.torch_cell(params.cell, None)
    weights = dict(zip(TORCH_RECURRENT, _recurrent(params, CELLS[cell].gates), strict=True))
    return weights, {"weight": params.W_hy.copy(), "bias": params.b_y.copy()} if params.outputs else None


def from_keras(
    cell: str,
    weights: Sequence[npt.ArrayLike],
    dense: Sequence[npt.ArrayLike] | None = None,
    *,
    reset: Reset | None = None,
    dtype: npt.DTypeLike | None = None,
) -> Params:
    """Parameters from ``layer.get_weights()`` of a SimpleRNN, LSTM or GRU, and of the Dense that reads its outputs.

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
    cell = checks.cell_name(cell, reset)
    given = checks.keras_list("weights", weights, ("kernel", "recurrent_kernel", "bias"))
    if dense is not None:
        given |= checks.keras_list("dense", dense, ("dense kernel", "dense bias"))
    checks.keras_bias(cell, given.get("bias"))
    rows = rows_in_letters(cell)
    letters = {
        "kernel": f"(X, {rows})",
        "recurrent_kernel": f"(H, {rows})",
        "bias": f"(2, {rows})" if cell == "gru" else f"({rows},)",
        "dense kernel": "(H, V)",
        "dense bias": "(V,)",
    }
    needed = ("kernel", "recurrent_kernel", *(() if dense is None else ("dense kernel",)))
    arrays = checks.foreign(given, letters, needed, dtype)
    bias, W_hy = arrays.get("bias"), arrays.get("dense kernel")
    b_x, b_h = bias if bias is not None and cell == "gru" else (bias, None)
    return _params(
        cell,
        KERAS_GATES.get(cell, CELLS[cell].gates),
        arrays["kernel"].T,
        arrays["recurrent_kernel"].T,
        b_x,
        b_h,
        None if W_hy is None else W_hy.T,
        arrays.get("dense bias"),
    )


def to_keras(params: Params) -> tuple[list[Array], list[Array] | None]:
    """What ``set_weights`` of the layer and of its Dense take; the second is None for a net without outputs.

    Of "gru_reset_before" the one bias is b_x + b_h, with the rounding of one addition.

    >>> import rnncore
    >>> params = rnncore.init_params("lstm", inputs=3, hidden=2, outputs=5)
    >>> weights, dense = to_keras(params)
    >>> [array.shape for array in weights]
    [(3, 8), (2, 8), (8,)]
    >>> from_keras("lstm", weights, dense) == params
    True
    """
    if not isinstance(params, Params):
        raise checks.not_params("params", params)
    order = KERAS_GATES.get(params.cell, CELLS[params.cell].gates)
    W_xh, W_hh, b_x, b_h = _recurrent(params, order)
    bias = np.stack([b_x, b_h]) if params.cell == "gru" else _sum(b_x, b_h)
    assert bias is not None
    weights = [np.ascontiguousarray(W_xh.T), np.ascontiguousarray(W_hh.T), bias]
    return weights, [np.ascontiguousarray(params.W_hy.T), params.b_y.copy()] if params.outputs else None


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
    """Parameters from a node of ONNX: its op_type, its inputs W, R, B and P, and its attributes.

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
    cell = checks.onnx_cell(op, attributes)
    gates = len(CELLS[cell].gates)
    rows = rows_in_letters(cell)
    given = {"W": W, "R": R, "B": B, "P": P, "W_hy": W_hy, "b_y": b_y}
    letters = {
        "W": f"(1, {rows}, X)",
        "R": f"(1, {rows}, H)",
        "B": f"(1, {2 * gates}H)",
        "P": "(1, 3H)",
        "W_hy": "(V, H)",
        "b_y": "(V,)",
    }
    arrays = checks.foreign(given, letters, ("W", "R"), dtype)
    checks.onnx_sizes(attributes.get("hidden_size"), arrays["R"].shape[2], P)
    b_x, b_h = np.split(arrays["B"][0], 2) if "B" in arrays else (None, None)
    order = ONNX_GATES.get(cell, CELLS[cell].gates)
    return _params(cell, order, arrays["W"][0], arrays["R"][0], b_x, b_h, arrays.get("W_hy"), arrays.get("b_y"))


def to_onnx(params: Params) -> tuple[str, dict[str, Array], dict[str, Any]]:
    """The op_type of a node of ONNX, its arrays W, R and B, and its attributes, all in the terms of :func:`from_onnx`.

    W_hy and b_y are among the arrays if there are outputs.

    >>> import rnncore
    >>> params = rnncore.init_params("rnn_relu", inputs=3, hidden=2, outputs=5)
    >>> op, arrays, attributes = to_onnx(params)
    >>> op, attributes
    ('RNN', {'hidden_size': 2, 'activations': ['Relu']})
    >>> from_onnx(op, **arrays, **attributes) == params
    True
    """
    if not isinstance(params, Params):
        raise checks.not_params("params", params)
    W_xh, W_hh, b_x, b_h = _recurrent(params, ONNX_GATES.get(params.cell, CELLS[params.cell].gates))
    arrays = {"W": W_xh[None], "R": W_hh[None], "B": np.concatenate([b_x, b_h])[None]}
    if params.outputs:
        arrays |= {"W_hy": params.W_hy.copy(), "b_y": params.b_y.copy()}
    op, attributes = ONNX_NODES[params.cell]
    return op, arrays, {"hidden_size": params.hidden, **attributes}


def _tensors(arrays: Mapping[str, Any], dtype: npt.DTypeLike | None) -> dict[str, Any]:
    """Tensors as arrays; what has no ``detach`` is none."""
    return {name: _array(name, given, dtype) if hasattr(given, "detach") else given for name, given in arrays.items()}


def _array(name: str, tensor: Any, dtype: npt.DTypeLike | None) -> Any:
    tensor = tensor.detach().cpu()
    try:
        return tensor.numpy()
    except TypeError as why:  # bfloat16, and what else NumPy does not have
        if dtype is None:
            raise checks.tensor_dtype(name, tensor.dtype) from why
        return tensor.double().numpy()


def _params(
    cell: str,
    order: str,
    W_xh: Array | None,
    W_hh: Array | None,
    b_x: Array | None,
    b_h: Array | None,
    W_hy: Array | None,
    b_y: Array | None,
) -> Params:
    """Parameters from arrays whose rows are of the gates in another order."""
    biases = {"b_x": b_x, "b_h": b_h} if CELLS[cell].apart else {"b_h": _sum(b_x, b_h)}
    arrays: dict[str, Any] = {
        name: None if array is None else _in_order(array, order, CELLS[cell].gates)
        for name, array in {"W_xh": W_xh, "W_hh": W_hh, **biases}.items()
    }
    return Params(cell, **arrays, W_hy=W_hy, b_y=b_y)


def _recurrent(params: Params, order: str) -> list[Array]:
    """W_xh, W_hh and two biases, copied, with the rows in another order of the gates."""
    ours, b_h = CELLS[params.cell].gates, params.b_h
    biases = (params.b_x, b_h) if CELLS[params.cell].apart else (b_h, np.zeros_like(b_h))
    return [_in_order(array, ours, order) for array in (params.W_xh, params.W_hh, *biases)]


def _in_order(array: Array, order: str, wanted: str) -> Array:
    """A copy of an array whose rows are of the gates in one order, with the rows in another."""
    blocks = dict(zip(order, np.split(array, len(order)), strict=True))
    return np.concatenate([blocks[gate] for gate in wanted])


def _sum(a: Array | None, b: Array | None) -> Array | None:
    if a is None or b is None:
        return b if a is None else a
    with np.errstate(all="ignore"):
        return a + b
