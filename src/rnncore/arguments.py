"""From whatever a user hands over to the canonical arrays of problem.py, and what is said where that cannot be.

What is canonical already is handed on as it is; everything else is converted, once. Lists of sequences become packed
arrays; ``lengths`` and lists become ``Steps``.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .cells import CELLS
from .net import Net
from .problem import DEFAULT, PLAIN, Options, options_of
from .ranges import require_classes, require_distributions, require_tokens, sum_tolerance
from .steps import Steps, packed_steps, padded_steps
from .types import AnyArray, Array, Indices, Inputs, Labels, States
from .values import (
    SEQUENCES,
    as_flag,
    as_int64,
    as_integer,
    as_numbers,
    as_real,
    own_int64,
    real_dtype_of,
    require_shape,
)
from .words import kind_of, what

RULE = (
    "inputs are tokens, integers with one number a step, (T,) or (T, B), or vectors, with an axis of X more, "
    "(T, X) or (T, B, X); labels are classes, integers, (T,) or (T, B), or distributions, floating, (T, V) or (T, B, V)"
)


class Batch(NamedTuple):
    """The sequences of one call in canonical form."""

    inputs: Inputs
    state: States
    steps: Steps | None
    labels: Any = None


def options(need_dinputs: object, threads: object) -> Options:
    """Return the options of a call."""
    if need_dinputs is False:  # nearly always, and small nets do not wait for more
        if threads is None:
            return DEFAULT
        if type(threads) is int and threads in PLAIN:
            return PLAIN[threads]
    number = None if threads is None else min(as_integer("threads", threads, 1), 2**31 - 1)
    return options_of(as_flag("need_dinputs", need_dinputs), number)


def require_vectors(inputs: Inputs, chosen: Options) -> None:
    """Raise if gradients of tokens are asked for."""
    if chosen.need_dinputs and inputs.dtype.kind == "i":
        raise ValueError("need_dinputs must be False for tokens: they are names, and have no gradient")


def labelled(net: Net, inputs: object, labels: object, state: object, lengths: object) -> Batch:
    """Return the arguments of bptt. The labels' shape says what a step is, and so if inputs are tokens or vectors."""
    if net.outputs == 0:
        raise ValueError("bptt needs outputs, and params has outputs = 0: use forward and backward")
    if isinstance(inputs, SEQUENCES) or isinstance(labels, SEQUENCES):
        return _labelled_lists(net, inputs, labels, state, lengths)
    x, label = as_numbers("inputs", inputs), as_numbers("labels", labels)
    axes = _step_axes("labels", label)
    if x.shape[:axes] != label.shape[:axes] or x.ndim > axes + 1:
        raise ValueError(
            f"inputs and labels must have the same steps, got inputs {kind_of(x)} and labels {kind_of(label)}; {RULE}"
        )
    batch = _batch(net, x, x.ndim == axes, axes, state, lengths)
    return batch._replace(labels=_labels(label, net.outputs, net.dtype, batch.steps))


def unlabelled(net: Net, inputs: object, state: object, lengths: object) -> Batch:
    """Return the arguments of forward. Of two axes, integers are tokens (T, B), and other numbers vectors (T, X)."""
    if isinstance(inputs, SEQUENCES):
        return _list_batch(net, _sequences("inputs", inputs, "inputs"), state, lengths)
    x = as_numbers("inputs", inputs)
    if not 1 <= x.ndim <= 3:
        raise ValueError(f"inputs must have 1 to 3 axes, got {kind_of(x)}; {RULE}")
    tokens = x.ndim == 1 or (x.ndim == 2 and x.dtype.kind in "iu")
    return _batch(net, x, tokens, x.ndim if tokens else x.ndim - 1, state, lengths)


def _batch(net: Net, x: AnyArray, tokens: bool, axes: int, state: object, lengths: object) -> Batch:
    lead = x.shape[:axes]
    if 0 in lead[1:]:
        raise ValueError(f"inputs must have at least one sequence, B >= 1, got {kind_of(x)}")
    steps = None if lengths is None else _steps_of(lengths, lead)
    return Batch(_inputs(net, x, tokens, steps), as_states("state", state, net, lead[1:]), steps)


