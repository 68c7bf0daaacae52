"""The parameters of a net: one vector for machines, names for people."""

import contextlib
import math
import os
import secrets
import zipfile
from collections.abc import Callable
from importlib import import_module
from typing import IO, Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from . import checks
from .cells import CELLS, shapes
from .types import Array

FORMAT = "rnncore.Params 1"
FIXED = ("cell", "inputs", "hidden", "outputs", "dtype", "_net", "_views")

Reset: TypeAlias = Literal["after", "before"]
# cell, inputs, hidden, outputs, dtype
Net: TypeAlias = tuple[str, int, int, int, np.dtype[Any]]


class Params:
    """Cell, sizes, and one contiguous vector ``flat`` of which the named arrays are views.

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
    _net: Net  # what all nets of one shape share
    _views: dict[str, Array] | None

    def __init__(
        self,
        cell: str,
        *,
        reset: Reset | None = None,
        dtype: npt.DTypeLike | None = None,
        **arrays: npt.ArrayLike | None,
    ) -> None:
        cell = checks.cell_name(cell, reset)
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
    def from_flat(
        cls,
        cell: str,
        inputs: int,
        hidden: int,
        outputs: int,
        flat: npt.ArrayLike,
        *,
        reset: Reset | None = None,
    ) -> "Params":
        """Parameters from a copy of a vector, float32 or float64, in the order of ``names()``.

        >>> Params.from_flat("rnn", 1, 1, 1, [1.0, 2.0, 3.0, 4.0, 5.0]).W_hy
        array([[3.]])
        """
        cell = checks.cell_name(cell, reset)
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

    @staticmethod
    def from_torch(
        recurrent: Any, linear: Any = None, *, cell: str | None = None, dtype: npt.DTypeLike | None = None
    ) -> "Params":
        """Parameters from a copy of PyTorch's: of a recurrent module, and of the nn.Linear that reads its outputs.

        recurrent: an nn.RNN, nn.LSTM or nn.GRU of one layer in one direction, without a projection, or its state dict.
        Of a state dict, as many rows as columns in weight_hh_l0 are of ``cell="rnn"``, tanh, or "rnn_relu", which must
        then be said; a module tells. linear: a module or a state dict too, or None for a net without outputs. Both may
        have been made with ``bias=False``, which gives zeros, on any device. dtype: that of the tensors; what is not
        float32 or float64 must say ``dtype=``, and is converted to it.

        Of nn.RNN and nn.LSTM, b_h is bias_ih_l0 + bias_hh_l0, with the rounding of one addition; of nn.GRU they are
        b_x and b_h. So this is for parameters: of gradients, b_h would be twice what it is.

        ValueError or TypeError for anything else: more layers, both directions, proj_size, names or shapes that do not
        belong there. :func:`rnncore.convert.from_torch` does the same with NumPy arrays, and names its sources.

        >>> Params.from_torch({"weight_ih_l0": np.ones((2, 3)), "weight_hh_l0": np.zeros((2, 2))}, cell="rnn")
        Params('rnn', inputs=3, hidden=2, outputs=0, dtype=float64)
        """
        from . import convert

        told, weights = checks.torch_recurrent(recurrent, cell)
        return convert.from_torch(weights, checks.torch_linear(linear), cell=told, dtype=dtype)

    def to_torch(self) -> tuple[Any, Any]:
        """A recurrent module of PyTorch with a copy of these parameters, and an nn.Linear, None without outputs.

        The module is an nn.RNN, nn.LSTM or nn.GRU on the CPU, of this dtype, for inputs (T, B, X); its generator of
        random numbers stays as it is. Where the cell has no b_x, bias_ih_l0 is b_h and bias_hh_l0 zeros: PyTorch
        would train both. ``Params.from_torch(*params.to_torch()) == params``.

        ImportError without PyTorch; ValueError for "gru_reset_before", which PyTorch does not have. The derivatives
        that a ``Params`` of gradients holds are no module: take them by name.
        """
        from . import convert

        weights, output = convert.to_torch(self)
        torch = import_module("torch")

        def module(kind: str, arrays: dict[str, Array], *sizes: int, **more: str) -> Any:
            made = getattr(torch.nn, kind)(*sizes, **more, device="meta", dtype=getattr(torch, str(self.dtype)))
            made.to_empty(device="cpu")  # nothing has been drawn
            made.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
            return made

        kind, _, nonlinearity = checks.torch_mode(self.cell).partition("_")
        more = {"nonlinearity": nonlinearity.lower()} if nonlinearity else {}
        recurrent = module(kind, weights, self.inputs, self.hidden, **more)
        return recurrent, None if output is None else module("Linear", output, self.hidden, self.outputs)

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
    reset: Reset | None = None,
    weights: Literal["uniform", "orthogonal"] = "uniform",
    forget_bias: float | None = None,
    seed: int = 0,
    dtype: npt.DTypeLike = "float32",
) -> Params:
    """Random weights; biases zero, but of the forget gate of "lstm", which is 1.

    weights: "uniform", each matrix uniform in ±1/sqrt(n), n the number of its columns. A unit then starts with inputs
    of the same size however many it has (LeCun et al. 1998, "Efficient BackProp", section 4.6; this form, with the
    number of columns, is the one of WildML's tutorial, part 2). "orthogonal", the same but of W_hh: there the H rows
    of each gate are an orthogonal matrix, drawn evenly from all there are, so that what goes through it, forward or
    back, keeps its length (Saxe, McClelland, Ganguli 2014, "Exact solutions to the nonlinear dynamics of learning in
    deep linear neural networks"). It is not scaled for any cell, "rnn_relu" included; that paper's gain, or the
    identity of Le, Jaitly, Hinton 2015, is a line of your own: ``params.W_hh *= gain``, ``params.W_hh = np.eye(H)``.

    forget_bias: of "lstm", b_h of the gate f; None is 1, and 0 is like the other gates. A cell then starts by
    remembering (Gers, Schmidhuber, Cummins 2000, "Learning to forget"; Jozefowicz, Zaremba, Sutskever 2015, "An
    empirical exploration of recurrent network architectures"). reset: of "gru", see :class:`Params`.

    The same seed gives the same numbers in every dtype, up to rounding: PCG64 of NumPy, drawn in float64 in the order
    of ``flat``, without BLAS or LAPACK, whose last bits depend on the processor (for which "orthogonal" takes seconds
    from H = 1000 on).

    outputs=0 makes a net without an output layer. ValueError or TypeError for sizes below 1 (outputs: below 0), for a
    seed that is not an integer of at least 0, for a dtype other than float32 and float64, for an unknown cell, reset
    or weights, for a forget_bias that is not finite or not of "lstm".

    >>> params = init_params("rnn", inputs=65, hidden=100, outputs=65, seed=0, dtype="float32")
    >>> params
    Params('rnn', inputs=65, hidden=100, outputs=65, dtype=float32)
    >>> bool(abs(params.W_hh).max() <= 0.1)
    True
    >>> init_params("lstm", inputs=1, hidden=2, outputs=0).b_h
    array([0., 0., 1., 1., 0., 0., 0., 0.], dtype=float32)
    """
    cell = checks.cell_name(cell, reset)
    X, H, V = checks.sizes(cell, inputs, hidden, outputs)
    params = Params._of(cell, X, H, V, np.zeros(_length(cell, X, H, V), checks.real("dtype", dtype)))
    recurrent = _orthogonal if checks.weights(weights) == "orthogonal" else _uniform
    forget = checks.forget_bias(cell, forget_bias, params.dtype)
    rng = np.random.Generator(np.random.PCG64(checks.seed(seed)))
    for name in params.names():
        array = getattr(params, name)
        if array.ndim == 2:
            array[...] = (recurrent if name == "W_hh" else _uniform)(rng, *array.shape)
    if cell == "lstm":
        params.b_h.reshape(-1, H)[CELLS[cell].gates.index("f")] = forget
    return params


def _uniform(rng: np.random.Generator, rows: int, columns: int) -> Array:
    return (2 * rng.random((rows, columns)) - 1) / math.sqrt(columns)


def _orthogonal(rng: np.random.Generator, rows: int, columns: int) -> Array:
    """Square blocks, each uniform among the orthogonal matrices.

    A matrix of n rows is that of n - 1, bordered by 1, and then turned so that its first column, (1, 0, ...), becomes
    x / |x| with x Gaussian: by the reflection v v^T - 1, |v|^2 = 2, or by its negative (Stewart 1980, "The efficient
    generation of random orthogonal matrices with an application to condition estimators").
    """
    blocks = np.zeros((rows // columns, columns, columns))
    for block in blocks:
        np.fill_diagonal(block, 1)
        for n in reversed(range(columns)):
            v = rng.standard_normal(columns - n)[:, None]
            length, sign = math.sqrt(math.fsum((v * v).flat)), math.copysign(1, v[0, 0])
            v[0] += sign * length
            v /= math.sqrt(length * abs(v[0, 0]))
            part = block[n:, n:]
            part[...] = sign * (v * (v * part).sum(axis=0) - part)
    return blocks.reshape(rows, columns)


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
