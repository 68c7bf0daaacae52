"""truncate=k: each loss goes back through a window of k steps, and no further."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
from nets import (
    Array,
    Net,
    Numbers,
    Results,
    as_states,
    assert_same_bits,
    each_state,
    fold,
    make_net,
    named_arrays,
    named_states,
    state_arrays,
    with_changes,
)
from rounding import bounds

import rnncore
from rnncore import cuts
from rnncore._numpy import layers, stack
from rnncore._numpy.engine import _restored
from rnncore._numpy.layer import Gates
from rnncore.cells import CELLS
from rnncore.engines import engine as engine_of
from rnncore.problem import options_of
from rnncore.windows import gates_of

each_cell = pytest.mark.parametrize("cell", CELLS)
KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "tokens": {"tokens": True},
    "ragged": {"lengths": "ragged"},
    "layers": {"layers": 2, "dropout": True},
    "directions": {"bidirectional": True, "lengths": "ragged"},
    "layers, directions": {"layers": 2, "bidirectional": True, "dropout": True, "lengths": "ragged"},
    "distributions": {"labels": "distributions", "state": False},
    "float64": {"dtype": "float64"},
}


def small(T: int = 7, **options: Any) -> Net:
    return make_net(T, 3, 3, 5, 4, **options)


def truncated(net: Net, k: int | None, backend: str = "numpy", **options: Any) -> Results:
    """All that bptt returns, by name."""
    result = rnncore.bptt(
        net.params,
        net.inputs,
        net.labels,
        **{"state": net.state, "lengths": net.lengths, "dropout_masks": net.dropout_masks, **options},
        need_dinputs=net.need_dinputs,
        backend=backend,
        truncate=k,
    )
    return named(result, net.params.cell)


def named(result: Any, cell: str) -> Results:
    found = {"loss": np.array(result.loss), "losses": result.losses, "count": np.array(result.count)}
    found |= {f"grads.{name}": array for name, array in named_arrays(result.grads).items()}
    found |= named_states("state", cell, result.state) | named_states("dstate", cell, result.dstate)
    return found if result.dinputs is None else found | {"dinputs": result.dinputs}


class Slowly:
    """The definition: one window after the other, the last step's first, each a call by itself in the NumPy column."""

    def __init__(self, net: Net, k: int, last: bool = False, **options: Any) -> None:
        self.net, self.k, self.last, params = net, k, last, net.params
        self.masks = net.dropout_masks or []
        self.loss, self.weights = options.pop("loss", "cross_entropy"), options.pop("weights", None)
        given = {"state": net.state, "lengths": net.lengths, "dropout_masks": net.dropout_masks, **options}
        self.out = rnncore.forward(params, net.inputs, last=last, backend="numpy", **given)
        self.form, self.problem, self.trace = _restored(self.out._kept, params.flat)
        self.before = [layers.states_of(self.problem, self.trace, part)[1] for part in range(params._net.parts)]
        self.lengths = self.problem.exist.sum(axis=0)
        self.losses, self.dy = self.loss_and_dy()
        self.gates, self.dstate = self.nothing(), np.full_like(self.problem.state, -0.0)
        for t in reversed(range(len(net.inputs))):
            for b in np.flatnonzero(t == self.lengths - 1 if last else t < self.lengths):
                self.add(t, b)
        self.take_short()

    def take_short(self) -> None:
        """Sequences of at most k steps are as without windows."""
        short, options = self.lengths <= self.k, options_of(False, None, last=self.last)
        engine, given = engine_of("numpy"), (self.dy, None, None)
        gates, dstate, _ = engine.gates(self.out._kept, self.net.params.flat, given, options)
        for total, of in zip(self.gates, self.form.gates(gates), strict=True):
            total.da[:, short], total.du[:, short] = of.da[:, short], of.du[:, short]
        self.dstate[:, :, short] = self.form.states(dstate)[:, :, short]

    def loss_and_dy(self) -> tuple[Array, Array]:
        of = getattr(rnncore, self.loss)
        if not self.last:
            return of(self.out.y, self.net.labels, self.net.lengths, weights=self.weights, backend="numpy")
        losses, dy = of(self.out.y, self.net.labels, weights=self.weights, backend="numpy")
        losses[self.lengths == 0], dy[self.lengths == 0] = 0, 0
        return losses, dy

    def nothing(self) -> list[Gates]:
        """-0 at each step that windows reach, which is each but with one label a sequence."""
        (T, B), GH = self.problem.exist.shape, len(CELLS[self.net.params.cell].gates) * self.net.params.hidden
        grid = np.full((T, B, GH), -0.0, self.net.params.dtype)
        grid[~self.problem.exist] = 0
        for b, length in enumerate(self.lengths if self.last else []):
            grid[: self.ends(length - 1, b)[0] if length else T, b] = 0
        return [Gates(grid.copy(), grid.copy(), np.empty(0)) for _ in self.before]

    def ends(self, t: int, b: int) -> tuple[int, int]:
        """The first step of a window, and the last."""
        resets = np.flatnonzero(self.problem.resets[: t + 1, b])
        first = max(0, t - self.k + 1, *resets)
        return first, min(t + self.k - 1, self.lengths[b] - 1) if self.net.params._net.bidirectional else t

    def add(self, t: int, b: int) -> None:
        params, (first, last) = self.net.params, self.ends(t, b)
        D, steps = params._net.directions, slice(first, last + 1)
        own = [first if part % D == 0 else self.lengths[b] - 1 - last for part in range(params._net.parts)]
        state = np.stack([before[:, begin, b : b + 1] for before, begin in zip(self.before, own, strict=True)], axis=1)
        out = rnncore.forward(
            params,
            np.ascontiguousarray(self.net.inputs[steps, b : b + 1]),
            state=as_states(state[:, 0] if params._net.parts == 1 else state),
            dropout_masks=[mask[steps, b : b + 1] for mask in self.masks] or None,
            last=D == 1,
            backend="numpy",
        )
        dy = self.dy[b : b + 1] if self.last else self.dy[t, b : b + 1]
        if D == 2:
            dy, row = np.zeros((last + 1 - first, *dy.shape), dy.dtype), dy
            dy[t - first] = row
        given, options = (dy, None, None), options_of(False, None, last=D == 1)
        gates, dfirst, _ = engine_of("numpy").gates(out._kept, params.flat, given, options)
        GH, dfirst = self.gates[0].da.shape[2], np.stack(state_arrays(dfirst)).reshape(state.shape)
        for part, (total, rows, begin) in enumerate(zip(self.gates, gates, own, strict=True)):
            total.da[begin : begin + len(rows[0]), b] += rows[0][:, :GH]
            total.du[begin : begin + len(rows[0]), b] += rows[-1][:, :GH]
            if begin == 0 and not self.problem.resets[0, b]:
                self.dstate[:, part, b] += dfirst[:, part, 0]

    def results(self) -> Results:
        problem, net = self.problem, self.net
        reached = ((not self.last) | (self.lengths <= self.k)) & (self.lengths > 0)
        reached &= ~(problem.resets.any(axis=0) if self.last else problem.resets[0])
        dstate = np.where(reached[:, None], self.dstate, 0)
        grads = stack.sums(problem, self.trace, self.form.given(self.dy, None, None), self.gates)
        grads = {f"grads.{name}": array for name, array in params_like(net, grads).items()}
        dstates = named_states("dstate", net.params.cell, self.form.from_states(dstate))
        found = {"loss": fold(self.losses), "losses": self.losses, **grads, **dstates}
        if net.need_dinputs:
            found["dinputs"] = self.form.from_dinputs(layers.read_gradients(problem, 0, self.gates))
        return found | named_states("state", net.params.cell, self.out.state)


