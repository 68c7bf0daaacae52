"""The promises, on the user's own machine and net: every engine gives the same bits, and they are the gradient."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from .api import Sequences
from .arguments import Batch, labelled, options
from .cells import CELLS
from .division import Division
from .engines import Engine, current, engine, engines
from .masks import as_masks, steps_of
from .params import Params, require_params
from .problem import DEFAULT, Options, as_tuple, options_of, with_masks
from .types import AnyArray, Array, Labels, States

Tensors: TypeAlias = dict[str, AnyArray]
Mask: TypeAlias = npt.NDArray[np.bool_]
Evaluate: TypeAlias = "Callable[[], tuple[float, Mask]]"
"""Returns J of a net as it now is, and which hidden states are 0."""

SAMPLES = 3  # elements of each tensor that are tried by central differences
THREADS = (1, -3)  # engines are compared with both, the latter however little work there is: see Options


class Agreement(NamedTuple):
    """Compares a tensor of all engines with numpy's: how many bits differ, the largest difference, and where it is."""

    tensor: str
    bits: dict[str, int]
    largest: float
    where: str

    @property
    def ok(self) -> bool:
        """Return whether all bits are the same."""
        return not any(self.bits.values())


class Difference(NamedTuple):
    """Compares a gradient with central differences: the element furthest from them, beside what may be expected."""

    tensor: str
    largest: float
    allowed: float
    where: str

    @property
    def ok(self) -> bool:
        """Return whether no element is further from the differences than they may be from the gradient."""
        return self.largest <= self.allowed


class Report:
    """Holds what :func:`verify` found: ``ok`` for all, and the rows in ``agreements`` and ``differences``.

    Printing it shows a table.
    """

    def __init__(self, net: str, agreements: list[Agreement], differences: list[Difference]) -> None:
        self.net = net
        self.agreements = agreements
        self.differences = differences

    @property
    def ok(self) -> bool:
        """Return whether every row is."""
        return all(row.ok for row in self.agreements) and all(row.ok for row in self.differences)

    def bits(self, name: str) -> int:
        """Return in how many bits, in all tensors, an engine differs from numpy."""
        return sum(row.bits[name] for row in self.agreements)

    def __str__(self) -> str:
        return "\n".join([self.net, "", *self._agreement_lines(), "", *self._difference_lines()])

    def _agreement_lines(self) -> list[str]:
        names = list(self.agreements[0].bits)
        head = ["differing bits", *names, "largest difference", "where", "verdict"]
        rows = [
            [row.tensor, *(str(row.bits[name]) for name in names), f"{row.largest:.2g}", row.where, _verdict(row.ok)]
            for row in self.agreements
        ]
        return _table([head, *rows])

    def _difference_lines(self) -> list[str]:
        if not self.differences:
            return ["central differences: none, the loss is not finite"]
        head = ["central differences", "largest difference", "allowed", "where", "verdict"]
        rows = [
            [row.tensor, f"{row.largest:.2g}", f"{row.allowed:.2g}", row.where, _verdict(row.ok)]
            for row in self.differences
        ]
        return _table([head, *rows])

    def __repr__(self) -> str:
        return f"Report({self.net}, ok={self.ok})"


def verify(
    params: Params,
    inputs: Sequences,
    labels: Sequences,
    *,
    state: npt.ArrayLike | None = None,
    lengths: npt.ArrayLike | None = None,
    offsets: npt.ArrayLike | None = None,
    resets: Sequences | None = None,
    loss: str = "cross_entropy",
    weights: Sequences | None = None,
    dropout_masks: Any = None,
) -> Report:
    """Compare every engine that works here on one net, bit for bit, and its gradient with central differences.

    The arguments are those of :func:`bptt`. The definition, "numpy", is slow: take a net of your sizes and a short
    piece of your data. Compared are the loss, the losses, outputs, hidden and last states, and every gradient, with
    one thread and with several; then, in float64, a few elements of each gradient with differences of the loss.

    Returns a :class:`Report`: ``report.ok``, and ``print(report)`` for a table.

    >>> import numpy as np
    >>> from rnncore import init_params
    >>> params = init_params("rnn", inputs=3, hidden=2, outputs=3, seed=0, dtype="float32")
    >>> verify(params, np.array([0, 1, 2]), np.array([1, 2, 0])).ok
    True
    """
    require_params("params", params)
    name = options(False, None, loss).loss
    batch = labelled(params._net, inputs, labels, state, Division(lengths, offsets, resets), name, weights)
    batch = batch._replace(inputs=as_masks(params._net, dropout_masks, batch.inputs, batch.steps))
    batch = _in_grid(params, batch)
    x, _ = with_masks(batch.inputs)
    T, B = x.shape[:2]
    about = f"{params!r}, T={T}, B={B}" + (f", {name}" if name != DEFAULT.loss else "")
    if x.ndim == 2:
        params = Params._of(params._net.of_tokens(), params.flat)
    return Report(about, _agreements(params, batch, name), _differences(params, batch, name))


