"""Every engine beside the definition: how many bits of each tensor differ."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ..engines import engine, engines
from ..types import AnyArray, Array
from .case import Case, Tensors, tensors_of
from .own import Own, asked
from .report import Agreement

THREADS = (1, -3)  # engines are compared with both, the latter however little work there is: see Options


def agreements(case: Case) -> list[Agreement]:
    """Return the comparison of every tensor in every engine with numpy's.

    With checkpoints there is a last row: all tensors of every engine's call without, beside numpy's with them.
    """
    own = None if isinstance(case.loss, str) else asked(case.loss, case.forward(engine("numpy")))
    wanted, checkpoint = tensors_of(engine("numpy"), case, 1, own), case.asked.checkpoint
    names = [name for name in engines() if name != "numpy" or checkpoint is not None]
    found = _found(case, names, own)
    rows = [_agreement(case, tensor, [tensor], wanted, found) for tensor in wanted]
    if checkpoint is not None:
        plain = case._replace(asked=case.asked._replace(checkpoint=None))
        rows.append(_agreement(case, "the plain call", wanted, wanted, _found(plain, names, own)))
    return rows


def _found(case: Case, names: list[str], own: Own | None) -> dict[str, list[Tensors]]:
    """Return what engines compute, with each number of threads."""
    return {name: [tensors_of(engine(name), case, threads, own) for threads in THREADS] for name in names}


def _agreement(
    case: Case, title: str, tensors: Iterable[str], wanted: Tensors, found: dict[str, list[Tensors]]
) -> Agreement:
    """Return a row about some tensors."""
    bits, largest, where = {}, 0.0, ""
    for name, runs in found.items():
        bits[name] = max(sum(differing_bits(run[tensor], wanted[tensor]) for tensor in tensors) for run in runs)
        for run in runs:
            for tensor in tensors:
                distance = _distance(run[tensor], wanted[tensor])
                if differing_bits(run[tensor], wanted[tensor]) and (not where or distance.max(initial=0) > largest):
                    largest = float(distance.max(initial=0))
                    where = f"{name} {'' if tensor == title else tensor}{case.place(tensor, _largest(distance))}"
    return Agreement(title, bits, largest, where)


def _largest(distance: Array) -> tuple[int, ...]:
    return tuple(int(i) for i in np.unravel_index(int(distance.argmax()), distance.shape)) if distance.size else ()


def differing_bits(a: AnyArray, b: AnyArray) -> int:
    """Return how many bits of two arrays differ. All NaN are equal; arrays of another shape or dtype differ in all."""
    if a.shape != b.shape or a.dtype != b.dtype:
        return 8 * max(a.nbytes, b.nbytes, 1)
    differs = ~(np.isnan(a) & np.isnan(b)) & (_bits(a) != _bits(b))
    return int(np.unpackbits((_bits(a) ^ _bits(b))[differs].view(np.uint8)).sum())


def _bits(a: AnyArray) -> AnyArray:
    return np.ascontiguousarray(a).view(f"u{a.itemsize}").reshape(a.shape)


def _distance(a: AnyArray, b: AnyArray) -> Array:
    """Return |a - b|: 0 where they are the same, Inf where only one is finite."""
    if a.shape != b.shape:
        return np.full(b.shape, np.inf)
    with np.errstate(all="ignore"):
        distance = np.abs(a.astype(np.float64) - b.astype(np.float64))
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    return np.where(same, 0, np.where(np.isnan(distance), np.inf, distance))
