"""From whatever a user hands over to the canonical arrays of problem.py, and what is said where that cannot be.

What is canonical already is handed on as it is; everything else is converted, once. Lists of sequences become packed
arrays; lists, and what ``division`` has, become ``Steps``.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from . import remedies
from .division import UNDIVIDED, Division, of_offsets, with_resets
from .labels import Reading, Wanted, are_classes, as_labels, as_weights, canonical, readings, step_axes
from .lists import (
    are_one_each,
    as_list,
    as_sequences,
    have_one_number,
    lengths_of,
    packed,
    packed_reals,
    weights_of_list,
)
from .losses import LOSSES
from .net import Net
from .problem import DEFAULT, OTHERS, PLAIN, Options, options_of, with_masks
from .ranges import Where, require_tokens
from .states import as_states
from .steps import Steps, packed_steps
from .types import AnyArray, Array, Inputs, Labels, States
from .values import (
    SEQUENCES,
    as_choice,
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

INT64: np.dtype[Any] = np.dtype(np.int64)
USUAL_LOSS = DEFAULT.loss


class Batch(NamedTuple):
    """The sequences of one call in canonical form."""

    inputs: Inputs
    state: States
    steps: Steps | None
    labels: Labels = None
    last: bool = False


def options(need_dinputs: object, threads: object, loss: object = USUAL_LOSS, last: object = False) -> Options:
    """Return the options of a call."""
    is_usual = need_dinputs is False and loss is USUAL_LOSS and last is False
    if is_usual:  # nearly always, and small nets do not wait for more
        if threads is None:
            return DEFAULT
        if type(threads) is int and threads in PLAIN:
            return PLAIN[threads]
    elif (type(need_dinputs), type(last), type(loss)) == (bool, bool, str) and type(threads) in (int, type(None)):
        known = OTHERS.get((need_dinputs, last, loss, threads))  # type: ignore[arg-type]  # as has just been seen
        if known is not None:
            return known
    number = None if threads is None else min(as_integer("threads", threads, 1), 2**31 - 1)
    name = as_choice("loss", loss, tuple(LOSSES))
    return options_of(as_flag("need_dinputs", need_dinputs), number, name, as_flag("last", last))


def require_vectors(inputs: Inputs, chosen: Options) -> None:
    """Raise if gradients of tokens are asked for."""
    if chosen.need_dinputs and with_masks(inputs)[0].dtype.kind == "i":
        raise ValueError("need_dinputs must be False for tokens: they are names, and have no gradient")


def labelled(
    net: Net, inputs: object, labels: object, state: object, division: Division, loss: str, weights: object
) -> Batch:
    """Return the arguments of bptt."""
    return _reset(net, _labelled(net, inputs, labels, state, division, loss, weights), division)


def _reset(net: Net, batch: Batch, division: Division) -> Batch:
    """Return a batch with the resets that the user gave."""
    x, steps = batch.inputs, batch.steps
    lead = steps.axes if steps is not None else x.shape[: x.ndim - (x.dtype.kind == "f")]
    return batch._replace(steps=with_resets(division.resets, steps, lead, net.directions))


def _labelled(
    net: Net, inputs: object, labels: object, state: object, division: Division, loss: str, weights: object
) -> Batch:
    """Return the arguments of bptt, but for resets. The labels' shape says what a step is, and so if inputs are tokens
    or vectors, if the net does not say so itself.
    """
    if net.outputs == 0:
        raise ValueError("bptt needs outputs, and params has outputs = 0: use forward and backward")
    wanted = Wanted(loss, net.outputs, net.dtype)
    inputs, labels = as_list("inputs", inputs), as_list("labels", labels)
    weights = as_list("weights", weights)
    if isinstance(inputs, SEQUENCES):
        batch = _list_batch(net, as_sequences("inputs", inputs, "labels"), state, division)
        return _with_list_labels(batch, inputs, labels, "inputs", wanted, weights)
    if isinstance(labels, SEQUENCES):
        raise remedies.labels_in_a_list_error(inputs, labels, division.offsets is not None)
    x, label = as_numbers("inputs", inputs), as_labels("labels", labels, wanted)
    require_kind(net, "inputs", x)
    if x.ndim == 1 and x.dtype.kind == "f":
        raise _no_tokens_error(net, x)
    remedies.require_likely_labels(x, label, wanted)
    if division.offsets is not None:
        return _with_flat_labels(_flat_batch(net, x, state, division), label, wanted, weights)
    axes, last = reading = _reading(net, x, label, wanted)
    batch = _batch(net, x, x.ndim == axes, axes, state, division)
    where = Where(batch.steps, np.ones(x.shape[1:axes], bool) if last and len(x) == 0 else None, last)
    return batch._replace(labels=_array_labels(label, reading.lead(x), wanted, where, weights), last=last)


def _reading(net: Net, x: AnyArray, label: AnyArray, wanted: Wanted) -> Reading:
    """Return how inputs and labels belong together."""
    fitting = readings(label, x, net.inputs, net.tokens, wanted)
    if len(fitting) > 1 and fitting[0].axes != fitting[1].axes:
        raise ValueError(
            f"inputs {kind_of(x)} and labels {kind_of(label)} may be tokens with one label a sequence, or vectors with "
            f"one a step: {TOKENS}"
        )
    if fitting:
        return fitting[0]
    axes = step_axes(label, x, wanted)
    tokens = x.ndim == axes
    if x.shape[:axes] != label.shape[:axes] or x.ndim > axes + 1 or net.tokens not in (None, tokens):
        raise ValueError(
            f"inputs and labels must have the same steps, got inputs {kind_of(x)} and labels {kind_of(label)}"
            f"{remedies.of_steps(x, label, wanted)}"
        )
    return Reading(axes, False)


def _array_labels(label: AnyArray, lead: tuple[int, ...], wanted: Wanted, where: Where, weights: object) -> Labels:
    """Return the labels and weights of steps or sequences in an array."""
    if wanted.last_may_be_missing and label.shape == lead:
        label = label[..., None]
    given = None if weights is None else as_weights(weights, lead, wanted.dtype, where)
    return canonical(label, given, wanted, where)


TOKENS = (
    "say what the net reads, with tokens=True or tokens=False where it is made, or Params(cell, tokens=..., **params)"
)


def require_kind(net: Net, name: str, x: AnyArray, most_axes: int = 2) -> None:
    """Raise if an array of inputs cannot be what the net says that it reads; tokens have so many axes at most."""
    if net.tokens is True and (x.dtype.kind == "f" or x.ndim > most_axes):
        raise TypeError(f"{name} must be tokens, integers, as params has tokens=True, got {kind_of(x)}")
    if net.tokens is False and x.ndim == 1:
        raise ValueError(
            f"{name} must be vectors, as params has tokens=False, got {kind_of(x)}: "
            f"of one number a step, write {name}[:, None]"
        )


def unlabelled(net: Net, inputs: object, state: object, division: Division) -> Batch:
    """Return the arguments of forward."""
    return _reset(net, _unlabelled(net, inputs, state, division), division)


def _unlabelled(net: Net, inputs: object, state: object, division: Division) -> Batch:
    """Return the arguments of forward, but for resets. Of integers with two axes the net must say whether they are
    tokens (T, B).
    """
    inputs = as_list("inputs", inputs)
    if isinstance(inputs, SEQUENCES):
        return _list_batch(net, as_sequences("inputs", inputs, "inputs"), state, division)
    x = as_numbers("inputs", inputs)
    if division.offsets is not None:
        return _flat_batch(net, x, state, division)
    if not 1 <= x.ndim <= 3:
        raise ValueError(f"inputs must have 1 to 3 axes, got {kind_of(x)}{remedies.of_inputs(x, net.inputs)}")
    require_kind(net, "inputs", x)
    integers = x.ndim == 2 and x.dtype.kind in "iu"
    if integers and net.tokens is None:
        raise ValueError(
            f"inputs may be tokens (T, B), or vectors (T, X) that are integers, got {kind_of(x)}: {TOKENS}; "
            f"or write vectors as inputs.astype({net.dtype.name!r})"
        )
    tokens = x.ndim == 1 or (integers and net.tokens is True)
    return _batch(net, x, tokens, x.ndim if tokens else x.ndim - 1, state, division)


def _flat_batch(net: Net, x: AnyArray, state: object, division: Division) -> Batch:
    """Return the batch of an array (N,) or (N, X) that holds one sequence after the other."""
    if x.ndim not in (1, 2):
        raise ValueError(
            f"inputs must be (N,) tokens or (N, X) vectors where offsets is given, one sequence after the other, "
            f"got {kind_of(x)}; of a padded array (T, B, ...) give lengths instead"
        )
    require_kind(net, "inputs", x, 1)
    steps = of_offsets(division, len(x))
    return Batch(_inputs(net, x, x.ndim == 1, steps), as_states("state", state, net, steps.batch), steps)


def _with_flat_labels(batch: Batch, label: AnyArray, wanted: Wanted, weights: object) -> Batch:
    """Return the batch of an array of sequences with its labels: (N, ...) one a step, else (B, ...) one a sequence."""
    steps = batch.steps
    assert steps is not None
    axes = [0] if are_classes(label, wanted) else [1, 0] if wanted.last_may_be_missing else [1]
    leads = [lead for lead in (steps.axes, (steps.B,)) for n in axes if label.shape[: label.ndim - n] == lead]
    if not leads:
        raise ValueError(
            f"labels must have one for each step, N = {steps.count}, or one for each sequence, B = {steps.B}, "
            f"got {kind_of(label)}{remedies.of_one_hot(label, (steps.axes, (steps.B,)), wanted)}"
        )
    last = leads[0] != steps.axes
    found = _array_labels(label, leads[0], wanted, Where(steps, None, last), weights)
    return batch._replace(labels=found, last=last)


def _batch(net: Net, x: AnyArray, tokens: bool, axes: int, state: object, division: Division) -> Batch:
    lead = x.shape[:axes]
    if 0 in lead[1:]:
        raise ValueError(f"inputs must have at least one sequence, B >= 1, got {kind_of(x)}")
    steps = division.steps(lead)
    return Batch(_inputs(net, x, tokens, steps), as_states("state", state, net, lead[1:]), steps)


def _inputs(net: Net, x: AnyArray, tokens: bool, steps: Steps | None) -> Inputs:
    if not tokens:
        if x.shape[-1] != net.inputs:
            raise ValueError(f"inputs must have X = {net.inputs} numbers a step, got {kind_of(x)}")
        return as_real(x, net.dtype)
    if x.dtype.kind == "f":
        raise _no_tokens_error(net, x)
    indices = own_int64(x)
    require_tokens(indices, net.inputs, Where(steps), x)
    return indices


def _no_tokens_error(net: Net, x: AnyArray) -> TypeError:
    return TypeError(f"inputs must be integers to be tokens, got {kind_of(x)}{remedies.of_inputs(x, net.inputs)}")


def _list_batch(net: Net, xs: list[AnyArray], state: object, division: Division) -> Batch:
    division.require_arrays("inputs")
    steps = packed_steps(lengths_of(xs), "list")
    for b, x in enumerate(xs):
        if x.shape != (0,):
            require_kind(net, f"inputs[{b}]", x, 1)
    if have_one_number("inputs", xs, net.inputs, "X") and net.tokens is not False:
        inputs: Inputs = packed([as_int64(x) for x in xs], (), INT64)
        require_tokens(inputs, net.inputs, Where(steps), xs)
    else:
        inputs = packed(xs, (net.inputs,), net.dtype)
    return Batch(inputs, as_states("state", state, net, (len(xs),)), steps)


def _with_list_labels(
    batch: Batch, sequences: Any, labels: object, name: str, wanted: Wanted, weights: object
) -> Batch:
    """Return a batch with the labels and weights of a list of sequences, which messages call by a name."""
    steps = batch.steps
    assert steps is not None
    if isinstance(labels, SEQUENCES) and not labels:
        as_sequences("labels", labels, name)
    if not isinstance(labels, SEQUENCES):
        return _with_one_each(batch, as_labels("labels", labels, wanted), name, wanted, weights)
    ls = [as_labels(f"labels[{b}]", label, wanted) for b, label in enumerate(labels)]
    if len(ls) != steps.B:
        raise ValueError(f"{name} and labels must have as many sequences, got {steps.B} and {len(ls)}")
    if are_one_each(ls, steps, wanted):
        return _with_one_each(batch, np.array(ls), name, wanted, weights)
    if any(label.ndim == 0 for label in ls):
        as_sequences("labels", ls, name)  # which says what is wrong
    for b, (label, length) in enumerate(zip(ls, steps.lengths.tolist(), strict=True)):
        if len(label) != length:
            raise ValueError(
                f"{name}[{b}] and labels[{b}] must have as many steps, got {name}[{b}] "
                f"{kind_of(np.asarray(sequences[b]))} and labels[{b}] {kind_of(label)}"
            )
    where = Where(steps)
    given = None if weights is None else weights_of_list(weights, wanted, steps)
    if wanted.rules.classes and have_one_number("labels", ls, wanted.outputs, "V"):
        label = packed([as_int64(label) for label in ls], (), INT64)
    else:
        label = packed_reals(ls, wanted)
    return batch._replace(labels=canonical(label, given, wanted, where, ls))


def _with_one_each(batch: Batch, label: AnyArray, name: str, wanted: Wanted, weights: object) -> Batch:
    """Return a batch of a list of sequences with one label for each of them."""
    steps = batch.steps
    assert steps is not None
    lead, where = (steps.B,), Where(steps, None, True)
    if label.shape[:1] != lead or label.ndim != 1 + (not are_classes(label, wanted)) - (
        wanted.last_may_be_missing and label.shape == lead
    ):
        raise ValueError(
            f"labels of a list of sequences must be a list as well, or an array of one label for each of the "
            f"{steps.B} sequences, got {kind_of(label)} beside {name}"
        )
    return batch._replace(labels=_array_labels(label, lead, wanted, where, weights), last=True)


class Rows(NamedTuple):
    """The arguments of a loss in canonical form; one: whether there is but one row, which the user has as (V,)."""

    y: Array
    labels: Labels
    steps: Steps | None
    one: bool = False


def outputs(y: object, labels: object, lengths: object, loss: str, weights: object) -> Rows:
    """Return y, labels and steps of a loss."""
    division = UNDIVIDED._replace(lengths=lengths)
    y, labels, weights = as_list("y", y), as_list("labels", labels), as_list("weights", weights)
    if isinstance(y, SEQUENCES):
        return _list_outputs(y, labels, division, loss, weights)
    if isinstance(labels, SEQUENCES):
        raise TypeError(f"y must be a list of sequences, as labels is, got {what(y)}")
    rows = as_numbers("y", y)
    if rows.ndim not in (1, 2, 3):
        raise ValueError(f"y must be (T, V) or (T, B, V), or (V,), got {kind_of(rows)}")
    lead, dtype = rows.shape[:-1], real_dtype_of(rows.dtype)
    wanted = Wanted(loss, _classes("y", rows), dtype)
    if 0 in lead[1:]:
        raise ValueError(f"y must have at least one sequence, B >= 1, got {kind_of(rows)}")
    label = as_labels("labels", labels, wanted)
    own = label.shape if are_classes(label, wanted) else label.shape[:-1]
    if own != lead and not (wanted.last_may_be_missing and label.shape == lead):
        raise ValueError(f"y and labels must have the same steps, got y {kind_of(rows)} and labels {kind_of(label)}")
    steps = division.steps(lead)
    found = _array_labels(label, lead, wanted, Where(steps, None, not lead), weights)
    if lead:
        return Rows(as_real(rows, dtype), found, steps)
    one = tuple(array[None] for array in found) if isinstance(found, tuple) else found[None]
    return Rows(as_real(rows, dtype)[None], one, None, True)


def _list_outputs(y: object, labels: object, division: Division, loss: str, weights: object) -> Rows:
    ys = as_sequences("y", y, "labels")
    division.require_arrays("y")
    some = [b for b, rows in enumerate(ys) if rows.shape != (0,)]
    if not some:
        raise ValueError("y must have a sequence (T_b, V) that tells V, got only empty ones without an axis V")
    V = _classes(f"y[{some[0]}]", ys[some[0]])
    for b in some:
        require_shape(f"y[{b}]", ys[b], "(T_b, V)", (len(ys[b]), V))
    dtype = np.result_type(*(real_dtype_of(ys[b].dtype) for b in some))
    batch = Batch(packed(ys, (V,), dtype), None, packed_steps(lengths_of(ys), "list"))
    batch = _with_list_labels(batch, ys, labels, "y", Wanted(loss, V, dtype), weights)
    if batch.last:
        raise ValueError("y is a list, so that there must be one label a step, got one for each sequence")
    return Rows(batch.inputs, batch.labels, batch.steps)


def rows(y: object) -> tuple[Array, tuple[int, ...]]:
    """Return the argument of softmax as rows (R, V), and its shape."""
    given = as_numbers("y", y)
    V = _classes("y", given)
    return as_real(given, real_dtype_of(given.dtype)).reshape(-1 if given.size else 0, V), given.shape


def row_lists(y: object) -> list[AnyArray]:
    """Return the argument of softmax, if it is a list."""
    return as_sequences("y", y, "y")


def _classes(name: str, y: AnyArray) -> int:
    if y.ndim == 0 or y.shape[-1] == 0:
        raise ValueError(f"{name} must have a last axis of V >= 1 outputs, got {kind_of(y)}")
    return int(y.shape[-1])
