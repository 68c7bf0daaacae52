"""With resets every engine equals NumPy to the last bit; resets come in any layout, and forward keeps a copy."""

import copy
import pickle
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
from nets import (
    Array,
    Net,
    Numbers,
    Results,
    assert_same_bits,
    given,
    gradients,
    make_net,
    named_states,
    reference,
    run,
    with_changes,
)

import rnncore
from rnncore.cells import CELLS
from rnncore.engines import engines
from rnncore.losses import LOSSES

SMALL: dict[str, Any] = {"T": 8, "B": 5, "X": 4, "H": 7, "V": 3, "resets": "some"}
RESET: dict[str, dict[str, Any]] = {
    "a batch": {**SMALL, "own_loss": True},
    "ragged": {**SMALL, "B": 9, "lengths": "ragged", "labels": "some"},
    "tokens, ragged": {**SMALL, "B": 9, "lengths": "ragged", "tokens": True},
    "distributions": {**SMALL, "labels": "distributions"},
    "no initial state": {**SMALL, "state": False},
    "one sequence": {**SMALL, "T": 30, "B": 1},
    "nearly every step": {**SMALL, "resets": "most", "own_loss": True},
    "every step": {**SMALL, "resets": "all", "own_loss": True},
    "the first steps": {**SMALL, "resets": "first", "lengths": "ragged", "own_loss": True},
    "one step": {**SMALL, "T": 1, "resets": "first", "own_loss": True},
    "no outputs": {**SMALL, "V": 0, "own_loss": True},
    "two layers": {**SMALL, "layers": 2, "own_loss": True},
    "two layers, ragged tokens": {**SMALL, "B": 9, "layers": 2, "lengths": "ragged", "tokens": True},
    "two layers, masks": {**SMALL, "layers": 2, "dropout": True, "lengths": "ragged"},
    "around vectors": {**SMALL, "H": 17, "V": 9, "B": 2},
    "blocks of several steps": {**SMALL, "T": 9, "B": 33, "H": 3, "lengths": "ragged"},
    "blocks of several steps, two layers": {**SMALL, "T": 70, "B": 5, "H": 3, "layers": 2},
    "blocks within a step": {**SMALL, "T": 3, "B": 129, "H": 3, "X": 2, "own_loss": True},
    "blocks within a step, ragged, two layers": {
        **{**SMALL, "T": 4, "B": 129, "H": 3, "X": 2, "layers": 2, "lengths": "ragged"}
    },
}
"""What is tried of every cell."""
SHARED = {
    f"{layers} layers, B = {B}": {"T": 3, "B": B, "X": 2, "H": 256, "V": 2, "layers": layers, "resets": "some"}
    for layers in (1, 2)
    for B in (1, 2)
}
"""Nets whose hidden units are shared between threads."""
BOTH = pytest.mark.parametrize("dtype", ["float32", "float64"])
EACH_CELL = pytest.mark.parametrize("cell", CELLS)


@lru_cache(maxsize=4)
def net_of(cell: str, name: str, dtype: str) -> tuple[Net, Results]:
    net = make_net(dtype=dtype, cell=cell, **{**RESET, **SHARED}[name])
    assert net.resets is not None
    assert net.resets.any()
    return net, reference(net)


def threads_of(engine: str) -> tuple[int | None, ...]:
    """How many to try; the other columns have one thread."""
    return (1, 2, 3) if engine.startswith("cpp") else (None,)


@BOTH
@pytest.mark.parametrize("name", RESET)
@EACH_CELL
def test_agreement(cell: str, name: str, dtype: str, fast_engine: str) -> None:
    net, expected = net_of(cell, name, dtype)
    for threads in threads_of(fast_engine):
        assert_same_bits(expected, run(net, fast_engine, threads), cell)


@BOTH
@pytest.mark.parametrize("name", SHARED)
@EACH_CELL
def test_agreement_of_threads_that_share_hidden_units(cell: str, name: str, dtype: str, fast_engine: str) -> None:
    net, expected = net_of(cell, name, dtype)
    for threads in threads_of(fast_engine):
        assert_same_bits(expected, run(net, fast_engine, threads), cell)


# One label a sequence, losses and weights: what else bptt takes beside resets.


def run_loss(net: Net, loss: str, last: bool, weighted: bool, engine: str, threads: int | None = None) -> Results:
    """bptt with any loss, with weights, some of them 0, and one label a step or a sequence."""
    (T, B), V, numbers = net.inputs.shape[:2], net.params.outputs, Numbers(5)
    shape = (B,) if last else (T, B)
    classes = LOSSES[loss].classes
    labels = numbers.below(V, *shape) if classes else numbers.fractions(*shape, V).astype(net.params.dtype)
    weights = numbers.fractions(*shape) * (numbers.below(3, *shape) > 0) if weighted else None
    result = rnncore.bptt(
        net.params, net.inputs, labels, **given(net), loss=loss, weights=weights, need_dinputs=net.need_dinputs,
        backend=engine, threads=threads,
    )  # fmt: skip
    results = {"loss": np.array(result.loss), "losses": result.losses, "count": np.array(result.count)}
    return results | named_states("state", net.params.cell, result.state) | gradients("bptt", result)


