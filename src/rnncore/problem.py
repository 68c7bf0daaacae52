"""The words in which a call reaches an engine: ``net, flat, inputs, state, steps, options``, and what it keeps.

Canonical arrays are C-contiguous, aligned, in native byte order and checked, with Real the dtype of the net. They have
the axes that the user's have; results come back with the same ones:

=========  =====================  ======================  ==============================
           one sequence           a batch                 sequences packed (``Steps``)
=========  =====================  ======================  ==============================
tokens     int64 (T,)             int64 (T, B)            int64 (N,)
vectors    Real (T, X)            Real (T, B, X)          Real (N, X)
classes    int64 (T,)             int64 (T, B)            int64 (N,)
reals      Real (T, V)            Real (T, B, V)          Real (N, V)
weights    Real (T,)              Real (T, B)             Real (N,)
masks      Real (T, D*H)          Real (T, B, D*H)        Real (N, D*H)
a state    Real (H,)              Real (B, H)             Real (B, H)
=========  =====================  ======================  ==============================

Labels are classes or reals, or a tuple of these and of weights. If outputs are made of last states only, the axes that
count steps are (B,), or () for one sequence, in all that belongs to outputs: labels, weights, y, losses, dy.
Inputs are tokens or vectors, or a tuple of these and of a tuple of masks, one for each layer but the first.
``state`` is None for zeros, an array, or, of a cell with several states, a tuple of arrays. Of a net of P > 1 parts,
which are layers in one direction (see ``cells.parts``), a state has a first axis P. D is the number of directions.
"""

from typing import Any, TypeAlias

from .net import Net
from .steps import Steps
from .types import Array, Inputs, States


class Options:
    """What is asked of a call, and how it is done. Frozen and interned by :func:`options_of`.

    need_dinputs: whether the gradient with respect to the inputs is wanted. last: whether outputs are made of the last
    state of each sequence only. loss: the name of one of ``LOSSES``. threads: how many threads may work at most, or
    None where the engine chooses, or, negative, how many work even if fewer would be faster; it changes no bit. core:
    the same as the compiled core has it, made by ``_cpp``.
    """

    __slots__ = ("core", "last", "loss", "need_dinputs", "threads")
    need_dinputs: bool
    last: bool
    loss: str
    threads: int | None
    core: Any

    def __init__(self, need_dinputs: bool, last: bool, loss: str, threads: int | None) -> None:
        object.__setattr__(self, "need_dinputs", need_dinputs)
        object.__setattr__(self, "last", last)
        object.__setattr__(self, "loss", loss)
        object.__setattr__(self, "threads", threads)
        object.__setattr__(self, "core", None)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{name} of Options cannot be changed")

    def __repr__(self) -> str:
        return (
            f"Options(need_dinputs={self.need_dinputs}, last={self.last}, loss={self.loss!r}, threads={self.threads})"
        )


DEFAULT = Options(False, False, "cross_entropy", None)
PLAIN: dict[int | None, Options] = {None: DEFAULT}
"""Options that are the default but for threads, by threads."""
OTHERS: dict[tuple[bool, bool, str, int | None], Options] = {}
"""All others that have been asked for, by their values."""


def options_of(need_dinputs: bool, threads: int | None, loss: str = DEFAULT.loss, last: bool = False) -> Options:
    """Return the Options with these values, which are trusted."""
    values = need_dinputs, last, loss, threads
    if values[:3] == (False, False, DEFAULT.loss):
        return PLAIN.get(threads) or PLAIN.setdefault(threads, Options(*values))
    return OTHERS.get(values) or OTHERS.setdefault(values, Options(*values))


Kept: TypeAlias = tuple[Net, Inputs, States, Steps | None, Array, Array, bool]
"""What forward keeps for backward: net, copies of inputs and state, steps, h as the user has it (read-only), the tape,
and whether outputs were made of last states only, as ``Options.last`` says.

The tape (N, K, H rounded up to sixteens) has, of each step, the states but h and what the cell saves. Its rows are in
the order of ``Steps``, or, of the full grid, of places. Of a net of several parts it is one vector: first what each
layer but the last has given, (N, D*H), then the tape of each part. A part in the reverse direction has its rows in its
own order: its first step is the last of each sequence. All engines write the same, and read each other's.
"""


def with_masks(inputs: Inputs) -> tuple[Inputs, tuple[Array, ...]]:
    """Return inputs and the masks, if there are any, that they come with."""
    return inputs if isinstance(inputs, tuple) else (inputs, ())


def as_tuple(states: States) -> tuple[Array, ...]:
    """Return the arrays of states that are not None."""
    return states if isinstance(states, tuple) else (states,)


def copy_of(arrays: Any) -> Any:
    """Return copies of an array, of those in a tuple, or of None."""
    if isinstance(arrays, tuple):
        return tuple(map(copy_of, arrays))
    return None if arrays is None else arrays.copy()


def reading(net: Net, inputs: Inputs) -> Net:
    """Return a net that says what it reads, of canonical inputs: tokens or vectors.

    Without labels an engine would not know what integers (T, B) are.
    """
    return net.of_tokens() if with_masks(inputs)[0].dtype.kind == "i" else net
