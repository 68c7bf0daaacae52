"""The names of the arrays of a net of several layers or directions, layer by layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from .types import Array
from .words import cannot_change_error

if TYPE_CHECKING:
    from .params import Params


class Layer:
    """Names the arrays of one layer in one direction: W_xh, W_hh, b_h, and b_x where the cell has it.

    They are views of ``Params.flat``; assigning to a name copies into it.
    """

    __slots__ = ("_params", "_prefix")
    _params: Params
    _prefix: str
    W_xh: Array
    W_hh: Array
    b_x: Array
    b_h: Array

    def __init__(self, params: Params, prefix: str) -> None:
        object.__setattr__(self, "_params", params)
        object.__setattr__(self, "_prefix", prefix)

    def names(self) -> tuple[str, ...]:
        """Return the names of the arrays."""
        names = self._params.names()
        return tuple(
            name.removeprefix(self._prefix)
            for name in names
            if name.startswith(self._prefix) and name not in ("W_hy", "b_y")
        )

    def keys(self) -> tuple[str, ...]:
        """Return the names, so that ``dict(layer)`` is a dict of the arrays."""
        return self.names()

    def __getitem__(self, name: str) -> Array:
        return self._params[f"{self._prefix}{name}"]

    def __getattr__(self, name: str) -> Array:
        if name in Layer.__slots__:  # not filled yet, as while unpickling
            raise AttributeError(name)
        if name not in self.names():
            raise AttributeError(f"a layer has the arrays {', '.join(self.names())}, not {name!r}")
        return self._params[self._prefix + name]

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in self.names():
            raise AttributeError(f"a layer has the arrays {', '.join(self.names())}, not {name!r}")
        self._params[self._prefix + name] = value

    def __delattr__(self, name: str) -> None:
        raise cannot_change_error("Layer", name)

    def __reduce__(self) -> tuple[Any, ...]:
        return Layer, (self._params, self._prefix)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self.names()})

    def __repr__(self) -> str:
        arrays = ", ".join(f"{name} {getattr(self, name).shape}" for name in self.names())
        return f"Layer({arrays})"


class Directions(NamedTuple):
    """Holds the two directions of a layer."""

    forward: Layer
    reverse: Layer

    def __getattr__(self, name: str) -> Array:
        raise AttributeError(f"a layer in two directions has forward and reverse, not {name!r}")
