"""Parameters from and to PyTorch: state dicts as arrays, and modules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

import numpy.typing as npt

from ..cells import CELLS, rows_in_letters
from ..params import Params, cell_name, require_params
from ..types import Array
from ..values import as_numbers
from ..words import kind_of, one_of, what
from .arrays import as_parameter_arrays, params_from_arrays, recurrent_arrays

MODES = {"RNN_TANH": "rnn", "RNN_RELU": "rnn_relu", "LSTM": "lstm", "GRU": "gru"}
"""The attribute ``mode`` of a recurrent module, and the cell."""

RECURRENT = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
LINEAR = ("weight", "bias")


def from_torch(
    weights: Mapping[str, Any],
    linear: Mapping[str, Any] | None = None,
    *,
    cell: str | None = None,
    dtype: npt.DTypeLike | None = None,
) -> Params:
    """Return parameters from the state dicts of an nn.RNN, nn.LSTM or nn.GRU, and of the nn.Linear after it.

    weights: weight_ih_l0 (G*H, X), weight_hh_l0 (G*H, H) and, unless there are none, bias_ih_l0 and bias_hh_l0 (G*H,),
    arrays or tensors. linear: weight (V, H) and, unless there is none, bias (V,). cell: "rnn" or "rnn_relu", which
    these arrays do not tell; "lstm" and "gru" they do.

    The gates are in the order i, f, g, o and r, z, n, as here. Of "gru", bias_ih_l0 is b_x and bias_hh_l0 is b_h; of
    the others b_h is their sum. Source: the documentation of torch.nn.RNN, torch.nn.LSTM and torch.nn.GRU, "Variables".

    >>> import numpy as np
    >>> from_torch({"weight_ih_l0": np.ones((8, 3)), "weight_hh_l0": np.zeros((8, 2))})
    Params('lstm', inputs=3, hidden=2, outputs=0, dtype=float64)
    """
    given = _as_arrays("weights", weights, RECURRENT, "of one layer in one direction", dtype)
    cell = _cell_of(cell, given.get("weight_hh_l0"))
    if linear is not None:
        output = _as_arrays("linear", linear, LINEAR, "of one nn.Linear", dtype)
        given |= {f"linear.{name}": output.get(name) for name in LINEAR}
    rows = rows_in_letters(cell)
    recurrent = f"({rows}, X)", f"({rows}, H)", f"({rows},)", f"({rows},)"
    letters = {**dict(zip(RECURRENT, recurrent, strict=True)), "linear.weight": "(V, H)", "linear.bias": "(V,)"}
    needed = ("weight_ih_l0", "weight_hh_l0", *(() if linear is None else ("linear.weight",)))
    arrays = as_parameter_arrays(given, letters, needed, dtype)
    W_xh, W_hh = arrays["weight_ih_l0"], arrays["weight_hh_l0"]
    others = (arrays.get(name) for name in ("bias_ih_l0", "bias_hh_l0", "linear.weight", "linear.bias"))
    return params_from_arrays(cell, CELLS[cell].gates, W_xh, W_hh, *others)


def to_torch(params: Params) -> tuple[dict[str, Array], dict[str, Array] | None]:
    """Return the state dicts that :func:`from_torch` takes; the second one is None for a net without outputs.

    Raises ValueError for "gru_reset_before": nn.GRU resets after the product. :meth:`rnncore.Params.to_torch` makes
    modules.

    >>> import rnncore
    >>> weights, linear = to_torch(rnncore.init_params("gru", inputs=3, hidden=2, outputs=0))
    >>> {name: array.shape for name, array in weights.items()}
    {'weight_ih_l0': (6, 3), 'weight_hh_l0': (6, 2), 'bias_ih_l0': (6,), 'bias_hh_l0': (6,)}
    >>> from_torch(weights, linear)
    Params('gru', inputs=3, hidden=2, outputs=0, dtype=float32)
    """
    require_params("params", params)
    _require_cell_of_torch(params.cell)
    weights = dict(zip(RECURRENT, recurrent_arrays(params, CELLS[params.cell].gates), strict=True))
    return weights, {"weight": params.W_hy.copy(), "bias": params.b_y.copy()} if params.outputs else None


def params_from_modules(recurrent: object, linear: object, cell: str | None, dtype: npt.DTypeLike | None) -> Params:
    """Return parameters from modules or their state dicts: what :meth:`rnncore.Params.from_torch` does."""
    cell, weights = _recurrent_state(recurrent, cell)
    return from_torch(weights, _linear_state(linear), cell=cell, dtype=dtype)


def modules_from_params(params: Params) -> tuple[Any, Any]:
    """Return a recurrent module and an nn.Linear or None: what :meth:`rnncore.Params.to_torch` does."""
    weights, output = to_torch(params)
    mode = next(mode for mode, cell in MODES.items() if cell == params.cell)
    kind, _, nonlinearity = mode.partition("_")
    more = {"nonlinearity": nonlinearity.lower()} if nonlinearity else {}
    recurrent = _module(kind, weights, (params.inputs, params.hidden), **more)
    return recurrent, None if output is None else _module("Linear", output, (params.hidden, params.outputs))


def _module(kind: str, arrays: dict[str, Array], sizes: Sequence[int], **more: str) -> Any:
    """Return a module of PyTorch with a state dict; no random number is drawn for it."""
    torch = import_module("torch")
    dtype = getattr(torch, str(next(iter(arrays.values())).dtype))
    module = getattr(torch.nn, kind)(*sizes, **more, device="meta", dtype=dtype)
    module.to_empty(device="cpu")
    module.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
    return module


def _recurrent_state(recurrent: object, cell: str | None) -> tuple[str | None, Any]:
    """Return the cell of a recurrent module and its state dict; a state dict goes on as it is."""
    if isinstance(recurrent, Mapping):
        return cell, recurrent
    mode, state_dict = getattr(recurrent, "mode", None), getattr(recurrent, "state_dict", None)
    if not isinstance(mode, str) or mode not in MODES or not callable(state_dict):
        raise TypeError(f"recurrent must be an nn.RNN, nn.LSTM or nn.GRU, or its state dict, got {what(recurrent)}")
    for name, plain in (("num_layers", 1), ("bidirectional", False), ("proj_size", 0)):
        got = getattr(recurrent, name, plain)
        if got != plain:
            raise ValueError(f"recurrent must have {name}={plain}, for a Params has no more, got {name}={got}")
    if cell not in (None, MODES[mode]):
        raise ValueError(f"cell must be None or {MODES[mode]!r}, as recurrent is, got {what(cell)}")
    return MODES[mode], state_dict()


def _linear_state(linear: object) -> Any:
    """Return the state dict of an nn.Linear; a state dict, or None, goes on as it is."""
    if linear is None or isinstance(linear, Mapping):
        return linear
    state_dict = getattr(linear, "state_dict", None)
    if not callable(state_dict) or not hasattr(linear, "out_features"):
        raise TypeError(f"linear must be an nn.Linear, its state dict, or None, got {what(linear)}")
    return state_dict()


def _cell_of(cell: object, W_hh: object) -> str:
    """Return the cell by its name, or else by the shape of weight_hh_l0."""
    if cell is not None:
        return _require_cell_of_torch(cell_name(cell))
    if W_hh is None:
        raise TypeError("weight_hh_l0 must be an array, got None")
    given = as_numbers("weight_hh_l0", W_hh)
    rows, H = given.shape if given.ndim == 2 else (0, 0)
    if H > 0 and rows == H:
        raise ValueError(f"cell must be 'rnn' or 'rnn_relu': weight_hh_l0 {kind_of(given)} can be of both, got None")
    if H > 0 and rows in (3 * H, 4 * H):
        return "gru" if rows == 3 * H else "lstm"
    raise ValueError(f"weight_hh_l0 must have shape (H, H), (3H, H) or (4H, H), got {kind_of(given)}")


def _require_cell_of_torch(cell: str) -> str:
    """Raise unless PyTorch has the cell, and return it."""
    if cell not in MODES.values():
        raise ValueError(
            f"cell must be one of {one_of(MODES.values())} in PyTorch, whose nn.GRU resets after the product, "
            f"got {cell!r}"
        )
    return cell


def _as_arrays(
    name: str, state_dict: object, known: Sequence[str], whose: str, dtype: npt.DTypeLike | None
) -> dict[str, Any]:
    """Return a state dict with its tensors as arrays, and raise if it has other names than those known."""
    if not isinstance(state_dict, Mapping):
        raise TypeError(f"{name} must be a dict of arrays, {', '.join(known)}, got {what(state_dict)}")
    for given in state_dict:
        if given not in known:
            raise ValueError(f"{name} must be {whose}, the arrays {', '.join(known)}, got {what(given)}")
    return {given: _as_array(given, tensor, dtype) for given, tensor in state_dict.items()}


def _as_array(name: str, tensor: Any, dtype: npt.DTypeLike | None) -> Any:
    """Return a tensor as an array; what has no ``detach`` is no tensor, and goes on as it is."""
    if not hasattr(tensor, "detach"):
        return tensor
    tensor = tensor.detach().cpu()
    try:
        return tensor.numpy()
    except TypeError as why:  # bfloat16, and what else NumPy does not have
        if dtype is None:
            raise TypeError(
                f"{name} must be float32 or float64, got {tensor.dtype}; dtype='float32' or 'float64' converts"
            ) from why
        return tensor.double().numpy()
