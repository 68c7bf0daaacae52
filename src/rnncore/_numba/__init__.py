"""The fallback: the definition's files and functions once more, compiled by Numba when they are first called.

Results are equal to ``_numpy``'s to the last bit. Nothing is contracted, reordered or run in parallel:
an fma is written as one, and additions stay where they are.
"""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

OPTIONS: dict[str, Any] = {"error_model": "numpy", "nogil": True}
_njit: Any = numba.njit
Function = TypeVar("Function", bound=Callable[..., object])


def compiled(function: Function) -> Function:
    """``numba.njit``, typed, for functions that compiled code calls.

    Division by zero gives Inf or NaN as in the definition, and the GIL is released.
    """
    return cast(Function, _njit(no_cpython_wrapper=True, no_cfunc_wrapper=True, **OPTIONS)(function))


def inlined(function: Function) -> Function:
    """``compiled`` into its only caller: Numba would else make machine code of both, and compiling is slow."""
    return cast(Function, _njit(inline="always", **OPTIONS)(function))
