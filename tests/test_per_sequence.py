"""per_sequence=: the gradient of each sequence is that of a call on it alone, to the bit."""

from typing import Any

import numpy as np
import pytest
from nets import Net, assert_same_bits, each_state, make_net, named_states
from test_truncate import KINDS

import rnncore
from rnncore import each as of_each
from rnncore.cells import CELLS
from rnncore.engines import current
from rnncore.losses import LOSSES

MORE_KINDS: dict[str, dict[str, Any]] = {
    **KINDS,
    "resets": {"resets": "some", "lengths": "ragged"},
    "several blocks": {"T": 300, "B": 2, "H": 3, "X": 2},
    "many sequences": {"T": 3, "B": 131, "H": 2, "X": 2, "lengths": "ragged"},
    "empty": {"lengths": "empty"},
}
each_kind = pytest.mark.parametrize("kind", MORE_KINDS)
each_cell = pytest.mark.parametrize("cell", CELLS)


def net_of(kind: str, cell: str = "gru") -> Net:
    return make_net(**{"T": 6, "B": 3, "X": 3, "H": 5, "V": 4, "cell": cell, **MORE_KINDS[kind]})


def options_of(net: Net) -> dict[str, Any]:
    return {
        "state": net.state,
        "lengths": net.lengths,
        "resets": net.resets,
        "dropout_masks": net.dropout_masks,
        "need_dinputs": net.need_dinputs,
    }


def call(net: Net, **more: Any) -> rnncore.results.BpttResult:
    return rnncore.bptt(net.params, net.inputs, net.labels, **options_of(net), **more)


def alone(net: Net, b: int, **more: Any) -> rnncore.results.BpttResult:
    """The call on sequence b by itself."""
    T = len(net.inputs) if net.lengths is None else int(net.lengths[b])
    masks = net.dropout_masks
    return rnncore.bptt(
        net.params,
        net.inputs[:T, b],
        net.labels[:T, b],
        state=each_state(lambda array: array[..., b, :], net.state),
        resets=None if net.resets is None else net.resets[:T, b],
        dropout_masks=None if masks is None else [mask[:T, b] if mask.ndim == 3 else mask[b] for mask in masks],
        **more,
    )


@each_cell
@each_kind
@pytest.mark.parametrize("truncate", [None, 2])
def test_each_gradient_is_that_of_the_sequence_alone(kind: str, cell: str, engine: str, truncate: int | None) -> None:
    net = net_of(kind, cell)
    if engine == "numpy" and net.inputs.shape[0] > 100 and (cell != "rnn" or truncate):
        pytest.skip("the definition is slow, and has shown it with another cell")
    rows = call(net, per_sequence=True, truncate=truncate, backend=engine).per_sequence
    assert rows is not None
    assert rows.grads is not None
    assert rows.norms is None
    B = net.inputs.shape[1]
    for b in range(B) if B < 100 else (0, 1, B - 2, B - 1):
        own = alone(net, b, truncate=truncate, backend=engine)
        assert_same_bits({"grads": own.grads.flat}, {"grads": rows.grads[b]}, f"{kind} {b}")
        assert own.loss == rows.loss[b]


@each_kind
def test_the_rest_is_the_plain_call(kind: str, engine: str) -> None:
    net = net_of(kind)
    if engine == "numpy" and net.inputs.shape[0] > 100:
        pytest.skip("the definition is slow")
    plain, rows = call(net, backend=engine), call(net, per_sequence=True, backend=engine)
    for result in (plain, rows):
        assert (result.loss, result.count) == (plain.loss, plain.count)
        assert_same_bits(named(net, result), named(net, plain), kind)


def named(net: Net, result: rnncore.results.BpttResult) -> dict[str, Any]:
    """Losses, states and the gradients with respect to inputs and initial states."""
    arrays = {"losses": result.losses, **named_states("state", net.params.cell, result.state)}
    arrays |= named_states("dstate", net.params.cell, result.dstate)
    return arrays if result.dinputs is None else {**arrays, "dinputs": result.dinputs}


