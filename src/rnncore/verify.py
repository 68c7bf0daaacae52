"""The promises, on the user's own machine and net: every engine gives the same bits, and they are the gradient."""

import itertools
import math
from collections.abc import Iterator
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from . import checks
from .api import Sequences
from .backends import Engine, current, engine, engines
from .cells import CELLS
from .params import Params, init_params
from .types import Array

Tensors = dict[str, npt.NDArray[Any]]

SAMPLES = 3  # elements of each tensor that are tried by central differences
THREADS = (1, 3)  # engines are compared with both: the result does not depend on them


class Agreement(NamedTuple):
    """One tensor in all engines: how many bits differ from numpy's, the largest difference, and where it is."""

    tensor: str
    bits: dict[str, int]
    largest: float
    where: str

    @property
    def ok(self) -> bool:
        """Whether all bits are the same."""
        return not any(self.bits.values())


class Difference(NamedTuple):
    """One gradient against central differences: the element that is furthest from them, for what may be expected."""

    tensor: str
    largest: float
    allowed: float
    where: str

    @property
    def ok(self) -> bool:
        """Whether no element is further from the differences than they are from the gradient."""
        return self.largest <= self.allowed


class Report:
    """What :func:`verify` found. ``ok`` says all; printing it shows a table; the rows are in ``agreements`` and
    ``differences``."""

    def __init__(self, net: str, agreements: list[Agreement], differences: list[Difference]) -> None:
        self.net = net
        self.agreements = agreements
        self.differences = differences

    @property
    def ok(self) -> bool:
        """Whether every row is."""
        return all(row.ok for row in self.agreements) and all(row.ok for row in self.differences)

    def bits(self, name: str) -> int:
        """In how many bits, in all tensors, an engine differs from numpy."""
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
) -> Report:
    """Compare every engine that works here on one net, bit for bit, and its gradient with central differences.

    The arguments are those of :func:`bptt`. The definition, "numpy", is slow: take a net of your sizes and a short
    piece of your data. Compared are the loss, the losses, outputs, hidden and last states, and every gradient, with
    one thread and with several; then, in float64, a few elements of each gradient with differences of the loss.

    Returns a :class:`Report`: ``report.ok``, and ``print(report)`` for a table.

    >>> import numpy as np
    >>> params = init_params("rnn", inputs=3, hidden=2, outputs=3, seed=0, dtype="float32")
    >>> verify(params, np.array([0, 1, 2]), np.array([1, 2, 0])).ok
    True
    """
    if not isinstance(params, Params):
        raise checks.not_params("params", params)
    batch = checks.labelled(params, inputs, labels, state, lengths)
    T, B = batch.inputs.shape[:2]
    return Report(f"{params!r}, T={T}, B={B}", _agreements(params, batch), _differences(params, batch))


def _agreements(params: Params, batch: checks.Batch) -> list[Agreement]:
    """Every tensor in every engine against numpy."""
    wanted = _tensors(engine("numpy"), params, batch, 1)
    found = {
        name: [_tensors(engine(name), params, batch, threads) for threads in THREADS]
        for name in engines()
        if name != "numpy"
    }
    return [_agreement(tensor, wanted, found) for tensor in wanted]


def _tensors(by: Engine, params: Params, batch: checks.Batch, threads: int) -> Tensors:
    """All that an engine makes of a net: (T, B, ...) for steps, (B, H) for states."""
    inputs, state, lengths = batch.inputs, batch.state, batch.lengths
    vectors = inputs.ndim == 3
    y, h, _, _ = by.forward(params, inputs, state, lengths, threads)
    loss, losses, grads, last, dstate, dinputs = by.bptt(params, inputs, batch.labels, state, lengths, vectors, threads)
    tensors = {"loss": np.array(loss), "losses": losses, "y": y, "h": h}
    tensors |= _by_state("state", params, last) | _by_state("dstate", params, dstate)
    tensors |= {f"grads.{name}": getattr(grads, name) for name in grads.names()}
    return tensors if dinputs is None else tensors | {"dinputs": dinputs}


def _by_state(name: str, params: Params, states: Array) -> Tensors:
    """The states of a net, (S, B, H), each by its name, unless there is but one."""
    letters = CELLS[params.cell].states
    if len(letters) == 1:
        return {name: states[0]}
    return {f"{name} {letter}": one for letter, one in zip(letters, states, strict=True)}


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
    """How many bits of two arrays differ; any NaN equals any NaN. Arrays of another shape or dtype differ in all."""
    if a.shape != b.shape or a.dtype != b.dtype:
        return 8 * max(a.nbytes, b.nbytes, 1)
    differs = ~(np.isnan(a) & np.isnan(b)) & (_bits(a) != _bits(b))
    return int(np.unpackbits((_bits(a) ^ _bits(b))[differs].view(np.uint8)).sum())


