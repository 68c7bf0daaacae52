"""What is probably meant by arguments that do not fit: the end of a message."""

from __future__ import annotations

import numpy as np

from .labels import Wanted
from .types import AnyArray, Indices
from .words import kind_of, what


def of_inputs(x: AnyArray, X: int, name: str = "inputs") -> str:
    """Return how inputs are written that have X numbers a step."""
    if x.shape == (X,) and x.dtype.kind == "f":
        return f"; one step of a vector is {name}[None]"
    return f"; inputs are tokens, one integer a step, or vectors, X = {X} numbers a step"


def of_steps(x: AnyArray, label: AnyArray, wanted: Wanted) -> str:
    """Return what may be wrong where inputs and labels have other steps."""
    lead = x.shape[:2] if x.ndim > 1 else x.shape
    one_hot = of_one_hot(label, (lead, lead[:1]), wanted)
    if one_hot:
        return one_hot
    if len(lead) == 2 and lead[0] != lead[1] and label.shape[:2] == lead[::-1]:
        return "; time comes first, (T, B, ...): of (B, T, ...) write swapaxes(0, 1)"
    return "; there is one label for each step, or one for each sequence"


def of_one_hot(label: AnyArray, leads: tuple[tuple[int, ...], ...], wanted: Wanted) -> str:
    """Return how labels are written that are integers with an axis V too many, beside any of the axes of steps."""
    integers = wanted.rules.classes and label.dtype.kind != "f" and label.ndim > 1
    if not integers or label.shape[-1] != wanted.outputs or label.shape[:-1] not in leads:
        return ""
    return "; one-hot labels are written as classes, labels.argmax(-1), or as floating-point numbers"


def labels_in_a_list_error(inputs: object, labels: object, flat: bool) -> TypeError:
    """Return the error for a list of labels beside inputs that are none; flat: where offsets is given."""
    if flat:
        return TypeError(
            f"labels must be one array where offsets is given, as inputs is, got {what(labels)}: "
            f"write np.concatenate(labels) of a list of arrays, np.array(labels) of a list of numbers"
        )
    return TypeError(f"inputs must be a list of sequences, as labels is, got {what(inputs)}")


def of_offsets(offsets: Indices, N: int) -> str:
    """Return what may be wrong where offsets do not go from 0 to N."""
    if offsets.sum() == N and (offsets >= 0).all():
        return "; of lengths write np.concatenate([[0], np.cumsum(lengths)])"
    if offsets[0] == 0 and offsets[-1] < N:
        return "; the last one is N, where the last sequence ends"
    if offsets[0] > 0 and offsets[-1] == N:
        return "; the first one is 0, where the first sequence begins"
    if offsets[0] > 0 and offsets[-1] - offsets[0] == N:
        return "; those of a part of a larger array count from its beginning: write offsets - offsets[0]"
    return ""


def of_resets(given: tuple[int, ...], lead: tuple[int, ...]) -> str:
    """Return what may be wrong where resets have another shape than the steps, (T,), (T, B) or (N,)."""
    if len(lead) == 1:
        return ""
    if given == lead[::-1]:
        return "; time comes first, as in inputs: write resets.T"
    if given == lead[:1]:
        return "; for the same in all sequences write np.repeat(resets[:, None], B, axis=1)"
    return "; there is a row (B,) for each step, False where a sequence goes on" if given == lead[1:] else ""


def require_likely_labels(x: AnyArray, label: AnyArray, wanted: Wanted) -> None:
    """Raise if floating-point labels of the cross-entropy look like numbers or classes, one a step."""
    one_each = label.dtype.kind == "f" and label.ndim > 0 and label.shape == x.shape[: label.ndim]
    if not wanted.rules.classes or not one_each or label.shape[-1] == wanted.outputs:
        return
    whole = label.size == 0 or bool((label == np.floor(label)).all())
    remedy = "write labels.astype(int)" if whole else "real numbers need another loss, such as loss='squared_error'"
    raise ValueError(
        f"labels must be integers to be classes, or have V = {wanted.outputs} numbers a step, got {kind_of(label)}: "
        f"{remedy}"
    )


def of_turned_batch(name: str, given: tuple[int, ...], wanted: tuple[int, ...]) -> str:
    """Return what may be wrong where an array of a batch has as many sequences as there are steps."""
    if given == wanted:
        return f"; {name} has one for each sequence, and time comes first: of inputs (B, T, ...) write swapaxes(0, 1)"
    return ""
