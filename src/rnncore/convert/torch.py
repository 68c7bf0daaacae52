"""Parameters from and to PyTorch: state dicts as arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, overload

import numpy.typing as npt

from ..cells import CELLS, rows_in_letters
from ..params import Params, require_params
from ..sizes import cell_name
from ..types import AnyArray, Array
from ..values import as_flag, as_numbers
from ..words import kind_of, one_of
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
from .state_dicts import KINDS, Recurrent, entries_of, recurrent_of, require_all_taken

MODES = {"RNN_TANH": "rnn", "RNN_RELU": "rnn_relu", "LSTM": "lstm", "GRU": "gru"}
"""The attribute ``mode`` of a recurrent module, and the cell."""

LINEAR, EMBEDDING = ("weight", "bias"), ("weight",)


def from_torch(
    weights: Mapping[str, Any],
    linear: Mapping[str, Any] | str | None = None,
    *,
    cell: str | None = None,
    embedding: Mapping[str, Any] | npt.ArrayLike | None = None,
    tokens: bool | None = None,
    dtype: npt.DTypeLike | None = None,
) -> Params:
    """Return parameters from the state dicts of an nn.RNN, nn.LSTM or nn.GRU, and of the nn.Linear after it.

    weights: weight_ih_l0 (G*H, X), weight_hh_l0 (G*H, H) and, unless there are none, bias_ih_l0 and bias_hh_l0 (G*H,),
    arrays or tensors; further layers end with ``_l1`` and so on, and second directions with ``_reverse``; those of an
    nn.RNNCell, nn.LSTMCell or nn.GRUCell end with neither. linear: weight (V, D*H) and, unless there is none, bias
    (V,). cell: "rnn" or "rnn_relu", which these arrays do not tell; "lstm" and "gru" they do.

    embedding: weight (X, E) of an nn.Embedding before it, in a dict or alone. W_xh of the first layer is then
    weight_ih_l0 E^T, in float64 and rounded once, and the net reads tokens.
    tokens: whether a net without an embedding reads tokens, or None.

    Names may have a prefix, such as ``module.``, ``_orig_mod.`` or ``model.lstm.``, which is found if it is the only
    one of recurrent arrays. Of a whole model's state dict every other entry must be claimed: linear and embedding may
    be the prefixes of theirs, such as ``linear="fc"``. Nothing is guessed, and nothing left out silently.

    The gates are in the order i, f, g, o and r, z, n, as here. Of "gru", bias_ih_l0 is b_x and bias_hh_l0 is b_h; of
    the others b_h is their sum. Source: the documentation of torch.nn.RNN, torch.nn.LSTM and torch.nn.GRU, "Variables".

    >>> import numpy as np
    >>> lstm = {"model.lstm.weight_ih_l0": np.ones((8, 3)), "model.lstm.weight_hh_l0": np.zeros((8, 2))}
    >>> from_torch(lstm)
    Params('lstm', inputs=3, hidden=2, outputs=0, dtype=float64)
    >>> from_torch({**lstm, "model.fc.weight": np.ones((5, 2))}, linear="model.fc")
    Params('lstm', inputs=3, hidden=2, outputs=5, dtype=float64)
    """
    reads, found = as_tokens(tokens, embedding), recurrent_of(weights)
    given, taken = _all_entries(found, linear, embedding)
    require_all_taken(found, taken)
    given = {name: _as_array(name, tensor, dtype) for name, tensor in given.items()}
    suffixes = found.suffixes
    cell = _cell_of(cell, f"weight_hh{suffixes[0]}", given)
    require_one_hidden({name: given.get(name) for name in _names(suffixes, "weight_hh")})
    letters = _letters_of(cell, suffixes, 1 + found.bidirectional, embedding is not None)
    more = [name for name, one in (("linear.weight", linear), ("embedding", embedding)) if one is not None]
    arrays = as_checked_arrays(given, letters, [*_names(suffixes, "weight_ih", "weight_hh"), *more])
    head = arrays.get("linear.weight"), arrays.get("linear.bias")
    parts = [_part(arrays, suffix) for suffix in suffixes]
    net = Foreign(cell, CELLS[cell].gates, parts, found.bidirectional, *head, arrays.get("embedding"))
    return params_of(net, reads, real_dtype(arrays, dtype))


@overload
def to_torch(
    params: Params, *, embedding: Literal[False] = False
) -> tuple[dict[str, Array], dict[str, Array] | None]: ...


@overload
def to_torch(
    params: Params, *, embedding: Literal[True]
) -> tuple[dict[str, Array], dict[str, Array], dict[str, Array] | None]: ...


def to_torch(params: Params, *, embedding: bool = False) -> tuple[dict[str, Array] | None, ...]:
    """Return the state dicts that :func:`from_torch` takes; the last one is None for a net without outputs.

    embedding: whether that of an nn.Embedding stands before them, for a net that reads tokens. It is the identity
    (X, X), since W_xh has taken up any other; freeze it. A UserWarning says that training then moves the product.

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
    state_dicts = state_dicts_of(params)
    if as_flag("embedding", embedding):
        return {"weight": identity_embedding(params, 2)}, *state_dicts
    return state_dicts