@lru_cache(maxsize=4)
def loss_reference(cell: str, name: str, loss: str, last: bool, dtype: str) -> Results:
    return run_loss(net_of(cell, name, dtype)[0], loss, last, dtype == "float64", "numpy")


@pytest.mark.parametrize("name", ["ragged", "two layers", "blocks within a step"])
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("loss", LOSSES)
@EACH_CELL
def test_agreement_of_losses(cell: str, loss: str, last: bool, name: str, fast_engine: str) -> None:
    for dtype, weighted in (("float32", False), ("float64", True)):
        net = net_of(cell, name, dtype)[0]
        expected = loss_reference(cell, name, loss, last, dtype)
        for threads in threads_of(fast_engine):
            assert_same_bits(expected, run_loss(net, loss, last, weighted, fast_engine, threads), cell)


# What forward keeps: other engines, copies, and changes of the user's own array.


@EACH_CELL
def test_any_engine_goes_back_from_any_forward(cell: str, engine: str) -> None:
    net, expected = net_of(cell, "two layers, masks", "float32")
    out = rnncore.forward(net.params, net.inputs, **given(net), backend=engine)
    for other in engines():
        back = rnncore.backward(
            net.params, out, dy=expected["cross_entropy dy"], need_dinputs=True, backend=other
        )  # fmt: skip
        found = gradients("backward", back)
        assert_same_bits({name: expected[name] for name in found}, found, f"{cell}, back by {other}")


def test_copies_of_a_result_go_back_as_well(engine: str) -> None:
    for form in ("grid", "one", "list", "flat"):
        params, inputs, given_ = call_of(form)
        out = rnncore.forward(params, inputs, **given_, backend=engine)
        dh = [np.ones_like(h) for h in out.h] if form == "list" else np.ones_like(out.h)
        expected = rnncore.backward(params, out, dh=dh, backend=engine).grads.flat
        plain = {name: value for name, value in given_.items() if name != "resets"}
        without = rnncore.backward(params, rnncore.forward(params, inputs, **plain, backend=engine), dh=dh).grads.flat
        assert not np.array_equal(expected, without)
        for again in (pickle.loads(pickle.dumps(out)), copy.deepcopy(out), copy.copy(out)):
            found = rnncore.backward(params, again, dh=dh, backend=engine).grads.flat
            assert_same_bits({form: expected}, {form: found})
            assert repr(again) == repr(out)


def call_of(form: str) -> tuple[rnncore.Params, Any, dict[str, Any]]:
    """The same sequences in each form; of "one" the first."""
    net = make_net(6, 3, 2, 5, 0, own_loss=True)
    lengths, resets = np.array([6, 0, 4]), np.zeros((6, 3), bool)
    resets[3, 0] = resets[[1, 2], 2] = True
    if form == "grid":
        return net.params, net.inputs, {"resets": resets, "lengths": lengths}
    if form == "one":
        return net.params, net.inputs[:, 0], {"resets": resets[:, 0]}
    inputs, each = ([array[:n, b] for b, n in enumerate(lengths)] for array in (net.inputs, resets))
    if form == "list":
        return net.params, inputs, {"resets": each}
    return net.params, np.concatenate(inputs), {"resets": np.concatenate(each), "offsets": [0, 6, 6, 10]}


def test_later_changes_of_the_array_change_nothing(engine: str) -> None:
    """forward keeps a copy of resets, as of all that it was given."""
    net = make_net(6, 3, 2, 5, 0, own_loss=True, resets="some")
    resets = net.resets.copy()
    expected = run(net, engine)["backward grads.W_hh"]
    out = rnncore.forward(net.params, net.inputs, state=net.state, resets=resets, backend=engine)
    resets[:] = ~resets
    back = rnncore.backward(net.params, out, dh=net.dh, dstate=net.dstate, backend=engine)
    assert_same_bits({"W_hh": expected}, {"W_hh": back.grads.W_hh})


WAYS = {
    "Fortran order": np.asfortranarray,
    "with gaps": lambda array: np.repeat(array, 2, axis=0)[::2],
    "reversed and back": lambda array: array[::-1].copy()[::-1],
    "read-only": lambda array: read_only(array),
    "a list of lists": lambda array: array.tolist(),
    "a subclass": lambda array: array.view(Subclass),
    "2 for True": lambda array: (2 * array.astype(np.uint8)).view(bool),
}


class Subclass(np.ndarray):
    pass


def read_only(array: Array) -> Array:
    array = array.copy()
    array.flags.writeable = False
    return array


@pytest.mark.parametrize("lengths", ["full", "ragged"])
@pytest.mark.parametrize("way", WAYS)
def test_resets_come_in_any_layout(way: str, lengths: str, engine: str) -> None:
    net = make_net(6, 3, 2, 5, 2, resets="some", lengths=lengths)
    assert_same_bits(run(net, engine), run(with_changes(net, resets=WAYS[way](net.resets)), engine))