def _inputs(net: Net, x: AnyArray, tokens: bool, steps: Steps | None) -> Inputs:
    if not tokens:
        if x.shape[-1] != net.inputs:
            raise ValueError(f"inputs must have X = {net.inputs} numbers a step, got {kind_of(x)}; {RULE}")
        return as_real(x, net.dtype)
    if x.dtype.kind == "f":
        raise TypeError(f"inputs must be integers to be tokens, got {kind_of(x)}; {RULE}")
    canonical = own_int64(x)
    require_tokens(canonical, net.inputs, steps, x)
    return canonical


def _labels(label: AnyArray, V: int, dtype: np.dtype[Any], steps: Steps | None) -> Labels:
    """Return classes int64 or distributions Real, in range wherever there is a step."""
    if label.dtype.kind != "f":
        classes = own_int64(label)
        require_classes(classes, V, steps, label)
        return classes
    if label.shape[-1] != V:
        raise ValueError(f"labels must have V = {V} numbers a step to be distributions, got {kind_of(label)}; {RULE}")
    distributions = as_real(label, dtype)
    require_distributions(distributions, sum_tolerance(V, label.dtype, dtype), steps)
    return distributions


def _step_axes(name: str, label: AnyArray) -> int:
    """Return how many axes count steps and sequences: one (T,) or two (T, B)."""
    axes = label.ndim - (label.dtype.kind == "f")
    if axes not in (1, 2):
        raise ValueError(
            f"{name} must be (T,) or (T, B) integers, classes, or (T, V) or (T, B, V) floating, distributions, "
            f"got {kind_of(label)}"
        )
    return axes


def _labelled_lists(net: Net, inputs: object, labels: object, state: object, lengths: object) -> Batch:
    xs, ls = _sequences("inputs", inputs, "labels"), _sequences("labels", labels, "inputs")
    if len(xs) != len(ls):
        raise ValueError(f"inputs and labels must have as many sequences, got {len(xs)} and {len(ls)}")
    for b, (x, label) in enumerate(zip(xs, ls, strict=True)):
        if len(x) != len(label):
            raise ValueError(
                f"inputs[{b}] and labels[{b}] must have as many steps, got inputs[{b}] {kind_of(x)} "
                f"and labels[{b}] {kind_of(label)}"
            )
    batch = _list_batch(net, xs, state, lengths)
    assert batch.steps is not None
    return batch._replace(labels=_list_labels(ls, net.outputs, net.dtype, batch.steps))


def _list_batch(net: Net, xs: list[AnyArray], state: object, lengths: object) -> Batch:
    if lengths is not None:
        raise ValueError("lengths is for padded arrays (T, B, ...): a list of sequences has their lengths already")
    steps = packed_steps(_lengths_of(xs))
    if _have_one_number("inputs", xs, net.inputs, "X"):
        inputs: Inputs = _packed([as_int64(x) for x in xs], (), np.dtype(np.int64))
        require_tokens(inputs, net.inputs, steps, xs)
    else:
        inputs = _packed(xs, (net.inputs,), net.dtype)
    return Batch(inputs, as_states("state", state, net, (len(xs),)), steps)


def _list_labels(ls: list[AnyArray], V: int, dtype: np.dtype[Any], steps: Steps) -> Labels:
    if _have_one_number("labels", ls, V, "V"):
        classes = _packed([as_int64(label) for label in ls], (), np.dtype(np.int64))
        require_classes(classes, V, steps, ls)
        return classes
    for b, label in enumerate(ls):
        if label.dtype.kind != "f" and label.shape != (0,):
            raise TypeError(f"labels[{b}] must be floating to be distributions (T_b, V), got {kind_of(label)}")
    distributions = _packed(ls, (V,), dtype)
    dtypes = {label.dtype for label in ls if label.dtype.kind == "f"}
    require_distributions(distributions, sum_tolerance(V, dtype, *dtypes), steps)
    return distributions