def _bits(a: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.ascontiguousarray(a).view(f"u{a.itemsize}").reshape(a.shape)


def _distance(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> Array:
    """|a - b|: 0 where they are the same, Inf where only one is finite."""
    if a.shape != b.shape:
        return np.full(b.shape, np.inf)
    with np.errstate(all="ignore"):
        distance = np.abs(a.astype(np.float64) - b.astype(np.float64))
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    return np.where(same, 0, np.where(np.isnan(distance), np.inf, distance))


def _differences(params: Params, batch: checks.Batch) -> list[Difference]:
    """Every gradient against central differences of J, in float64."""
    net = Params._of(params.cell, params.inputs, params.hidden, params.outputs, params.flat.astype(np.float64))
    wide, by = _in_float64(batch), current(None)
    tensors = _tensors(by, net, wide, 1)
    if not np.isfinite(tensors["loss"]):
        return []
    variables = {f"grads.{name}": getattr(net, name) for name in net.names()} | _by_state("dstate", net, wide.state)
    if wide.inputs.ndim == 3:
        variables["dinputs"] = wide.inputs
    noise = _noise(net, tensors, variables)
    return [_difference(by, net, wide, name, x, tensors[name], noise) for name, x in variables.items() if x.size]


def _in_float64(batch: checks.Batch) -> checks.Batch:
    wide = checks.Batch()
    wide.form, wide.lengths, wide.state = batch.form, batch.lengths, batch.state.astype(np.float64)
    wide.inputs = batch.inputs.copy() if batch.inputs.ndim == 2 else batch.inputs.astype(np.float64)
    wide.labels = batch.labels
    if batch.labels.ndim == 3:  # p - l is the gradient if l sums to 1, to the precision of float64 now
        labels = batch.labels.astype(np.float64)
        sums = labels.sum(axis=2, keepdims=True)
        wide.labels = np.divide(labels, sums, out=labels, where=sums != 0)
    return wide


def _noise(net: Params, tensors: Tensors, variables: Tensors) -> float:
    """How far a computed J may be from J.

    A sum of n products, rounded at every step, is the exact sum of products whose factors are off by up to n u each:
    J is that of parameters and inputs off by (X + H + V) u, and the softmax adds a few u of the numbers it sees.
    """
    u = np.finfo(np.float64).eps / 2
    moved = sum(float(np.nansum(np.abs(x * tensors[name]))) for name, x in variables.items())
    seen = float(tensors["losses"].sum() + np.abs(tensors["y"]).max(axis=2).sum())
    return float((net.inputs + net.hidden + net.outputs) * u * (moved + seen + tensors["losses"].size))


def _difference(
    by: Engine, net: Params, batch: checks.Batch, name: str, x: Array, gradient: Array, noise: float
) -> Difference:
    """The element of one gradient that is furthest from central differences, for what may be expected."""
    worst, steepest = Difference(name, 0.0, math.inf, ""), 0.0
    for at in _sample(gradient):
        slope, allowed = _slope(by, net, batch, x, at, noise, steepest)
        steepest = max(steepest, abs(slope))
        distance = abs(slope - float(gradient[at]))
        if not worst.where or distance * worst.allowed > worst.largest * allowed:
            worst = Difference(name, distance, allowed, _brackets(at))
    return worst


def _slope(
    by: Engine, net: Params, batch: checks.Batch, x: Array, at: tuple[int, ...], noise: float, steepest: float
) -> tuple[float, float]:
    """dJ/dx[at] from differences of J, and how far from it they may be.

    With steps s and 2 s, ``D(s) = (J(x + s) - J(x - s)) / 2s`` is off by a s^2 + b s^4 + ...; then
    (4 D(s) - D(2s)) / 3 is off by -4 b s^4, less than |D(2s) - D(s)|, and by 1.5 noise / s, from four values of J.
    Where J bends so much that this is not small beside the steepest slope, or where a rectifier goes on or off between
    the four, which is an edge in J, smaller steps are tried. Where J is too rough for all of them, anything may be.
    """
    for exponent in (-10, -14, -18, -22, -26):
        s = 2.0**exponent * max(1.0, abs(float(x[at])))
        (D, off), (D2, off2) = (_central(by, net, batch, x, at, step) for step in (s, 2 * s))
        bent, rounded = abs(D2 - D), 1.5 * noise / s
        edge = off is None or off2 is None or bool((off != off2).any())
        if not edge and bent <= max(1e-4 * max(abs(D), steepest), rounded):
            return (4 * D - D2) / 3, bent + rounded
    return 0.0, math.inf


def _central(
    by: Engine, net: Params, batch: checks.Batch, x: Array, at: tuple[int, ...], s: float
) -> tuple[float, npt.NDArray[np.bool_] | None]:
    """D(s), and which hidden states are 0, (T, B, H); None if they are not the same ones on both sides."""
    kept = float(x[at])
    above, below = kept + s, kept - s
    x[at] = above
    J_above, off_above = _loss(by, net, batch)
    x[at] = below
    J_below, off_below = _loss(by, net, batch)
    x[at] = kept
    return (J_above - J_below) / (above - below), None if (off_above != off_below).any() else off_above


def _loss(by: Engine, net: Params, batch: checks.Batch) -> tuple[float, npt.NDArray[np.bool_]]:
    """J, and which hidden states are 0."""
    y, h, _, _ = by.forward(net, batch.inputs, batch.state, batch.lengths, 1)
    return float(by.cross_entropy(y, batch.labels, batch.lengths)[0].sum()), h == 0


def _sample(gradient: Array) -> Iterator[tuple[int, ...]]:
    """The largest element first, then some others."""
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
    """Lines of aligned columns: the first, and the last two, to the left, numbers to the right."""
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
    left = {0, len(widths) - 1, len(widths) - 2}
    return [
        "  ".join(
            cell.ljust(width) if n in left else cell.rjust(width)
            for n, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


class Example(NamedTuple):
    """A net to verify, and why this one."""

    why: str
    params: Params
    arguments: dict[str, Any]

    def verify(self) -> Report:
        """Its report."""
        return verify(self.params, **self.arguments)


def examples() -> Iterator[Example]:
    """The built-in nets of ``python -m rnncore verify``, small enough for the definition.

    Every cell has nets of both dtypes, and every kind of net is there in both.
    """
    rng = np.random.default_rng(0)
    kinds = (_stream, _ragged, _vectors, _large, _wide)
    for n, (cell, kind) in enumerate(itertools.product(CELLS, kinds)):
        dtype = ("float32", "float64")[n % 2]
        why, net, arguments = kind(rng, cell, dtype)
        yield Example(f"{cell}: {why}, {dtype}", net, arguments)


Made: TypeAlias = tuple[str, Params, dict[str, Any]]


def _stream(rng: np.random.Generator, cell: str, dtype: str) -> Made:
    net = init_params(cell, inputs=11, hidden=17, outputs=11, seed=1, dtype=dtype)
    text = rng.integers(0, 11, 8)
    return "one stream of tokens", net, {"inputs": text[:-1], "labels": text[1:]}


def _ragged(rng: np.random.Generator, cell: str, dtype: str) -> Made:
    net = init_params(cell, inputs=5, hidden=9, outputs=5, seed=2, dtype=dtype)
    texts = [rng.integers(0, 5, n + 1) for n in (3, 0, 5)]
    inputs, labels = [text[:-1] for text in texts], [np.where(text[1:] == 0, -1, text[1:]) for text in texts]
    return "a list of sequences, labels -1", net, {"inputs": inputs, "labels": labels}


def _vectors(rng: np.random.Generator, cell: str, dtype: str) -> Made:
    net = init_params(cell, inputs=3, hidden=8, outputs=4, seed=3, dtype=dtype)
    inputs, labels = rng.normal(size=(3, 65, 3)), rng.dirichlet(np.ones(4), (3, 65)).astype(dtype)
    return "vectors, distributions, a state", net, {"inputs": inputs, "labels": labels, "state": _state(rng, net, 65)}


def _large(rng: np.random.Generator, cell: str, dtype: str) -> Made:
    net = init_params(cell, inputs=4, hidden=7, outputs=3, seed=4, dtype=dtype)
    net.flat *= 30
    arguments = {"inputs": rng.integers(0, 4, (5, 2)), "labels": rng.integers(0, 3, (5, 2))}
    return "large weights", net, arguments


def _wide(rng: np.random.Generator, cell: str, dtype: str) -> Made:
    net = init_params(cell, inputs=131, hidden=130, outputs=2, seed=5, dtype=dtype)
    arguments = {"inputs": rng.normal(size=(2, 131)), "labels": np.array([0, 1]), "state": _state(rng, net, None)}
    return "sums longer than a block", net, arguments


def _state(rng: np.random.Generator, net: Params, B: int | None) -> Any:
    """Random states of a net for B sequences, or for one without an axis B."""
    shape = (net.hidden,) if B is None else (B, net.hidden)
    states = tuple(rng.uniform(-1, 1, shape) for _ in CELLS[net.cell].states)
    return states if len(states) > 1 else states[0]
