"""From whatever a user hands over to the arrays that engines take: once, here, with every error message there is.

The canonical form, C-contiguous, aligned, in native byte order, with Real the dtype of the parameters:
inputs are tokens int64 (T, B) or vectors Real (T, B, X), labels int64 (T, B) or Real (T, B, V), state Real (S, B, H)
with S as many states as the cell has, lengths int64 (B,) or None. What has this form already is handed on as it is;
everything else is converted, once.
"""

import math
import numbers
import operator
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from .cells import CELLS, rows_in_letters, shapes
from .types import Array, Indices

if TYPE_CHECKING:
    from .params import Params

AnyArray: TypeAlias = npt.NDArray[Any]

ONE, MANY, LIST = "one", "many", "list"
SEQUENCES = (list, tuple)

TORCH_MODES = {"RNN_TANH": "rnn", "RNN_RELU": "rnn_relu", "LSTM": "lstm", "GRU": "gru"}
"""The attribute ``mode`` of PyTorch's modules, and the cell."""

ONNX_ACTIVATIONS: dict[str, list[tuple[str, ...]]] = {
    "RNN": [("Tanh",), ("Relu",)],
    "LSTM": [("Sigmoid", "Tanh", "Tanh")],
    "GRU": [("Sigmoid", "Tanh")],
}
"""The activations of ONNX's operators that cells here have, the default first."""

ONNX_ATTRIBUTES = ("activation_alpha", "activation_beta", "activations", "clip", "direction", "hidden_size", "layout")
ONNX_MORE_ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "RNN": (),
    "LSTM": ("input_forget",),
    "GRU": ("linear_before_reset",),
}

RULE = (
    "inputs are tokens, integers with one number a step, (T,) or (T, B), or vectors, with an axis of X more, "
    "(T, X) or (T, B, X); labels are classes, integers, (T,) or (T, B), or distributions, floating, (T, V) or (T, B, V)"
)


class Batch:
    """The sequences of one call in canonical form, and the form in which their results go back: a batch, one
    sequence without its axis B, or a list."""

    __slots__ = ("form", "inputs", "labels", "lengths", "state")
    inputs: AnyArray
    labels: AnyArray
    state: Array
    lengths: Indices | None
    form: str


def labelled(params: "Params", inputs: object, labels: object, state: object, lengths: object) -> Batch:
    """The arguments of bptt. The labels' shape says what a step is, and so whether inputs are tokens or vectors."""
    if params.outputs == 0:
        raise ValueError("bptt needs outputs, and params has outputs = 0: use forward and backward")
    if isinstance(inputs, SEQUENCES) or isinstance(labels, SEQUENCES):
        return _labelled_lists(params, inputs, labels, state, lengths)
    x, label = _numbers("inputs", inputs), _numbers("labels", labels)
    axes = _step_axes("labels", label)
    steps = label.shape[:axes]
    if x.shape[:axes] != steps or x.ndim > axes + 1:
        raise ValueError(
            f"inputs and labels must have the same steps, got inputs {_kind(x)} and labels {_kind(label)}; {RULE}"
        )
    batch = _batch(params, x, x.ndim == axes, axes, state, lengths)
    batch.labels = _labels(label, params.outputs, steps, params.dtype, batch.lengths)
    return batch


def unlabelled(params: "Params", inputs: object, state: object, lengths: object) -> Batch:
    """The arguments of forward. An array of two axes is tokens (T, B) if it is of integers, else vectors (T, X)."""
    if isinstance(inputs, SEQUENCES):
        return _unlabelled_lists(params, inputs, state, lengths)
    x = _numbers("inputs", inputs)
    if not 1 <= x.ndim <= 3:
        raise ValueError(f"inputs must have 1 to 3 axes, got {_kind(x)}; {RULE}")
    tokens = x.ndim == 1 or (x.ndim == 2 and x.dtype.kind in "iu")
    return _batch(params, x, tokens, x.ndim if tokens else x.ndim - 1, state, lengths)


def _batch(params: "Params", x: AnyArray, tokens: bool, axes: int, state: object, lengths: object) -> Batch:
    batch = Batch()
    batch.form = ONE if axes == 1 else MANY
    T, B = x.shape[0], 1 if axes == 1 else x.shape[1]
    if B == 0:
        raise ValueError(f"inputs must have at least one sequence, B >= 1, got {_kind(x)}")
    batch.lengths = None if lengths is None else _lengths(lengths, T, B, batch.form)
    batch.inputs = _inputs(params, x, tokens, (T, B), batch.lengths)
    batch.state = _state("state", state, params, B, batch.form)
    return batch


def _inputs(params: "Params", x: AnyArray, tokens: bool, steps: tuple[int, int], lengths: Indices | None) -> AnyArray:
    if not tokens:
        if x.shape[-1] != params.inputs:
            raise ValueError(f"inputs must have X = {params.inputs} numbers a step, got {_kind(x)}; {RULE}")
        return _real_array(x, params.dtype).reshape(*steps, params.inputs)
    if x.dtype.kind == "f":
        raise TypeError(f"inputs must be integers to be tokens, got {_kind(x)}; {RULE}")
    canonical = _int64(x).reshape(steps)
    tokens_in_range(canonical, params.inputs, lengths, x)
    return canonical


def _labels(label: AnyArray, V: int, steps: tuple[int, ...], dtype: np.dtype[Any], lengths: Indices | None) -> AnyArray:
    """Classes int64 (T, B) or distributions Real (T, B, V), in range wherever there is a step."""
    grid = steps if len(steps) == 2 else (*steps, 1)
    if label.dtype.kind != "f":
        classes = _int64(label).reshape(grid)
        classes_in_range(classes, V, lengths, label)
        return classes
    if label.shape[-1] != V:
        raise ValueError(f"labels must have V = {V} numbers a step to be distributions, got {_kind(label)}; {RULE}")
    distributions = _real_array(label, dtype).reshape(*grid, V)
    distributions_sum_to_one(distributions, sum_tolerance(V, label.dtype, dtype), lengths)
    return distributions


