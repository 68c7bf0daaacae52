"""How far a computed J may be from J, in float64: by what forward rounds, and by what the loss does."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ..engines import Forward
from .case import Case, Tensors
from .own import Function, Own, number, out_of
from .slopes import UNIT, Variable


def forward_noise(case: Case, variables: Iterable[Variable]) -> float:
    """Return how far J may be from J by what forward rounds.

    A sum of n products, rounded at every step, is the exact sum of products whose factors are off by up to n u each:
    J is that of parameters and inputs off by (X + H + V) u, X of the widest layer.
    """
    moved = sum(float(np.nansum(np.abs(variable.x * variable.gradient))) for variable in variables)
    return _longest_sum(case) * UNIT * moved


def _longest_sum(case: Case) -> int:
    net = case.params._net
    return max(net.inputs, net.width if net.layers > 1 else 0) + net.hidden + net.outputs


def loss_noise(case: Case, tensors: Tensors) -> float:
    """Return how far J may be from J by what a loss of ours rounds: a few u of the numbers it sees, times the largest
    weight.
    """
    labels, losses = case.batch.labels, tensors["losses"]
    heaviest = float(labels[1].max(initial=0)) if isinstance(labels, tuple) else 1.0
    seen = float(losses.sum() + heaviest * np.abs(tensors["y"]).max(axis=-1).sum())
    return _longest_sum(case) * UNIT * (seen + losses.size)


def function_noise(function: Function, own: Own, forward: Forward, given: list[Variable]) -> float:
    """Return how far J may be from J by what a user's loss rounds, and by how outputs and states are rounded for it.

    What the function does is not known. So it is asked for J of results that grow by a little, nine times by 2^-22. Of
    a smooth function the fourth differences of these vanish, and what is left are roundings, the central one six times;
    the steps are those of float32, lest a function that rounds to it seem to be constant.
    """
    seen = sum(float(np.nansum(np.abs(variable.x * variable.gradient))) for variable in given)
    kept = [variable.x.copy() for variable in given]
    J = []
    for n in range(9):
        for variable, x in zip(given, kept, strict=True):
            variable.x[...] = x * (1 + n * 2.0**-22)
        J.append(number(function(out_of(forward))[0]))
    for variable, x in zip(given, kept, strict=True):
        variable.x[...] = x
    return 4 * UNIT * (seen + abs(own.J)) + float(np.abs(np.diff(J, 4)).max())
