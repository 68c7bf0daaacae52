"""checkpoint=: the same bits in less memory."""

from typing import Any

import numpy as np
import pytest
from nets import Net, assert_same_bits
from test_per_sequence import MORE_KINDS, call, named, net_of

import rnncore
from rnncore import checkpoint
from rnncore.cells import CELLS

KINDS = list(MORE_KINDS)


def assert_same_results(net: Net, found: Any, wanted: Any, name: str) -> None:
    assert (found.loss, found.count) == (wanted.loss, wanted.count)
    assert_same_bits(
        {**named(net, found), "grads": found.grads.flat}, {**named(net, wanted), "grads": wanted.grads.flat}, name
    )


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("kind", KINDS)
def test_the_bits_are_those_of_the_plain_call(kind: str, cell: str, engine: str) -> None:
    net = net_of(kind, cell)
    if engine == "numpy" and net.inputs.shape[0] > 100 and cell != "rnn":
        pytest.skip("the definition is slow, and has shown it with another cell")
    plain = call(net, backend=engine)
    for every in (1, 130, "auto"):
        assert_same_results(net, call(net, checkpoint=every, backend=engine), plain, f"{kind} {every}")


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


def test_lists_and_arrays_one_after_the_other(fast_engine: str) -> None:
    net = net_of("resets")
    pieces = [slice(0, int(n)) for n in net.lengths]
    xs, ls, rs = ([array[p, b] for b, p in enumerate(pieces)] for array in (net.inputs, net.labels, net.resets))
    for arguments in (
        ((xs, ls), {"resets": rs}),
        (
            (np.concatenate(xs), np.concatenate(ls)),
            {"resets": np.concatenate(rs), "offsets": np.concatenate([[0], np.cumsum(net.lengths)])},
        ),
    ):
        (x, labels), more = arguments
        more = {**more, "state": net.state, "need_dinputs": net.need_dinputs, "backend": fast_engine}
        plain, found = (rnncore.bptt(net.params, x, labels, checkpoint=n, **more) for n in (None, 1))
        assert_same_bits({"grads": found.grads.flat}, {"grads": plain.grads.flat}, "grads")
        for name in ("losses", "dinputs"):
            a, b = (
                np.concatenate(getattr(r, name)) if more.keys() & {"offsets"} == set() else getattr(r, name)
                for r in (found, plain)
            )
            assert_same_bits({name: a}, {name: b}, name)


def test_memory_grows_with_the_root_of_the_length(monkeypatch: pytest.MonkeyPatch) -> None:
    """No call of the engine sees more steps than a piece has, and there are about as many pieces as steps in one."""
    params = rnncore.init_params("rnn", inputs=2, hidden=3, outputs=2, tokens=True)
    tokens, seen = np.arange(20_000) % 2, []
    take = checkpoint.Piece.take
    monkeypatch.setattr(
        checkpoint.Piece, "take", lambda piece, x: seen.append(piece.end - piece.start) or take(piece, x)
    )
    rnncore.bptt(params, tokens, tokens, checkpoint="auto")
    assert max(seen) == 256  # two blocks: the root is 141
    assert len(seen) <= 3 * (20_000 // 256 + 1)


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


def test_two_directions_and_labels_of_sequences_are_refused() -> None:
    net = net_of("directions")
    with pytest.raises(ValueError, match=r"^checkpoint must be None for a net of two directions: the reverse one"):
        call(net, checkpoint=2)
    net = net_of("plain")
    with pytest.raises(ValueError, match=r"^checkpoint must be None for one label a sequence: give one a step"):
        rnncore.bptt(net.params, net.inputs, net.labels[0], checkpoint=2)
