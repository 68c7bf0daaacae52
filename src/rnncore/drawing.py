"""The arguments of ``sample``, as canonical arrays."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from .net import Net
from .problem import as_tuple
from .states import as_states
from .types import Array, Indices, States
from .values import as_number, as_numbers, as_real, own_int64
from .words import kind_of, place_of


class Drawing(NamedTuple):
    """The arguments of sample: prime (P, B), uniforms float64 (T, B), a state (B, H), and the temperature.

    one: whether the user's arrays are about one sequence, and have no axis B.
    """

    prime: Indices
    uniforms: Array
    state: States
    temperature: float
    one: bool


def sampling(net: Net, prime: object, uniforms: object, state: object, temperature: object) -> Drawing:
    """Return the arguments of sample."""
    if net.bidirectional:
        raise ValueError("sample needs a net of one direction, for a later token cannot be read before it is drawn")
    if net.tokens is False:
        raise ValueError("sample needs a net that reads tokens, got params with tokens=False")
    if net.inputs != net.outputs:
        raise ValueError(
            "sample needs a net that reads what it says, X = V, "
            f"got params with inputs = {net.inputs} and outputs = {net.outputs}"
        )
    u = as_numbers("uniforms", uniforms)
    if u.ndim not in (1, 2) or u.dtype.kind != "f":
        raise ValueError(f"uniforms must be floating, one number a step, (T,) or (T, B), got {kind_of(u)}")
    one, B = u.ndim == 1, 1 if u.ndim == 1 else u.shape[1]
    if B == 0:
        raise ValueError(f"uniforms must have at least one sequence, B >= 1, got {kind_of(u)}")
    canonical = as_real(u, np.dtype(np.float64)).reshape(-1, B)
    bad = np.argwhere(~((canonical >= 0) & (canonical < 1)))
    if len(bad):
        at = (int(bad[0, 0]), int(bad[0, 1]))
        raise ValueError(f"uniforms must be in [0, 1), got {float(canonical[at])} {place_of(at)}")
    states = as_states("state", state, net, () if one else (B,))
    if one and states is not None:
        of_one = [array[:, None] if net.parts > 1 else array[None] for array in as_tuple(states)]
        states = tuple(of_one) if len(of_one) > 1 else of_one[0]
    return Drawing(_prime(net, prime, B, one), canonical, states, _temperature(temperature), one)


def _prime(net: Net, value: object, B: int, one: bool) -> Indices:
    """Return the tokens to read first, (P, B) with P >= 1."""
    given = as_numbers("prime", value)
    if given.dtype.kind == "f":
        raise TypeError(f"prime must be integers, tokens, got {kind_of(given)}")
    axes, letters = (0, "() or (P,)") if one else (1, "(B,) or (P, B)")
    if given.ndim not in (axes, axes + 1) or given.shape[given.ndim - axes :] != (B,) * axes or given.size == 0:
        raise ValueError(f"prime must be {letters} with B = {B}, of at least one token, got {kind_of(given)}")
    tokens = own_int64(given).reshape(-1, B)
    bad = np.argwhere((tokens < 0) | (tokens >= net.inputs))
    if len(bad):
        at = (int(bad[0, 0]), int(bad[0, 1]))
        got = given.reshape(-1, B)[at]
        raise ValueError(f"prime must be in [0, X) = [0, {net.inputs}), got {got} {place_of(at)}")
    return tokens


def _temperature(temperature: object) -> float:
    given = as_number("temperature", temperature)
    if not 0 <= given < math.inf:
        raise ValueError(f"temperature must be finite and not negative, got {given}")
    return given