def _step_axes(name: str, label: AnyArray) -> int:
    """How many axes count steps and sequences: one (T,) or two (T, B)."""
    axes = label.ndim - (label.dtype.kind == "f")
    if axes not in (1, 2):
        raise ValueError(
            f"{name} must be (T,) or (T, B) integers, classes, or (T, V) or (T, B, V) floating, distributions, "
            f"got {_kind(label)}"
        )
    return axes


def tokens_in_range(tokens: Indices, X: int, lengths: Indices | None, given: Any) -> None:
    """Tokens (T, B) are in [0, X) wherever there is a step. Seen as unsigned, negative ones are too large."""
    if tokens.size == 0 or tokens.view(np.uint64).max() < X:
        return
    at = _first((tokens < 0) | (tokens >= X), lengths)
    if at is not None:
        raise ValueError(f"inputs must be in [0, X) = [0, {X}), got {_given(given, at)} {_place(at)}")


def classes_in_range(labels: Indices, V: int, lengths: Indices | None, given: Any) -> None:
    """Labels (T, B) are in [-1, V) wherever there is a step."""
    if labels.size == 0 or (labels + 1).view(np.uint64).max() <= V:
        return
    at = _first((labels < -1) | (labels >= V), lengths)
    if at is not None:
        raise ValueError(f"labels must be in [-1, V) = [-1, {V}), got {_given(given, at)} {_place(at)}")


def distributions_sum_to_one(labels: Array, tolerance: float, lengths: Indices | None) -> None:
    """Rows of labels (T, B, V) are finite, not negative, and sum to 1, or are zero, wherever there is a step."""
    if labels.size == 0:
        return
    with np.errstate(all="ignore"):
        sums = labels.sum(axis=2, dtype=np.float64)
        good = (np.abs(sums - 1) <= tolerance) | (sums == 0)
        if good.all() and labels.min() >= 0:
            return
        at = _first(~good | ~(labels >= 0).all(axis=2), lengths)
    if at is None:
        return
    row = labels[at]
    for v in np.flatnonzero(~(row >= 0) | np.isinf(row))[:1]:
        raise ValueError(f"labels must be finite and not negative, got {row[v]} for class {v} {_place(at)}")
    raise ValueError(
        f"labels must sum to 1 at each step, within {tolerance:.2g}, or be all zeros for no loss, "
        f"got the sum {float(sums[at])!r} {_place(at)}"
    )


def sum_tolerance(V: int, *dtypes: np.dtype[Any]) -> float:
    """How far from 1 a distribution over V classes may sum: (V + 1) eps of the coarsest dtype it has been in.

    With u = eps/2: the sum that V numbers were divided by is off by up to (V - 1) u, each quotient by u, or by 2 u
    if it was multiplied by a reciprocal, and by u again if it was rounded to another dtype: (V + 2) u. The sum taken
    here, in float64, adds at most V u. Together (2 V + 2) u = (V + 1) eps. What lies below the normal numbers is
    too small to count. What comes in float64 has often been computed in float32, so that is the finest dtype assumed.
    """
    return (V + 1) * max(float(np.finfo(dtype).eps) for dtype in (np.dtype(np.float32), *dtypes))


def _first(bad: npt.NDArray[np.bool_], lengths: Indices | None) -> tuple[int, int] | None:
    """The first step (t, b) of those that are bad and exist."""
    if lengths is not None:
        bad = bad & (np.arange(len(bad))[:, None] < lengths)
    n = int(bad.argmax())
    t, b = divmod(n, bad.shape[1])
    return (t, b) if bad[t, b] else None


def _given(given: Any, at: tuple[int, int]) -> object:
    """The number as the user wrote it; the canonical one is another where it does not fit into int64."""
    t, b = at
    if isinstance(given, list):
        return given[b][t]
    return given[t, b] if given.ndim == 2 else given[t]


def _place(at: tuple[int, int]) -> str:
    return f"at step {at[0]} of sequence {at[1]}"


def _labelled_lists(params: "Params", inputs: object, labels: object, state: object, lengths: object) -> Batch:
    xs, ls = _sequences("inputs", inputs, "labels"), _sequences("labels", labels, "inputs")
    if len(xs) != len(ls):
        raise ValueError(f"inputs and labels must have as many sequences, got {len(xs)} and {len(ls)}")
    for b, (x, label) in enumerate(zip(xs, ls, strict=True)):
        if len(x) != len(label):
            raise ValueError(
                f"inputs[{b}] and labels[{b}] must have as many steps, got inputs[{b}] {_kind(x)} "
                f"and labels[{b}] {_kind(label)}"
            )
    batch = _list_batch(params, xs, state, lengths)
    batch.labels = _list_labels(ls, params.outputs, params.dtype, batch.lengths)
    return batch


def _unlabelled_lists(params: "Params", inputs: object, state: object, lengths: object) -> Batch:
    return _list_batch(params, _sequences("inputs", inputs, "inputs"), state, lengths)


def _list_batch(params: "Params", xs: list[AnyArray], state: object, lengths: object) -> Batch:
    if lengths is not None:
        raise ValueError("lengths is for padded arrays (T, B, ...): a list of sequences has their lengths already")
    batch = Batch()
    batch.form, T_b = LIST, _lengths_of(xs)
    batch.lengths = T_b
    if _scalars("inputs", xs, params.inputs, "X", "iu"):
        tokens = _padded([_int64(x) for x in xs], (), np.dtype(np.int64), 0)
        tokens_in_range(tokens, params.inputs, T_b, xs)
        batch.inputs = tokens
    else:
        batch.inputs = _padded(xs, (params.inputs,), params.dtype, 0)
    batch.state = _state("state", state, params, len(xs), MANY)
    return batch


def _list_labels(ls: list[AnyArray], V: int, dtype: np.dtype[Any], lengths: Indices | None) -> AnyArray:
    if _scalars("labels", ls, V, "V", "iu"):
        classes = _padded([_int64(label) for label in ls], (), np.dtype(np.int64), -1)
        classes_in_range(classes, V, lengths, ls)
        return classes
    for b, label in enumerate(ls):
        if label.dtype.kind != "f" and label.shape != (0,):
            raise TypeError(f"labels[{b}] must be floating to be distributions (T_b, V), got {_kind(label)}")
    distributions = _padded(ls, (V,), dtype, 0)
    dtypes = {label.dtype for label in ls if label.dtype.kind == "f"}
    distributions_sum_to_one(distributions, sum_tolerance(V, dtype, *dtypes), lengths)
    return distributions


