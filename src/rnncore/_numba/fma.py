"""a * b + c rounded once: LLVM's own operation, an instruction where the CPU has one, else the C library's function."""

from typing import Any

from numba import types

from . import intrinsic


@intrinsic()
def fma(_: Any, a: Any, b: Any, c: Any) -> Any:
    """Return ``a * b + c`` of three numbers of one type, float32 or float64."""
    if a not in (types.float32, types.float64) or not a == b == c:
        return None

    def generate(_: Any, builder: Any, __: Any, arguments: Any) -> Any:
        return builder.fma(*arguments)

    return a(a, b, c), generate
