"""What belongs to each sequence by itself, beside what it should be, in float64."""

from __future__ import annotations

import math

import numpy as np

from ..types import Array
from .case import Case, Tensors
from .functions import sums_by_sequence
from .report import Difference
from .slopes import UNIT


def of_each_sequence(case: Case, tensors: Tensors, each: Array) -> list[Difference]:
    """Return J of the sequences, and what was made of their gradients (B, P): lengths, and the sum of the clipped."""
    rows = [_losses(case, tensors)]
    if "per_sequence.norms" in tensors:
        rows.append(_norms(case, tensors["per_sequence.norms"], each))
    return rows + (_clipped(case, tensors, each) if case.asked.per_sequence == "clipped" else [])


def _losses(case: Case, tensors: Tensors) -> Difference:
    """Return J of each sequence beside the sum of its losses: both sums round each addition."""
    losses, name = tensors["losses"], "per_sequence.loss"
    wanted, sizes = (sums_by_sequence(terms, case.batch.steps, case.batch.last) for terms in (losses, np.abs(losses)))
    return beside(case, name, tensors[name], wanted, 2 * losses.size * UNIT * sizes)


def _norms(case: Case, norms: Array, each: Array) -> Difference:
    """Return lengths beside those of the gradients.

    The sum of P squares is off by P + 1 roundings, its root by half of that and one; ``hypot`` by two.
    """
    wanted = _lengths_of(each)
    return beside(case, "per_sequence.norms", norms, wanted, (each.shape[1] / 2 + 4) * UNIT * wanted)


def _lengths_of(each: Array) -> Array:
    """Return the lengths of gradients (B, P), with all digits."""
    return np.array([math.hypot(*row) for row in each.tolist()])


def _clipped(case: Case, tensors: Tensors, each: Array) -> list[Difference]:
    """Return the sums of the gradients, each shortened, beside those of the call.

    A length is off as in :func:`_norms`; the quotient, the product and B - 1 additions are rounded on both sides.
    """
    B, P = each.shape
    limit, lengths = case.asked.limit, _lengths_of(each)
    scale = np.divide(limit, lengths, out=np.ones(B), where=(lengths > limit) & (lengths < math.inf))
    rows = each * scale[:, None]
    views = case.params._net.views
    wanted, allowed = views(rows.sum(axis=0)), views((P / 2 + 2 * B + 6) * UNIT * np.abs(rows).sum(axis=0))
    names = [f"grads.{name}" for name in wanted]
    return [
        beside(case, name, tensors[name], array, off)
        for name, array, off in zip(names, wanted.values(), allowed.values(), strict=True)
    ]


def beside(case: Case, name: str, found: Array, wanted: Array, allowed: Array) -> Difference:
    """Return a tensor beside what it should be: the element that is off by most beyond what is allowed."""
    distance = np.abs(found - wanted)
    at = tuple(int(i) for i in np.unravel_index(int((distance - allowed).argmax()), distance.shape))
    return Difference(name, float(distance[at]), float(allowed[at]), case.place(name, at))