def _sequences(name: str, value: object, other: str) -> list[AnyArray]:
    """The arrays of a list of sequences."""
    if not isinstance(value, SEQUENCES):
        raise TypeError(f"{name} must be a list of sequences, as {other} is, got {_what(value)}")
    if not value:
        raise ValueError(f"{name} must have at least one sequence, got an empty {type(value).__name__}")
    arrays = [_numbers(f"{name}[{b}]", sequence) for b, sequence in enumerate(value)]
    for b, array in enumerate(arrays):
        if array.ndim == 0:
            raise TypeError(
                f"{name} is a {type(value).__name__}, so a batch of sequences, and {name}[{b}] must be an array, "
                f"got the number {array[()]!s}; for one sequence, write np.array({name})"
            )
    return arrays


def _scalars(name: str, sequences: list[AnyArray], width: int, letter: str, kinds: str) -> bool:
    """Whether the sequences have one number a step (T_b,) of these kinds, or else ``width`` of them, (T_b, width).

    An array of shape (0,), which is what [] gives, is a sequence of no steps of either sort.
    """
    first = next((b for b, s in enumerate(sequences) if s.shape != (0,)), None)
    if first is None:
        return True
    ndim = sequences[first].ndim
    for b, s in enumerate(sequences):
        if s.shape == (0,):
            continue
        if s.ndim != ndim or ndim > 2 or (ndim == 2 and s.shape[1] != width):
            raise ValueError(
                f"{name}[{b}] must be (T_b,) integers or (T_b, {letter}) = (T_b, {width}), and as {name}[{first}] is, "
                f"got {_kind(s)}"
            )
        if ndim == 1 and s.dtype.kind not in kinds:
            raise TypeError(f"{name}[{b}] must be integers to have one number a step, got {_kind(s)}; {RULE}")
    return ndim == 1


def _padded(sequences: list[AnyArray], width: tuple[int, ...], dtype: np.dtype[Any], fill: int) -> AnyArray:
    """Sequences (T_b, ...) in one array (T, B, ...)."""
    T = max(len(sequence) for sequence in sequences)
    padded = np.full((T, len(sequences), *width), fill, dtype)
    with np.errstate(all="ignore"):
        for b, sequence in enumerate(sequences):
            if len(sequence):
                padded[: len(sequence), b] = sequence
    return padded


def _lengths_of(sequences: list[AnyArray]) -> Indices:
    return np.array([len(sequence) for sequence in sequences], np.int64)


def _lengths(value: object, T: int, B: int, form: str) -> Indices:
    if form == ONE:
        raise ValueError("lengths is for batches (T, B, ...): one sequence is as long as its array")
    lengths = _numbers("lengths", value)
    if lengths.dtype.kind == "f":
        raise TypeError(f"lengths must be integers, got {_kind(lengths)}")
    if lengths.shape != (B,):
        raise ValueError(f"lengths must have shape (B,) = ({B},), got {_kind(lengths)}")
    canonical = _int64(lengths)
    bad = np.flatnonzero((canonical < 0) | (canonical > T))
    if len(bad):
        raise ValueError(f"lengths must be in [0, T] = [0, {T}], got {lengths[bad[0]]} for sequence {bad[0]}")
    return canonical


def _state(name: str, value: object, params: "Params", B: int, form: str) -> Array:
    """The states of each sequence, (S, B, H), of an array, or of a tuple of them where the cell has several."""
    names, H = CELLS[params.cell].states, params.hidden
    if value is None:
        return np.zeros((len(names), B, H), params.dtype)
    letters, shape = ("(H,)", (H,)) if form == ONE else ("(B, H)", (B, H))
    if len(names) == 1:
        state = _numbers(name, value)
        _shape(name, state, letters, shape)
        return _real_array(state, params.dtype).reshape(1, B, H)
    wanted = f"{name} of cell {params.cell!r} must be a tuple ({', '.join(names)}) of arrays {letters} = {shape}"
    if not isinstance(value, SEQUENCES):
        raise TypeError(f"{wanted}, got {_what(value)}")
    if len(value) != len(names):
        raise ValueError(f"{wanted}, got a {type(value).__name__} of {len(value)}")
    states = np.empty((len(names), B, H), params.dtype)
    for part, one, letter in zip(states, value, names, strict=True):
        array = _numbers(f"{letter} of {name}", one)
        _shape(f"{letter} of {name}", array, letters, shape)
        part[...] = _real_array(array, params.dtype).reshape(B, H)
    return states


def threads(value: object) -> int | None:
    """None, or a number of threads; there is no machine with 2**31 cores."""
    if value is None:
        return None
    return min(_integer("threads", value, 1), 2**31 - 1)


