"""Numbers and arrays from whatever a user hands over: ``as_x`` converts, ``require_x`` raises."""

import numbers
import operator
from typing import Any

import numpy as np

from .types import AnyArray, Array, Indices
from .words import kind_of, one_of, what

SEQUENCES = (list, tuple)


def as_numbers(name: str, value: object, *, widen: bool = True) -> AnyArray:
    """Return an array of integers or floating-point numbers; not of booleans, complex numbers, strings or objects.

    bfloat16, which is no dtype of NumPy's own, becomes float32, which holds its numbers; without ``widen`` it stays.
    """
    array = value if type(value) is np.ndarray else _as_array(name, value)
    if array.dtype.kind not in "iuf":
        if array.dtype.name == "bfloat16":  # of the package ml_dtypes, which JAX and others use
            return array.astype(np.float32) if widen else array
        got = kind_of(array) if isinstance(value, np.ndarray) else what(value)
        raise TypeError(f"{name} must be an array of integers or floating-point numbers, got {got}")
    return array


def _as_array(name: str, value: object) -> AnyArray:
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{name} must be an array without a mask, got {what(value)}: fill it, or use lengths")
    try:
        if str(getattr(value, "dtype", "")) == "torch.bfloat16" and hasattr(value, "float"):
            value = value.float()  # NumPy takes no tensor of these
        return np.asarray(value)
    except Exception as why:
        raise TypeError(
            f"{name} must be an array of integers or floating-point numbers, got {what(value)}: {why}"
        ) from why


def as_int64(array: AnyArray) -> Indices:
    """Return integers as int64. uint64 beyond it become the largest, which no range allows, and do not wrap to -1."""
    if array.dtype.kind == "u" and array.dtype.itemsize == 8:
        array = np.minimum(array, np.uint64(2**63 - 1))
    return as_contiguous(array, np.dtype(np.int64))


def own_int64(array: AnyArray) -> Indices:
    """Return integers as int64 in an array of our own: what has been checked stays so, whoever writes to the other."""
    converted = as_int64(array)
    return converted.copy() if np.may_share_memory(converted, array) else converted


def as_real(array: AnyArray, dtype: np.dtype[Any]) -> Array:
    """Return numbers rounded to nearest; those too large become Inf, as IEEE 754 has it."""
    if array.dtype == dtype:
        return as_contiguous(array, dtype)
    with np.errstate(all="ignore"):
        return as_contiguous(array, dtype)


def as_contiguous(array: AnyArray, dtype: np.dtype[Any]) -> AnyArray:
    """Return an array C-contiguous, aligned, and of a dtype: itself, if it is so already."""
    contiguous = np.asarray(array, dtype, order="C")  # ascontiguousarray would give a number an axis
    return contiguous if contiguous.flags.aligned else contiguous.copy()


def real_dtype_of(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the dtype to compute in: float32 for floating-point numbers that it holds, else float64."""
    return np.dtype(np.float32 if dtype.kind == "f" and dtype.itemsize <= 4 else np.float64)


def as_real_dtype(name: str, dtype: Any) -> np.dtype[Any]:
    """Return float32 or float64, in native byte order."""
    try:
        wanted: np.dtype[Any] = np.dtype(np.dtype(dtype).type)
    except (TypeError, ValueError, SyntaxError) as why:  # NumPy parses a string such as ","
        raise TypeError(f"{name} must be float32 or float64, got {what(dtype)}") from why
    if dtype is None or wanted not in (np.float32, np.float64):
        raise TypeError(f"{name} must be float32 or float64, got {'None' if dtype is None else wanted}")
    return wanted


def common_real_dtype(arrays: "dict[str, AnyArray]") -> np.dtype[Any]:
    """Return float32 if all arrays are, float64 if any one is."""
    for name, array in arrays.items():
        if array.dtype.newbyteorder("=") not in (np.float32, np.float64):
            raise TypeError(
                f"{name} must be float32 or float64, got {kind_of(array)}; dtype='float32' or 'float64' converts"
            )
    return np.dtype(np.result_type(*(array.dtype.newbyteorder("=") for array in arrays.values())))


def require_shape(name: str, array: AnyArray, letters: str, shape: tuple[int, ...]) -> None:
    """Raise unless an array has a shape, which messages also write in letters."""
    if array.shape != shape:
        raise ValueError(f"{name} must have shape {letters} = {shape}, got {kind_of(array)}")


def as_integer(name: str, value: object, least: int) -> int:
    """Return an integer that is at least so large; True and False are none."""
    if type(value) is int and value >= least:
        return value
    if isinstance(value, bool | np.bool_) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} must be an integer, got {what(value)}")
    try:
        number = operator.index(value)
    except TypeError as why:
        raise TypeError(f"{name} must be an integer, got {what(value)}") from why
    if number < least:
        raise ValueError(f"{name} must be at least {least}, got {number}")
    return number


def as_flag(name: str, value: object) -> bool:
    """Return True or False, and take nothing that merely counts as one."""
    if type(value) is bool:
        return value
    if not isinstance(value, np.bool_):
        raise TypeError(f"{name} must be True or False, got {what(value)}")
    return bool(value)


def as_number(name: str, value: object) -> float:
    """Return a real number as a float."""
    if type(value) is float:
        return value
    if isinstance(value, bool | np.bool_) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} must be a number, got {what(value)}")
    try:
        return float(value)
    except OverflowError as why:
        raise ValueError(f"{name} must be a number that float64 holds, got {what(value)}") from why


def as_choice(name: str, value: object, known: "tuple[str, ...]") -> str:
    """Return a string that is one of those known."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a string, one of {one_of(known)}, got {what(value)}")
    if value not in known:
        raise ValueError(f"{name} must be one of {one_of(known)}, got {value!r}")
    return value