def _in_grid(params: Params, batch: Batch) -> Batch:
    """Return a batch in arrays (T, B, ...) and states (B, H), also for lists and for one sequence."""
    inputs, state, steps, labels, last = batch
    lead, many = steps_of(inputs), params._net.parts > 1
    one = len(lead) == 1 and (steps is None or steps.form == "one")
    B = steps.B if steps is not None else 1 if one else lead[1]
    if one:
        inputs = _each(lambda array: array[:, None], inputs)
        labels = _each(lambda array: array[None] if last else array[:, None], labels)
    elif steps is not None:
        inputs, labels = _each(steps.to_grid, inputs), labels if last else _each(steps.to_grid, labels)
    steps = None if steps is None else steps.as_grid()
    if state is None:
        zeros = np.zeros((*([params._net.parts] if many else []), B, params.hidden), params.dtype)
        state = tuple(zeros.copy() for _ in CELLS[params.cell].states)
    elif one:
        state = tuple(array[:, None] if many else array[None] for array in as_tuple(state))
    else:
        state = as_tuple(state)
    return Batch(inputs, state if len(state) > 1 else state[0], steps, labels, last)


def _each(change: Callable[[AnyArray], AnyArray], arrays: Any) -> Any:
    """Return labels or inputs, or a tuple of these and of what they come with, with each array changed."""
    return tuple(_each(change, array) for array in arrays) if isinstance(arrays, tuple) else change(arrays)


def _agreements(params: Params, batch: Batch, loss: str) -> list[Agreement]:
    """Return the comparison of every tensor in every engine with numpy's."""
    dinputs, last = with_masks(batch.inputs)[0].ndim == 3, batch.last
    wanted = _tensors(engine("numpy"), params, batch, options_of(dinputs, 1, loss, last))
    found = {
        name: [_tensors(engine(name), params, batch, options_of(dinputs, threads, loss, last)) for threads in THREADS]
        for name in engines()
        if name != "numpy"
    }
    return [_agreement(tensor, wanted, found) for tensor in wanted]


def _tensors(by: Engine, params: Params, batch: Batch, chosen: Options) -> Tensors:
    """Return all that an engine computes of a net: (T, B, ...) for steps, (B, H) for states."""
    net, flat, (inputs, state, steps, labels, _) = params._net, params.flat, batch
    ran = by.forward(net, flat, inputs, state, steps, chosen)
    learned = by.bptt(net, flat, inputs, state, steps, chosen, labels, True)
    assert ran is not None  # as the arguments are canonical
    assert learned is not None
    y, h, _, _ = ran
    loss, losses, _, grads, last, dstate, dinputs = learned
    tensors = {"loss": np.array(loss), "losses": losses, "y": y, "h": h}
    tensors |= _by_state("state", params, last) | _by_state("dstate", params, dstate)
    tensors |= {f"grads.{name}": array for name, array in net.views(grads).items()}
    return tensors if dinputs is None else tensors | {"dinputs": dinputs}


def _by_state(name: str, params: Params, states: States) -> Tensors:
    """Return the states of a net, each by its name, unless there is but one."""
    letters, arrays = CELLS[params.cell].states, as_tuple(states)
    if len(letters) == 1:
        return {name: arrays[0]}
    return {f"{name} {letter}": one for letter, one in zip(letters, arrays, strict=True)}


