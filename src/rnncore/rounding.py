"""The rounding mode that every result assumes, and what to do where a process has set another.

Code compiled with -ffast-math, loaded anywhere in a process, may leave the processor flushing subnormal numbers to
zero, and some programs round upwards or downwards for a while. The compiled core sets its own mode around each call;
NumPy and Numba compute in the one they find.
"""

import contextlib
from collections.abc import Iterator

_LEAST, _SMALLEST_NORMAL, _ONE = 5e-324, 2.2250738585072014e-308, 1.0


def is_standard() -> bool:
    """Return whether this thread rounds to nearest even and keeps subnormals, as operands and as results."""
    kept = _LEAST * _ONE != 0 and _SMALLEST_NORMAL / 2 != 0
    return kept and _ONE + _LEAST == _ONE - _LEAST


@contextlib.contextmanager
def standard() -> Iterator[None]:
    """Round to nearest even and keep subnormals in a ``with`` block; what was set before comes back at its end.

    Raises FloatingPointError if that takes the compiled core, and it is not there.
    """
    if is_standard():
        yield
        return
    try:
        from . import _core
    except ImportError as why:
        raise cannot_round_error(why) from why
    before = _core.set_rounding_mode(_core.STANDARD_ROUNDING)
    try:
        yield
    finally:
        _core.set_rounding_mode(before)


def cannot_round_error(why: object) -> FloatingPointError:
    """Return the error for a processor that is set to round otherwise, where nothing can set it right."""
    return FloatingPointError(
        "the processor is set to flush subnormal numbers or to round in another direction (by a library compiled "
        f"with -ffast-math, perhaps), and it takes the compiled core to set it right, which does not load: {why}"
    )
