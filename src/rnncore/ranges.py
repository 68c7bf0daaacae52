"""Whether the numbers of all steps that exist are in their range: tokens, classes and distributions."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from .steps import Steps
from .types import AnyArray, Array, Indices
from .words import place_of

Numbers: TypeAlias = "AnyArray | list[AnyArray]"
"""An array as the user gave it, or the arrays of a list: what messages quote."""


def require_tokens(tokens: Indices, X: int, steps: Steps | None, given: Numbers) -> None:
    """Raise unless tokens are in [0, X) wherever there is a step. Seen as unsigned, negative ones are too large."""
    if tokens.size == 0 or tokens.view(np.uint64).max() < X:
        return
    at = _first((tokens < 0) | (tokens >= X), steps)
    if at is not None:
        raise ValueError(f"inputs must be in [0, X) = [0, {X}), got {_given(given, at)} {place_of(at)}")


def require_classes(labels: Indices, V: int, steps: Steps | None, given: Numbers) -> None:
    """Raise unless labels are in [-1, V) wherever there is a step."""
    if labels.size == 0 or (labels + 1).view(np.uint64).max() <= V:
        return
    at = _first((labels < -1) | (labels >= V), steps)
    if at is not None:
        raise ValueError(f"labels must be in [-1, V) = [-1, {V}), got {_given(given, at)} {place_of(at)}")


def require_distributions(labels: Array, tolerance: float, steps: Steps | None) -> None:
    """Raise unless rows (..., V) are finite, not negative, and sum to 1 or are zero, wherever there is a step."""
    if labels.size == 0:
        return
    with np.errstate(all="ignore"):
        sums = labels.sum(axis=-1, dtype=np.float64)
        good = (np.abs(sums - 1) <= tolerance) | (sums == 0)
        if good.all() and labels.min() >= 0:
            return
        at = _first(~good | ~(labels >= 0).all(axis=-1), steps)
    if at is None:
        return
    row, total = _grid(labels, sums.ndim, steps)[at], float(_grid(sums, sums.ndim, steps)[at])
    for v in np.flatnonzero(~(row >= 0) | np.isinf(row))[:1]:
        raise ValueError(f"labels must be finite and not negative, got {row[v]} for class {v} {place_of(at)}")
    raise ValueError(
        f"labels must sum to 1 at each step, within {tolerance:.2g}, or be all zeros for no loss, "
        f"got the sum {total!r} {place_of(at)}"
    )


def sum_tolerance(V: int, *dtypes: np.dtype[Any]) -> float:
    """Return how far from 1 a distribution over V classes may sum: (V + 1) eps of the coarsest dtype it has been in.

    With u = eps/2: the sum that V numbers were divided by is off by up to (V - 1) u, each quotient by u, or by 2 u
    if it was multiplied by a reciprocal, and by u again if it was rounded to another dtype: (V + 2) u. The sum taken
    here, in float64, adds at most V u. Together (2 V + 2) u = (V + 1) eps. What lies below the normal numbers is
    too small to count. What comes in float64 has often been computed in float32, so that is the finest dtype assumed.
    """
    return (V + 1) * max(float(np.finfo(dtype).eps) for dtype in (np.dtype(np.float32), *dtypes))


def _grid(array: AnyArray, axes: int, steps: Steps | None) -> AnyArray:
    """Return an array of the call, with so many axes of steps, as a grid (T, B, ...)."""
    if steps is not None:
        return steps.to_grid(array)
    return array[:, None] if axes == 1 else array


def _first(bad: npt.NDArray[np.bool_], steps: Steps | None) -> tuple[int, int] | None:
    """Return the first step (t, b) of those that are bad and exist."""
    grid = _grid(bad, bad.ndim, steps)
    if steps is not None:
        grid = grid & (np.arange(steps.T)[:, None] < steps.lengths)
    t, b = divmod(int(grid.argmax()), grid.shape[1])
    return (t, b) if grid[t, b] else None


def _given(given: Numbers, at: tuple[int, int]) -> object:
    """Return the number as the user wrote it; the canonical one is another where it does not fit into int64."""
    t, b = at
    if isinstance(given, list):
        return given[b][t]
    return given[t, b] if given.ndim == 2 else given[t]
