"""The words in which a call reaches an engine: ``net, flat, inputs, state, steps, options``, and what it keeps.

Canonical arrays are C-contiguous, aligned, in native byte order and checked, with Real the dtype of the net. They have
the axes that the user's have; results come back with the same ones:

=========  =====================  ======================  ==============================
           one sequence           a batch                 sequences packed (``Steps``)
=========  =====================  ======================  ==============================
tokens     int64 (T,)             int64 (T, B)            int64 (N,)
vectors    Real (T, X)            Real (T, B, X)          Real (N, X)
classes    int64 (T,)             int64 (T, B)            int64 (N,)
distrib.   Real (T, V)            Real (T, B, V)          Real (N, V)
a state    Real (H,)              Real (B, H)             Real (B, H)
=========  =====================  ======================  ==============================

``state`` is None for zeros, an array, or, of a cell with several states, a tuple of arrays.
"""

from typing import TypeAlias

from .net import Net
from .steps import Steps
from .types import Array, Inputs, States


class Options:
    """What is asked of a call, and how it is done. Frozen and interned by :func:`options_of`.

    need_dinputs: whether the gradient with respect to the inputs is wanted. threads: how many threads may work at most,
    or None where the engine chooses; it changes no bit.
    """

    __slots__ = ("need_dinputs", "threads")
    need_dinputs: bool
    threads: int | None

    def __init__(self, need_dinputs: bool, threads: int | None) -> None:
        object.__setattr__(self, "need_dinputs", need_dinputs)
        object.__setattr__(self, "threads", threads)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{name} of Options cannot be changed")

    def __repr__(self) -> str:
        return f"Options(need_dinputs={self.need_dinputs}, threads={self.threads})"


DEFAULT = Options(False, None)
PLAIN: dict[int | None, Options] = {None: DEFAULT}
"""Options without dinputs, by threads."""
_with_dinputs: dict[int | None, Options] = {}


def options_of(need_dinputs: bool, threads: int | None) -> Options:
    """Return the Options with these values, which are trusted."""
    known = _with_dinputs if need_dinputs else PLAIN
    return known.get(threads) or known.setdefault(threads, Options(need_dinputs, threads))


Kept: TypeAlias = tuple[Net, Inputs, States, Steps | None, Array, Array]
"""What forward keeps for backward: net, copies of inputs and state, steps, h as the user has it (read-only), the tape.

The tape (N, K, H rounded up to sixteens) has, of each step, the states but h and what the cell saves. Its rows are in
the order of ``Steps``, or, of the full grid, of places. All engines write the same, and read each other's.
"""
