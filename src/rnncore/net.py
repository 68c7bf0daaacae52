"""What is computed: the cell, the sizes and the dtype of a net, and where each of its arrays lies in ``flat``."""

import math
from typing import Any, NamedTuple
from weakref import WeakValueDictionary

import numpy as np

from .cells import CELLS, parts, shapes, tape_shape
from .types import Array


class LayerArrays(NamedTuple):
    """The parameters of a layer in one direction, or their gradients.

    W_xh (G*H, X), W_hh (G*H, H), b_x (G*H,) or None, b_h (G*H,).
    """

    W_xh: Array
    W_hh: Array
    b_x: Array | None
    b_h: Array


class HeadArrays(NamedTuple):
    """The parameters of the output layer, or their gradients: W_hy (V, D*H), b_y (V,)."""

    W_hy: Array
    b_y: Array


def head_alone(flat: Array, width: int) -> HeadArrays:
    """Return the arrays of an output layer alone, which reads so many numbers, as views of flat: W_hy, then b_y."""
    V = flat.size // (width + 1)
    return HeadArrays(flat[: V * width].reshape(V, width), flat[V * width :])


class Net:
    """Describes a net, without its numbers. Frozen, and interned by :func:`net_of`: one object for each shape.

    tokens: whether it reads tokens, True, or vectors, False; None is either. A part is one layer in one direction, as
    ``cells.parts`` counts them: there are ``parts``, of ``directions``, and each layer gives ``width`` = D*H numbers.
    places: for each array its offset in ``flat`` and its shape, in the order of ``flat``. size: how many numbers
    ``flat`` has. core: the net as the compiled core has it, made by ``_cpp`` when it is first needed.
    """

    __slots__ = (
        *("__weakref__", "bidirectional", "cell", "core", "directions", "dtype", "hidden", "inputs", "layers"),
        *("outputs", "parts", "places", "size", "tokens", "width"),
    )
    cell: str
    inputs: int
    hidden: int
    outputs: int
    dtype: np.dtype[Any]
    layers: int
    bidirectional: bool
    tokens: bool | None
    directions: int
    parts: int
    width: int
    places: dict[str, tuple[int, tuple[int, ...]]]
    size: int
    core: Any

    def __init__(
        self,
        cell: str,
        inputs: int,
        hidden: int,
        outputs: int,
        dtype: np.dtype[Any],
        layers: int,
        bidirectional: bool,
        tokens: bool | None,
    ) -> None:
        places, offset = {}, 0
        for name, shape in shapes(cell, inputs, hidden, outputs, layers, bidirectional).items():
            places[name] = offset, shape
            offset += math.prod(shape)
        directions = 1 + bidirectional
        self._set(cell=cell, inputs=inputs, hidden=hidden, outputs=outputs, dtype=dtype, layers=layers)
        self._set(bidirectional=bidirectional, tokens=tokens, directions=directions, parts=layers * directions)
        self._set(width=directions * hidden, places=places, size=offset, core=None)

    def _set(self, **values: Any) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{name} of a Net cannot be changed")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{name} of a Net cannot be changed")

    def __reduce__(self) -> tuple[Any, ...]:
        from .sizes import restored_net  # which is built on this module, and checks what a pickle says

        return restored_net, self._key

    @property
    def _key(self) -> tuple[Any, ...]:
        sizes = self.cell, self.inputs, self.hidden, self.outputs, self.dtype
        return *sizes, self.layers, self.bidirectional, self.tokens

    def __repr__(self) -> str:
        return f"Net({described(self)})"

    def is_like(self, other: "Net") -> bool:
        """Return whether another net has the same parameters, whatever both read."""
        return self is other or self._key[:-1] == other._key[:-1]

    def with_dtype(self, dtype: np.dtype[Any]) -> "Net":
        """Return the same net with another dtype."""
        sizes = self.cell, self.inputs, self.hidden, self.outputs
        return net_of(*sizes, dtype, self.layers, self.bidirectional, self.tokens)

    def of_tokens(self) -> "Net":
        """Return the same net, reading tokens."""
        sizes = self.cell, self.inputs, self.hidden, self.outputs
        return net_of(*sizes, self.dtype, self.layers, self.bidirectional, True)

    def views(self, flat: Array) -> dict[str, Array]:
        """Return the named arrays as views of ``flat`` (size,)."""
        return {name: self._view(flat, name) for name in self.places}

    def _view(self, flat: Array, name: str) -> Array:
        offset, shape = self.places[name]
        return flat[offset : offset + math.prod(shape)].reshape(shape)

    def layer(self, flat: Array, part: int = 0) -> LayerArrays:
        """Return the arrays of a part as views of ``flat``."""
        prefix = parts(self.layers, self.bidirectional)[part]
        W_xh, W_hh, b_x, b_h = (f"{prefix}{name}" for name in LayerArrays._fields)
        own = self._view(flat, b_x) if b_x in self.places else None
        return LayerArrays(self._view(flat, W_xh), self._view(flat, W_hh), own, self._view(flat, b_h))

    def head(self, flat: Array) -> HeadArrays:
        """Return the arrays of the output layer as views of ``flat``."""
        return HeadArrays(self._view(flat, "W_hy"), self._view(flat, "b_y"))

    def part(self, part: int) -> "Net":
        """Return the net that a part is by itself, without outputs."""
        inputs = self.inputs if part < self.directions else self.width
        return net_of(self.cell, inputs, self.hidden, 0, self.dtype)

    def tape_shape(self, steps: int) -> tuple[int, ...]:
        """Return the shape of the tape of so many steps that exist: see ``problem.Kept``."""
        of_part = tape_shape(self.cell, steps, self.hidden)
        if self.parts == 1:
            return of_part
        return ((self.layers - 1) * steps * self.width + self.parts * math.prod(of_part),)

    def gates_shape(self, steps: int) -> tuple[int, int, int, int]:
        """Return the shape of the gradients with respect to gates, of so many steps that exist: see ``problem``."""
        cell = CELLS[self.cell]
        width, line = -(-len(cell.gates) * self.hidden // 16) * 16, LINE // self.dtype.itemsize
        if width // line % 2 == 0 and width > SHORT_ROW_LINES * line:
            width += line
        return self.parts, 1 + cell.splits, steps, width

    def cut_tape(self, tape: Array, steps: int) -> tuple[list[Array], list[Array]]:
        """Return what each layer but the last has given, (N, D*H), and the tape of each part, as views of the tape."""
        of_part, between = tape_shape(self.cell, steps, self.hidden), self.layers - 1
        vector, size = tape.reshape(-1), steps * self.width
        given = vector[: between * size].reshape(between, steps, self.width)
        tapes = vector[between * size :].reshape(self.parts, *of_part)
        return list(given), list(tapes)


LINE, SHORT_ROW_LINES = 64, 4
"""Bytes of a cache line, and how many lines a short row has: longer ones are an odd number of lines apart, as
``padded`` in cpp/problem.hpp has it, so that the same numbers of successive rows fall into all lines of a cache."""


def described(net: Net) -> str:
    """Return the facts of a net as they print."""
    sizes = f"{net.cell!r}, inputs={net.inputs}, hidden={net.hidden}, outputs={net.outputs}"
    layers = f", layers={net.layers}" if net.layers > 1 else ""
    directions = ", bidirectional=True" if net.bidirectional else ""
    tokens = "" if net.tokens is None else f", tokens={net.tokens}"
    return f"{sizes}{layers}{directions}{tokens}, dtype={net.dtype}"


_interned: "WeakValueDictionary[tuple[Any, ...], Net]" = WeakValueDictionary()


def net_of(
    cell: str,
    inputs: int,
    hidden: int,
    outputs: int,
    dtype: np.dtype[Any],
    layers: int = 1,
    bidirectional: bool = False,
    tokens: bool | None = None,
) -> Net:
    """Return the one Net with these facts. The arguments are trusted.

    Nobody waits for a lock, which a fork or a signal handler may find taken: threads that make the same net at the same
    moment may have two of it, which does no harm.
    """
    key = cell, inputs, hidden, outputs, dtype, layers, bidirectional, tokens
    net = _interned.get(key)
    return _interned.setdefault(key, Net(*key)) if net is None else net