def _agreement(tensor: str, wanted: Tensors, found: dict[str, list[Tensors]]) -> Agreement:
    bits, largest, where = {}, 0.0, ""
    for name, runs in found.items():
        bits[name] = max(differing_bits(run[tensor], wanted[tensor]) for run in runs)
        for run in runs:
            distance = _distance(run[tensor], wanted[tensor])
            if distance.size and (distance.max() > largest or (bits[name] and not where)):
                largest = float(distance.max())
                where = f"{name} {_index(distance)}"
    return Agreement(tensor, bits, largest, where)


def differing_bits(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> int:
    """Return how many bits of two arrays differ. All NaN are equal; arrays of another shape or dtype differ in all."""
    if a.shape != b.shape or a.dtype != b.dtype:
        return 8 * max(a.nbytes, b.nbytes, 1)
    differs = ~(np.isnan(a) & np.isnan(b)) & (_bits(a) != _bits(b))
    return int(np.unpackbits((_bits(a) ^ _bits(b))[differs].view(np.uint8)).sum())


def _bits(a: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.ascontiguousarray(a).view(f"u{a.itemsize}").reshape(a.shape)


def _distance(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> Array:
    """Return |a - b|: 0 where they are the same, Inf where only one is finite."""
    if a.shape != b.shape:
        return np.full(b.shape, np.inf)
    with np.errstate(all="ignore"):
        distance = np.abs(a.astype(np.float64) - b.astype(np.float64))
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    return np.where(same, 0, np.where(np.isnan(distance), np.inf, distance))


def _differences(params: Params, batch: Batch, loss: str) -> list[Difference]:
    """Return the comparison of every gradient with central differences of J, in float64."""
    wide, double, by = params.astype(np.float64), _in_float64(batch, loss), current(None)
    x, _ = with_masks(double.inputs)
    chosen = options_of(x.ndim == 3, 1, loss, batch.last)
    tensors = _tensors(by, wide, double, chosen)
    if not np.isfinite(tensors["loss"]):
        return []
    variables = {f"grads.{name}": wide[name] for name in wide}
    variables |= _by_state("dstate", wide, double.state)
    if x.ndim == 3:
        variables["dinputs"] = x
    noise = _noise(wide, tensors, variables, double.labels)
    evaluate = functools.partial(_loss, by, wide, double, chosen)
    return [_difference(evaluate, name, x, tensors[name], noise) for name, x in variables.items() if x.size]


def _in_float64(batch: Batch, loss: str) -> Batch:
    """Return a copy of a batch, with its real numbers in float64."""
    inputs, state, steps, labels, last = batch
    states = tuple(array.astype(np.float64) for array in as_tuple(state))
    inputs, labels = _each(_widened, inputs), _each(_widened, labels)
    label = labels[0] if isinstance(labels, tuple) else labels
    if loss == "cross_entropy" and label.dtype.kind == "f":  # p - l is the gradient if l sums to 1, in float64 now
        sums = label.sum(axis=-1, keepdims=True)
        np.divide(label, sums, out=label, where=sums != 0)
    return Batch(inputs, states if len(states) > 1 else states[0], steps, labels, last)


def _widened(array: AnyArray) -> AnyArray:
    return array.astype(np.float64) if array.dtype.kind == "f" else array.copy()


def _noise(net: Params, tensors: Tensors, variables: Tensors, labels: Labels) -> float:
    """Return how far a computed J may be from J.

    A sum of n products, rounded at every step, is the exact sum of products whose factors are off by up to n u each:
    J is that of parameters and inputs off by (X + H + V) u, X of the widest layer, and the loss adds a few u of the
    numbers it sees, times the largest weight.
    """
    heaviest = float(labels[1].max(initial=0)) if isinstance(labels, tuple) else 1.0
    u = np.finfo(np.float64).eps / 2
    moved = sum(float(np.nansum(np.abs(x * tensors[name]))) for name, x in variables.items())
    seen = float(tensors["losses"].sum() + heaviest * np.abs(tensors["y"]).max(axis=-1).sum())
    widest = net.inputs if net._net.layers == 1 else max(net.inputs, net._net.width)
    return float((widest + net.hidden + net.outputs) * u * (moved + seen + tensors["losses"].size))


def _difference(evaluate: Evaluate, name: str, x: Array, gradient: Array, noise: float) -> Difference:
    """Return the element of one gradient that is furthest from central differences, for what may be expected."""
    worst, steepest = Difference(name, 0.0, math.inf, ""), 0.0
    for at in _sample(gradient):
        slope, allowed = _slope(evaluate, x, at, noise, steepest)
        steepest = max(steepest, abs(slope))
        distance = abs(slope - float(gradient[at]))
        if not worst.where or distance * worst.allowed > worst.largest * allowed:
            worst = Difference(name, distance, allowed, _brackets(at))
    return worst


def _slope(evaluate: Evaluate, x: Array, at: tuple[int, ...], noise: float, steepest: float) -> tuple[float, float]:
    """Return dJ/dx[at] from differences of J, and how far from it they may be.

    With steps s and 2 s, ``D(s) = (J(x + s) - J(x - s)) / 2s`` is off by a s^2 + b s^4 + ...; then
    (4 D(s) - D(2s)) / 3 is off by -4 b s^4, less than |D(2s) - D(s)|, and by 1.5 noise / s, from four values of J.
    Where J bends so much that this is not small beside the steepest slope, or where a rectifier goes on or off between
    the four, which is an edge in J, smaller steps are tried. Where J is too rough for all of them, anything may be.
    """
    for exponent in (-10, -14, -18, -22, -26):
        s = 2.0**exponent * max(1.0, abs(float(x[at])))
        (D, off), (D2, off2) = (_central(evaluate, x, at, step) for step in (s, 2 * s))
        bent, rounded = abs(D2 - D), 1.5 * noise / s
        edge = off is None or off2 is None or bool((off != off2).any())
        if not edge and bent <= max(1e-4 * max(abs(D), steepest), rounded):
            return (4 * D - D2) / 3, bent + rounded
    return 0.0, math.inf


def _central(evaluate: Evaluate, x: Array, at: tuple[int, ...], s: float) -> tuple[float, Mask | None]:
    """Return D(s), and which hidden states are 0; None if they are not the same ones on both sides."""
    kept = float(x[at])
    above, below = kept + s, kept - s
    x[at] = above
    J_above, off_above = evaluate()
    x[at] = below
    J_below, off_below = evaluate()
    x[at] = kept
    return (J_above - J_below) / (above - below), None if (off_above != off_below).any() else off_above


def _loss(by: Engine, params: Params, batch: Batch, chosen: Options) -> tuple[float, Mask]:
    """Return J, and which hidden states of all layers are 0."""
    inputs, state, steps, labels, last = batch
    found = by.forward(params._net, params.flat, inputs, state, steps, chosen)
    assert found is not None  # as the arguments are canonical
    y, h, _, kept = found
    below, _ = params._net.cut_tape(kept[5], h.shape[0] * h.shape[1] if steps is None else steps.count)
    off = np.concatenate([h.ravel(), *(given.ravel() for given in below)]) == 0
    return float(by.loss(chosen.loss, y, labels, None if last else steps)[0].sum()), off


def _sample(gradient: Array) -> Iterator[tuple[int, ...]]:
    """Yield the largest element first, then some others."""
    size = gradient.size
    chosen = [int(np.abs(gradient).argmax()), *(int(n) for n in np.linspace(0, size - 1, SAMPLES + 1)[1:-1])]
    return (tuple(int(i) for i in np.unravel_index(n, gradient.shape)) for n in dict.fromkeys(chosen))


def _index(distance: Array) -> str:
    return _brackets(tuple(int(i) for i in np.unravel_index(int(distance.argmax()), distance.shape)))


def _brackets(at: tuple[int, ...]) -> str:
    return f"[{', '.join(map(str, at))}]" if at else ""


def _verdict(ok: bool) -> str:
    return "ok" if ok else "WRONG"


def _table(rows: list[list[str]]) -> list[str]:
    """Return lines of aligned columns: the first, and the last two, to the left, numbers to the right."""
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
    left = {0, len(widths) - 1, len(widths) - 2}
    return [
        "  ".join(
            cell.ljust(width) if n in left else cell.rjust(width)
            for n, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
