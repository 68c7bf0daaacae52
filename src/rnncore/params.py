"""The parameters of a net: one vector for machines, names for people."""

import contextlib
import math
import os
import secrets
import zipfile
from collections.abc import Callable
from typing import IO, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from . import checks
from .cells import shapes
from .types import Array

FORMAT = "rnncore.Params 1"
FIXED = ("cell", "inputs", "hidden", "outputs", "dtype", "_net", "_views")

# cell, inputs, hidden, outputs, dtype
Net: TypeAlias = tuple[str, int, int, int, np.dtype[Any]]


class Params:
    """Cell, sizes, and one contiguous vector ``flat`` of which the named arrays are views.

    ``z_t = b_h + W_xh x_t + W_hh h_{t-1}``, ``h_t = tanh(z_t)``, ``y_t = b_y + W_hy h_t`` with W_xh (H, X),
    W_hh (H, H), W_hy (V, H), b_h (H,), b_y (V,), which lie in ``flat`` in this order. An optimizer, a file or an
    allreduce takes ``flat``; a person takes the names. Gradients are a ``Params`` too.

    ``Params("rnn", W_xh=..., W_hh=..., W_hy=..., b_h=None, b_y=None)`` copies the arrays. A bias that is None is zeros;
    a net without W_hy has no outputs. dtype: float32 if all arrays are, float64 if any one is; arrays of any other
    real dtype must say ``dtype=``, and are converted to it.

    Assigning to ``flat`` or to a name copies into the vector, which stays where it is; shapes must be equal, and
    dtypes convert as NumPy's "same_kind" does (float64 into float32, but not complex). ``==`` compares cell, sizes,
    dtype and all values, NaN being equal to NaN.

    Raises ValueError for shapes that do not fit, TypeError for dtypes and names that do not.

    >>> import numpy as np
    >>> params = Params("rnn", W_xh=np.ones((2, 3)), W_hh=np.zeros((2, 2)), W_hy=np.ones((1, 2)))
    >>> params
    Params('rnn', inputs=3, hidden=2, outputs=1, dtype=float64)
    >>> params.W_hh = [[1, 2], [3, 4]]
    >>> params.flat
    array([1., 1., 1., 1., 1., 1., 1., 2., 3., 4., 1., 1., 0., 0., 0.])
    """

    __slots__ = ("_net", "_views", "flat")
    flat: Array
    W_xh: Array
    W_hh: Array
    W_hy: Array
    b_h: Array
    b_y: Array
    _net: Net  # what all nets of one shape share
    _views: dict[str, Array] | None

    def __init__(self, cell: str, *, dtype: npt.DTypeLike | None = None, **arrays: npt.ArrayLike | None) -> None:
        given, X, H, V, real = checks.parameters(cell, arrays, dtype)
        self._fill((cell, X, H, V, real), np.zeros(_length(cell, X, H, V), real))
        for name, array in given.items():
            with np.errstate(all="ignore"):
                getattr(self, name)[...] = array

    def _fill(self, net: Net, flat: Array) -> None:
        _put_net(self, net)
        _put_flat(self, flat)
        _put_views(self, None)

    @property
    def cell(self) -> str:
        """The name of the cell."""
        return self._net[0]

    @property
    def inputs(self) -> int:
        """X, the size of an input vector, or how many tokens there are."""
        return self._net[1]

    @property
    def hidden(self) -> int:
        """H, how many hidden units there are."""
        return self._net[2]

    @property
    def outputs(self) -> int:
        """V, how many outputs there are; 0 without an output layer."""
        return self._net[3]

    @property
    def dtype(self) -> np.dtype[Any]:
        """float32 or float64."""
        return self._net[4]

    @classmethod
    def from_flat(cls, cell: str, inputs: int, hidden: int, outputs: int, flat: npt.ArrayLike) -> "Params":
        """Parameters from a copy of a vector, float32 or float64, in the order W_xh, W_hh, W_hy, b_h, b_y.

        >>> Params.from_flat("rnn", 1, 1, 1, [1.0, 2.0, 3.0, 4.0, 5.0]).W_hy
        array([[3.]])
        """
        inputs, hidden, outputs = checks.sizes(cell, inputs, hidden, outputs)
        vector = checks.flat(flat, _length(cell, inputs, hidden, outputs))
        return cls._of(cell, inputs, hidden, outputs, vector)

    @classmethod
    def _of(cls, cell: str, inputs: int, hidden: int, outputs: int, flat: Array) -> "Params":
        """Parameters around a vector, which is trusted and not copied."""
        params = cls.__new__(cls)
        params._fill((cell, inputs, hidden, outputs, flat.dtype), flat)
        return params

    def _like(self, flat: Array) -> "Params":
        """The same net around another vector, which is trusted and not copied: how an engine returns gradients."""
        params = _new(Params)
        _put_net(params, self._net)
        _put_flat(params, flat)
        _put_views(params, None)
        return params

    def copy(self) -> "Params":
        """The same net with a vector of its own."""
        return self._like(self.flat.copy())

    def zeros_like(self) -> "Params":
        """A net of the same cell, sizes and dtype, all zeros."""
        return self._like(np.zeros_like(self.flat))

    def names(self) -> tuple[str, ...]:
        """The names of the arrays, in the order in which they lie in ``flat``."""
        return tuple(shapes(self.cell, self.inputs, self.hidden, self.outputs))

    def __getattr__(self, name: str) -> Array:
        """A named view. Views are made when the first one is asked for: a gradient step over ``flat`` needs none."""
        if name in Params.__slots__:  # not filled yet, as while unpickling
            raise AttributeError(name)
        views = self._views
        if views is None:
            views = _views(self)
            _put_views(self, views)
        if name not in views:
            raise checks.unknown_name(self, name)
        return views[name]

    def __setattr__(self, name: str, value: Any) -> None:
        if name in FIXED:
            raise checks.fixed_name("Params", name)
        target = getattr(self, name)
        if value is not target:  # params.flat -= step has already written where it assigns
            checks.assign(self, name, target, value)

    def __delattr__(self, name: str) -> None:
        raise checks.fixed_name("Params", name)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self.names()})

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Params):
            return NotImplemented
        return self._net == other._net and np.array_equal(self.flat, other.flat, equal_nan=True)

    __hash__ = None  # type: ignore[assignment]  # it can change

    def __repr__(self) -> str:
        return described(self._net)

    def __reduce__(self) -> tuple[Any, ...]:
        return Params.from_flat, (self.cell, self.inputs, self.hidden, self.outputs, self.flat)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write an npz file of the cell and the named arrays, whole or not at all.

        What was at ``path`` stays until the new file is complete and on the disk. OSError if it cannot be written.
        """
        arrays = {name: getattr(self, name) for name in self.names()}
        write_whole(path, lambda file: np.savez(file, format=FORMAT, cell=self.cell, **arrays))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Params":
        """Read what ``save`` wrote; nothing in the file is executed.

        OSError if there is no such file, ValueError if it is not one of ours, or damaged.
        """
        try:
            arrays = _read(path)
        except OSError:
            raise
        except Exception as why:  # a damaged file makes zipfile and NumPy raise nearly anything
            raise checks.not_a_params_file(path, why) from why
        if str(arrays.pop("format", "")) != FORMAT:
            raise checks.not_a_params_file(path, f"it has no entry format={FORMAT!r}")
        try:
            params = cls(str(arrays.pop("cell", "")), **arrays)
        except (ValueError, TypeError) as why:
            raise checks.not_a_params_file(path, why) from why
        if set(arrays) != set(params.names()):  # a damaged directory can lose some
            raise checks.not_a_params_file(path, f"it has only {', '.join(arrays)}")
        return params


def described(net: Net) -> str:
    """How Params of a net print."""
    cell, inputs, hidden, outputs, dtype = net
    return f"Params({cell!r}, inputs={inputs}, hidden={hidden}, outputs={outputs}, dtype={dtype})"


# What sets the slots, past Params.__setattr__; bound once, because every gradient makes a Params.
_new = object.__new__
_put_net = Params.__dict__["_net"].__set__
_put_flat = Params.__dict__["flat"].__set__
_put_views = Params.__dict__["_views"].__set__


def init_params(
    cell: str,
    inputs: int,
    hidden: int,
    outputs: int,
    *,
    seed: int = 0,
    dtype: npt.DTypeLike = "float32",
) -> Params:
    """Random parameters: each weight matrix uniform in ±1/sqrt(n), n the number of its columns; biases zero.

    A unit then starts with inputs of the same size however many it has (LeCun et al. 1998, "Efficient BackProp",
    section 4.6; this form, with the number of columns, is the one of WildML's tutorial, part 2). The same seed gives
    the same numbers in every dtype, up to rounding: PCG64 of NumPy, drawn in float64 in the order of ``flat``.

    outputs=0 makes a net without an output layer. ValueError or TypeError for sizes below 1 (outputs: below 0), for a
    seed that is not an integer of at least 0, for a dtype other than float32 and float64, for an unknown cell.

    >>> params = init_params("rnn", inputs=65, hidden=100, outputs=65, seed=0, dtype="float32")
    >>> params
    Params('rnn', inputs=65, hidden=100, outputs=65, dtype=float32)
    >>> bool(abs(params.W_hh).max() <= 0.1)
    True
    """
    X, H, V = checks.sizes(cell, inputs, hidden, outputs)
    params = Params._of(cell, X, H, V, np.zeros(_length(cell, X, H, V), checks.real("dtype", dtype)))
    rng = np.random.Generator(np.random.PCG64(checks.seed(seed)))
    for name in params.names():
        array = getattr(params, name)
        if array.ndim == 2:
            array[...] = (2 * rng.random(array.shape) - 1) / math.sqrt(array.shape[1])
    return params


def write_whole(path: str | os.PathLike[str], write: Callable[[IO[bytes]], object]) -> None:
    """Write a file so that ``path`` holds the old content or all of the new, whatever happens on the way.

    ``write(file)`` goes to a temporary file beside it, which takes its place once the disk has it.
    """
    path = os.path.realpath(path)  # through a link, to the file
    folder, name = os.path.split(path)
    temporary = os.path.join(folder, f".{name}.{secrets.token_hex(4)}.tmp")
    try:
        with open(temporary, "xb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise checks.cannot_write(path, error) from error
    finally:
        with contextlib.suppress(OSError):  # gone, if it took its place
            os.unlink(temporary)


def _length(cell: str, inputs: int, hidden: int, outputs: int) -> int:
    return sum(math.prod(shape) for shape in shapes(cell, inputs, hidden, outputs).values())


def _views(params: Params) -> dict[str, Array]:
    views, start = {}, 0
    for name, shape in shapes(params.cell, params.inputs, params.hidden, params.outputs).items():
        stop = start + math.prod(shape)
        views[name] = params.flat[start:stop].reshape(shape)
        start = stop
    return views


def _read(path: str | os.PathLike[str]) -> dict[str, Any]:
    """All arrays of an npz file, read to the end, so that its checksums are compared."""
    with open(path, "rb") as opened:
        if not zipfile.is_zipfile(opened):
            raise ValueError("it is no npz file, or not all of one")
        opened.seek(0)
        file = np.load(opened, allow_pickle=False)
        return {name: file[name] for name in file.files}
