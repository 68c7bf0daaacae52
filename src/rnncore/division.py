"""How a user's arrays are divided into sequences, and sequences into pieces: lengths, offsets and resets."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from . import remedies
from .lists import as_list
from .steps import Steps, full_steps, grid_steps, packed_steps
from .types import AnyArray, Mask
from .values import SEQUENCES, as_numbers, own_int64, require_shape
from .words import kind_of, what


class Division(NamedTuple):
    """What a user says of the steps of a call, as it was given; None where nothing is said."""

    lengths: object = None
    offsets: object = None
    resets: object = None

    def require_arrays(self, name: str) -> None:
        """Raise for a list of sequences, called by a name, beside what is for arrays only."""
        if self.lengths is not None:
            raise ValueError("lengths is for padded arrays (T, B, ...): a list of sequences has their lengths already")
        if self.offsets is not None:
            raise ValueError(
                f"offsets is for one array (N, ...), one sequence after the other: {name} is a list, whose arrays are "
                "the sequences; leave offsets out, or join the list with np.concatenate"
            )

    def steps(self, lead: tuple[int, ...]) -> Steps | None:
        """Return the steps of an array whose axes ``lead`` count steps and sequences; None of one without more ado."""
        return None if self.lengths is None else _of_lengths(self.lengths, lead)


UNDIVIDED = Division()


def _of_lengths(value: object, lead: tuple[int, ...]) -> Steps | None:
    """Return the steps of a padded array, from its lengths."""
    if len(lead) == 1:
        raise ValueError("lengths is for batches (T, B, ...): one sequence is as long as its array")
    T, B = lead
    lengths = as_numbers("lengths", value)
    if lengths.dtype.kind == "f":
        raise TypeError(f"lengths must be integers, got {kind_of(lengths)}")
    if lengths.shape != (B,):
        raise ValueError(
            f"lengths must have shape (B,) = ({B},), got {kind_of(lengths)}"
            f"{remedies.of_turned_batch('lengths', lengths.shape, (T,))}"
        )
    canonical = own_int64(lengths)
    bad = np.flatnonzero((canonical < 0) | (canonical > T))
    if len(bad):
        raise ValueError(f"lengths must be in [0, T] = [0, {T}], got {lengths[bad[0]]} for sequence {bad[0]}")
    return grid_steps(canonical, T)


def of_offsets(division: Division, N: int) -> Steps:
    """Return the steps of sequences that lie one after the other in arrays (N, ...), from where each begins."""
    if division.lengths is not None:
        raise ValueError(
            "lengths and offsets must not both be given: lengths is for padded arrays (T, B, ...), and offsets for "
            "arrays (N, ...) in which one sequence follows the other, and says how long each is"
        )
    offsets = as_numbers("offsets", division.offsets)
    if offsets.ndim != 1 or len(offsets) < 2:
        raise ValueError(
            f"offsets must have shape (B + 1,), B >= 1: where each sequence begins, and N, got {kind_of(offsets)}"
        )
    if offsets.dtype.kind == "f":
        raise TypeError(f"offsets must be integers, got {kind_of(offsets)}")
    canonical = own_int64(offsets)
    if canonical[0] != 0 or canonical[-1] != N:
        raise ValueError(
            f"offsets must go from 0 to N = {N}, the steps of the inputs, got {offsets[0]} to {offsets[-1]}"
            f"{remedies.of_offsets(canonical, N)}"
        )
    bad = np.flatnonzero(canonical[1:] < canonical[:-1])
    if len(bad):
        b = bad[0]
        raise ValueError(f"offsets must ascend, got {offsets[b]} and then {offsets[b + 1]}, at {b} and {b + 1}")
    return packed_steps(np.diff(canonical), "flat")


def with_resets(value: object, steps: Steps | None, lead: tuple[int, ...], directions: int) -> Steps | None:
    """Return the steps with their resets, if there are any; lead: the axes of the arrays that count steps."""
    if value is None:
        return steps
    if directions == 2:
        raise ValueError(
            "resets must be None for a net of two directions, whose reverse one reads what comes later: "
            "give what lies between resets as sequences of their own, in a list or with offsets"
        )
    value = as_list("resets", value)
    resets = _of_list(value, steps) if steps is not None and steps.form == "list" else _of_array(value, steps)
    if resets.shape != lead:
        letters = "(N,)" if steps is not None and steps.packed else "(T,)" if len(lead) == 1 else "(T, B)"
        raise ValueError(
            f"resets must have one boolean for each step, {letters} = {lead}, got {kind_of(resets)}"
            f"{remedies.of_resets(resets.shape, lead)}"
        )
    if not resets.any():
        return steps
    return full_steps(resets) if steps is None else steps.with_resets(resets)


def _of_list(value: object, steps: Steps) -> Mask:
    """Return the resets of a list of sequences, one after the other."""
    if not isinstance(value, SEQUENCES):
        raise TypeError(f"resets must be a list of sequences, as inputs is, got {what(value)}")
    each = [_flags(f"resets[{b}]", flags) for b, flags in enumerate(value)]
    if len(each) != steps.B:
        raise ValueError(f"inputs and resets must have as many sequences, got {steps.B} and {len(each)}")
    for b, (flags, length) in enumerate(zip(each, steps.lengths.tolist(), strict=True)):
        require_shape(f"resets[{b}]", flags, "(T_b,)", (length,))
    return np.concatenate(each)


def _of_array(value: object, steps: Steps | None) -> Mask:
    """Return the resets of an array, which may come as nested lists of booleans."""
    flat = steps is not None and steps.packed
    if flat and isinstance(value, SEQUENCES) and any(hasattr(one, "__len__") for one in value):
        raise TypeError(
            f"resets must be one array where offsets is given, as inputs is, got {what(value)}: "
            "write np.concatenate(resets)"
        )
    return _flags("resets", value)


def _flags(name: str, value: object) -> Mask:
    """Return an array of booleans, of our own and contiguous; an empty one of anything is one."""
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{name} must be an array without a mask, got {what(value)}: write {name}.filled(False)")
    try:
        flags: AnyArray = np.asarray(value)
    except Exception as why:
        raise TypeError(f"{name} must be an array of booleans, got {what(value)}: {why}") from why
    if flags.dtype != bool and flags.size:
        got = kind_of(flags) if isinstance(value, np.ndarray) else what(value)
        remedy = f": write np.asarray({name}, bool)" if flags.dtype.kind in "iuf" else ""
        raise TypeError(f"{name} must be an array of booleans, got {got}{remedy}")
    return flags.astype(bool, order="C")
