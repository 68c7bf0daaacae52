"""What is computed: the cell, the sizes and the dtype of a net, and where each of its arrays lies in ``flat``."""

import math
import threading
from typing import Any, NamedTuple
from weakref import WeakValueDictionary

import numpy as np

from .cells import shapes
from .types import Array


class LayerArrays(NamedTuple):
    """The parameters of a layer, or their gradients: W_xh (G*H, X), W_hh (G*H, H), b_x (G*H,) or None, b_h (G*H,)."""

    W_xh: Array
    W_hh: Array
    b_x: Array | None
    b_h: Array


class HeadArrays(NamedTuple):
    """The parameters of the output layer, or their gradients: W_hy (V, H), b_y (V,)."""

    W_hy: Array
    b_y: Array


class Net:
    """Describes a net, without its numbers. Frozen, and interned by :func:`net_of`: one object for each shape.

    places: for each array its offset in ``flat`` and its shape, in the order of ``flat``. size: how many numbers
    ``flat`` has. core: the net as the compiled core has it, made by ``_cpp`` when it is first needed.
    """

    __slots__ = ("__weakref__", "cell", "core", "dtype", "hidden", "inputs", "outputs", "places", "size")
    cell: str
    inputs: int
    hidden: int
    outputs: int
    dtype: np.dtype[Any]
    places: dict[str, tuple[int, tuple[int, ...]]]
    size: int
    core: Any

    def __init__(self, cell: str, inputs: int, hidden: int, outputs: int, dtype: np.dtype[Any]) -> None:
        places, offset = {}, 0
        for name, shape in shapes(cell, inputs, hidden, outputs).items():
            places[name] = offset, shape
            offset += math.prod(shape)
        values = (cell, inputs, hidden, outputs, dtype, places, offset, None)
        names = ("cell", "inputs", "hidden", "outputs", "dtype", "places", "size", "core")
        for name, value in zip(names, values, strict=True):
            object.__setattr__(self, name, value)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{name} of a Net cannot be changed")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{name} of a Net cannot be changed")

    def __reduce__(self) -> tuple[Any, ...]:
        return net_of, (self.cell, self.inputs, self.hidden, self.outputs, self.dtype)

    def __repr__(self) -> str:
        sizes = f"inputs={self.inputs}, hidden={self.hidden}, outputs={self.outputs}"
        return f"Net({self.cell!r}, {sizes}, dtype={self.dtype})"

    def views(self, flat: Array) -> dict[str, Array]:
        """Return the named arrays as views of ``flat`` (size,)."""
        return {
            name: flat[offset : offset + math.prod(shape)].reshape(shape)
            for name, (offset, shape) in self.places.items()
        }

    def layer(self, flat: Array) -> LayerArrays:
        """Return the arrays of the layer as views of ``flat``."""
        views = self.views(flat)
        return LayerArrays(views["W_xh"], views["W_hh"], views.get("b_x"), views["b_h"])

    def head(self, flat: Array) -> HeadArrays:
        """Return the arrays of the output layer as views of ``flat``."""
        views = self.views(flat)
        return HeadArrays(views["W_hy"], views["b_y"])


_interned: "WeakValueDictionary[tuple[Any, ...], Net]" = WeakValueDictionary()
_interning = threading.Lock()


def net_of(cell: str, inputs: int, hidden: int, outputs: int, dtype: np.dtype[Any]) -> Net:
    """Return the one Net of this cell, these sizes and this dtype. The arguments are trusted."""
    key = cell, inputs, hidden, outputs, dtype
    with _interning:
        net = _interned.get(key)
        if net is None:
            net = _interned[key] = Net(*key)
        return net
