"""A loss of the user's own: a function of what forward returns, asked for J and its gradients."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from .. import given
from ..engines import Forward
from ..results import ForwardResult, forward_result, in_form
from ..values import as_number
from ..words import one_of, what

Function: TypeAlias = Callable[[ForwardResult], tuple[float, Mapping[str, Any]]]

KEYS = ("dy", "dh", "dstate")


class Own(NamedTuple):
    """What a user's function returned: J, and its gradients in canonical form."""

    J: float
    gradients: given.Given


def asked(function: Function, forward: Forward) -> Own:
    """Return what a function says of the results of an engine's ``forward``; raise if that is not as it should be."""
    answer = function(out_of(forward))
    if not isinstance(answer, tuple) or len(answer) != 2:
        raise TypeError(f"loss must return a tuple of J and a dict of {one_of(KEYS)}, got {what(answer)}")
    J, gradients = answer
    if not isinstance(gradients, Mapping):
        raise TypeError(f"loss must return J and a dict of {one_of(KEYS)}, got {what(gradients)} beside J")
    strange = [name for name in gradients if name not in KEYS]
    if strange:
        raise ValueError(f"loss must return J and a dict of {one_of(KEYS)}, got the key {strange[0]!r}")
    net, _, _, steps, h, _, last = forward[3]
    found = given.gradients(net, h, steps, last, *(gradients.get(name) for name in KEYS))
    return Own(number(J), found)


def number(J: object) -> float:
    """Return J as a float; an array without axes counts as a number."""
    return as_number("J, which loss returns,", J[()] if isinstance(J, np.ndarray) and J.ndim == 0 else J)


def out_of(forward: Forward) -> ForwardResult:
    """Return what the public ``forward`` makes of an engine's results."""
    y, h, state, kept = forward
    return forward_result(in_form(y, kept[3]), in_form(h, kept[3]), state, kept)
