"""The fallback: the definition's files and functions again, compiled by Numba when they are first called.

Results are equal to ``_numpy``'s to the last bit. Nothing is contracted, reordered or run in parallel:
an fma is written as one, and additions stay where they are.

The body of a function that ``overload`` replaces is never run, hence ``raise NotImplementedError`` there. Numba gives
that decorator no type, hence the comment for mypy.
"""

from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar, cast

import numba
import numpy as np
from numba import extending
from numba.core import cgutils as numba_cgutils

OLDEST = (0, 60)

_config: Any = numba.config
if _config.DISABLE_JIT:
    raise ImportError("NUMBA_DISABLE_JIT is set, so that Numba compiles nothing")
if numba.version_info.short < OLDEST:
    raise ImportError(f"rnncore needs Numba {'.'.join(map(str, OLDEST))}, and {numba.__version__} is installed")

OPTIONS: dict[str, Any] = {"error_model": "numpy", "nogil": True}
ONE: Any = np.int8(1)  # a number so narrow that it does not widen float32
ZERO: Any = np.int8(0)

Numbers: TypeAlias = tuple[float, ...]
"""Numbers of one unit: one for each gate, state, or row that is saved."""

cgutils: Any = numba_cgutils
_njit: Any = numba.njit
_intrinsic: Any = extending.intrinsic
Function = TypeVar("Function", bound=Callable[..., object])


def compiled(function: Function) -> Function:
    """Apply ``numba.njit``, typed, to a function that compiled code calls.

    Division by zero gives Inf or NaN as in the definition, and the GIL is released.
    """
    return cast(Function, _njit(no_cpython_wrapper=True, no_cfunc_wrapper=True, **OPTIONS)(function))


def of_one_unit(function: Function) -> Function:
    """Apply ``compiled`` to a function of a loop over units, inlined: LLVM vectorises only loops without calls."""
    return cast(Function, _njit(no_cpython_wrapper=True, no_cfunc_wrapper=True, forceinline=True, **OPTIONS)(function))


def intrinsic(prefer_literal: bool = False) -> Callable[[Callable[..., Any]], Any]:
    """Return ``numba.extending.intrinsic``, typed, for functions that are written in LLVM's instructions."""
    return lambda function: _intrinsic(prefer_literal=prefer_literal)(function)


def inlined(function: Function) -> Function:
    """Compile a function into its only caller: Numba would else make machine code of both, and compiling is slow."""
    return cast(Function, _njit(inline="always", **OPTIONS)(function))
