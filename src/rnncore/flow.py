"""Where a gradient comes from: how far the loss of each step reaches back, and what each step adds.

T steps of the longest sequence, B sequences, N steps that exist, H hidden units, V outputs, L layers, D directions.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from . import arguments, masks
from ._numpy.elementary import sigmoid_of, tanh_of
from ._numpy.linear import lane_sum
from .api import Sequences
from .arguments import Batch
from .cells import CELLS, parts
from .cuts import Cut, Pieces, Source
from .division import Division
from .engines import Engine, current
from .labels import with_loss
from .params import Params, require_params
from .problem import Kept, Options, options_of, reading
from .types import Array, Mask
from .values import as_integer
from .windows import loss_of, way_back, windows

HIGH, LOW = 0.97, 0.03
"""Beyond HIGH the absolute value of a tanh is saturated, and outside of LOW and HIGH a gate."""
CHUNK = 512
"""How many rows have their lengths computed at once, so that they stay in the cache."""
TANH, SIGMOID = ("g", "n", "tanh_c"), ("i", "f", "o", "r", "z")
"""What cells save that is a value of one of these functions."""


class Call(NamedTuple):
    """One gradient: who computes it, of what. dy: by rows (N, V), or of one label a sequence by positions (B, V)."""

    params: Params
    engine: Engine
    options: Options
    source: Source
    dy: Array
    gates: Array


class GradientFlow:
    """Holds what :func:`gradient_flow` finds: how gradients travel through time.

    Arrays are float64. They have an axis L*D, layer by layer, forward before reverse, if there are several layers or
    directions, and an axis B for a batch.
    """

    def __init__(self, call: Call, by_step: Array, labelled: Mask) -> None:
        """by_step (S, P, B, T, T): of each state and part. labelled (B, T): which steps have a loss."""
        self._call = call
        lags = _by_lag(by_step[0], labelled)
        h, *others = (self._shaped(of_state) for of_state in by_step)
        self.by_step: Array = h
        self.by_step_c: Array | None = others[0] if others else None
        self.by_lag: Array = self._shaped(lags)

    def __setattr__(self, name: str, value: object) -> None:
        if name not in ("_call", "by_lag", "by_step", "by_step_c"):
            raise AttributeError(f"a GradientFlow has no {name} that can be set")
        super().__setattr__(name, value)

    def _shaped(self, array: Array) -> Array:
        """Return (P, B, ...) without the axes that the call does not have."""
        array = array[:, 0] if self._call.source.one else array
        return array[0] if self._call.params._net.parts == 1 else array

    def contribution(self, k: int) -> Params:
        """Return what step k, of all sequences together, adds to the gradient with respect to the parameters.

        That is the term of step k in ``dW_hh = sum_k du_k h_{k-1}^T`` and in the other sums. So the sum over all k is
        the gradient, within rounding. Of one label a sequence, W_hy and b_y get theirs at the last step. Raises
        ValueError unless 0 <= k < T.
        """
        params, engine, options, source, _, gates = self._call
        step, D, T = as_integer("k", k, 0), params._net.directions, len(source.start) - 1
        if step >= T:
            raise ValueError(f"k must be less than T = {T}, got {step}")
        sequences = np.arange(source.start[step + 1] - source.start[step])
        at = np.full(len(sequences), step)
        cut = Cut(source, Pieces(sequences, at, at, at), False)
        of_step = np.empty((*gates.shape[:2], len(sequences), gates.shape[3]), gates.dtype)
        for way in range(D):
            of_step[way::D] = gates[way::D, :, cut.rows_of(way)]
        dy, kept = self._outputs(step, cut)
        grads, _ = engine.sums(kept, params.flat, dy, of_step, options_of(False, options.threads, options.loss))
        return params._like(grads)

    def _outputs(self, step: int, cut: Cut) -> tuple[Array, Kept]:
        """Return dy (1, B, V) of a step, and what forward would have kept of that step alone."""
        source, rows = self._call.source, cut.rows_of(0)
        net, (_, _, state, steps, h, tape, last) = source.net, cut.kept
        x = source.inputs[rows][None]
        read: Any = (x, cut.kept[1][1]) if source.masks else x
        if not source.last:
            return self._call.dy[rows][None], (net, read, state, steps, h, tape, last)
        ends = np.flatnonzero(source.lengths[cut.pieces.position] == step + 1)
        dy = np.zeros((1, len(rows), net.outputs), net.dtype)
        dy[0, ends] = self._call.dy[ends]
        h[0, ends, net.hidden :] = source.given[-1][ends, net.hidden :]  # the reverse direction ends at the first step
        return dy, (net, read, state, steps, h, tape, last)

    @cached_property
    def weights(self) -> dict[str, Array]:
        """The lengths (T,) of what each step adds to the gradient of each matrix, by its name. Made when asked for."""
        params, T = self._call.params, len(self._call.source.start) - 1
        names = [name for name in params if name.rpartition(".")[2].startswith("W")]
        lengths: dict[str, Array] = {name: np.empty(T) for name in names}
        for k in range(T):
            added = self.contribution(k)
            for name in names:
                lengths[name][k] = self._call.engine.norm(added[name].reshape(-1))
        return lengths

    @cached_property
    def spectral_radius(self) -> dict[str, float]:
        """The largest absolute eigenvalue of each gate's block of W_hh, by the gate's letter; NaN if not finite."""
        return _spectral_radius(self._call.params)

    @cached_property
    def saturated(self) -> dict[str, Array]:
        """The share of steps at which each unit (H,) is saturated, by the name of what it computes."""
        return _saturated(self._call.source)

    def plot(self, sequence: int = 0) -> Any:
        """Return a picture of one sequence, a figure of matplotlib: on the left ``by_step``, on the right ``by_lag``.

        Of several layers or directions the left side shows the first, and the right side all. ``figure.savefig(path)``
        writes it. Raises ImportError if matplotlib is not installed.
        """
        from .flow_plot import figure

        parts, B = self._call.params._net.parts, len(self._call.source.order)
        b, T = as_integer("sequence", sequence, 0), self.by_step.shape[-1]
        if b >= B:
            raise ValueError(f"sequence must be less than B = {B}, got {b}")
        names = [name.rstrip(".") or "h" for name in _parts(self._call.params)]
        by_step, by_lag = self.by_step.reshape(parts, B, T, T), self.by_lag.reshape(parts, B, T)
        return figure(by_step[0, b], dict(zip(names, by_lag[:, b], strict=True)))

    def __repr__(self) -> str:
        return f"GradientFlow(T={self.by_step.shape[-1]}, {self._call.params!r})"


def gradient_flow(
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
    dropout_masks: Sequence[Any] | None = None,
    backend: str | None = None,
    threads: int | None = None,
) -> GradientFlow:
    """Return how far the loss of each step reaches back through time, and what each step adds to the gradient.

    ``by_step[t, k] = |dJ_t / dh_k|``, the length of the gradient of the loss of step t with respect to the state of
    step k <= t: with t - k it vanishes, or explodes, or neither.

    The arguments are those of :func:`bptt`. Each step goes back by itself, all of them as batches: time and, for the
    result, memory grow with T^2. Returns a :class:`GradientFlow`:

    - ``by_step`` (L*D, B, T, T) at [t, k], without the axis L*D if that is 1, and without B for one sequence. It is 0
      where J_t does not depend on h_k: for k > t (but with two directions), before a reset, in padding, and where step
      t has no label. With one label a sequence, t is its last step. ``by_step_c``: the same of the state c of the cell
      "lstm", with h_k held fixed, so that it is 0 for k = t; None of other cells.
    - ``by_lag`` (L*D, B, T): the mean of ``by_step[t, t - lag]`` over the steps t >= lag that have a label; NaN where
      none has.
    - ``contribution(k)``: what step k adds to the gradient, a :class:`Params`; their sum is the gradient within
      rounding. ``weights``: its length for each matrix, (T,) by name.
    - ``spectral_radius``: the largest absolute eigenvalue of each gate's block of W_hh, by the gate's letter: "z" of
      the cell "rnn", "i", "f", "g", "o" of "lstm", "r", "z", "n" of "gru". ``saturated``: at which share of the steps
      each unit (H,) is saturated, by what it computes: ``|tanh| > 0.97``, a gate outside of [0.03, 0.97], a relu at 0.
      Of several layers or directions names begin as in ``params``: "layers.0.f".
    - ``plot()``: a picture, with matplotlib.

    Raises what :func:`bptt` raises. Sources: Bengio, Simard, Frasconi 1994, "Learning long-term dependencies with
    gradient descent is difficult"; Pascanu, Mikolov, Bengio 2013, "On the difficulty of training recurrent neural
    networks".

    >>> import numpy as np
    >>> params = Params("rnn_relu", W_xh=[[1.0]], W_hh=[[0.5]], W_hy=[[1.0]])  # each step back halves the gradient
    >>> flow = gradient_flow(params, np.ones((3, 1)), np.zeros((3, 1)), loss="squared_error")
    >>> flow.by_step
    array([[1.    , 0.    , 0.    ],
           [0.75  , 1.5   , 0.    ],
           [0.4375, 0.875 , 1.75  ]])
    >>> flow.by_lag[2:], flow.spectral_radius["z"]
    (array([0.4375]), 0.5)
    """
    require_params("params", params)
    net, flat, engine = params._net, params.flat, current(backend)
    options = arguments.options(False, threads, loss)
    division = Division(lengths, offsets, resets)
    batch = arguments.labelled(net, inputs, labels, state, division, options.loss, weights)
    read = masks.as_masks(net, dropout_masks, batch.inputs, batch.steps)
    net, options = reading(net, read), options_of(False, options.threads, options.loss, batch.last)
    forward = engine.forward(net, flat, read, batch.state, batch.steps, options)
    assert forward is not None  # as the arguments are canonical
    y, _, _, kept = forward
    _, dy, _ = loss_of(engine, y, batch, options)
    source, (gates, *_) = Source(kept), engine.gates(kept, flat, (dy, None, None), options)
    rows = dy.reshape(-1, net.outputs)[source.order] if batch.last else source.rows(dy, net.outputs)
    call = Call(params.copy(), engine, options, source, rows, gates)
    return GradientFlow(call, _by_step(call, dy), _labelled(source, batch, options))


def _by_step(call: Call, dy: Array) -> Array:
    """Return the lengths of the gradients with respect to states, (S, P, B, T, T)."""
    source, ways, T = call.source, call.params._net.directions, len(call.source.start) - 1
    (S, P, B), pieces = source.state.shape[:3], windows(source, max(T, 1), source.last)
    by_step = np.zeros((S, P, B, T, T))
    for cut, _, _, states in way_back(call.engine, source, call.params.flat, dy, pieces, call.options, True):
        assert states is not None
        own, m = np.nonzero(cut.there)
        b, t = source.order[cut.pieces.position[m]], cut.pieces.label[m]
        for way in range(ways):
            k = cut.pieces.first[m] + own if way == 0 else cut.pieces.last[m] - own
            by_step[:, way::ways, b, t, k] = _lengths(states[way::ways]).swapaxes(0, 1)
    return by_step


def _lengths(rows: Array) -> Array:
    """Return the lengths of rows (..., H) in float64, in an order of additions that no machine changes."""
    flat = rows.reshape(-1, rows.shape[-1])
    lengths: Array = np.empty(len(flat))
    with np.errstate(all="ignore"):
        for start in range(0, len(flat), CHUNK):
            some = flat[start : start + CHUNK].astype(np.float64)
            if rows.dtype == np.float64:  # whose squares may overflow or vanish, so that they are scaled
                largest = np.abs(some).max(axis=-1)
                scale: Any = np.exp2(-np.clip(np.frexp(largest)[1], -1020, 1020))
                some *= scale[:, None]
            else:
                scale = 1.0
            some *= some
            lengths[start : start + CHUNK] = np.sqrt(lane_sum(some)) / scale
    return lengths.reshape(rows.shape[:-1])


def _labelled(source: Source, batch: Batch, options: Options) -> Mask:
    """Return which steps have a loss, (B, T)."""
    label, weights = batch.labels if isinstance(batch.labels, tuple) else (batch.labels, None)
    own = with_loss(label, weights, options.loss).reshape(-1)
    there = np.zeros((len(source.order), len(source.start) - 1), bool)
    b = source.order[source.position]
    if not source.last:
        there[b, source.step] = own[source.address]
    else:
        ends = np.flatnonzero(source.lengths > 0)
        there[source.order[ends], source.lengths[ends] - 1] = own[source.order[ends]]
    return there


def _by_lag(by_step: Array, labelled: Mask) -> Array:
    """Return the means over t of by_step[..., t, t - lag] (P, B, T, T), of those t that have a label: (P, B, T)."""
    t, lag = np.ogrid[: by_step.shape[-1], : by_step.shape[-1]]
    there = labelled[:, :, None] & (t >= lag)
    with np.errstate(invalid="ignore"):
        total = np.where(there, by_step[:, :, t, t - lag], 0).sum(axis=2)
        by_lag: Array = total / there.sum(axis=1)
    return by_lag


def _parts(params: Params) -> list[str]:
    """Return what the names of the arrays of each part begin with."""
    return parts(params._net.layers, params._net.bidirectional)


def _spectral_radius(params: Params) -> dict[str, float]:
    """Return the largest absolute eigenvalue of each gate's block of each W_hh; NaN of one that is not finite."""
    gates, H, found = CELLS[params.cell].gates, params.hidden, {}
    for prefix in _parts(params):
        for gate, block in zip(gates, params[f"{prefix}W_hh"].astype(np.float64).reshape(-1, H, H), strict=True):
            finite = bool(np.isfinite(block).all())
            found[f"{prefix}{gate}"] = float(np.abs(np.linalg.eigvals(block)).max()) if finite else float("nan")
    return found


def _saturated(source: Source) -> dict[str, Array]:
    """Return at which share of the steps each unit is saturated, by what it computes."""
    net, cell, found = source.net, CELLS[source.net.cell], {}
    for part, prefix in enumerate(parts(net.layers, net.bidirectional)):
        layer, way = divmod(part, net.directions)
        for n, name in enumerate(cell.saved, len(cell.states) - 1):
            values = source.tapes[part][:, n, : net.hidden]
            if name in TANH:
                found[f"{prefix}{name}"] = _share(np.abs(tanh_of(values)) > HIGH)
            elif name in SIGMOID:
                gate = sigmoid_of(values)
                found[f"{prefix}{name}"] = _share((gate < LOW) | (gate > HIGH))
        if not cell.saved:
            h = source.given[layer][:, way * net.hidden : (way + 1) * net.hidden]
            found[f"{prefix}h"] = _share(h == 0 if net.cell == "rnn_relu" else np.abs(h) > HIGH)
    return found


def _share(saturated: Mask) -> Array:
    """Return the share of rows (N, H) at which each unit is; 0 if there are no rows."""
    share: Array = saturated.sum(axis=0) / max(1, len(saturated))
    return share
