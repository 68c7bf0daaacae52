"""Whether the numbers of all steps that are read are in their range: tokens, labels and weights."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import numpy as np

from .steps import Steps
from .types import AnyArray, Array, Indices, Mask
from .words import place_of

Numbers: TypeAlias = "AnyArray | list[AnyArray]"
"""An array as the user gave it, or the arrays of a list: what messages quote."""


ANOTHER_LOSS = "these are distributions; real numbers need another loss, such as loss='squared_error'"


class Where(NamedTuple):
    """Says which numbers of a call are read: those of steps that exist, but for those marked as unread.

    last: whether the numbers belong to sequences, (B,) or (), of which those are read that have any step.
    """

    steps: Steps | None
    unread: Mask | None = None
    last: bool = False

    def but_for(self, unread: Mask) -> Where:
        """Return the same without some more."""
        return self._replace(unread=unread if self.unread is None else self.unread | unread)

    def first(self, bad: Mask) -> tuple[int | None, int] | None:
        """Return the first step (t, b), or sequence (None, b), of those that are bad and read."""
        if self.unread is not None:
            bad = bad & ~self.unread
        if self.last:
            found = np.flatnonzero(bad if self.steps is None else bad & (self.steps.lengths > 0))
            return (None, int(found[0])) if found.size else None
        grid = self.grid(bad, bad.ndim)
        if self.steps is not None:
            grid = grid & (np.arange(self.steps.T)[:, None] < self.steps.lengths)
        if not grid.any():
            return None
        t, b = divmod(int(grid.argmax()), grid.shape[1])
        return t, b

    def grid(self, array: AnyArray, axes: int) -> AnyArray:
        """Return an array of the call, with so many axes of steps, as a grid (T, B, ...)."""
        if self.steps is not None:
            return self.steps.to_grid(array)
        return array[:, None] if axes == 1 else array

    def at(self, array: AnyArray, axes: int, place: tuple[int | None, int]) -> AnyArray:
        """Return what an array of the call, with so many axes, has at a place."""
        t, b = place
        if t is None:
            found: AnyArray = array.reshape(-1, *array.shape[axes:])[b]
        else:
            found = self.grid(array, axes)[t, b]
        return found


def require_tokens(tokens: Indices, X: int, where: Where, given: Numbers) -> None:
    """Raise unless tokens are in [0, X) wherever they are read. Seen as unsigned, negative ones are too large."""
    if tokens.size == 0 or tokens.view(np.uint64).max() < X:
        return
    at = where.first((tokens < 0) | (tokens >= X))
    if at is not None:
        raise ValueError(f"inputs must be in [0, X) = [0, {X}), got {_given(given, at, where)} {place_of(at)}")


def require_classes(labels: Indices, V: int, where: Where, given: Numbers) -> None:
    """Raise unless labels are in [-1, V) wherever they are read."""
    if labels.size == 0 or (labels + 1).view(np.uint64).max() <= V:
        return
    at = where.first((labels < -1) | (labels >= V))
    if at is not None:
        got = _given(given, at, where)
        remedy = ": no label is -1 here, np.where(labels == -100, -1, labels)" if got == -100 else ""
        raise ValueError(f"labels must be in [-1, V) = [-1, {V}), got {got} {place_of(at)}{remedy}")


def require_distributions(labels: Array, tolerance: float, where: Where) -> None:
    """Raise unless rows (..., V) are finite, not negative, and sum to 1 or are zero, wherever they are read."""
    if labels.size == 0:
        return
    with np.errstate(all="ignore"):
        sums = labels.sum(axis=-1, dtype=np.float64)
        good = (np.abs(sums - 1) <= tolerance) | (sums == 0)
        if good.all() and labels.min() >= 0:
            return
        at = where.first(~good | ~(labels >= 0).all(axis=-1))
    if at is None:
        return
    row, total = where.at(labels, sums.ndim, at), float(where.at(sums, sums.ndim, at))
    for v in np.flatnonzero(~(row >= 0) | np.isinf(row))[:1]:
        raise ValueError(
            f"labels must be finite and not negative, got {row[v]} for class {v} {place_of(at)}; {ANOTHER_LOSS}"
        )
    raise ValueError(
        f"labels must sum to 1 at each step, within {tolerance:.2g}, or be all zeros for no loss, "
        f"got the sum {total!r} {place_of(at)}; {ANOTHER_LOSS}"
    )


def require_numbers(labels: Array, highest: float | None, where: Where) -> None:
    """Raise unless rows (..., V) are numbers, and from 0 to the highest, if there is one, wherever they are read."""
    bad = np.isnan(labels) if highest is None else ~((labels >= 0) & (labels <= highest))
    at = where.first(np.logical_or.reduce(bad, axis=-1)) if np.any(bad) else None
    if at is None:
        return
    row, v = where.at(labels, labels.ndim - 1, at), int(where.at(bad, labels.ndim - 1, at).argmax())
    wanted = "numbers" if highest is None else f"in [0, {highest:g}]"
    raise ValueError(f"labels must be {wanted}, got {row[v]} for output {v} {place_of(at)}")


def require_weights(weights: Array, where: Where) -> None:
    """Raise unless weights are finite and not negative wherever there is a step."""
    bad = ~((weights >= 0) & (weights < np.inf))
    at = where.first(bad) if bad.any() else None
    if at is not None:
        got = where.at(weights, weights.ndim, at)
        raise ValueError(f"weights must be finite in {weights.dtype} and not negative, got {got} {place_of(at)}")


def sum_tolerance(V: int, *dtypes: np.dtype[Any]) -> float:
    """Return how far from 1 a distribution over V classes may sum: (V + 1) eps of the coarsest dtype it has been in.

    With u = eps/2: the sum that V numbers were divided by is off by up to (V - 1) u, each quotient by u, or by 2 u
    if it was multiplied by a reciprocal, and by u again if it was rounded to another dtype: (V + 2) u. The sum taken
    here, in float64, adds at most V u. Together (2 V + 2) u = (V + 1) eps. What lies below the normal numbers is
    too small to count. What comes in float64 has often been computed in float32, so that is the finest dtype assumed.
    """
    return (V + 1) * max(float(np.finfo(dtype).eps) for dtype in (np.dtype(np.float32), *dtypes))


def _given(given: Numbers, at: tuple[int | None, int], where: Where) -> object:
    """Return the number as the user wrote it; the canonical one is another where it does not fit into int64."""
    t, b = at
    if t is None:
        return given[b] if isinstance(given, list) else given.reshape(-1)[b]
    if isinstance(given, list):
        return given[b][t]
    if where.steps is not None and where.steps.packed:
        return given[where.steps.lengths[:b].sum() + t]
    return given[t, b] if given.ndim == 2 else given[t]