def flag(name: str, value: object) -> bool:
    """True or False, and nothing that merely counts as one."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} must be True or False, got {_what(value)}")
    return bool(value)


def dinputs(batch: Batch, need_dinputs: object) -> bool:
    """Whether gradients of the inputs are wanted, which must then be vectors."""
    if need_dinputs is False:
        return False
    if flag("need_dinputs", need_dinputs) and batch.inputs.ndim == 2:
        raise ValueError("need_dinputs must be False for tokens: they are names, and have no gradient")
    return bool(need_dinputs)


def other_net(params: "Params", forward_params: str) -> ValueError:
    """For params that are not of the net that forward ran."""
    return ValueError(f"params must be of the net that forward ran, {forward_params}, got {params!r}")


def not_forward(value: object) -> TypeError:
    """For what should be a result of forward."""
    return TypeError(f"out must be what forward returned, got {_what(value)}")


def some_gradient(*gradients: object) -> None:
    """Whether there is anything to go back from."""
    if all(gradient is None for gradient in gradients):
        raise ValueError("backward needs dJ by something: dy, dh or dstate must be given, got None for each")


def step_gradient(
    name: str, value: object, batch: Batch, letter: str, width: int, dtype: np.dtype[Any]
) -> Array | None:
    """dJ/dy or dJ/dh in the shape of the results of forward, as (T, B, width); None stays None."""
    if value is None:
        return None
    if width == 0:
        raise ValueError(f"{name} must be None: params has outputs = 0, so that nothing depends on y")
    if batch.form == LIST:
        return _list_gradient(name, value, batch, letter, width, dtype)
    gradient = _numbers(name, value)
    T, B = batch.inputs.shape[:2]
    if batch.form == ONE:
        _shape(name, gradient, f"(T, {letter})", (T, width))
    else:
        _shape(name, gradient, f"(T, B, {letter})", (T, B, width))
    return _real_array(gradient, dtype).reshape(T, B, width)


def _list_gradient(name: str, value: object, batch: Batch, letter: str, width: int, dtype: np.dtype[Any]) -> Array:
    gradients = _sequences(name, value, "inputs of forward")
    assert batch.lengths is not None
    if len(gradients) != len(batch.lengths):
        raise ValueError(f"{name} must have B = {len(batch.lengths)} sequences, got {len(gradients)}")
    for b, (gradient, T_b) in enumerate(zip(gradients, batch.lengths, strict=True)):
        _shape(f"{name}[{b}]", gradient, f"(T_b, {letter})", (int(T_b), width))
    return _padded(gradients, (width,), dtype, 0)


def state_gradient(value: object, batch: Batch, params: "Params") -> Array | None:
    """dJ/d(last states), (S, B, H); None stays None."""
    return None if value is None else _state("dstate", value, params, batch.state.shape[1], batch.form)


def outputs(y: object, labels: object, lengths: object) -> tuple[Array, AnyArray, Indices | None, str]:
    """y (T, B, V), labels and lengths in canonical form, and the form of the results."""
    if isinstance(y, SEQUENCES) or isinstance(labels, SEQUENCES):
        return _list_outputs(y, labels, lengths)
    rows, label = _numbers("y", y), _numbers("labels", labels)
    if rows.ndim not in (2, 3):
        raise ValueError(f"y must be (T, V) or (T, B, V), got {_kind(rows)}")
    form, V, grid = ONE if rows.ndim == 2 else MANY, _classes("y", rows), rows.shape[:-1]
    if form == MANY and grid[1] == 0:
        raise ValueError(f"y must have at least one sequence, B >= 1, got {_kind(rows)}")
    if label.shape[: _step_axes("labels", label)] != grid:
        raise ValueError(f"y and labels must have the same steps, got y {_kind(rows)} and labels {_kind(label)}")
    T, B = grid[0], 1 if form == ONE else grid[1]
    T_b = None if lengths is None else _lengths(lengths, T, B, form)
    canonical = _real_array(rows, real_of(rows.dtype)).reshape(T, B, V)
    return canonical, _labels(label, V, grid, canonical.dtype, T_b), T_b, form


def _list_outputs(y: object, labels: object, lengths: object) -> tuple[Array, AnyArray, Indices | None, str]:
    ys, ls = _sequences("y", y, "labels"), _sequences("labels", labels, "y")
    if lengths is not None:
        raise ValueError("lengths is for padded arrays (T, B, ...): a list of sequences has their lengths already")
    if len(ys) != len(ls):
        raise ValueError(f"y and labels must have as many sequences, got {len(ys)} and {len(ls)}")
    some = [b for b, rows in enumerate(ys) if rows.shape != (0,)]
    if not some:
        raise ValueError("y must have a sequence (T_b, V) that tells V, got only empty ones without an axis V")
    V = _classes(f"y[{some[0]}]", ys[some[0]])
    for b, (rows, label) in enumerate(zip(ys, ls, strict=True)):
        _shape(f"y[{b}]", rows if b in some else rows.reshape(0, V), "(T_b, V)", (len(label), V))
    dtype = np.result_type(*(real_of(ys[b].dtype) for b in some))
    T_b = _lengths_of(ys)
    return _padded(ys, (V,), dtype, 0), _list_labels(ls, V, dtype, T_b), T_b, LIST


def rows(y: object) -> tuple[Array, tuple[int, ...]]:
    """The argument of softmax as rows (R, V), and its shape."""
    given = _numbers("y", y)
    V = _classes("y", given)
    return _real_array(given, real_of(given.dtype)).reshape(-1 if given.size else 0, V), given.shape


def row_lists(y: Sequence[object]) -> list[AnyArray]:
    """The argument of softmax, if it is a list."""
    return _sequences("y", y, "y")


def _classes(name: str, y: AnyArray) -> int:
    if y.ndim == 0 or y.shape[-1] == 0:
        raise ValueError(f"{name} must have a last axis of V >= 1 outputs, got {_kind(y)}")
    return int(y.shape[-1])


def vector(name: str, x: object) -> Array:
    """A vector of float32 or float64, as optimizers take them."""
    if not isinstance(x, np.ndarray) or x.ndim != 1 or x.dtype not in (np.float32, np.float64):
        raise ValueError(f"{name} must be a vector of float32 or float64, got {_what(x)}")
    return x


def same_kind(name: str, x: object, like: Array) -> Array:
    """A vector of the length and dtype of another."""
    if not isinstance(x, np.ndarray) or x.shape != like.shape or x.dtype != like.dtype:
        raise ValueError(f"{name} must be {like.dtype} of shape {like.shape}, got {_what(x)}")
    return x


def in_place(name: str, x: object, like: Array | None = None) -> None:
    """Whether x can be written to as one run of numbers, and is of the kind of ``like``, or else floating."""
    if like is not None:
        same_kind(name, x, like)
    elif not isinstance(x, np.ndarray) or x.dtype not in (np.float32, np.float64):
        raise TypeError(f"{name} must be an array of float32 or float64, got {_what(x)}")
    if not x.flags.carray:  # type: ignore[attr-defined]  # same_kind lets arrays pass only
        raise ValueError(f"{name} must be C-contiguous, aligned and writable, for it is changed in place")


def step_vectors(x: Array, dx: Array, like: Array) -> Array:
    """dx, contiguous, if it and x are of the kind of ``like`` and x can be written to."""
    if (
        type(x) is type(dx) is np.ndarray
        and x.dtype is dx.dtype is like.dtype
        and x.shape == dx.shape == like.shape
        and x.flags.carray
        and dx.flags.carray
    ):
        return dx  # nearly always, and small nets do not wait for more
    in_place("x", x, like)
    return _plain(same_kind("dx", dx, like), like.dtype)


def elements(name: str, x: object) -> Array:
    """The numbers of an array of any shape, in one vector; float32 stays what it is, others become float64."""
    given = _numbers(name, x)
    return _real_array(given, real_of(given.dtype)).reshape(-1)


def number(name: str, value: object) -> float:
    """A real number as a float."""
    if type(value) is float:
        return value
    if isinstance(value, bool | np.bool_) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} must be a number, got {_what(value)}")
    return float(value)


def positive(name: str, value: object) -> float:
    """A number greater than 0, and finite."""
    given = number(name, value)
    if not 0 < given < math.inf:
        raise ValueError(f"{name} must be positive and finite, got {given}")
    return given


def positive_or_inf(name: str, value: object) -> float:
    """A number greater than 0."""
    given = number(name, value)
    if not given > 0:
        raise ValueError(f"{name} must be positive, got {given}")
    return given


def positive_in(name: str, value: object, dtype: np.dtype[Any]) -> float:
    """A number greater than 0, and finite, in a dtype as well."""
    given = positive(name, value)
    with np.errstate(all="ignore"):
        if not 0 < dtype.type(given) < np.inf:
            raise ValueError(f"{name} must be positive and finite in {dtype}, got {given}")
    return given


def fraction(name: str, value: object, dtype: np.dtype[Any]) -> float:
    """A number in [0, 1), in a dtype as well."""
    given = number(name, value)
    if not 0 <= given < 1 or not dtype.type(given) < 1:
        raise ValueError(f"{name} must be in [0, 1), got {given}")
    return given


def power(name: str, value: object, dtype: np.dtype[Any]) -> float:
    """What can be a power of a fraction: a number in [0, 1]."""
    given = number(name, value)
    if not 0 <= given <= 1:
        raise ValueError(f"{name} must be in [0, 1], got {given}")
    return given


def optimizer_flag(name: str, value: object, dtype: np.dtype[Any]) -> bool:
    """True or False, as a number of an optimizer."""
    return flag(name, value)


def sampling(
    params: "Params", prime: object, uniforms: object, state: object, temperature: object
) -> tuple[Indices, Array, Array, float, str]:
    """The arguments of sample: prime (P, B), uniforms float64 (T, B), state (S, B, H), and the form of the results."""
    if params.inputs != params.outputs:
        raise ValueError(
            "sample needs a net that reads what it says, X = V, "
            f"got params with inputs = {params.inputs} and outputs = {params.outputs}"
        )
    u = _numbers("uniforms", uniforms)
    if u.ndim not in (1, 2) or u.dtype.kind != "f":
        raise ValueError(f"uniforms must be floating, one number a step, (T,) or (T, B), got {_kind(u)}")
    form, B = (ONE, 1) if u.ndim == 1 else (MANY, u.shape[1])
    if B == 0:
        raise ValueError(f"uniforms must have at least one sequence, B >= 1, got {_kind(u)}")
    canonical = _real_array(u, np.dtype(np.float64)).reshape(-1, B)
    bad = np.argwhere(~((canonical >= 0) & (canonical < 1)))
    if len(bad):
        at = (int(bad[0, 0]), int(bad[0, 1]))
        raise ValueError(f"uniforms must be in [0, 1), got {float(canonical[at])} {_place(at)}")
    return _prime(params, prime, B, form), canonical, _state("state", state, params, B, form), _heat(temperature), form


def _prime(params: "Params", value: object, B: int, form: str) -> Indices:
    """The tokens to read first, (P, B) with P >= 1."""
    given = _numbers("prime", value)
    if given.dtype.kind == "f":
        raise TypeError(f"prime must be integers, tokens, got {_kind(given)}")
    axes, letters = (0, "() or (P,)") if form == ONE else (1, "(B,) or (P, B)")
    if given.ndim not in (axes, axes + 1) or given.shape[given.ndim - axes :] != (B,) * axes or given.size == 0:
        raise ValueError(f"prime must be {letters} with B = {B}, of at least one token, got {_kind(given)}")
    tokens = _int64(given).reshape(-1, B)
    bad = np.argwhere((tokens < 0) | (tokens >= params.inputs))
    if len(bad):
        at = (int(bad[0, 0]), int(bad[0, 1]))
        got = given.reshape(-1, B)[at]
        raise ValueError(f"prime must be in [0, X) = [0, {params.inputs}), got {got} {_place(at)}")
    return tokens


def _heat(temperature: object) -> float:
    given = number("temperature", temperature)
    if not 0 <= given < math.inf:
        raise ValueError(f"temperature must be finite and not negative, got {given}")
    return given


def not_params(name: str, value: object) -> TypeError:
    """For what should be parameters."""
    return TypeError(f"{name} must be a rnncore.Params, got {_what(value)}")


def cell_name(value: object, reset: object = None) -> str:
    """A cell of the registry, of which reset may name a variant."""
    if not isinstance(value, str):
        raise TypeError(f"cell must be a string, one of {_one_of(CELLS)}, got {_what(value)}")
    if value not in CELLS:
        raise ValueError(f"cell must be one of {_one_of(CELLS)}, got {value!r}")
    if reset is None:
        return value
    if not isinstance(reset, str):
        raise TypeError(f"reset must be None or a string, 'after' or 'before', got {_what(reset)}")
    if reset not in ("after", "before"):
        raise ValueError(f"reset must be 'after' or 'before', got {reset!r}")
    if value != "gru":
        raise ValueError(f"reset must be None but for cell 'gru', got {reset!r} for cell {value!r}")
    return value if reset == "after" else "gru_reset_before"


def sizes(cell: object, inputs: object, hidden: object, outputs: object) -> tuple[int, int, int]:
    """X, H, V of a net that fits into this machine's addresses."""
    name = cell_name(cell)
    X, H, V = _integer("inputs", inputs, 1), _integer("hidden", hidden, 1), _integer("outputs", outputs, 0)
    total = sum(math.prod(shape) for shape in shapes(name, X, H, V).values())
    if total * 8 > sys.maxsize:
        raise ValueError(f"inputs, hidden and outputs must fit into memory, got {X}, {H} and {V}: {total} parameters")
    return X, H, V