def _sequences(name: str, value: object, other: str) -> list[AnyArray]:
    """Return the arrays of a list of sequences; ``other`` is a list already."""
    if not isinstance(value, SEQUENCES):
        raise TypeError(f"{name} must be a list of sequences, as {other} is, got {what(value)}")
    if not value:
        raise ValueError(f"{name} must have at least one sequence, got an empty {type(value).__name__}")
    arrays = [as_numbers(f"{name}[{b}]", sequence) for b, sequence in enumerate(value)]
    for b, array in enumerate(arrays):
        if array.ndim == 0:
            raise TypeError(
                f"{name} is a {type(value).__name__}, so a batch of sequences, and {name}[{b}] must be an array, "
                f"got the number {array[()]!s}; for one sequence, write np.array({name})"
            )
    return arrays


def _have_one_number(name: str, sequences: list[AnyArray], width: int, letter: str) -> bool:
    """Return whether sequences have one integer a step (T_b,), or else ``width`` numbers, (T_b, width).

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
                f"got {kind_of(s)}"
            )
        if ndim == 1 and s.dtype.kind not in "iu":
            raise TypeError(f"{name}[{b}] must be integers to have one number a step, got {kind_of(s)}; {RULE}")
    return ndim == 1


def _packed(sequences: list[AnyArray], width: tuple[int, ...], dtype: np.dtype[Any]) -> AnyArray:
    """Return sequences (T_b, ...) one after the other (N, ...)."""
    shaped = [sequence if sequence.size else np.empty((len(sequence), *width), dtype) for sequence in sequences]
    packed = np.empty((sum(map(len, shaped)), *width), dtype)  # in C order, whatever the order of the sequences
    if all(sequence.dtype == dtype for sequence in shaped):
        return np.concatenate(shaped, out=packed)
    with np.errstate(all="ignore"):
        return np.concatenate(shaped, out=packed, casting="unsafe")


def _lengths_of(sequences: list[AnyArray]) -> Indices:
    return np.array([len(sequence) for sequence in sequences], np.int64)


def _steps_of(value: object, lead: tuple[int, ...]) -> Steps | None:
    """Return the steps of a padded array, from its lengths."""
    if len(lead) == 1:
        raise ValueError("lengths is for batches (T, B, ...): one sequence is as long as its array")
    T, B = lead
    lengths = as_numbers("lengths", value)
    if lengths.dtype.kind == "f":
        raise TypeError(f"lengths must be integers, got {kind_of(lengths)}")
    if lengths.shape != (B,):
        raise ValueError(f"lengths must have shape (B,) = ({B},), got {kind_of(lengths)}")
    canonical = own_int64(lengths)
    bad = np.flatnonzero((canonical < 0) | (canonical > T))
    if len(bad):
        raise ValueError(f"lengths must be in [0, T] = [0, {T}], got {lengths[bad[0]]} for sequence {bad[0]}")
    return padded_steps(canonical, T)


def as_states(name: str, value: object, net: Net, batch: tuple[int, ...]) -> States:
    """Return a state of each sequence: an array (H,) or (B, H), or a tuple of them where the cell has several."""
    if value is None:
        return None
    names, shape = CELLS[net.cell].states, (*batch, net.hidden)
    letters = "(B, H)" if batch else "(H,)"
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


class Given(NamedTuple):
    """The gradients that backward is given, in canonical form."""

    dy: Array | None
    dh: Array | None
    dstate: States


def gradients(net: Net, h: Array, steps: Steps | None, dy: object, dh: object, dstate: object) -> Given:
    """Return the gradients with respect to the results of forward, of which h is one."""
    if dy is None and dh is None and dstate is None:
        raise ValueError("backward needs a gradient to go back from: dy, dh or dstate must be given, got None for each")
    lead = h.shape[:-1]
    B = steps.B if steps is not None else lead[1] if len(lead) == 2 else None
    return Given(
        _step_gradient("dy", dy, net.dtype, lead, steps, ("V", net.outputs)),
        _step_gradient("dh", dh, net.dtype, lead, steps, ("H", net.hidden)),
        as_states("dstate", dstate, net, () if B is None else (B,)),
    )


def _step_gradient(
    name: str, value: object, dtype: np.dtype[Any], lead: tuple[int, ...], steps: Steps | None, last: tuple[str, int]
) -> Array | None:
    """Return a gradient with respect to y or h, in the shape of those; None stays None."""
    if value is None:
        return None
    letter, width = last
    if width == 0:
        raise ValueError(f"{name} must be None: params has outputs = 0, so that nothing depends on y")
    if steps is not None and steps.packed:
        return _list_gradient(name, value, dtype, steps, last)
    gradient = as_numbers(name, value)
    letters = f"(T, {letter})" if len(lead) == 1 else f"(T, B, {letter})"
    require_shape(name, gradient, letters, (*lead, width))
    return as_real(gradient, dtype)


def _list_gradient(name: str, value: object, dtype: np.dtype[Any], steps: Steps, last: tuple[str, int]) -> Array:
    letter, width = last
    sequences = _sequences(name, value, "inputs of forward")
    if len(sequences) != steps.B:
        raise ValueError(f"{name} must have B = {steps.B} sequences, got {len(sequences)}")
    for b, (gradient, T_b) in enumerate(zip(sequences, steps.lengths, strict=True)):
        require_shape(f"{name}[{b}]", gradient, f"(T_b, {letter})", (int(T_b), width))
    return _packed(sequences, (width,), dtype)


def outputs(y: object, labels: object, lengths: object) -> tuple[Array, Labels, Steps | None]:
    """Return y, labels and steps of a loss."""
    if isinstance(y, SEQUENCES) or isinstance(labels, SEQUENCES):
        return _list_outputs(y, labels, lengths)
    rows, label = as_numbers("y", y), as_numbers("labels", labels)
    if rows.ndim not in (2, 3):
        raise ValueError(f"y must be (T, V) or (T, B, V), got {kind_of(rows)}")
    V, lead = _classes("y", rows), rows.shape[:-1]
    if 0 in lead[1:]:
        raise ValueError(f"y must have at least one sequence, B >= 1, got {kind_of(rows)}")
    if label.shape[: _step_axes("labels", label)] != lead:
        raise ValueError(f"y and labels must have the same steps, got y {kind_of(rows)} and labels {kind_of(label)}")
    steps = None if lengths is None else _steps_of(lengths, lead)
    canonical = as_real(rows, real_dtype_of(rows.dtype))
    return canonical, _labels(label, V, canonical.dtype, steps), steps


def _list_outputs(y: object, labels: object, lengths: object) -> tuple[Array, Labels, Steps]:
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
        require_shape(f"y[{b}]", rows if b in some else rows.reshape(0, V), "(T_b, V)", (len(label), V))
    dtype = np.result_type(*(real_dtype_of(ys[b].dtype) for b in some))
    steps = packed_steps(_lengths_of(ys))
    return _packed(ys, (V,), dtype), _list_labels(ls, V, dtype, steps), steps


def rows(y: object) -> tuple[Array, tuple[int, ...]]:
    """Return the argument of softmax as rows (R, V), and its shape."""
    given = as_numbers("y", y)
    V = _classes("y", given)
    return as_real(given, real_dtype_of(given.dtype)).reshape(-1 if given.size else 0, V), given.shape


def row_lists(y: object) -> list[AnyArray]:
    """Return the argument of softmax, if it is a list."""
    return _sequences("y", y, "y")


def _classes(name: str, y: AnyArray) -> int:
    if y.ndim == 0 or y.shape[-1] == 0:
        raise ValueError(f"{name} must have a last axis of V >= 1 outputs, got {kind_of(y)}")
    return int(y.shape[-1])
