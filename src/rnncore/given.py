"""The gradients that backward is given, from whatever a user hands over to canonical arrays."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .lists import as_list, as_sequences, packed
from .net import Net
from .states import as_states
from .steps import Steps
from .types import Array, States
from .values import as_numbers, as_real, require_shape


class Given(NamedTuple):
    """The gradients that backward is given, in canonical form."""

    dy: Array | None
    dh: Array | None
    dstate: States


def gradients(net: Net, h: Array, steps: Steps | None, last: bool, dy: object, dh: object, dstate: object) -> Given:
    """Return the gradients with respect to the results of forward, of which h is one."""
    if dy is None and dh is None and dstate is None:
        raise ValueError("backward needs a gradient to go back from: dy, dh or dstate must be given, got None for each")
    lead = h.shape[:-1]
    batch = steps.batch if steps is not None else lead[1:]
    return Given(
        _last_gradient(dy, net, batch)
        if last
        else _step_gradient("dy", dy, net.dtype, lead, steps, ("V", net.outputs)),
        _step_gradient("dh", dh, net.dtype, lead, steps, ("2H" if net.bidirectional else "H", net.width)),
        as_states("dstate", dstate, net, batch),
    )


def _last_gradient(dy: object, net: Net, batch: tuple[int, ...]) -> Array | None:
    """Return a gradient with respect to outputs that are made of last states only."""
    if dy is None:
        return None
    gradient = as_numbers("dy", dy)
    require_shape("dy", gradient, "(B, V)" if batch else "(V,)", (*batch, net.outputs))
    return as_real(gradient, net.dtype)


def _step_gradient(
    name: str, value: object, dtype: np.dtype[Any], lead: tuple[int, ...], steps: Steps | None, last: tuple[str, int]
) -> Array | None:
    """Return a gradient with respect to y or h, in the shape of those; None stays None."""
    if value is None:
        return None
    letter, width = last
    if width == 0:
        raise ValueError(f"{name} must be None: params has outputs = 0, so that nothing depends on y")
    if steps is not None and steps.form == "list":
        return _list_gradient(name, value, dtype, steps, last)
    gradient = as_numbers(name, value)
    packed = steps is not None and steps.packed
    letters = f"({'N' if packed else 'T' if len(lead) == 1 else 'T, B'}, {letter})"
    require_shape(name, gradient, letters, (*lead, width))
    return as_real(gradient, dtype)


def _list_gradient(name: str, value: object, dtype: np.dtype[Any], steps: Steps, last: tuple[str, int]) -> Array:
    letter, width = last
    sequences = as_sequences(name, as_list(name, value), "inputs of forward")
    if len(sequences) != steps.B:
        raise ValueError(f"{name} must have B = {steps.B} sequences, got {len(sequences)}")
    for b, (gradient, T_b) in enumerate(zip(sequences, steps.lengths, strict=True)):
        require_shape(f"{name}[{b}]", gradient, f"(T_b, {letter})", (int(T_b), width))
    return packed(sequences, (width,), dtype)