def params_like(net: Net, flat: Array) -> Results:
    return named_arrays(net.params._like(flat))


def assert_is_slow(net: Net, k: int, engine: str, last: bool = False, **options: Any) -> None:
    found = truncated(net, k, engine, **options)
    found.pop("count")
    assert_same_bits(Slowly(net, k, last, **options).results(), found, net.params.cell)


@lru_cache(2)
def slow(cell: str, kind: str, k: int) -> Results:
    """Once for all engines."""
    return Slowly(small(cell=cell, **KINDS[kind]), k).results()


@pytest.mark.parametrize("kind", KINDS)
@each_cell
def test_the_bits_of_windows_one_by_one(engine: str, cell: str, kind: str) -> None:
    found = truncated(small(cell=cell, **KINDS[kind]), 3, engine)
    found.pop("count")
    assert_same_bits(slow(cell, kind, 3), found, cell)


@pytest.mark.parametrize("k", [1, 2, 3])
def test_the_bits_of_windows_at_sizes_around_blocks(engine: str, k: int) -> None:
    assert_is_slow(make_net(4, 130, 2, 3, 2, cell="gru", lengths="ragged"), k, engine)


@each_cell
def test_windows_end_at_resets(engine: str, cell: str) -> None:
    net = small(9, cell=cell, lengths="ragged", layers=2)
    resets = Numbers(3).below(4, 9, 3) == 0
    resets[0, 0] = True
    for k in (2, 8):
        assert_is_slow(net, k, engine, resets=resets)