def state_dicts_of(params: Params) -> tuple[dict[str, Array], dict[str, Array] | None]:
    """Return the state dicts of the recurrent module and of the nn.Linear."""
    _require_cell_of_torch(params.cell)
    ways = ("", "_reverse") if params.bidirectional else ("",)
    names = _names([f"_l{layer}{way}" for layer in range(len(params.layers)) for way in ways], *KINDS)
    arrays = [array for part in recurrent_arrays(params, CELLS[params.cell].gates) for array in part]
    weights = dict(zip(names, arrays, strict=True))
    return weights, {"weight": params.W_hy.copy(), "bias": params.b_y.copy()} if params.outputs else None


def _all_entries(found: Recurrent, linear: object, embedding: object) -> tuple[dict[str, Any], set[str]]:
    """Return all arrays of a net by name, and which entries of the state dict the last two arguments name."""
    given, taken = dict(found.arrays), set[str]()
    if linear is not None:
        output, used = entries_of("linear", linear, LINEAR, "of one nn.Linear", found.others)
        given |= {f"linear.{name}": output.get(name) for name in LINEAR}
        taken |= used
    if isinstance(embedding, Mapping | str):
        table, used = entries_of("embedding", embedding, EMBEDDING, "of one nn.Embedding", found.others)
        given["embedding"] = table.get("weight")
        taken |= used
    elif embedding is not None:
        given["embedding"] = embedding
    return given, taken


def _names(suffixes: Sequence[str], *kinds: str) -> list[str]:
    return [f"{kind}{suffix}" for suffix in suffixes for kind in kinds]


def _letters_of(cell: str, suffixes: Sequence[str], directions: int, embedded: bool) -> dict[str, str]:
    """Return the shapes of all arrays that a net may have."""
    rows, width = rows_in_letters(cell), "H" if directions == 1 else "2H"
    letters = {"linear.weight": f"(V, {width})", "linear.bias": "(V,)", "embedding": "(X, E)"}
    for part, suffix in enumerate(suffixes):
        read = width if part >= directions else "E" if embedded else "X"
        of_part = f"({rows}, {read})", f"({rows}, H)", f"({rows},)", f"({rows},)"
        letters |= zip(_names([suffix], *KINDS), of_part, strict=True)
    return letters


def _part(arrays: Mapping[str, AnyArray], suffix: str) -> Part:
    W_xh, W_hh, b_x, b_h = _names([suffix], *KINDS)
    return Part(arrays[W_xh], arrays[W_hh], arrays.get(b_x), arrays.get(b_h))


def _cell_of(cell: object, name: str, given: Mapping[str, object]) -> str:
    """Return the cell by its name, or else by the shape of a recurrent matrix."""
    if cell is not None:
        return _require_cell_of_torch(cell_name(cell))
    if given.get(name) is None:
        raise TypeError(f"{name} must be an array, got None")
    W_hh = as_numbers(name, given[name])
    rows, H = W_hh.shape if W_hh.ndim == 2 else (0, 0)
    if H > 0 and rows == H:
        raise ValueError(f"cell must be 'rnn' or 'rnn_relu': {name} {kind_of(W_hh)} can be of both, got None")
    if H > 0 and rows in (3 * H, 4 * H):
        return "gru" if rows == 3 * H else "lstm"
    raise ValueError(f"{name} must have shape (H, H), (3H, H) or (4H, H), got {kind_of(W_hh)}")


def _require_cell_of_torch(cell: str) -> str:
    """Raise unless PyTorch has the cell, and return it."""
    if cell not in MODES.values():
        raise ValueError(
            f"cell must be one of {one_of(MODES.values())} in PyTorch, whose nn.GRU resets after the product, "
            f"got {cell!r}"
        )
    return cell


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
