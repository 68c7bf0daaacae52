"""The parameters of a net: one vector for machines, names for people."""

from __future__ import annotations

import math
import os
import sys
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from .cells import CELLS, rows_in_letters, shapes
from .files import read_npz, write_whole
from .net import Net, net_of
from .types import AnyArray, Array
from .values import as_integer, as_numbers, as_real_dtype, common_real_dtype, require_shape
from .words import cannot_change_error, kind_of, one_of, what

FORMAT = "rnncore.Params 1"
FIXED = ("cell", "inputs", "hidden", "outputs", "dtype", "_net", "_views")

Reset: TypeAlias = Literal["after", "before"]


class Params:
    """Names over one contiguous vector ``flat``: the cell, the sizes, and the arrays as views of it.

    A step takes x_t (X,) and h_{t-1} (H,), and of "lstm" c_{t-1} (H,), and gives h_t and ``y_t = b_y + W_hy h_t``.
    Below, * goes element by element, sigmoid(a) is 1 / (1 + exp(-a)), and each gate has H rows of W_xh, W_hh and of the
    biases, stacked in the order in which the gates are named.

    "rnn": ``h_t = tanh(a)`` with ``a = b_h + W_xh x_t + W_hh h_{t-1}`` (Elman 1990, "Finding structure in time").

    "rnn_relu": ``h_t = max(a, 0)`` with the same a (Le, Jaitly, Hinton 2015, "A simple way to initialize recurrent
    networks of rectified linear units").

    "lstm": gates ``i = sigmoid(a_i)``, ``f = sigmoid(a_f)``, ``g = tanh(a_g)``, ``o = sigmoid(a_o)`` with
    ``a = b_h + W_xh x_t + W_hh h_{t-1}``; then ``c_t = f * c_{t-1} + i * g`` and ``h_t = o * tanh(c_t)``, without
    peepholes (Hochreiter and Schmidhuber 1997, "Long short-term memory"; the forget gate f: Gers, Schmidhuber, Cummins
    2000, "Learning to forget: continual prediction with LSTM").

    "gru": gates ``r = sigmoid(a_r + u_r)``, ``z = sigmoid(a_z + u_z)``, ``n = tanh(a_n + r * u_n)`` with
    ``a = b_x + W_xh x_t`` and ``u = b_h + W_hh h_{t-1}``; then ``h_t = (1 - z) * n + z * h_{t-1}`` (Cho et al. 2014,
    "Learning phrase representations using RNN encoder-decoder for statistical machine translation"; Chung et al. 2014,
    "Empirical evaluation of gated recurrent neural networks on sequence modeling", where z is 1 - z). The reset r comes
    after the product with W_hh, as in cuDNN and in PyTorch's nn.GRU.

    "gru_reset_before": the same but for u_n, which is ``b_hn + W_hn (r * h_{t-1})``, and ``n = tanh(a_n + u_n)``, with
    the reset before the product, as both papers have it. "gru" with ``reset="before"`` is another way to say this cell;
    ``reset="after"`` is "gru" as it is.

    In ``flat`` lie, in this order, W_xh (G*H, X), W_hh (G*H, H), W_hy (V, H), b_x (G*H,), which only "gru" and
    "gru_reset_before" have, b_h (G*H,) and b_y (V,); G is the number of gates, 1, 4 or 3. An optimizer, a file or an
    allreduce takes ``flat``; a person takes the names. Gradients are a ``Params`` too.

    ``Params(cell, W_xh=..., W_hh=..., W_hy=None, b_x=None, b_h=None, b_y=None)`` copies the arrays. A bias that is
    None is zeros, the forget gate's too; a net without W_hy has no outputs. dtype: float32 if all arrays are, float64
    if any one is; arrays of any other real dtype must say ``dtype=``, and are converted to it.

    Assigning to ``flat`` or to a name copies into the vector, which stays where it is; shapes must be equal, and
    dtypes convert as NumPy's "same_kind" does (float64 into float32, but not complex). ``==`` compares cell, sizes,
    dtype and all values, NaN being equal to NaN.

    Raises ValueError for shapes that do not fit, and for a reset that is not of the cell, TypeError for dtypes and
    names that do not.

    >>> import numpy as np
    >>> params = Params("rnn", W_xh=np.ones((2, 3)), W_hh=np.zeros((2, 2)), W_hy=np.ones((1, 2)))
    >>> params
    Params('rnn', inputs=3, hidden=2, outputs=1, dtype=float64)
    >>> params.W_hh = [[1, 2], [3, 4]]
    >>> params.flat
    array([1., 1., 1., 1., 1., 1., 1., 2., 3., 4., 1., 1., 0., 0., 0.])
    >>> Params("gru", W_xh=np.ones((6, 3)), W_hh=np.zeros((6, 2)), reset="before")
    Params('gru_reset_before', inputs=3, hidden=2, outputs=0, dtype=float64)
    """

    __slots__ = ("_net", "_views", "flat")
    flat: Array
    W_xh: Array
    W_hh: Array
    W_hy: Array
    b_x: Array
    b_h: Array
    b_y: Array
    _net: Net
    _views: dict[str, Array] | None

    def __init__(
        self,
        cell: str,
        *,
        reset: Reset | None = None,
        dtype: npt.DTypeLike | None = None,
        **arrays: npt.ArrayLike | None,
    ) -> None:
        name = cell_name(cell, reset)
        given = as_named_arrays(name, arrays)
        real = common_real_dtype(given) if dtype is None else as_real_dtype("dtype", dtype)
        X, H = given["W_xh"].shape[1], given["W_hh"].shape[1]
        net = sized_net(name, X, H, len(given["W_hy"]) if "W_hy" in given else 0, real)
        for array_name, array in given.items():
            require_shape(array_name, array, letters_of(name)[array_name], net.places[array_name][1])
        self._fill(net, np.zeros(net.size, real))
        for array_name, array in given.items():
            with np.errstate(all="ignore"):
                getattr(self, array_name)[...] = array

    def _fill(self, net: Net, flat: Array) -> None:
        _put_net(self, net)
        _put_flat(self, flat)
        _put_views(self, None)

    @property
    def cell(self) -> str:
        """The name of the cell."""
        return self._net.cell

    @property
    def inputs(self) -> int:
        """X, the size of an input vector, or how many tokens there are."""
        return self._net.inputs

    @property
    def hidden(self) -> int:
        """H, how many hidden units there are."""
        return self._net.hidden

    @property
    def outputs(self) -> int:
        """V, how many outputs there are; 0 without an output layer."""
        return self._net.outputs

    @property
    def dtype(self) -> np.dtype[Any]:
        """float32 or float64."""
        return self._net.dtype

    @classmethod
    def from_flat(
        cls,
        cell: str,
        inputs: int,
        hidden: int,
        outputs: int,
        flat: npt.ArrayLike,
        *,
        reset: Reset | None = None,
    ) -> Params:
        """Return parameters with a copy of a vector, float32 or float64, in the order of ``names()``.

        >>> Params.from_flat("rnn", 1, 1, 1, [1.0, 2.0, 3.0, 4.0, 5.0]).W_hy
        array([[3.]])
        """
        vector = as_numbers("flat", flat)
        name = cell_name(cell, reset)
        sizes = as_sizes(name, inputs, hidden, outputs)
        require_shape("flat", vector, "(n,)", (net_of(name, *sizes, np.dtype(np.float64)).size,))
        net = net_of(name, *sizes, common_real_dtype({"flat": vector}))
        return cls._of(net, np.array(vector, net.dtype))

    @classmethod
    def _of(cls, net: Net, flat: Array) -> Params:
        """Return parameters around a vector, which is trusted and not copied."""
        params = cls.__new__(cls)
        params._fill(net, flat)
        return params

    def _like(self, flat: Array) -> Params:
        """Return the same net around another vector, trusted and not copied: how an engine returns gradients."""
        params = _new(Params)
        _put_net(params, self._net)
        _put_flat(params, flat)
        _put_views(params, None)
        return params

    def copy(self) -> Params:
        """Return the same net with a vector of its own."""
        return self._like(self.flat.copy())

    def zeros_like(self) -> Params:
        """Return a net of the same cell, sizes and dtype, all zeros."""
        return self._like(np.zeros_like(self.flat))

    def names(self) -> tuple[str, ...]:
        """Return the names of the arrays, in the order in which they lie in ``flat``."""
        return tuple(self._net.places)

    def __getattr__(self, name: str) -> Array:
        """Return a named view. Views are made when the first one is asked for: a step along ``flat`` needs none."""
        if name in Params.__slots__:  # not filled yet, as while unpickling
            raise AttributeError(name)
        views = self._views
        if views is None:
            views = self._net.views(self.flat)
            _put_views(self, views)
        if name not in views:
            raise AttributeError(f"Params of cell {self.cell!r} has the arrays {', '.join(views)}, not {name!r}")
        return views[name]

    def __setattr__(self, name: str, value: Any) -> None:
        if name in FIXED:
            raise cannot_change_error("Params", name)
        target = getattr(self, name)
        if value is target:  # params.flat -= step has already written where it assigns
            return
        given = as_numbers(name, value)
        require_shape(name, given, "(n,)" if name == "flat" else letters_of(self.cell)[name], target.shape)
        with np.errstate(all="ignore"):
            np.copyto(target, given, casting="same_kind")

    def __delattr__(self, name: str) -> None:
        raise cannot_change_error("Params", name)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self.names()})

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Params):
            return NotImplemented
        return self._net is other._net and np.array_equal(self.flat, other.flat, equal_nan=True)

    __hash__ = None  # type: ignore[assignment]  # it can change

    def __repr__(self) -> str:
        return described(self._net)

    def __reduce__(self) -> tuple[Any, ...]:
        return Params.from_flat, (self.cell, self.inputs, self.hidden, self.outputs, self.flat)

    @staticmethod
    def from_torch(
        recurrent: Any, linear: Any = None, *, cell: str | None = None, dtype: npt.DTypeLike | None = None
    ) -> Params:
        """Return a copy of PyTorch's parameters: of a recurrent module, and of the nn.Linear that reads its outputs.

        recurrent: an nn.RNN, nn.LSTM or nn.GRU of one layer in one direction, without a projection, or its state dict.
        Of a state dict, as many rows as columns in weight_hh_l0 are of ``cell="rnn"``, tanh, or "rnn_relu", which must
        then be said; a module tells. linear: a module or a state dict too, or None for a net without outputs. Both may
        have been made with ``bias=False``, which gives zeros, on any device. dtype: that of the tensors; what is not
        float32 or float64 must say ``dtype=``, and is converted to it.

        Of nn.RNN and nn.LSTM, b_h is bias_ih_l0 + bias_hh_l0, with the rounding of one addition; of nn.GRU they are
        b_x and b_h. So this is for parameters: of gradients, b_h would be twice what it is.

        Raises ValueError or TypeError for anything else: more layers, both directions, proj_size, names or shapes that
        do not belong there. :func:`rnncore.convert.from_torch` does the same with NumPy arrays, and names its sources.

        >>> Params.from_torch({"weight_ih_l0": np.ones((2, 3)), "weight_hh_l0": np.zeros((2, 2))}, cell="rnn")
        Params('rnn', inputs=3, hidden=2, outputs=0, dtype=float64)
        """
        from .convert.torch import params_from_modules  # conversions are built on Params; this is a short name for one

        return params_from_modules(recurrent, linear, cell, dtype)

    def to_torch(self) -> tuple[Any, Any]:
        """Return a recurrent module of PyTorch with a copy of these parameters, and an nn.Linear, None without outputs.

        The module is an nn.RNN, nn.LSTM or nn.GRU on the CPU, of this dtype, for inputs (T, B, X); its generator of
        random numbers stays as it is. Where the cell has no b_x, bias_ih_l0 is b_h and bias_hh_l0 zeros: PyTorch
        would train both. ``Params.from_torch(*params.to_torch()) == params``.

        Raises ImportError without PyTorch; ValueError for "gru_reset_before", which PyTorch does not have. The
        gradients that a ``Params`` may hold are no module: take them by name.
        """
        from .convert.torch import modules_from_params

        return modules_from_params(self)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write an npz file of the cell and the named arrays, whole or not at all.

        What was at ``path`` stays until the new file is complete and on the disk. Raises OSError if it cannot be
        written.
        """
        arrays = {name: getattr(self, name) for name in self.names()}
        write_whole(path, lambda file: np.savez(file, format=FORMAT, cell=self.cell, **arrays))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Params:
        """Return what ``save`` wrote; nothing in the file is executed.

        Raises OSError if there is no such file, ValueError if it is not one of ours, or damaged.
        """
        try:
            arrays = read_npz(path)
        except OSError:
            raise
        except Exception as why:  # a damaged file makes zipfile and NumPy raise nearly anything
            raise _not_ours_error(path, why) from why
        if str(arrays.pop("format", "")) != FORMAT:
            raise _not_ours_error(path, f"it has no entry format={FORMAT!r}")
        try:
            params = cls(str(arrays.pop("cell", "")), **arrays)
        except (ValueError, TypeError) as why:
            raise _not_ours_error(path, why) from why
        if set(arrays) != set(params.names()):  # a damaged directory can lose some
            raise _not_ours_error(path, f"it has only {', '.join(arrays)}")
        return params


# What sets the slots, past Params.__setattr__; bound once, because every gradient makes a Params.
_new = object.__new__
_put_net = Params.__dict__["_net"].__set__
_put_flat = Params.__dict__["flat"].__set__
_put_views = Params.__dict__["_views"].__set__


def described(net: Net) -> str:
    """Return how Params of a net print."""
    sizes = f"inputs={net.inputs}, hidden={net.hidden}, outputs={net.outputs}"
    return f"Params({net.cell!r}, {sizes}, dtype={net.dtype})"


def not_params_error(name: str, value: object) -> TypeError:
    """Return the error for what should be parameters."""
    return TypeError(f"{name} must be a rnncore.Params, got {what(value)}")


def require_params(name: str, value: object) -> None:
    """Raise unless a value is parameters."""
    if not isinstance(value, Params):
        raise not_params_error(name, value)


def cell_name(value: object, reset: object = None) -> str:
    """Return the name of a cell of the registry; reset may name a variant of "gru"."""
    if not isinstance(value, str):
        raise TypeError(f"cell must be a string, one of {one_of(CELLS)}, got {what(value)}")
    if value not in CELLS:
        raise ValueError(f"cell must be one of {one_of(CELLS)}, got {value!r}")
    if reset is None:
        return value
    if not isinstance(reset, str):
        raise TypeError(f"reset must be None or a string, 'after' or 'before', got {what(reset)}")
    if reset not in ("after", "before"):
        raise ValueError(f"reset must be 'after' or 'before', got {reset!r}")
    if value != "gru":
        raise ValueError(f"reset must be None but for cell 'gru', got {reset!r} for cell {value!r}")
    return value if reset == "after" else "gru_reset_before"


def as_sizes(cell: str, inputs: object, hidden: object, outputs: object) -> tuple[int, int, int]:
    """Return X, H, V of a net that fits into this machine's addresses."""
    X, H, V = as_integer("inputs", inputs, 1), as_integer("hidden", hidden, 1), as_integer("outputs", outputs, 0)
    total = sum(math.prod(shape) for shape in shapes(cell, X, H, V).values())
    if total * 8 > sys.maxsize:
        raise ValueError(f"inputs, hidden and outputs must fit into memory, got {X}, {H} and {V}: {total} parameters")
    return X, H, V