@pytest.mark.parametrize("loss", ["squared_error", "binary_cross_entropy"])
def test_other_losses_and_weights(engine: str, loss: str) -> None:
    net, numbers = small(cell="lstm", lengths="ragged"), Numbers(4)
    net = with_changes(net, labels=numbers.fractions(7, 3, 4))
    weights = numbers.below(3, 7, 3) / 2.0
    assert_is_slow(net, 3, engine, loss=loss, weights=weights)


def last_label(net: Net) -> Net:
    return with_changes(net, labels=np.array([1, 0, 3]))


@pytest.mark.parametrize("k", [1, 4])
@each_cell
def test_one_label_a_sequence_has_one_window(engine: str, cell: str, k: int) -> None:
    net = last_label(small(cell=cell, lengths="ragged", layers=2))
    assert_is_slow(net, k, engine, last=True)
    assert_is_slow(net, k, engine, last=True, resets=Numbers(3).below(4, 7, 3) == 0)


def test_of_one_label_the_last_steps_alone_have_a_gradient() -> None:
    """They have that of these steps as a sequence of their own."""
    net = small(cell="gru")
    x, label = net.inputs[:, 0], np.int64(2)
    begin = rnncore.forward(net.params, x[:4]).state
    whole = rnncore.bptt(net.params, x, label, truncate=3, need_dinputs=True)
    piece = rnncore.bptt(net.params, x[4:], label, state=begin, need_dinputs=True)
    assert not whole.dinputs[:4].any()
    assert not whole.dstate.any()
    expected = {"grads": piece.grads.flat, "dinputs": piece.dinputs, "loss": np.array(piece.loss)}
    found = {"grads": whole.grads.flat, "dinputs": whole.dinputs[4:], "loss": np.array(whole.loss)}
    assert_same_bits(expected, found)


@pytest.mark.parametrize("kind", KINDS)
def test_a_window_of_all_steps_is_the_plain_call(engine: str, kind: str) -> None:
    net = small(cell="lstm", **KINDS[kind])
    plain = truncated(net, None, engine)
    for k in (7, 8, 2**70):
        assert_same_bits(plain, truncated(net, k, engine))


@pytest.mark.parametrize("kind", KINDS)
@each_cell
def test_windows_of_all_steps_add_up_to_the_plain_gradient(cell: str, kind: str) -> None:
    """Also where they are computed as windows: the sum over costs and the loop are the same but for rounding.

    In float64 both are near the truth; a window that is missing or misplaced would be a term of the sum.
    """
    net = small(cell=cell, **{**KINDS[kind], "dtype": "float64"})
    given = {"state": net.state, "lengths": net.lengths, "dropout_masks": net.dropout_masks}
    out = rnncore.forward(net.params, net.inputs, **given)
    _, dy = rnncore.cross_entropy(out.y, net.labels, net.lengths)
    engine, options = engine_of("numpy"), options_of(False, None)
    gates, _ = gates_of(engine, out._kept, net.params.flat, dy, 7, options)
    found, _ = engine.sums(out._kept, net.params.flat, dy, gates, options)
    expected = rnncore.backward(net.params, out, dy=dy).grads.flat
    assert np.abs(found - expected).max() < 2.0**-40 * np.abs(expected).max()


def test_a_window_of_one_step_knows_no_recurrence(engine: str) -> None:
    """Each step is a sequence of its own, which begins with the state that the others have left."""
    net = small(cell="lstm", labels="some")
    h, c = (np.empty_like(net.inputs, shape=(7, 3, 5)) for _ in range(2))
    state = net.state
    for t in range(7):
        h[t], c[t] = state
        state = rnncore.forward(net.params, net.inputs[t : t + 1], state=state).state
    each = rnncore.bptt(
        net.params,
        net.inputs.reshape(1, 21, 3),
        net.labels.reshape(1, 21),
        state=(h.reshape(21, 5), c.reshape(21, 5)),
        need_dinputs=True,
    )
    found = truncated(net, 1, engine)
    expected = {"dinputs": each.dinputs.reshape(7, 3, 3), "losses": each.losses.reshape(7, 3)}
    expected |= named_states("dstate", "lstm", each_state(lambda array: array[:3], each.dstate))
    assert_same_bits(expected, {name: found[name] for name in expected})


