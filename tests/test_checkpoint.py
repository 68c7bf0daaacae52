"""checkpoint=: the same bits in less memory."""

import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st
from laws import law
from nets import Array, Net, Numbers, assert_same_bits, given, make_net, with_changes
from test_per_sequence import MORE_KINDS, call, named, options_of

import rnncore
from rnncore import timeline
from rnncore.cells import CELLS
from rnncore.engines import engine as engine_of
from rnncore.problem import DEFAULT

KINDS: dict[str, dict[str, Any]] = {
    **MORE_KINDS,
    "directions, blocks": {"T": 300, "B": 2, "H": 3, "X": 2, "bidirectional": True, "lengths": "ragged"},
    "directions, tokens": {"T": 140, "B": 3, "layers": 2, "bidirectional": True, "tokens": True},
    "directions, full": {"layers": 3, "bidirectional": True, "dropout": True, "state": False},
    "directions, many": {"T": 3, "B": 131, "H": 2, "X": 2, "bidirectional": True, "lengths": "ragged"},
    "directions, empty": {"bidirectional": True, "lengths": "empty"},
    "layers, resets": {"layers": 2, "resets": "some", "lengths": "ragged"},
}
SIZES = {"T": 6, "B": 3, "X": 3, "H": 5, "V": 4}


def net_of(kind: str, cell: str = "gru") -> Net:
    return make_net(**{**SIZES, "cell": cell, **KINDS[kind]})


def with_one_label(net: Net) -> Net:
    """The same net with one label a sequence."""
    assert net.labels is not None
    return with_changes(
        net, labels=net.labels[-1] if len(net.labels) else np.zeros_like(net.labels, shape=net.labels.shape[1:])
    )


def assert_same_results(net: Net, found: Any, wanted: Any, name: str) -> None:
    assert (found.loss, found.count) == (wanted.loss, wanted.count)
    assert_same_bits(all_of(net, found), all_of(net, wanted), name)


def all_of(net: Net, result: Any) -> dict[str, Array]:
    """The arrays of a result, and lists as arrays."""
    arrays = {**named(net, result), "grads": result.grads.flat}
    return {name: np.concatenate(array) if isinstance(array, list) else array for name, array in arrays.items()}


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("labels", ["each step", "each sequence"])
def test_the_bits_are_those_of_the_plain_call(kind: str, cell: str, labels: str, engine: str) -> None:
    net = net_of(kind, cell)
    if engine == "numpy" and net.inputs.shape[0] > 100 and cell != "rnn":
        pytest.skip("the definition is slow, and has shown it with another cell")
    net = with_one_label(net) if labels == "each sequence" else net
    plain = call(net, backend=engine)
    for every in (1, 130, "auto"):
        assert_same_results(net, call(net, checkpoint=every, backend=engine), plain, f"{kind} {every}")


@law(layers=2, bidirectional=True, dropout=True, resets="none", own_loss=False)
def test_two_directions_by_chance(net: Net, backend: str, data: st.DataObject) -> None:
    by_chance(net, backend, data)


@law(layers=2, dropout=True, own_loss=False)
def test_one_direction_by_chance(net: Net, backend: str, data: st.DataObject) -> None:
    by_chance(net, backend, data)


def by_chance(net: Net, backend: str, data: st.DataObject) -> None:
    """With weights, one label a sequence or a step, and any number of threads."""
    last = data.draw(st.booleans())
    net, lead = (with_one_label(net) if last else net), net.inputs.shape[last:2]
    more: dict[str, Any] = {"backend": backend, "threads": data.draw(st.sampled_from((1, 3)))}
    if data.draw(st.booleans()):
        more["weights"] = np.where(Numbers(5).below(3, *lead) == 0, 0, Numbers(6).fractions(*lead))
    plain, found = call(net, **more), call(net, **more, checkpoint=data.draw(st.integers(1, 9)))
    assert_same_results(net, found, plain, "by chance")


@pytest.mark.parametrize("loss", rnncore.losses.LOSSES)
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("threads", [1, 3])
def test_losses_weights_and_threads(loss: str, bidirectional: bool, last: bool, threads: int, fast_engine: str) -> None:
    net = make_net(150, 3, 17, 19, 2, cell="lstm", layers=2, bidirectional=bidirectional, lengths="ragged")
    numbers, lead = np.random.default_rng(3), (3,) if last else (150, 3)
    labels = numbers.random((*lead, 2))
    more = {**options_of(net), "weights": numbers.random(lead) - 0.3, "backend": fast_engine, "loss": loss}
    more["weights"] = more["weights"].clip(0)
    labels = labels / labels.sum(-1, keepdims=True)
    plain, found = (
        rnncore.bptt(net.params, net.inputs, labels.astype(np.float32), **more, threads=threads, checkpoint=n)
        for n in (None, 50)
    )
    assert_same_results(net, found, plain, loss)


