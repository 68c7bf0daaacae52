"""The phrases that messages share: how arrays, values and lists of names are written."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt


def kind_of(array: npt.NDArray[Any]) -> str:
    """Return the dtype and shape of an array: ``float32 (2, 3)``."""
    return f"{array.dtype.name} {array.shape}"


def what(value: object) -> str:
    """Return a value in a few words: its type, and its shape or how it prints."""
    if value is None:
        return "None"
    if isinstance(value, np.ndarray):
        return f"{type(value).__name__} {kind_of(value)}"
    try:
        text = repr(value)
    except ValueError:  # Python writes no integer of more than some thousand digits
        text = "of very many digits"
    return f"{type(value).__name__} {text if len(text) <= 60 else text[:57] + '...'}"


def one_of(names: Iterable[str]) -> str:
    """Return names as a list between commas."""
    return ", ".join(repr(name) for name in names)


def place_of(at: tuple[int | None, int]) -> str:
    """Return where a step (t, b) is, or a sequence (None, b)."""
    if at[0] is None:
        return f"for sequence {at[1]}"
    return f"at step {at[0]} of sequence {at[1]}"


def cannot_change_error(owner: str, name: str) -> AttributeError:
    """Return the error for an assignment to what stays as it is."""
    return AttributeError(f"{name} of a {owner} cannot be changed")