def seed(value: object) -> int:
    """An integer of at least 0."""
    return _integer("seed", value, 0)


def weights(value: object) -> str:
    """How to draw weights."""
    known = "uniform", "orthogonal"
    if not isinstance(value, str):
        raise TypeError(f"weights must be a string, one of {_one_of(known)}, got {_what(value)}")
    if value not in known:
        raise ValueError(f"weights must be one of {_one_of(known)}, got {value!r}")
    return value


def forget_bias(cell: str, value: object, dtype: np.dtype[Any]) -> float:
    """The initial bias of the forget gate, which only "lstm" has."""
    if value is None:
        return 1.0
    if cell != "lstm":
        raise ValueError(f"forget_bias must be None but for cell 'lstm', got {_what(value)} for cell {cell!r}")
    given = number("forget_bias", value)
    with np.errstate(all="ignore"):
        if not np.isfinite(dtype.type(given)):
            raise ValueError(f"forget_bias must be finite in {dtype}, got {given}")
    return given


def real(name: str, dtype: Any) -> np.dtype[Any]:
    """float32 or float64, in native byte order."""
    try:
        wanted: np.dtype[Any] = np.dtype(np.dtype(dtype).type)
    except (TypeError, ValueError) as why:
        raise TypeError(f"{name} must be float32 or float64, got {_what(dtype)}") from why
    if dtype is None or wanted not in (np.float32, np.float64):
        raise TypeError(f"{name} must be float32 or float64, got {'None' if dtype is None else wanted}")
    return wanted