@each_cell
@each_kind
def test_lengths_clipping_and_the_sum(kind: str, cell: str, fast_engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sum of the rows, each clipped by ``clip_by_norm``, b ascending; at once, by threads, and in groups."""
    net = net_of(kind, cell)
    rows = call(net, per_sequence=True, backend=fast_engine)
    assert rows.per_sequence is not None
    lengths = np.array([rnncore.optim.norm(row) for row in rows.per_sequence.grads])
    limit = float(np.median(lengths)) or 1.0
    summed = {wanted: sum_of([row.copy() for row in rows.per_sequence.grads], wanted) for wanted in (np.inf, limit)}
    assert_same_bits({"grads": rows.grads.flat}, {"grads": summed[np.inf]}, kind)

    def check(threads: int | None = None) -> None:
        norms = call(net, per_sequence="norms", backend=fast_engine, threads=threads)
        clipped = call(net, per_sequence="clipped", clip_norm=limit, backend=fast_engine, threads=threads)
        for result, wanted in ((norms, np.inf), (clipped, limit)):
            assert result.per_sequence is not None
            assert result.per_sequence.grads is None
            assert np.array_equal(result.per_sequence.norms, lengths)
            assert np.array_equal(result.per_sequence.loss, rows.per_sequence.loss)
            assert_same_bits({"grads": result.grads.flat}, {"grads": summed[wanted]}, kind)
            assert_same_bits(named(net, result), named(net, rows), kind)

    check()
    check(threads=3)
    monkeypatch.setattr(type(current(fast_engine)), "each", lambda *_: None)
    for bytes_at_once in (of_each.GROUP, 1, 3 * net.params.flat.nbytes):
        monkeypatch.setattr(of_each, "GROUP", bytes_at_once)
        check()


def sum_of(rows: list[Any], limit: float) -> Any:
    total = None
    for row in rows:
        if limit < np.inf:
            rnncore.optim.clip_by_norm(row, limit)
        total = row.copy() if total is None else total + row
    return total


@pytest.mark.parametrize("cell", ["rnn", "lstm"])
def test_one_label_a_sequence(cell: str, engine: str) -> None:
    numbers = np.random.default_rng(5)
    params = rnncore.init_params(cell, inputs=3, hidden=5, outputs=4, layers=2, bidirectional=True, dtype="float64")
    sequences = [numbers.normal(size=(T, 3)) for T in (4, 0, 7)]
    weights = np.array([0.5, 1.0, 2.0])
    rows = rnncore.bptt(params, sequences, [1, 2, 3], weights=weights, per_sequence=True, backend=engine).per_sequence
    assert rows is not None
    for b, (x, label) in enumerate(zip(sequences, (1, 2, 3), strict=True)):
        own = rnncore.bptt(params, x, label, weights=weights[b], backend=engine)
        assert_same_bits({"grads": own.grads.flat}, {"grads": rows.grads[b]}, f"{b}")
        assert own.loss == rows.loss[b]


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("batch", [(), (4,)])
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(
    "options",
    [
        {"per_sequence": "norms"},
        {"per_sequence": "clipped", "clip_norm": 1.0},
        {"per_sequence": True},
        {"checkpoint": 1},
    ],
    ids=str,
)
def test_arrays_without_steps_have_no_loss(
    options: dict[str, Any], loss: str, last: bool, batch: tuple[int, ...], bidirectional: bool, engine: str
) -> None:
    """With one label a step, which has none, and one a sequence, whose loss does not exist: as the plain call."""
    params = rnncore.init_params("gru", inputs=3, hidden=2, outputs=3, bidirectional=bidirectional, tokens=False)
    labels = np.full((*batch, 3) if last else (0, *batch, 3), 0.25, np.float32)
    inputs = np.zeros((0, *batch, 3), np.float32)
    plain = rnncore.bptt(params, inputs, labels, loss=loss, backend=engine)
    found = rnncore.bptt(params, inputs, labels, loss=loss, backend=engine, **options)
    assert (plain.loss, plain.count) == (found.loss, found.count) == (0, 0)
    assert not plain.losses.any()
    assert_same_bits({"losses": plain.losses}, {"losses": found.losses}, loss)
    assert not found.grads.flat.any()
    if found.per_sequence is not None:
        assert not found.per_sequence.loss.any()
        rnncore.gradient_flow(params, inputs, labels, loss=loss, backend=engine)


def test_one_sequence_and_arrays_one_after_the_other(engine: str) -> None:
    net = net_of("resets")
    b = int(net.lengths.argmax())
    one = alone(net, b, per_sequence=True, backend=engine)
    assert one.per_sequence.grads.shape == (1, net.params.flat.size)
    assert_same_bits({"grads": one.per_sequence.grads[0]}, {"grads": alone(net, b, backend=engine).grads.flat}, "one")
    xs = [net.inputs[:n, b] for b, n in enumerate(net.lengths)]
    ls = [net.labels[:n, b] for b, n in enumerate(net.lengths)]
    offsets = np.concatenate([[0], np.cumsum(net.lengths)])
    lists = rnncore.bptt(net.params, xs, ls, per_sequence=True, backend=engine)
    flat = rnncore.bptt(
        net.params, np.concatenate(xs), np.concatenate(ls), offsets=offsets, per_sequence=True, backend=engine
    )
    assert_same_bits({"grads": lists.per_sequence.grads}, {"grads": flat.per_sequence.grads}, "lists")
    assert repr(lists.per_sequence) == "PerSequence(3 sequences)"


def test_a_gradient_that_is_not_finite_has_no_length_and_is_not_shortened(engine: str) -> None:
    net = net_of("plain", "rnn")
    net.inputs[0, 1] = np.inf
    result = call(net, per_sequence="clipped", clip_norm=1e-3, backend=engine)
    assert np.isfinite(result.per_sequence.norms).tolist() == [True, False, True]
    assert not np.isfinite(result.grads.flat).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"per_sequence": "all"}, "per_sequence must be True, False, or one of 'norms', 'clipped', got str 'all'"),
        ({"per_sequence": 1}, "per_sequence must be True, False, or one of"),
        ({"per_sequence": None}, "per_sequence must be True, False, or one of"),
        ({"per_sequence": "clipped"}, "clip_norm must be given with per_sequence='clipped', and only then, got None"),
        ({"clip_norm": 1.0}, "clip_norm must be given with per_sequence='clipped', and only then, got float 1.0"),
        ({"per_sequence": "norms", "clip_norm": 1.0}, "clip_norm must be given with per_sequence='clipped'"),
        ({"per_sequence": "clipped", "clip_norm": 0.0}, "clip_norm must be greater than 0 and finite, got 0.0"),
        ({"per_sequence": "clipped", "clip_norm": np.inf}, "clip_norm must be greater than 0 and finite, got inf"),
        ({"per_sequence": "clipped", "clip_norm": np.nan}, "clip_norm must be greater than 0 and finite, got nan"),
    ],
)
def test_what_is_wrong_is_said(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match="^" + message.replace("(", r"\(")):
        call(net_of("plain"), **options)
