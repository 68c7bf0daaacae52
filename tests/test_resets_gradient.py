"""The gradient of sequences with resets is that of their pieces: exactly, against 50 digits, and within a bound."""

from functools import cache
from itertools import pairwise
from typing import Any

import mpmath
import numpy as np
import pytest
from literal import DIGITS, Gradients, OneSequence, differentiate, exact
from nets import Array, Net, Results, as_states, each_state, make_net, named_states, run_bptt, run_parts, with_changes
from rounding import bounds, grid

import rnncore
from rnncore.cells import CELLS

SMALL: dict[str, Any] = {"T": 9, "B": 2, "X": 3, "H": 5, "V": 4, "resets": "some"}
NETS: dict[str, dict[str, Any]] = {
    "small": SMALL,
    "tokens": {**SMALL, "tokens": True},
    "distributions": {**SMALL, "labels": "distributions"},
    "nearly every step": {**SMALL, "resets": "most"},
    "the first steps": {**SMALL, "T": 4, "resets": "first"},
    "own loss": {**SMALL, "own_loss": True},
}
EACH_CELL = pytest.mark.parametrize("cell", CELLS)
Piece = tuple[int, int, int]
"""Of sequence b the steps [start, stop)."""


def pieces(resets: Array) -> list[Piece]:
    """The pieces of all sequences of a full grid, sequence after sequence."""
    T, found = len(resets), []
    for b in range(resets.shape[1]):
        cuts = [0, *(t for t in range(1, T) if resets[t, b]), T]
        found += [(b, start, stop) for start, stop in pairwise(cuts)]
    return found


def net_of_piece(net: Net, piece: Piece) -> Net:
    """A piece as a net of its own: from zero where it begins with a reset, without dstate where others follow."""
    b, start, stop = piece
    assert net.resets is not None
    names = [name for name in ("inputs", "labels", "dh") if getattr(net, name) is not None]
    arrays = {name: getattr(net, name)[start:stop, [b]] for name in names}
    state = None if net.resets[start, b] else each_state(lambda array: array[[b]], net.state)
    dstate = each_state(lambda array: array[[b]], net.dstate) if stop == len(net.resets) else None
    return with_changes(net, **arrays, resets=None, state=state, dstate=dstate)


def run_gradients(net: Net, engine: str) -> Results:
    """Of bptt, or of backward for a loss of the user's own as well."""
    call, results = ("backward ", run_parts(net, engine)) if net.own_loss else ("bptt ", run_bptt(net, engine))
    return {name.removeprefix(call): array for name, array in results.items() if name.startswith(call)}


# Against the double sum in 50 digits, piece by piece.


@cache
def truth(cell: str, name: str) -> tuple[Results, Results]:
    """The gradients, and how far rounding may carry each from them."""
    net = make_net(dtype="float64", cell=cell, **NETS[name])
    assert net.resets is not None
    cut = pieces(net.resets)
    with mpmath.workdps(DIGITS):
        found = [literally(net_of_piece(net, piece)) for piece in cut]
        allowed = [bounds(net_of_piece(net, piece), 2.0**-53) for piece in cut]
        weights = {f"grads.{n}": sum(one.weights[n] for one in found) for n in found[0].weights}
        weights["loss"] = np.array(sum(one.J for one in found))
        return weights | of_places(net, cut, found), allowed_of(net, cut, allowed, [*weights])


def literally(net: Net) -> Gradients:
    g = grid(net)
    x, labels, dh = ([exact(step) for step in (array[0, 0], *array[:, 0])] for array in (g.x, g.l, g.dh))
    s_0, dstate = (exact(np.concatenate([array[0] for array in arrays])) for arrays in (g.states, g.dstates))
    weights = {name: exact(array) for name, array in g.w.items()}
    return differentiate(net.params.cell, weights, OneSequence(x, labels, dh, s_0, dstate))


def of_places(net: Net, cut: list[Piece], found: list[Gradients]) -> Results:
    """dinputs (T, B, X), and dstate of the first pieces, zero where these begin with a reset."""
    assert net.resets is not None
    T, B = net.resets.shape
    dinputs, first = np.empty((T, B, net.params.inputs), object), np.zeros((B, len(found[0].ds_0)), object)
    for (b, start, stop), one in zip(cut, found, strict=True):
        dinputs[start:stop, b] = one.dx[1:]
        if start == 0 and not net.resets[0, b]:
            first[b] = one.ds_0
    by_state = np.split(first, len(CELLS[net.params.cell].states), axis=1)
    return {"dinputs": dinputs} | named_states("dstate", net.params.cell, as_states(by_state))