def real_of(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype to compute in with numbers of this one: float32 for floating ones that it holds, else float64."""
    return np.dtype(np.float32 if dtype.kind == "f" and dtype.itemsize <= 4 else np.float64)


def parameters(
    cell: object, arrays: Mapping[str, object], dtype: Any
) -> tuple[dict[str, AnyArray], int, int, int, np.dtype[Any]]:
    """The arrays given by name, the sizes X, H, V that they agree on, and their dtype."""
    name = cell_name(cell)
    for given in arrays:
        if given not in shapes(name, 1, 1, 1):
            raise TypeError(f"Params of cell {name!r} has the arrays {', '.join(shapes(name, 1, 1, 1))}, got {given!r}")
    numbers = {given: _numbers(given, array) for given, array in arrays.items() if array is not None}
    for needed in ("W_xh", "W_hh"):
        if needed not in numbers:
            raise TypeError(f"{needed} must be an array, got None")
    for given in ("W_xh", "W_hh", "W_hy"):
        if given in numbers and numbers[given].ndim != 2:
            raise ValueError(f"{given} must have shape {_letters(name)[given]}, got {_kind(numbers[given])}")
    X, H = numbers["W_xh"].shape[1], numbers["W_hh"].shape[1]
    V = len(numbers["W_hy"]) if "W_hy" in numbers else 0
    for given, array in numbers.items():
        _shape(given, array, _letters(name)[given], shapes(name, X, H, V)[given])
    return numbers, *sizes(name, X, H, V), _common_real(numbers) if dtype is None else real("dtype", dtype)


def flat(value: object, length: int) -> Array:
    """A copy of a vector of all parameters."""
    vector = _numbers("flat", value)
    _shape("flat", vector, "(n,)", (length,))
    return np.array(vector, _common_real({"flat": vector}))


def assign(params: "Params", name: str, target: Array, value: object) -> None:
    """Copy into a named array or into flat."""
    given = _numbers(name, value)
    letters = "(n,)" if name == "flat" else _letters(params.cell)[name]
    _shape(name, given, letters, target.shape)
    with np.errstate(all="ignore"):
        np.copyto(target, given, casting="same_kind")


def _common_real(arrays: Mapping[str, AnyArray]) -> np.dtype[Any]:
    for name, array in arrays.items():
        if array.dtype.newbyteorder("=") not in (np.float32, np.float64):
            raise TypeError(
                f"{name} must be float32 or float64, got {_kind(array)}; dtype='float32' or 'float64' converts"
            )
    return np.dtype(np.result_type(*(array.dtype.newbyteorder("=") for array in arrays.values())))


def _letters(cell: str) -> dict[str, str]:
    """The shapes in letters."""
    rows = rows_in_letters(cell)
    bias = f"({rows},)"
    return {"W_xh": f"({rows}, X)", "W_hh": f"({rows}, H)", "W_hy": "(V, H)", "b_x": bias, "b_h": bias, "b_y": "(V,)"}


def foreign(
    arrays: Mapping[str, object], letters: Mapping[str, str], needed: Iterable[str], dtype: Any
) -> dict[str, Array]:
    """Arrays of another library, those that are not None, in one dtype of ours and of the shapes in letters.

    The shapes have axes such as "X", "3H" or "1"; what a letter is, the first array that has it alone says.
    """
    for name in needed:
        if arrays.get(name) is None:
            raise TypeError(f"{name} must be an array, got None")
    numbers = {name: _numbers(name, array) for name, array in arrays.items() if array is not None}
    axes = {name: letters[name].strip("(,)").split(", ") for name in numbers}
    extents = {"": 1}
    for name, array in numbers.items():
        if array.ndim != len(axes[name]):
            raise ValueError(f"{name} must have shape {letters[name]}, got {_kind(array)}")
        extents = {**dict(zip(axes[name], array.shape, strict=True)), **extents}
    for name, array in numbers.items():
        shape = tuple(int(axis.rstrip("XHV") or 1) * extents[axis.lstrip("0123456789")] for axis in axes[name])
        _shape(name, array, letters[name], shape)
    wanted = _common_real(numbers) if dtype is None else real("dtype", dtype)
    return {name: _real_array(array, wanted) for name, array in numbers.items()}


def torch_recurrent(recurrent: object, cell: str | None) -> tuple[str | None, Any]:
    """The cell of a recurrent module of PyTorch and its state dict; a state dict goes on as it is."""
    if isinstance(recurrent, Mapping):
        return cell, recurrent
    mode, state_dict = getattr(recurrent, "mode", None), getattr(recurrent, "state_dict", None)
    if not isinstance(mode, str) or mode not in TORCH_MODES or not callable(state_dict):
        raise TypeError(f"recurrent must be an nn.RNN, nn.LSTM or nn.GRU, or its state dict, got {_what(recurrent)}")
    for name, plain in (("num_layers", 1), ("bidirectional", False), ("proj_size", 0)):
        if getattr(recurrent, name, plain) != plain:
            got = getattr(recurrent, name)
            raise ValueError(f"recurrent must have {name}={plain}, for a Params has no more, got {name}={got}")
    told = TORCH_MODES[mode]
    if cell not in (None, told):
        raise ValueError(f"cell must be None or {told!r}, as recurrent is, got {_what(cell)}")
    return told, state_dict()


def torch_linear(linear: object) -> Any:
    """The state dict of an nn.Linear; a state dict, or None, goes on as it is."""
    if linear is None or isinstance(linear, Mapping):
        return linear
    state_dict = getattr(linear, "state_dict", None)
    if not callable(state_dict) or not hasattr(linear, "out_features"):
        raise TypeError(f"linear must be an nn.Linear, its state dict, or None, got {_what(linear)}")
    return state_dict()


def torch_names(name: str, arrays: object, known: Iterable[str], what: str) -> Mapping[str, Any]:
    """A state dict, or part of one, that has no other names than these."""
    if not isinstance(arrays, Mapping):
        raise TypeError(f"{name} must be a dict of arrays, {', '.join(known)}, got {_what(arrays)}")
    for given in arrays:
        if given not in known:
            raise ValueError(f"{name} must be {what}, the arrays {', '.join(known)}, got {_what(given)}")
    return arrays


def torch_cell(cell: object, W_hh: object) -> str:
    """The cell of arrays of PyTorch, by its name, or else by the shape of weight_hh_l0."""
    if cell is not None:
        name = cell_name(cell)
        if name not in TORCH_MODES.values():
            raise ValueError(
                f"cell must be one of {_one_of(TORCH_MODES.values())} in PyTorch, whose nn.GRU resets after the "
                f"product, got {name!r}"
            )
        return name
    if W_hh is None:
        raise TypeError("weight_hh_l0 must be an array, got None")
    given = _numbers("weight_hh_l0", W_hh)
    rows, H = given.shape if given.ndim == 2 else (0, 0)
    if H > 0 and rows == H:
        raise ValueError(f"cell must be 'rnn' or 'rnn_relu': weight_hh_l0 {_kind(given)} can be of both, got None")
    if H > 0 and rows in (3 * H, 4 * H):
        return "gru" if rows == 3 * H else "lstm"
    raise ValueError(f"weight_hh_l0 must have shape (H, H), (3H, H) or (4H, H), got {_kind(given)}")


def torch_mode(cell: str) -> str:
    """The attribute ``mode`` of the module of PyTorch for a cell that it has."""
    return next(mode for mode, name in TORCH_MODES.items() if name == cell)


def tensor_dtype(name: str, dtype: object) -> TypeError:
    """For a tensor of numbers that NumPy does not have."""
    return TypeError(f"{name} must be float32 or float64, got {dtype}; dtype='float32' or 'float64' converts")


def keras_list(name: str, value: object, names: Sequence[str]) -> dict[str, object]:
    """The arrays of get_weights(), of which the last one, the bias, may be missing, by name."""
    if not isinstance(value, SEQUENCES):
        raise TypeError(f"{name} must be the list that get_weights() gives, {', '.join(names)}, got {_what(value)}")
    if len(value) not in (len(names) - 1, len(names)):
        raise ValueError(
            f"{name} must be the list that get_weights() gives for one layer in one direction, {', '.join(names)} "
            f"if there is one, got {len(value)} arrays"
        )
    return dict(zip(names, value, strict=False))


def keras_bias(cell: str, bias: object) -> None:
    """Whether a bias of a GRU is of this one of the two; None is of both."""
    if bias is None or not cell.startswith("gru"):
        return
    axes = _numbers("bias", bias).ndim
    if axes != (2 if cell == "gru" else 1):
        raise ValueError(
            "bias must have shape (2, 3H) with reset='after', which Keras calls reset_after=True, and (3H,) with "
            f"reset='before', reset_after=False, got {_kind(_numbers('bias', bias))} for cell {cell!r}"
        )


def onnx_cell(op: object, attributes: Mapping[str, Any]) -> str:
    """The cell that an operator of ONNX is with these attributes, where None is the same as none."""
    if not isinstance(op, str):
        raise TypeError(f"op must be a string, one of {_one_of(ONNX_ACTIVATIONS)}, got {_what(op)}")
    if op not in ONNX_ACTIVATIONS:
        raise ValueError(f"op must be one of {_one_of(ONNX_ACTIVATIONS)}, got {op!r}")
    names = (*ONNX_ATTRIBUTES, *ONNX_MORE_ATTRIBUTES[op])
    for name in attributes:
        if name not in names:
            raise TypeError(f"attributes of {op} are {', '.join(names)}, got {name!r}")
    given = {name: _onnx_text(value) for name, value in attributes.items() if value is not None}
    if given.get("direction", "forward") != "forward":
        raise ValueError(f"direction must be 'forward', for a Params has no other, got {_what(given['direction'])}")
    if "clip" in given:
        raise ValueError(f"clip must be None, for no cell here clips, got {_what(given['clip'])}")
    if given.get("input_forget", 0) != 0:
        raise ValueError(
            f"input_forget must be 0, for no cell here couples its gates, got {_what(given['input_forget'])}"
        )
    known = ONNX_ACTIVATIONS[op]
    listed: Any = given.get("activations", known[0])
    activations = tuple(str(name).capitalize() for name in listed) if isinstance(listed, SEQUENCES) else ()
    if activations not in known:
        one_of = " or ".join(str(list(names)) for names in known)
        raise ValueError(f"activations of {op} must be {one_of}, got {_what(listed)}")
    if op == "RNN":
        return "rnn" if activations == ("Tanh",) else "rnn_relu"
    if op == "LSTM":
        return "lstm"
    after = given.get("linear_before_reset", 0)
    if after not in (0, 1):
        raise ValueError(f"linear_before_reset must be 0 or 1, got {_what(after)}")
    return "gru" if after else "gru_reset_before"


def onnx_sizes(hidden_size: object, H: int, P: object) -> None:
    """The attribute hidden_size, if it is given, and peepholes, which may be there if they do nothing."""
    if hidden_size is not None and _integer("hidden_size", hidden_size, 1) != H:
        raise ValueError(f"hidden_size must be H = {H}, the columns of R, got {hidden_size}")
    if P is not None and _numbers("P", P).any():
        raise ValueError(f"P must be None or zeros, for no cell here has peepholes, got {_kind(_numbers('P', P))}")


def _onnx_text(value: Any) -> Any:
    """Texts as str: onnx.helper.get_attribute_value gives them as bytes."""
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return [_onnx_text(one) for one in value] if isinstance(value, SEQUENCES) else value


def unknown_name(params: "Params", name: str) -> AttributeError:
    """For an array that the cell does not have."""
    return AttributeError(f"Params of cell {params.cell!r} has the arrays {', '.join(params.names())}, not {name!r}")


def fixed_name(what: str, name: str) -> AttributeError:
    """For an assignment to what stays."""
    return AttributeError(f"{name} of a {what} cannot be changed")


def not_a_params_file(path: "str | os.PathLike[str]", why: object) -> ValueError:
    """For a file that is damaged, or of something else."""
    return ValueError(f"{os.fspath(path)!r} is not a whole file of rnncore.Params: {why or type(why).__name__}")


def cannot_write(path: str, why: OSError) -> OSError:
    """For a disk that is full, a folder that is not there."""
    return OSError(why.errno, f"cannot write, and nothing was changed: {why.strerror or why}", path)


def backend(name: object, known: Iterable[str]) -> str:
    """The name of a backend, known, whether or not it works here."""
    if not isinstance(name, str):
        raise TypeError(f"backend must be a string, one of {_one_of(known)}, got {_what(name)}")
    family, dot, isa = name.partition(".")
    if family not in known or (dot and not (family == "cpp" and isa)):
        raise ValueError(f"backend must be one of {_one_of(known)}, or 'cpp.' and an instruction set, got {name!r}")
    return name


def backend_does_not_work(name: str, why: str | None, working: Iterable[str]) -> ValueError:
    """For a backend that is known, but not on this machine."""
    reason = f": {why}" if why else ""
    return ValueError(f"backend must be one that works here, {_one_of(working)}, got {name!r}{reason}")


def does_not_load(name: str, why: str) -> str:
    """The warning about a backend that is there and broken."""
    what = "the compiled core is present" if name == "cpp" else f"{name} is installed"
    return f"rnncore: {what} but does not load, so the next backend is used ({why})"


def rounding_mode(why: object) -> FloatingPointError:
    """The processor is set to round otherwise, and nothing here can set it."""
    return FloatingPointError(
        "the processor is set to flush subnormal numbers or to round in another direction (by a library compiled "
        f"with -ffast-math, perhaps), and it takes the compiled core to set it right, which does not load: {why}"
    )


def _numbers(name: str, value: object) -> AnyArray:
    """An array of integers or floating-point numbers; not of booleans, complex numbers, strings, objects."""
    array = value if type(value) is np.ndarray else _asarray(name, value)
    if array.dtype.kind not in "iuf":
        got = _kind(array) if isinstance(value, np.ndarray) else _what(value)
        raise TypeError(f"{name} must be an array of integers or floating-point numbers, got {got}")
    return array


def _asarray(name: str, value: object) -> AnyArray:
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{name} must be an array without a mask, got {_what(value)}: fill it, or use lengths")
    try:
        return np.asarray(value)
    except Exception as why:
        raise TypeError(
            f"{name} must be an array of integers or floating-point numbers, got {_what(value)}: {why}"
        ) from why


def _int64(array: AnyArray) -> Indices:
    """Integers as int64. uint64 beyond it become the largest, which no range allows, instead of wrapping to -1."""
    if array.dtype.kind == "u" and array.dtype.itemsize == 8:
        array = np.minimum(array, np.uint64(2**63 - 1))
    return _plain(array, np.dtype(np.int64))


def _real_array(array: AnyArray, dtype: np.dtype[Any]) -> Array:
    """Numbers rounded to nearest; those too large become Inf, as IEEE 754 has it."""
    if array.dtype == dtype:
        return _plain(array, dtype)
    with np.errstate(all="ignore"):
        return _plain(array, dtype)


def _plain(array: AnyArray, dtype: np.dtype[Any]) -> AnyArray:
    plain = np.ascontiguousarray(array, dtype)
    return plain if plain.flags.aligned else plain.copy()


def _shape(name: str, array: AnyArray, letters: str, shape: tuple[int, ...]) -> None:
    if array.shape != shape:
        raise ValueError(f"{name} must have shape {letters} = {shape}, got {_kind(array)}")


def _integer(name: str, value: object, least: int) -> int:
    if isinstance(value, bool | np.bool_) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} must be an integer, got {_what(value)}")
    try:
        number = operator.index(value)
    except TypeError as why:
        raise TypeError(f"{name} must be an integer, got {_what(value)}") from why
    if number < least:
        raise ValueError(f"{name} must be at least {least}, got {number}")
    return number


def _kind(array: AnyArray) -> str:
    return f"{array.dtype.name} {array.shape}"


def _what(value: object) -> str:
    """A value in a few words."""
    if value is None:
        return "None"
    if isinstance(value, np.ndarray):
        return f"{type(value).__name__} {_kind(value)}"
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= 60 else text[:57] + '...'}"


def _one_of(names: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in names)
