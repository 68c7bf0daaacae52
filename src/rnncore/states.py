"""States of sequences, from whatever a user hands over to canonical arrays."""

from __future__ import annotations

from .cells import CELLS
from .net import Net
from .types import States
from .values import SEQUENCES, as_numbers, as_real, require_shape
from .words import what


def as_states(name: str, value: object, net: Net, batch: tuple[int, ...]) -> States:
    """Return a state of each sequence: an array (H,) or (B, H), or a tuple of them where the cell has several.

    Of several layers or directions it has a first axis, L*D.
    """
    if value is None:
        return None
    names, many = CELLS[net.cell].states, net.parts > 1
    shape = (*([net.parts] if many else []), *batch, net.hidden)
    letters = f"({'L*D, ' * many}{'B, ' * bool(batch)}H{',' * (not many and not batch)})"
    if len(names) == 1:
        state = as_numbers(name, value)
        require_shape(name, state, letters, shape)
        return as_real(state, net.dtype)
    wanted = f"{name} of cell {net.cell!r} must be a tuple ({', '.join(names)}) of arrays {letters} = {shape}"
    if not isinstance(value, SEQUENCES):
        raise TypeError(f"{wanted}, got {what(value)}")
    if len(value) != len(names):
        raise ValueError(f"{wanted}, got a {type(value).__name__} of {len(value)}")
    arrays = []
    for one, letter in zip(value, names, strict=True):
        arrays.append(as_numbers(f"{letter} of {name}", one))
        require_shape(f"{letter} of {name}", arrays[-1], letters, shape)
    return tuple(as_real(array, net.dtype) for array in arrays)