def allowed_of(net: Net, cut: list[Piece], each: list[Results], of_sums: list[str]) -> Results:
    """The bound of a sum over all N steps, from those of its pieces.

    ``rounding.bounds`` lets a sum over the n steps of a piece be off by (n + 2) u of its terms' magnitudes, and by what
    is in the terms. In the sum over all steps the same terms may be off by (N + 2) u: (N + 2) / (n + 2) times as much
    at most.
    """
    T, B = net.resets.shape
    share = [(T * B + 2) / (stop - start + 2) for _, start, stop in cut]
    allowed = {n: sum(k * one[n] for k, one in zip(share, each, strict=True)) for n in of_sums}
    allowed["dinputs"] = np.empty((T, B, net.params.inputs))
    for (b, start, stop), one in zip(cut, each, strict=True):
        allowed["dinputs"][start:stop, b] = one["dinputs"][:, 0]
    for name in [n for n in each[0] if n.startswith("dstate")]:
        first = [one[name][0] for (_, start, _), one in zip(cut, each, strict=True) if start == 0]
        allowed[name] = np.where(net.resets[0][:, None], 0, first)
    return allowed


@pytest.mark.parametrize("name", NETS)
@EACH_CELL
def test_literal(cell: str, name: str, engine: str) -> None:
    """Every element within what ``rounding`` derives for it; 1 % for the terms in u^2."""
    expected, allowed = truth(cell, name)
    found = run_gradients(make_net(dtype="float64", cell=cell, **NETS[name]), engine)
    for array in expected.keys() & found.keys():
        with mpmath.workdps(DIGITS):
            error = np.asarray(abs(exact(found[array]) - expected[array])).astype(np.float64)
        assert (error <= 1.01 * allowed[array]).all(), array


# Against the sum over the pieces, by the same engine.


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", NETS)
@EACH_CELL
def test_the_sum_over_the_pieces(cell: str, name: str, dtype: str, engine: str) -> None:
    """The terms are the same to the bit, and both sums are within the same bound of the exact one.

    A term of a piece of n steps meets (n + 2) roundings there, and P - 1 where P pieces are added. All pieces have a
    step, so that n + 2 + P - 1 is at most N + 2, with N for all steps, as in the sum over these.
    """
    net = make_net(dtype=dtype, cell=cell, **NETS[name])
    assert net.resets is not None
    cut = pieces(net.resets)
    nets = [net_of_piece(net, piece) for piece in cut]
    names = [f"grads.{array}" for array in net.params.names()]
    each = [bounds(piece, float(np.finfo(dtype).eps) / 2) for piece in nets]
    allowed = allowed_of(net, cut, each, names)
    whole, parts = run_gradients(net, engine), [run_gradients(piece, engine) for piece in nets]
    for array in names:
        together = sum(part[array].astype(np.float64) for part in parts)
        assert (abs(whole[array] - together) <= 1.01 * 2 * allowed[array]).all(), array


def test_whole_numbers_are_added_exactly(engine: str) -> None:
    """Where no sum is rounded, its order does not matter: the gradient is the sum over the pieces to the bit."""
    numbers = np.random.default_rng(1)
    T, B, X, H, V = 12, 5, 3, 6, 2
    arrays = {"W_xh": (H, X), "W_hh": (H, H), "W_hy": (V, H), "b_h": (H,), "b_y": (V,)}
    whole = {name: numbers.integers(-1, 2, shape).astype(np.float64) for name, shape in arrays.items()}
    whole["W_hh"] *= np.arange(H) % 3 == 0  # so that numbers stay small
    params = rnncore.Params("rnn_relu", **whole)
    inputs, labels = numbers.integers(-2, 3, (T, B, X)) * 1.0, numbers.integers(-2, 3, (T, B, V)) * 1.0
    state, resets = numbers.integers(0, 3, (B, H)) * 1.0, numbers.random((T, B)) < 0.4
    given = {"loss": "squared_error", "backend": engine}
    found = rnncore.bptt(params, inputs, labels, state=state, resets=resets, **given)
    loss, total = 0.0, np.zeros_like(params.flat)
    for b, start, stop in pieces(resets):
        own = None if resets[start, b] else state[b]
        part = rnncore.bptt(params, inputs[start:stop, b], labels[start:stop, b], state=own, **given)
        loss, total = loss + part.loss, total + part.grads.flat
    assert 0 < np.abs(total).max() < 2**40
    assert np.array_equal(found.grads.flat, total)
    assert found.loss == loss
