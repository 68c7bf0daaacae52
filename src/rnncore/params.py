"""The parameters of a net: one vector for machines, names for people."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .cells import parts
from .files import not_ours_error, read_npz, write_whole
from .layers import Directions, Layer
from .net import Net, described
from .sizes import Reset, as_named_arrays, cell_name, letters_of, net_of_arrays, of_layers, sized_net, structure_of
from .types import Array
from .values import as_numbers, as_real_dtype, common_real_dtype, require_shape
from .words import cannot_change_error, what

FORMAT = "rnncore.Params 1"
FIXED = ("cell", "inputs", "hidden", "outputs", "layers", "bidirectional", "tokens", "dtype", "net", "_net", "_views")


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
    the reset before the product, as both papers have it. "gru" with ``reset="before"`` says the same.

    In ``flat`` lie, in this order, W_xh (G*H, X), W_hh (G*H, H), W_hy (V, H), b_x (G*H,), which only "gru" and
    "gru_reset_before" have, b_h (G*H,) and b_y (V,); G is the number of gates, 1, 4 or 3. An optimizer, a file or an
    allreduce takes ``flat``; a person takes the names. Gradients are a ``Params`` too.

    With several layers each one reads the h of the layer below, and the outputs read that of the last. With two
    directions, D = 2, a layer has a second part that reads each sequence from its last step to its first; it gives the
    D*H numbers of both, the forward direction first, and W_xh of the layer above is (G*H, D*H). ``layers`` then names
    the arrays: ``layers[1].W_hh``, or ``layers[1].reverse.W_hh``; a string does too:
    ``params["layers.1.reverse.W_hh"]``. In ``flat`` all matrices come first, layer by layer, forward before reverse,
    then W_hy (V, D*H), then the biases of the layers likewise, and b_y: in the order of ``names()``.

    ``Params(cell, W_xh=..., W_hh=..., W_hy=None, b_x=None, b_h=None, b_y=None)`` copies the arrays, and so does
    ``Params(cell, layers=[{"W_xh": ..., "W_hh": ...}, ...], W_hy=..., b_y=...)``, with two directions
    ``{"forward": {...}, "reverse": {...}}`` for each layer, or by all names, as in ``Params(cell, **params)``. A bias
    that is None is zeros, the forget gate's too; a net without W_hy has no outputs. dtype: float32 if all arrays are,
    float64 if any one is; arrays of any other real dtype must say ``dtype=``, and are converted to it. tokens: whether
    the net reads tokens, True, or vectors, False; with None, what a call is given decides.

    Assigning to ``flat`` or to a name copies into the vector, which stays where it is; shapes must be equal, and
    dtypes convert as NumPy's "same_kind" does (float64 into float32, but not complex). ``==`` compares cell, sizes,
    dtype and all values, NaN being equal to NaN, and not ``tokens``.

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
        layers: Sequence[Mapping[str, Any]] | None = None,
        tokens: bool | None = None,
        dtype: npt.DTypeLike | None = None,
        **arrays: npt.ArrayLike | None,
    ) -> None:
        named, count, bidirectional = (arrays, *structure_of(arrays)) if layers is None else of_layers(layers, arrays)
        name = cell_name(cell, reset)
        given = as_named_arrays(name, named, count, bidirectional)
        real = common_real_dtype(given) if dtype is None else as_real_dtype("dtype", dtype)
        net = net_of_arrays(name, given, count, bidirectional, real, tokens)
        self._fill(net, np.zeros(net.size, real))
        for array_name, array in given.items():
            with np.errstate(all="ignore"):
                self[array_name][...] = array

    def _fill(self, net: Net, flat: Array) -> None:
        _put_net(self, net)
        _put_flat(self, flat)
        _put_views(self, None)

    @property
    def net(self) -> Net:
        """What is computed, without the numbers: ``net.views(flat)`` names the arrays in any vector, as of JAX."""
        return self._net

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

    @property
    def bidirectional(self) -> bool:
        """Whether each layer has two directions."""
        return self._net.bidirectional

    @property
    def tokens(self) -> bool | None:
        """Whether the net reads tokens, or vectors; None is either."""
        return self._net.tokens

    @property
    def layers(self) -> tuple[Layer | Directions, ...]:
        """The layers, of which each names its arrays, or has two directions that do: ``forward`` and ``reverse``."""
        ways = [Layer(self, prefix) for prefix in parts(self._net.layers, self.bidirectional)]
        return tuple(map(Directions, ways[::2], ways[1::2])) if self.bidirectional else tuple(ways)

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
        layers: int = 1,
        bidirectional: bool = False,
        tokens: bool | None = None,
    ) -> Params:
        """Return parameters with a copy of a vector, float32 or float64, in the order of ``names()``.

        >>> Params.from_flat("rnn", 1, 1, 1, [1.0, 2.0, 3.0, 4.0, 5.0]).W_hy
        array([[3.]])
        """
        vector = as_numbers("flat", flat)
        net = sized_net(cell_name(cell, reset), inputs, hidden, outputs, np.dtype("f8"), layers, bidirectional, tokens)
        require_shape("flat", vector, "(n,)", (net.size,))
        net = net.with_dtype(common_real_dtype({"flat": vector}))
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

    def astype(self, dtype: npt.DTypeLike) -> Params:
        """Return the same net with a vector of its own, converted to float32 or float64.

        >>> Params("rnn", W_xh=[[0.1]], W_hh=[[0.0]]).astype("float32").W_xh
        array([[0.1]], dtype=float32)
        """
        with np.errstate(all="ignore"):
            return Params._of(self._net.with_dtype(real := as_real_dtype("dtype", dtype)), self.flat.astype(real))

    def copy(self) -> Params:
        """Return the same net with a vector of its own."""
        return self._like(self.flat.copy())

    __copy__ = copy

    def zeros_like(self) -> Params:
        """Return a net of the same cell, sizes and dtype, all zeros."""
        return self._like(np.zeros_like(self.flat))

    def names(self) -> tuple[str, ...]:
        """Return the names of the arrays, in the order in which they lie in ``flat``."""
        return tuple(self._net.places)

    keys = names  # so that dict(params) is a dict of the arrays

    def _named(self) -> dict[str, Array]:
        """Return the views by name. They are made when the first is asked for: a step along ``flat`` needs none."""
        views = self._views
        if views is None:
            views = self._net.views(self.flat)
            _put_views(self, views)
        return views

    def __iter__(self) -> Iterator[str]:
        return iter(self._net.places)

    def __getitem__(self, name: str) -> Array:
        """Return a named view: ``params["W_hh"]``, or, of a net of several layers, ``params["layers.1.W_hh"]``."""
        if not isinstance(name, str):
            raise TypeError(f"the name of an array of a Params must be a string, got {what(name)}")
        views, plain = self._named(), name.removeprefix("layers.0.") if self._net.parts == 1 else name
        if plain not in views or (plain != name and plain in ("W_hy", "b_y")):
            raise KeyError(f"Params of cell {self.cell!r} has the arrays {', '.join(views)}, not {name!r}")
        return views[plain]

    def __setitem__(self, name: str, value: Any) -> None:
        target = self[name]
        self._assign(name.removeprefix("layers.0.") if self._net.parts == 1 else name, target, value)

    def __getattr__(self, name: str) -> Array:
        """Return a named view."""
        if name in Params.__slots__:  # not filled yet, as while unpickling
            raise AttributeError(name)
        views = self._named()
        if name not in views:
            where = "; layers has those of each layer" if self._net.parts > 1 else ""
            raise AttributeError(f"Params of cell {self.cell!r} has the arrays {', '.join(views)}, not {name!r}{where}")
        return views[name]

    def __setattr__(self, name: str, value: Any) -> None:
        if name in FIXED:
            raise cannot_change_error("Params", name)
        self._assign(name, getattr(self, name), value)

    def _assign(self, name: str, target: Array, value: Any) -> None:
        if value is target:  # params.flat -= step has already written where it assigns
            return
        given = as_numbers(name, value)
        require_shape(name, given, "(n,)" if name == "flat" else letters_of(self._net, name), target.shape)
        with np.errstate(all="ignore"):
            np.copyto(target, given, casting="same_kind")

    def __delattr__(self, name: str) -> None:
        raise cannot_change_error("Params", name)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *(name for name in self.names() if "." not in name)})

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Params):
            return NotImplemented
        return self._net.is_like(other._net) and np.array_equal(self.flat, other.flat, equal_nan=True)

    __hash__ = None  # type: ignore[assignment]  # it can change

    def __repr__(self) -> str:
        return f"Params({described(self._net)})"

    def __reduce__(self) -> tuple[Any, ...]:
        if self._net.parts > 1 or self.tokens is not None:
            return Params._of, (self._net, self.flat)
        return Params.from_flat, (self.cell, self.inputs, self.hidden, self.outputs, self.flat)

    @staticmethod
    def from_torch(
        recurrent: Any,
        linear: Any = None,
        *,
        cell: str | None = None,
        embedding: Any = None,
        tokens: bool | None = None,
        dtype: npt.DTypeLike | None = None,
    ) -> Params:
        """Return a copy of PyTorch's parameters: of a recurrent module, and of the nn.Linear that reads its outputs.

        recurrent: an nn.RNN, nn.LSTM or nn.GRU of any layers and directions without proj_size, compiled or in a
        DataParallel, or an nn.RNNCell, nn.LSTMCell or nn.GRUCell, or a state dict, of a whole model too: see
        :func:`rnncore.convert.from_torch`, also for the names with prefixes. A state dict does not tell ``cell="rnn"``,
        tanh, from "rnn_relu", so say it. linear: a module, a state dict, a prefix, or None for a net without outputs.
        embedding: an nn.Embedding before them, its state dict, prefix or weight, which W_xh takes up: it becomes the
        product, in float64 and rounded once, and the net reads tokens. tokens: whether the net reads tokens, True, or
        vectors, False; None is either, and True with an embedding. dtype: that of the tensors; what is not float32 or
        float64 must say ``dtype=``, and is converted. Missing biases are zeros. A module's dropout is left out.

        Of nn.RNN and nn.LSTM, b_h is the sum of both biases, with the rounding of one addition; of nn.GRU they are
        b_x and b_h. So this is for parameters: of gradients, b_h would be twice what it is.

        Warns (UserWarning) of batch_first: arrays here are (T, B, ...). Raises ValueError or TypeError for anything
        else, such as proj_size, max_norm, or arrays that do not belong there.

        >>> Params.from_torch({"weight_ih_l0": np.ones((2, 3)), "weight_hh_l0": np.zeros((2, 2))}, cell="rnn")
        Params('rnn', inputs=3, hidden=2, outputs=0, dtype=float64)
        """
        from .convert.modules import params_from_modules  # conversions are built on Params; this is short for one

        return params_from_modules(recurrent, linear, cell, embedding, tokens, dtype)

    def to_torch(self, *, embedding: bool = False) -> tuple[Any, ...]:
        """Return a recurrent module of PyTorch with a copy of these parameters, and an nn.Linear, None without outputs.

        The module is an nn.RNN, nn.LSTM or nn.GRU on the CPU, of this dtype, for inputs (T, B, X); its generator of
        random numbers stays as it is. Where the cell has no b_x, bias_ih_l0 is b_h and bias_hh_l0 zeros: PyTorch
        would train both. ``Params.from_torch(*params.to_torch()) == params``. With ``embedding=True``, for tokens,
        three: the first is a frozen identity nn.Embedding (X, X), and a UserWarning says that training W_xh then moves
        the product of the embedding that it took up and the input weights.

        Raises ImportError without PyTorch; ValueError for "gru_reset_before", which PyTorch does not have. The
        gradients that a ``Params`` may hold are no module: take them by name.
        """
        from .convert.modules import modules_from_params

        return modules_from_params(self, embedding)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write an npz file of the cell and the named arrays, whole or not at all.

        What was at ``path`` stays until the new file is complete and on the disk. Raises OSError if it cannot be
        written.
        """
        tokens: dict[str, Any] = {} if self.tokens is None else {"tokens": self.tokens}
        write_whole(path, lambda file: np.savez(file, format=FORMAT, cell=self.cell, **tokens, **self))

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
            raise not_ours_error(path, why) from why
        if str(arrays.pop("format", "")) != FORMAT:
            raise not_ours_error(path, f"it has no entry format={FORMAT!r}; rnncore.load opens models as well")
        try:
            cell, tokens = str(arrays.pop("cell", "")), arrays.pop("tokens", None)
            params = cls(cell, tokens=None if tokens is None else tokens[()], **arrays)
        except (ValueError, TypeError) as why:
            raise not_ours_error(path, why) from why
        if set(arrays) != set(params.names()):  # a damaged directory can lose some
            raise not_ours_error(path, f"it has only {', '.join(arrays)}")
        return params


# What sets the slots, past Params.__setattr__; bound once, because every gradient makes a Params.
_new = object.__new__
_put_net = Params.__dict__["_net"].__set__
_put_flat = Params.__dict__["flat"].__set__
_put_views = Params.__dict__["_views"].__set__


def not_params_error(name: str, value: object) -> TypeError:
    """Return the error for what should be parameters."""
    return TypeError(f"{name} must be a rnncore.Params, got {what(value)}")


def require_params(name: str, value: object) -> None:
    """Raise unless a value is parameters."""
    if not isinstance(value, Params):
        raise not_params_error(name, value)
