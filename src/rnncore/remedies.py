"""What is probably meant by arguments that do not fit: the end of a message."""

from __future__ import annotations

import numpy as np

from .labels import Wanted
from .types import AnyArray
from .words import kind_of


def of_inputs(x: AnyArray, X: int, name: str = "inputs") -> str:
    """Return how inputs are written that have X numbers a step."""
    if x.shape == (X,) and x.dtype.kind == "f":
        return f"; one step of a vector is {name}[None]"
    return f"; inputs are tokens, one integer a step, or vectors, X = {X} numbers a step"


def of_steps(x: AnyArray, label: AnyArray, wanted: Wanted) -> str:
    """Return what may be wrong where inputs and labels have other steps."""
    lead = x.shape[:2] if x.ndim > 1 else x.shape
    if wanted.rules.classes and label.dtype.kind != "f" and label.shape[-1:] == (wanted.outputs,) and label.ndim > 1:
        for steps in (lead, lead[:1]):
            if label.shape[:-1] == steps:
                return "; one-hot labels are written as classes, labels.argmax(-1), or as floating-point numbers"
    if len(lead) == 2 and lead[0] != lead[1] and label.shape[:2] == lead[::-1]:
        return "; time comes first, (T, B, ...): of (B, T, ...) write swapaxes(0, 1)"
    return "; there is one label for each step, or one for each sequence"


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
