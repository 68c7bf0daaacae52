"""Parameters from and to the modules of PyTorch, which alone is imported here, and only to make modules."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

import numpy.typing as npt

from ..params import Params
from ..types import Array
from ..values import as_flag
from ..words import what
from .arrays import identity_embedding
from .torch import MODES, from_torch, state_dicts_of

CELL_MODES = {"RNNCell": "RNN_{}", "LSTMCell": "LSTM", "GRUCell": "GRU"}
"""What an nn.RNNCell and so on would have as ``mode``."""


def params_from_modules(
    recurrent: object,
    linear: object,
    cell: str | None,
    embedding: object,
    tokens: bool | None,
    dtype: npt.DTypeLike | None,
) -> Params:
    """Return parameters from modules or their state dicts: what :meth:`rnncore.Params.from_torch` does."""
    cell, weights, batch_first = _recurrent_state(_unwrapped(recurrent), cell)
    output, table = _linear_state(_unwrapped(linear)), _embedding_state(_unwrapped(embedding))
    params = from_torch(weights, output, cell=cell, embedding=table, tokens=tokens, dtype=dtype)
    if batch_first:
        warnings.warn(
            "recurrent has batch_first=True, but arrays here are (T, B, ...): x.swapaxes(0, 1) makes such inputs",
            UserWarning,
            stacklevel=3,
        )
    return params


def modules_from_params(params: Params, embedding: bool) -> tuple[Any, ...]:
    """Return a recurrent module and an nn.Linear or None: what :meth:`rnncore.Params.to_torch` does."""
    weights, output = state_dicts_of(params)
    table = {"weight": identity_embedding(params, 3)} if as_flag("embedding", embedding) else None
    mode = next(mode for mode, cell in MODES.items() if cell == params.cell)
    kind, _, nonlinearity = mode.partition("_")
    more: dict[str, Any] = {"num_layers": len(params.layers), "bidirectional": params.bidirectional}
    if nonlinearity:
        more["nonlinearity"] = nonlinearity.lower()
    width = (1 + params.bidirectional) * params.hidden
    recurrent = _module(kind, weights, (params.inputs, params.hidden), **more)
    linear = None if output is None else _module("Linear", output, (width, params.outputs))
    if table is None:
        return recurrent, linear
    return _module("Embedding", table, (params.inputs, params.inputs)).requires_grad_(False), recurrent, linear


def _module(kind: str, arrays: dict[str, Array], sizes: Sequence[int], **more: Any) -> Any:
    """Return a module of PyTorch with a state dict; no random number is drawn for it."""
    torch = import_module("torch")
    dtype = getattr(torch, str(next(iter(arrays.values())).dtype))
    module = getattr(torch.nn, kind)(*sizes, **more, device="meta", dtype=dtype)
    module.to_empty(device="cpu")
    module.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
    return module


def _unwrapped(module: Any) -> Any:
    """Return what torch.compile or nn.DataParallel has wrapped; anything else is itself."""
    for name in ("_orig_mod", "module"):
        inner = getattr(module, name, None)
        if callable(getattr(inner, "state_dict", None)):
            return _unwrapped(inner)
    return module


def _recurrent_state(recurrent: object, cell: str | None) -> tuple[str | None, Any, bool]:
    """Return the cell of a recurrent module, its state dict, and whether its arrays are (B, T, ...).

    A state dict goes on as it is.
    """
    if isinstance(recurrent, Mapping):
        return cell, recurrent, False
    mode, state_dict = _mode_of(recurrent), getattr(recurrent, "state_dict", None)
    if mode not in MODES or not callable(state_dict):
        raise TypeError(
            f"recurrent must be an nn.RNN, nn.LSTM or nn.GRU, or its state dict, got {what(recurrent)}; nn.RNNCell, "
            "nn.LSTMCell and nn.GRUCell are taken too, and of a model its attribute that is one, or its state dict"
        )
    proj_size = getattr(recurrent, "proj_size", 0)
    if proj_size != 0:
        raise ValueError(f"recurrent must have proj_size=0, for no cell here has projections, got {proj_size=}")
    if cell not in (None, MODES[mode]):
        raise ValueError(f"cell must be None or {MODES[mode]!r}, as recurrent is, got {what(cell)}")
    return MODES[mode], state_dict(), bool(getattr(recurrent, "batch_first", False))


def _mode_of(recurrent: object) -> str:
    """Return the mode of a recurrent module, or of one for single steps; else what no module has."""
    mode = getattr(recurrent, "mode", None)
    if isinstance(mode, str):
        return mode
    for base in type(recurrent).__mro__:
        if base.__name__ in CELL_MODES:
            return CELL_MODES[base.__name__].format(str(getattr(recurrent, "nonlinearity", "")).upper())
    return ""


def _linear_state(linear: object) -> Any:
    """Return the state dict of an nn.Linear; a state dict, a prefix, or None, goes on as it is."""
    if linear is None or isinstance(linear, Mapping | str):
        return linear
    state_dict = getattr(linear, "state_dict", None)
    if not callable(state_dict) or not hasattr(linear, "out_features"):
        raise TypeError(f"linear must be an nn.Linear, its state dict, or None, got {what(linear)}")
    return state_dict()


def _embedding_state(embedding: object) -> Any:
    """Return the state dict of an nn.Embedding; a state dict, a prefix, an array, or None, goes on as it is."""
    state_dict = getattr(embedding, "state_dict", None)
    if not callable(state_dict):
        return embedding
    if not hasattr(embedding, "num_embeddings") or hasattr(embedding, "include_last_offset"):
        raise TypeError(
            f"embedding must be an nn.Embedding, its state dict, its weight, or None, got {what(embedding)}"
        )
    max_norm = getattr(embedding, "max_norm", None)
    if max_norm is not None:
        raise ValueError(
            f"embedding must have max_norm=None, for it changes the rows that it reads at each call, got {max_norm=}; "
            "pass its weight to take the rows as they are"
        )
    return state_dict()
