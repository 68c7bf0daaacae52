"""Lists of sequences: arrays of any lengths, one for each sequence, and how they become packed arrays."""

from __future__ import annotations

from typing import Any

import numpy as np

from .labels import Wanted, are_classes, as_weights
from .ranges import Where, require_weights
from .steps import Steps
from .types import AnyArray, Array, Indices
from .values import SEQUENCES, as_numbers, require_shape
from .words import kind_of, what


def as_list(name: str, value: object) -> object:
    """Return the elements of an object array, or of a pandas Series of arrays, as a list; all else as it is."""
    if type(value).__name__ == "PackedSequence":
        raise TypeError(
            f"{name} must be an array or a list of sequences, got a PackedSequence: "
            f"write torch.nn.utils.rnn.unpack_sequence({name})"
        )
    dtype = getattr(value, "dtype", None)
    if dtype is None or getattr(dtype, "kind", "") != "O" or getattr(value, "ndim", 0) != 1:
        return value
    return list(value)  # type: ignore[call-overload]  # as it has one axis


def as_sequences(name: str, value: object, other: str) -> list[AnyArray]:
    """Return the arrays of a list of sequences; ``other`` is a list already."""
    if not isinstance(value, SEQUENCES):
        raise TypeError(f"{name} must be a list of sequences, as {other} is, got {what(value)}")
    if not value:
        raise ValueError(f"{name} must have at least one sequence, got an empty {type(value).__name__}")
    arrays = [as_numbers(f"{name}[{b}]", sequence) for b, sequence in enumerate(value)]
    for b, array in enumerate(arrays):
        if array.ndim == 0:
            raise TypeError(
                f"{name} is a {type(value).__name__}, so a batch of sequences, and {name}[{b}] must be an array, "
                f"got the number {array[()]!s}; for one sequence, write np.array({name})"
            )
    return arrays


def lengths_of(sequences: list[AnyArray]) -> Indices:
    """Return how many steps each sequence has."""
    return np.array([len(sequence) for sequence in sequences], np.int64)


def have_one_number(name: str, sequences: list[AnyArray], width: int, letter: str) -> bool:
    """Return whether sequences have one integer a step (T_b,), or else ``width`` numbers, (T_b, width).

    An array of shape (0,), which is what [] gives, is a sequence of no steps of either sort.
    """
    first = next((b for b, s in enumerate(sequences) if s.shape != (0,)), None)
    if first is None:
        return True
    ndim = sequences[first].ndim
    for b, s in enumerate(sequences):
        if s.shape == (0,):
            continue
        if s.ndim != ndim or ndim > 2 or (ndim == 2 and s.shape[1] != width):
            raise ValueError(
                f"{name}[{b}] must be (T_b,) integers or (T_b, {letter}) = (T_b, {width}), and as {name}[{first}] is, "
                f"got {kind_of(s)}"
            )
        if ndim == 1 and s.dtype.kind not in "iu":
            raise TypeError(f"{name}[{b}] must be integers to have one number a step, got {kind_of(s)}")
    return ndim == 1


def are_one_each(ls: list[AnyArray], steps: Steps, wanted: Wanted) -> bool:
    """Return whether the labels of a list belong to one sequence each: numbers, or rows (V,) of numbers."""
    if all(label.ndim == 0 for label in ls):
        return True
    if are_classes(ls[0], wanted) or any(label.shape != (wanted.outputs,) for label in ls):
        return False
    each_step = wanted.last_may_be_missing and all(len(label) == n for label, n in zip(ls, steps.lengths, strict=True))
    return not each_step and all(label.dtype.kind == "f" or not wanted.rules.classes for label in ls)


def packed(sequences: list[AnyArray], width: tuple[int, ...], dtype: np.dtype[Any]) -> AnyArray:
    """Return sequences (T_b, ...) one after the other (N, ...)."""
    shaped = [sequence if sequence.size else np.empty((len(sequence), *width), dtype) for sequence in sequences]
    packed = np.empty((sum(map(len, shaped)), *width), dtype)  # in C order, whatever the order of the sequences
    if all(sequence.dtype == dtype for sequence in shaped):
        return np.concatenate(shaped, out=packed)
    with np.errstate(all="ignore"):
        return np.concatenate(shaped, out=packed, casting="unsafe")


def packed_reals(ls: list[AnyArray], wanted: Wanted) -> Array:
    """Return labels that are rows of numbers, one sequence after the other."""
    if wanted.last_may_be_missing:
        ls = [label[:, None] if label.ndim == 1 else label for label in ls]
    for b, label in enumerate(ls):
        if wanted.rules.classes and label.dtype.kind != "f" and label.shape != (0,):
            raise TypeError(f"labels[{b}] must be floating to be distributions (T_b, V), got {kind_of(label)}")
        if label.shape != (0,):
            require_shape(f"labels[{b}]", label, "(T_b, V)", (len(label), wanted.outputs))
    return packed(ls, (wanted.outputs,), wanted.dtype)


def weights_of_list(weights: object, wanted: Wanted, steps: Steps) -> Array:
    """Return the weights of a list of sequences, from a list of arrays, or from one for each sequence."""
    if not isinstance(weights, SEQUENCES):
        one_each = as_weights(weights, (steps.B,), wanted.dtype, Where(steps, None, True))
        return np.repeat(one_each, steps.lengths)
    ws = as_sequences("weights", weights, "labels")
    if len(ws) != steps.B:
        raise ValueError(f"labels and weights must have as many sequences, got {steps.B} and {len(ws)}")
    for b, (array, length) in enumerate(zip(ws, steps.lengths.tolist(), strict=True)):
        require_shape(f"weights[{b}]", array, "(T_b,)", (length,))
        if array.dtype.kind != "f" and length:
            raise TypeError(f"weights[{b}] must be floating, got {kind_of(array)}")
    rows = packed(ws, (), wanted.dtype)
    require_weights(rows, Where(steps))
    return rows