@each_cell
def test_the_gradient_is_the_sum_of_that_of_each_window(cell: str) -> None:
    """Within a bound on roundings.

    Each window's gradient is within ``bounds`` of the truth. The sums over windows and steps add at most N + k + 4
    roundings where the bound of the shortest window counts 3.
    """
    net, k, T, B = small(cell=cell, dtype="float64"), 3, 7, 3
    total = {f"grads.{name}": np.zeros(array.shape) for name, array in named_arrays(net.params).items()}
    off = {name: np.zeros(array.shape) for name, array in total.items()}
    for t in range(T):
        first = max(0, t - k + 1)
        state = rnncore.forward(net.params, net.inputs[:first], state=net.state).state
        for b in range(B):
            labels = np.full((t + 1 - first, 1), -1)
            labels[-1] = net.labels[t, b]  # type: ignore[index]
            window = with_changes(
                net,
                inputs=net.inputs[first : t + 1, b : b + 1],
                labels=labels,
                state=each_state(lambda array, b=b: array[b : b + 1], state),
            )
            found, bound = truncated(window, None), bounds(window, 2.0**-53)
            for name in total:
                total[name] += found[name]
                off[name] += bound[name]
    result = truncated(net, k)
    for name in total:
        assert (np.abs(result[name] - total[name]) <= (T * B + k + 4) / 3 * off[name] + off[name]).all(), name


@pytest.mark.parametrize("n", [0, 2, 5])
def test_the_double_loop_of_a_tutorial(n: int) -> None:
    """WildML's ``bptt`` with ``bptt_truncate=n`` has windows of n + 1 steps.

    Both take h and dy as they are; from there on each number passes at most ``roundings`` roundings, so the same loop
    over magnitudes bounds the error.
    """
    net = make_net(9, 1, 6, 5, 4, "float64", tokens=True, state=False)
    x, labels, params = net.inputs[:, 0], net.labels[:, 0], net.params  # type: ignore[index]
    out = rnncore.forward(params, x)
    _, dy = rnncore.cross_entropy(out.y, labels)
    h = np.concatenate([out.h, np.zeros((1, 5))])  # h[-1] is the state before the first step
    expected = double_loop(params.W_hh, params.W_hy, x, h, 1 - h**2, dy, n)
    most = double_loop(abs(params.W_hh), abs(params.W_hy), x, abs(h), 1 + h**2, abs(dy), n)
    roundings = (n + 1) * (5 + 4) + 4 + 9 * (n + 1)
    grads = rnncore.bptt(params, x, labels, truncate=n + 1).grads
    for name in expected:
        assert (np.abs(expected[name] - grads[name]) <= 2 * roundings * 2.0**-53 * most[name]).all(), name


def double_loop(W: Array, V: Array, x: Array, s: Array, slope: Array, delta_o: Array, n: int) -> Results:
    """The tutorial's loop, with the gradient of the bias, which it has none of."""
    dU, dW, dV, db = np.zeros((5, 6)), np.zeros_like(W), np.zeros_like(V), np.zeros(5)
    for t in reversed(range(len(x))):
        dV += np.outer(delta_o[t], s[t])
        delta_t = V.T.dot(delta_o[t]) * slope[t]
        for step in range(t, max(0, t - n) - 1, -1):
            dW += np.outer(delta_t, s[step - 1])
            dU[:, x[step]] += delta_t
            db += delta_t
            delta_t = W.T.dot(delta_t) * slope[step - 1]
    return {"W_xh": dU, "W_hh": dW, "W_hy": dV, "b_h": db}


def test_dstate_is_what_the_first_costs_send(engine: str) -> None:
    """J_0 ... J_(k-1), and no later one."""
    net = small(cell="lstm")
    found, labels = truncated(net, 3, engine), net.labels.copy()  # type: ignore[union-attr]
    labels[3:] = (labels[3:] + 1) % 4
    same = truncated(with_changes(net, labels=labels), 3, engine)
    for name in named_states("dstate", "lstm", net.state):
        assert_same_bits({name: found[name]}, {name: same[name]})
    assert (found["grads.W_hh"] != same["grads.W_hh"]).any()