@pytest.mark.parametrize("B", [1, 2, 40, 64, 129])
def test_pieces_are_whole_blocks_whatever_the_batch(B: int, fast_engine: str) -> None:
    """Sums over steps are cut at 128 rows, so a piece must not end elsewhere."""
    numbers = np.random.default_rng(B)
    params = rnncore.init_params("lstm", inputs=3, hidden=4, outputs=2, seed=1)
    x, labels = numbers.normal(size=(400 // B + 5, B, 3)), numbers.integers(-1, 2, (400 // B + 5, B))
    lengths = numbers.integers(0, len(x) + 1, B)
    plain = rnncore.bptt(params, x, labels, lengths=lengths, backend=fast_engine)
    for every in (1, 3, 7):
        found = rnncore.bptt(params, x, labels, lengths=lengths, checkpoint=every, backend=fast_engine)
        assert_same_bits({"grads": found.grads.flat}, {"grads": plain.grads.flat}, f"{every}")
        assert found.loss == plain.loss


@pytest.mark.parametrize("kind", ["resets", "layers, resets", "directions", "directions, blocks"])
@pytest.mark.parametrize("last", [False, True])
def test_lists_and_arrays_one_after_the_other(kind: str, last: bool, fast_engine: str) -> None:
    net = net_of(kind)
    pieces = [slice(0, int(n)) for n in net.lengths]
    xs, ls = ([array[p, b] for b, p in enumerate(pieces)] for array in (net.inputs, net.labels))
    ls = list(net.labels[-1]) if last else ls
    as_list: dict[str, Any] = {"inputs": xs, "labels": ls}
    as_flat = {"inputs": np.concatenate(xs), "labels": np.array(ls) if last else np.concatenate(ls)}
    as_flat["offsets"] = np.concatenate([[0], np.cumsum(net.lengths)])
    if net.resets is not None:
        as_list["resets"] = [net.resets[p, b] for b, p in enumerate(pieces)]
        as_flat["resets"] = np.concatenate(as_list["resets"])
    for arguments in (as_list, as_flat):
        more = {**arguments, "state": net.state, "need_dinputs": net.need_dinputs, "backend": fast_engine}
        plain, found = (rnncore.bptt(net.params, checkpoint=n, **more) for n in (None, 1))
        assert_same_results(net, found, plain, kind)


@pytest.mark.parametrize("kind", ["plain", "directions, full", "layers, resets"])
@pytest.mark.parametrize("last", [False, True])
def test_one_sequence_without_an_axis_for_it(kind: str, last: bool, engine: str) -> None:
    net = net_of(kind, "lstm")
    T = len(net.inputs) if net.lengths is None else int(net.lengths.max())
    b = 0 if net.lengths is None else int(net.lengths.argmax())
    more: dict[str, Any] = {"need_dinputs": True, "backend": engine}
    more["dropout_masks"] = net.dropout_masks and [mask[:T, b] for mask in net.dropout_masks]
    more["resets"] = None if net.resets is None else net.resets[:T, b]
    more["state"] = net.state and tuple(array[..., b, :] for array in net.state)
    labels = net.labels[T - 1, b] if last else net.labels[:T, b]
    plain, found = (rnncore.bptt(net.params, net.inputs[:T, b], labels, checkpoint=n, **more) for n in (None, 1))
    assert_same_results(net, found, plain, kind)


def test_integers_of_two_axes_are_what_the_labels_say(engine: str) -> None:
    params = rnncore.init_params("gru", inputs=3, hidden=4, outputs=3, bidirectional=True, seed=1)
    tokens = Numbers(1).below(3, 5, 2)
    assert params.tokens is None
    plain, found = (rnncore.bptt(params, tokens, tokens, checkpoint=n, backend=engine) for n in (None, 64))
    assert_same_bits({"grads": found.grads.flat}, {"grads": plain.grads.flat}, "tokens")


def test_a_reset_sends_nothing_not_even_a_zero(engine: str) -> None:
    """What is carried back past a reset is -0, also where a piece begins with the reset; a first step gives +0."""
    params = rnncore.init_params("lstm", inputs=1, hidden=3, outputs=2, seed=1)
    x, labels, resets = np.ones((2, 129, 1), np.float32), np.ones(129, np.int64), np.repeat([[False], [True]], 129, 1)
    plain, found = (rnncore.bptt(params, x, labels, resets=resets, checkpoint=n, backend=engine) for n in (None, 1))
    assert np.signbit(plain.dstate[1]).all()
    assert_same_bits({"c": found.dstate[1]}, {"c": plain.dstate[1]}, "dstate")


@pytest.mark.parametrize("kind", ["plain", "layers", "directions", "layers, directions"])
@pytest.mark.parametrize("own", ["dy", "dh"])
def test_sums_of_backward_go_on_from_later_ones(kind: str, own: str, engine: str) -> None:
    """Also those of an output layer through which nothing comes."""
    net, found = net_of(kind), {}
    later = Numbers(9).symmetric(1.0, net.params.flat.size).astype(net.params.dtype)
    for name in ("numpy", engine):
        out = rnncore.forward(net.params, net.inputs, **given(net), backend=name)
        array = Numbers(8).symmetric(1.0, *(out.y if own == "dy" else out.h).shape).astype(net.params.dtype)
        dy, dh = (array, None) if own == "dy" else (None, array)
        grads, *_ = engine_of(name).backward(out._kept, net.params.flat, dy, dh, None, DEFAULT, later)
        found[name] = {"grads": grads}
        assert own == "dy" or (net.params._like(grads).b_y == net.params._like(later).b_y).all()
    assert_same_bits(found[engine], found["numpy"], kind)


def test_what_the_core_is_given_must_be_canonical() -> None:
    core = engine_of("cpp")
    flat, h, labels = np.zeros(6, np.float32), np.zeros((4, 2), np.float32), np.zeros(4, np.int64)
    with pytest.raises(ValueError, match=r"^the arguments of outputs must be canonical"):
        core.outputs(flat, h, labels[:3], None, DEFAULT)
    with pytest.raises(ValueError, match=r"^what the steps after give must be canonical"):
        core.outputs(flat, h, labels, None, DEFAULT, flat[:5])


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("last", [False, True])
def test_no_call_of_the_engine_has_more_steps_than_a_piece(
    bidirectional: bool, last: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And there are about as many pieces as steps in one."""
    params = rnncore.init_params("rnn", inputs=2, hidden=3, outputs=2, tokens=True, bidirectional=bidirectional)
    tokens, seen = np.arange(20_000) % 2, []
    take = timeline.Piece.take
    monkeypatch.setattr(
        timeline.Piece, "take", lambda piece, *x: seen.append(piece.end - piece.start) or take(piece, *x)
    )
    rnncore.bptt(params, tokens, 1 if last else tokens, checkpoint="auto")
    assert max(seen) == 256  # two blocks: the root is 141
    assert len(seen) <= (8 if bidirectional else 3) * (20_000 // 256 + 1)


@pytest.mark.parametrize(("last", "most"), [(False, 3), (True, 2)])
def test_two_directions_keep_what_layers_give_and_no_tape(last: bool, most: int) -> None:
    """Of two layers 2H numbers a step, and one gradient of these; nothing of the last layer if only its end is read."""
    T, H = 20_000, 32
    params = rnncore.init_params("lstm", inputs=2, hidden=H, outputs=2, tokens=True, layers=2, bidirectional=True)
    tokens = np.arange(T) % 2
    tracemalloc.start()
    rnncore.bptt(params, tokens, 1 if last else tokens, checkpoint="auto")
    bytes_at_once = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert bytes_at_once < (most + 0.5) * T * 2 * H * params.flat.itemsize


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"checkpoint": 0}, ValueError, "checkpoint must be at least 1, got 0"),
        ({"checkpoint": 2.0}, TypeError, "checkpoint must be an integer, got float 2.0"),
        ({"checkpoint": "some"}, TypeError, "checkpoint must be an integer or 'auto', got str 'some'"),
        ({"checkpoint": 2, "truncate": 3}, ValueError, "checkpoint must be None where truncate is asked for"),
        (
            {"checkpoint": 2, "per_sequence": True},
            ValueError,
            "checkpoint must be None where per_sequence is asked for",
        ),
    ],
)
def test_what_is_wrong_is_said(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match="^" + message):
        call(net_of("plain"), **options)
