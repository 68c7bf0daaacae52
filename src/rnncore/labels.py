"""Labels and weights of a loss, from whatever a user hands over to the arrays of problem.py, and what is said else."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .losses import LOSSES, Loss
from .ranges import Where, require_classes, require_distributions, require_numbers, require_weights, sum_tolerance
from .types import AnyArray, Array, Labels, Mask
from .values import as_contiguous, as_numbers, as_real, own_int64
from .words import kind_of


class Wanted(NamedTuple):
    """What a call wants of its labels: the name of the loss, how many outputs there are, and the dtype."""

    loss: str
    outputs: int
    dtype: np.dtype[Any]

    @property
    def rules(self) -> Loss:
        """Return what the loss says of labels."""
        return LOSSES[self.loss]

    @property
    def last_may_be_missing(self) -> bool:
        """Return whether labels that are numbers may come without their last axis."""
        return self.outputs == 1 and not self.rules.classes

    @property
    def letters(self) -> str:
        """Return in words what labels are."""
        if self.rules.classes:
            return "(T,) or (T, B) integers, classes, or (T, V) or (T, B, V) floating, distributions"
        short = ", or (T,) or (T, B), as V = 1," if self.outputs == 1 else ""
        return f"(T, V) or (T, B, V){short} for the loss {self.loss!r}"


def as_labels(name: str, value: object, wanted: Wanted) -> AnyArray:
    """Return labels as an array of integers or floating-point numbers, or of booleans where the loss asks yes or no."""
    if wanted.rules.integers and isinstance(value, np.ndarray | np.bool_) and value.dtype == bool:
        value = value.astype(np.int64)
    elif wanted.rules.integers and isinstance(value, bool):
        value = int(value)
    label = as_numbers(name, value)
    if label.dtype.kind != "f" and label.size and not (wanted.rules.classes or wanted.rules.integers):
        raise TypeError(
            f"{name} must be floating for the loss {wanted.loss!r}, got {kind_of(label)}: "
            f"write {name}.astype({wanted.dtype.name!r})"
        )
    return label


def are_classes(label: AnyArray, wanted: Wanted) -> bool:
    """Return whether labels are classes, and not a row of numbers a step."""
    return wanted.rules.classes and label.dtype.kind != "f"


class Reading(NamedTuple):
    """Says how inputs and labels belong together.

    axes: how many of the inputs count steps and sequences, one (T,) or two (T, B). last: whether there is one label a
    sequence rather than one a step.
    """

    axes: int
    last: bool

    def lead(self, x: AnyArray) -> tuple[int, ...]:
        """Return those axes of the inputs that labels have as well."""
        return x.shape[1 : self.axes] if self.last else x.shape[: self.axes]


def readings(label: AnyArray, x: AnyArray, X: int, reads_tokens: bool | None, wanted: Wanted) -> list[Reading]:
    """Return all ways in which labels fit inputs x, one a step first.

    X: how many numbers a vector has. reads_tokens: whether inputs are tokens, or vectors; None: both are tried.
    """
    rows = [0] if are_classes(label, wanted) else [1, 0] if wanted.last_may_be_missing else [1]
    fitting = []
    for last in (False, True):
        for own in (label.ndim - n for n in rows):
            reading = Reading(own + last, last)
            if reading.axes not in (1, 2):
                continue
            vectors = x.ndim == reading.axes + 1 and x.shape[-1] == X and reads_tokens is not True
            tokens = x.ndim == reading.axes and x.dtype.kind != "f" and reads_tokens is not False
            if (tokens or vectors) and label.shape[:own] == reading.lead(x):
                fitting.append(reading)
    return fitting


def step_axes(label: AnyArray, x: AnyArray, wanted: Wanted) -> int:
    """Return how many axes of labels count steps and sequences, one (T,) or two (T, B), if there is one a step."""
    axes = label.ndim - (not are_classes(label, wanted))
    if axes not in (1, 2) and not (wanted.last_may_be_missing and label.ndim in (1, 2)):
        one_hot = are_classes(label, wanted) and label.shape == (*x.shape[:2], wanted.outputs)
        remedy = "; one-hot labels are written as classes, labels.argmax(-1), or as floating-point numbers" * one_hot
        raise ValueError(f"labels must be {wanted.letters}, got {kind_of(label)}{remedy}")
    return max(axes, 1)


def canonical(
    label: AnyArray, weights: Array | None, wanted: Wanted, where: Where, given: list[AnyArray] | None = None
) -> Labels:
    """Return labels that are in range wherever they are read; with the weights, if there are any.

    given: the arrays of a list, where that is what the user gave.
    """
    if weights is not None:
        where = where.but_for(weights == 0)
    if are_classes(label, wanted):
        classes = own_int64(label)
        require_classes(classes, wanted.outputs, where, given or label)
        if where.unread is not None:
            classes[where.unread] = -1
        return classes if weights is None else (classes, weights)
    if label.ndim == 0 or label.shape[-1] != wanted.outputs:
        raise ValueError(
            f"labels must have V = {wanted.outputs} numbers a step, got {kind_of(label)}; they are {wanted.letters}"
        )
    reals = as_real(label, wanted.dtype)
    dtypes = {array.dtype for array in given or [label] if array.dtype.kind == "f"}
    require_reals(reals, dtypes, wanted, where)
    return reals if weights is None else (reals, weights)


def require_reals(reals: Array, given: set[np.dtype[Any]], wanted: Wanted, where: Where) -> None:
    """Raise unless rows of numbers, given in some dtypes, are what the loss takes."""
    if wanted.rules.classes:
        require_distributions(reals, sum_tolerance(wanted.outputs, wanted.dtype, *given), where)
    else:
        require_numbers(reals, wanted.rules.highest, where)


def as_weights(value: object, lead: tuple[int, ...], dtype: np.dtype[Any], where: Where) -> Array:
    """Return the weights of labels with the axes ``lead``: (T,) or (T, B), also from one a sequence; () or (B,)."""
    weights = as_numbers("weights", value)
    if weights.dtype.kind != "f":
        raise TypeError(f"weights must be floating, got {kind_of(weights)}: write weights.astype({dtype.name!r})")
    steps = where.steps
    each = () if where.last else (steps.B,) if steps is not None and steps.packed else lead[1:]
    if weights.shape != lead and (where.last or weights.shape != each):
        else_one = "" if where.last else f", or one for each sequence, {each}"
        raise ValueError(f"weights must have the shape of the labels' steps, {lead}{else_one}, got {kind_of(weights)}")
    if weights.shape != lead and steps is not None and steps.packed:
        weights = np.repeat(weights, steps.lengths)
    canonical = as_contiguous(np.broadcast_to(as_real(weights, dtype), lead), dtype)
    require_weights(canonical, where)
    return canonical


def with_loss(label: AnyArray, weights: Array | None, loss: str) -> Mask:
    """Return which steps or sequences have a label and a weight, of canonical labels."""
    if not LOSSES[loss].classes:
        counted: Mask = np.ones(label.shape[:-1], bool)
    else:
        counted = label >= 0 if label.dtype.kind == "i" else (label != 0).any(axis=-1)
    return counted if weights is None else counted & (weights > 0)


def count_of(label: AnyArray, weights: Array | None, loss: str, exist: Mask | None) -> int:
    """Return how many steps or sequences that exist have a label and a weight, of canonical labels."""
    counted = with_loss(label, weights, loss)
    return int(np.count_nonzero(counted if exist is None else counted & exist))