@pytest.mark.parametrize("k", [2, 4])
def test_lists_offsets_and_padded_arrays_are_the_same(engine: str, k: int) -> None:
    net = small(cell="gru", lengths="ragged")
    assert net.lengths is not None
    assert net.labels is not None
    xs = [net.inputs[:n, b] for b, n in enumerate(net.lengths)]
    labels = [net.labels[:n, b] for b, n in enumerate(net.lengths)]
    options: dict[str, Any] = {"state": net.state, "truncate": k, "need_dinputs": True, "backend": engine}
    padded = rnncore.bptt(net.params, net.inputs, net.labels, lengths=net.lengths, **options)
    listed = rnncore.bptt(net.params, xs, labels, **options)
    offsets = np.concatenate([[0], np.cumsum(net.lengths)])
    flat = rnncore.bptt(net.params, np.concatenate(xs), np.concatenate(labels), offsets=offsets, **options)
    for b, n in enumerate(net.lengths):
        for name in ("losses", "dinputs"):
            expected = {name: getattr(padded, name)[:n, b]}
            assert_same_bits(expected, {name: getattr(listed, name)[b]})
            assert_same_bits(expected, {name: getattr(flat, name)[offsets[b] : offsets[b + 1]]})
    for other in (listed, flat):
        assert (other.loss, other.count) == (padded.loss, padded.count)
        expected = {"grads": padded.grads.flat, "dstate": padded.dstate, "state": padded.state}
        assert_same_bits(expected, {"grads": other.grads.flat, "dstate": other.dstate, "state": other.state})


def test_one_sequence_is_a_batch_of_one(engine: str) -> None:
    net = make_net(7, 1, 3, 5, 4, cell="lstm", layers=2)
    state = each_state(lambda array: array[:, 0], net.state)
    one = rnncore.bptt(net.params, net.inputs[:, 0], net.labels[:, 0], state=state, truncate=3, backend=engine)  # type: ignore[index]
    batch = truncated(net, 3, engine)
    assert_same_bits({"": batch["grads.W_hy"]}, {"": one.grads.W_hy})
    assert_same_bits({"": batch["losses"][:, 0]}, {"": one.losses})
    expected = named_states(
        "dstate", "lstm", each_state(lambda array: array[:, 0], (batch["dstate h"], batch["dstate c"]))
    )
    assert_same_bits(expected, named_states("dstate", "lstm", one.dstate))


def test_groups_of_windows_change_no_bit(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """However little is cut at once."""
    net = small(cell="gru", lengths="ragged", bidirectional=True)
    expected = truncated(net, 3, engine)
    for size in (1, 5000):
        monkeypatch.setattr(cuts, "GROUP", size)
        assert_same_bits(expected, truncated(net, 3, engine))


def test_threads_change_no_bit(fast_engine: str) -> None:
    net = make_net(20, 9, 3, 33, 4, cell="lstm")
    assert_same_bits(truncated(net, 7, fast_engine, threads=1), truncated(net, 7, fast_engine, threads=2))


def test_what_the_plain_call_says_stays() -> None:
    """J, losses, count and the last state do not depend on how far gradients go."""
    net = small(labels="some", lengths="ragged")
    plain, found = truncated(net, None), truncated(net, 2)
    for name in ("loss", "losses", "count", "state"):
        assert_same_bits({name: plain[name]}, {name: found[name]})


@pytest.mark.parametrize(
    ("k", "error", "message"),
    [
        (0, ValueError, "truncate must be at least 1, got 0"),
        (-3, ValueError, "truncate must be at least 1"),
        (True, TypeError, "truncate must be an integer"),
        (2.0, TypeError, "truncate must be an integer"),
        ("2", TypeError, "truncate must be an integer"),
    ],
)
def test_errors(k: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        truncated(small(), k)


def test_one_label_in_two_directions_is_refused() -> None:
    with pytest.raises(ValueError, match="truncate must be None for one label a sequence and a net of two directions"):
        truncated(last_label(small(bidirectional=True)), 2)


def test_nothing_is_computed_before_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def no(*_: object) -> None:
        raise AssertionError

    calls: Callable[..., None] = no
    monkeypatch.setattr(type(engine_of("numpy")), "forward", calls)
    with pytest.raises(ValueError, match="truncate"):
        truncated(small(), 0)