def sized_net(cell: str, inputs: object, hidden: object, outputs: object, dtype: np.dtype[Any]) -> Net:
    """Return the net of a cell, of sizes that are checked, and of a dtype."""
    return net_of(cell, *as_sizes(cell, inputs, hidden, outputs), dtype)


def as_named_arrays(cell: str, arrays: dict[str, Any]) -> dict[str, AnyArray]:
    """Return the arrays of a cell that are not None; W_xh and W_hh must be there, and matrices have two axes."""
    known = shapes(cell, 1, 1, 1)
    for name in arrays:
        if name not in known:
            raise TypeError(f"Params of cell {cell!r} has the arrays {', '.join(known)}, got {name!r}")
    given = {name: as_numbers(name, array) for name, array in arrays.items() if array is not None}
    for needed in ("W_xh", "W_hh"):
        if needed not in given:
            raise TypeError(f"{needed} must be an array, got None")
    for name in ("W_xh", "W_hh", "W_hy"):
        if name in given and given[name].ndim != 2:
            raise ValueError(f"{name} must have shape {letters_of(cell)[name]}, got {kind_of(given[name])}")
    return given


def letters_of(cell: str) -> dict[str, str]:
    """Return the shapes of a cell's arrays in letters."""
    rows = rows_in_letters(cell)
    bias = f"({rows},)"
    return {"W_xh": f"({rows}, X)", "W_hh": f"({rows}, H)", "W_hy": "(V, H)", "b_x": bias, "b_h": bias, "b_y": "(V,)"}


def _not_ours_error(path: str | os.PathLike[str], why: object) -> ValueError:
    return ValueError(f"{os.fspath(path)!r} is not a whole file of rnncore.Params: {why or type(why).__name__}")
