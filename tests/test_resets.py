"""Resets: every engine equals NumPy to the last bit, and a reset sequence has the bits of its pieces."""

import copy
import pickle
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st
from laws import OF_STEPS, given_, law, lengths_of, per_sequence
from nets import (
    Array,
    Net,
    Numbers,
    Results,
    as_states,
    assert_same_bits,
    each_state,
    given,
    gradients,
    make_net,
    make_resets,
    named_states,
    reference,
    run,
    state_arrays,
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


# The law: a reset begins a sequence anew.


def pieces(net: Net) -> Iterator[tuple[int, int, int, bool]]:
    """Each piece b, [start, stop), of each sequence, and whether it begins with a reset."""
    assert net.resets is not None
    for b, length in enumerate(lengths_of(net).tolist()):
        starts = [0, *(t for t in range(1, length) if net.resets[t, b])]
        for start, stop in zip(starts, [*starts[1:], length], strict=True):
            yield b, start, stop, bool(stop > start and net.resets[start, b])


def piece(net: Net, b: int, start: int, stop: int, is_reset: bool) -> Net:
    """A piece as a net of its own, without resets: only the first has a state, and only the last has dstate."""
    arrays = {name: getattr(net, name)[start:stop, [b]] for name in OF_STEPS if given_(net, name)}
    state = None if is_reset or start > 0 else each_state(lambda array: array[[b]], net.state)
    dstate = each_state(lambda array: array[[b]], net.dstate) if stop == lengths_of(net)[b] else None
    return with_changes(net, **{**arrays, "resets": None}, lengths=None, state=state, dstate=dstate)


@law(examples=40, resets="some")
def test_a_reset_cuts_a_sequence(net: Net, backend: str, data: st.DataObject) -> None:
    """Outputs, losses, states and dinputs are those of the pieces; dstate is the first piece's, +0 if it is reset."""
    check_pieces(net, backend)


@law(examples=20, resets="most", own_loss=True)
def test_many_resets_cut_a_sequence(net: Net, backend: str, data: st.DataObject) -> None:
    check_pieces(net, backend)


def check_pieces(net: Net, backend: str) -> None:
    whole = per_sequence(run(net, backend))
    for b, start, stop, is_reset in pieces(net):
        found = per_sequence(run(piece(net, b, start, stop, is_reset), backend))
        if is_reset:
            found |= {name: np.zeros_like(array) for name, array in found.items() if "dstate" in name}
        first, last = start == 0, stop == lengths_of(net)[b]
        wanted = {name for name in found if "state" not in name}
        wanted |= {name for name in found if "dstate" in name and first}
        wanted |= {name for name in found if "state" in name and "dstate" not in name and last}
        expected = {name: array[[b]] if "state" in name else array[start:stop, [b]] for name, array in whole.items()}
        assert_same_bits({n: expected[n] for n in wanted}, {n: found[n] for n in wanted}, net.params.cell)


@pytest.mark.parametrize("name", ["two layers", "two layers, masks", "two layers, ragged tokens"])
@EACH_CELL
def test_a_reset_cuts_every_layer(cell: str, name: str, engine: str) -> None:
    """As above, for states (L, B, H) and with dropout masks."""
    net, _ = net_of(cell, name, "float64")
    whole = rnncore.bptt(
        net.params, net.inputs, net.labels, **given(net), need_dinputs=net.need_dinputs, backend=engine
    )  # fmt: skip
    for b, start, stop, is_reset in pieces(net):
        own = None if is_reset or start > 0 else of_sequence(net.state, b)
        masks = None if net.dropout_masks is None else [mask[start:stop, b] for mask in net.dropout_masks]
        part = rnncore.bptt(
            net.params, net.inputs[start:stop, b], net.labels[start:stop, b], state=own, dropout_masks=masks,
            need_dinputs=net.need_dinputs, backend=engine,
        )  # fmt: skip
        assert_same_bits({"losses": part.losses}, {"losses": whole.losses[start:stop, b]}, cell)
        if net.need_dinputs:
            assert_same_bits({"dinputs": part.dinputs}, {"dinputs": whole.dinputs[start:stop, b]}, cell)
        if stop == lengths_of(net)[b]:
            assert_same_states(cell, part.state, of_sequence(whole.state, b))
        if start == 0:
            first = each_state(np.zeros_like, part.dstate) if is_reset else part.dstate
            assert_same_states(cell, first, of_sequence(whole.dstate, b))


def of_sequence(states: Any, b: int) -> Any:
    """(L, H) of (L, B, H)."""
    return each_state(lambda array: array[:, b], states)


def assert_same_states(cell: str, expected: Any, found: Any) -> None:
    assert_same_bits(named_states("state", cell, expected), named_states("state", cell, found), cell)


@pytest.mark.parametrize("layers", [1, 2])
@EACH_CELL
def test_one_label_a_sequence_is_of_its_last_piece(cell: str, layers: int, engine: str) -> None:
    """The pieces before get no gradient, and outputs are those of the last."""
    net = make_net(9, 1, 3, 5, 2, "float64", cell=cell, layers=layers)
    resets = np.arange(9) == 4
    options = {"need_dinputs": True, "backend": engine}
    whole = rnncore.bptt(net.params, net.inputs, np.array([1]), state=net.state, resets=resets[:, None], **options)
    late = rnncore.bptt(net.params, net.inputs[4:], np.array([1]), **options)
    assert_same_bits({"losses": late.losses}, {"losses": whole.losses})
    assert_same_bits({"dinputs": late.dinputs}, {"dinputs": whole.dinputs[4:]})
    assert not whole.dinputs[:4].any()
    assert not any(array.any() for array in state_arrays(whole.dstate))
    out = rnncore.forward(net.params, net.inputs, resets=resets[:, None], last=True, backend=engine)
    assert_same_bits({"y": rnncore.forward(net.params, net.inputs[4:], last=True, backend=engine).y}, {"y": out.y})


# What resets do not change, and what does not pass them.


@law(examples=40, resets="none", lengths="ragged")
def test_without_a_reset_the_bits_are_those_of_the_plain_call(net: Net, backend: str, data: st.DataObject) -> None:
    """No reset at all, or none but in padding and in empty sequences."""
    T, B = net.inputs.shape[:2]
    in_padding = np.arange(T)[:, None] >= lengths_of(net)
    plain = run(net, backend)
    for resets in (np.zeros((T, B), bool), in_padding):
        assert_same_bits(plain, run(with_changes(net, resets=resets), backend), net.params.cell)


@law(examples=40, resets="none", state=False)
def test_a_reset_of_the_first_steps_is_no_state(net: Net, backend: str, data: st.DataObject) -> None:
    """Where there is no initial state, it changes nothing but dstate, which is +0."""
    T, B = net.inputs.shape[:2]
    plain, found = run(net, backend), run(with_changes(net, resets=make_resets(Numbers(1), T, B, "first")), backend)
    for name in plain:
        if "dstate" in name:
            plain[name][lengths_of(net) > 0] = 0
    assert_same_bits(plain, found, net.params.cell)


@pytest.mark.parametrize("layers", [1, 2])
@EACH_CELL
def test_nan_does_not_pass_a_reset(cell: str, layers: int, engine: str) -> None:
    """Neither forward, from inputs and states before, nor back, from gradients after.

    The gradients of the weights are sums over all steps, so they are NaN.
    """
    net = make_net(6, 2, 3, 5, 2, cell=cell, layers=layers, own_loss=True)
    resets = np.zeros((6, 2), bool)
    resets[3, 0] = True
    plain = with_changes(net, resets=resets)
    inputs, dh = net.inputs.copy(), net.dh.copy()
    inputs[1, 0], dh[5, 0] = np.nan, np.nan
    state = each_state(np.copy, net.state)
    for array in state_arrays(state):
        array[..., 0, :] = np.nan
    expected = run(plain, engine)
    forward = run(with_changes(plain, inputs=inputs, state=state), engine)
    back = run(with_changes(plain, dh=dh), engine)
    for name in ("forward y", "forward h", "cross_entropy losses", "backward dinputs", "bptt dinputs"):
        late = {name: expected[name][3:, 0]}
        assert_same_bits(late, {name: forward[name][3:, 0]}, cell)
        assert_same_bits({name: expected[name][:, 1]}, {name: forward[name][:, 1]}, cell)
    assert_same_bits({"dx": expected["backward dinputs"][:3, 0]}, {"dx": back["backward dinputs"][:3, 0]}, cell)
    assert np.isnan(forward["forward h"][:3, 0]).any()
    assert np.isnan(back["backward dinputs"][3:, 0]).any()


@EACH_CELL
def test_a_reset_drops_the_state(cell: str, engine: str) -> None:
    """NaN in the state of a sequence that begins with a reset is not read, and its dstate is +0."""
    net = make_net(4, 3, 2, 5, 2, cell=cell, own_loss=True)
    resets = np.zeros((4, 3), bool)
    resets[0, 1] = True
    state = each_state(np.copy, net.state)
    for array in state_arrays(state):
        array[1] = np.nan
    found = run(with_changes(net, state=state, resets=resets), engine)
    assert not any(np.isnan(array).any() for array in found.values())
    assert_same_bits(run(with_changes(net, resets=resets), engine), found, cell)
    for name in found:
        if "dstate" in name:
            assert not found[name][1].any()
            assert not np.signbit(found[name][1]).any()
            assert found[name][[0, 2]].all()


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
}


class Subclass(np.ndarray):
    pass


def read_only(array: Array) -> Array:
    array = array.copy()
    array.flags.writeable = False
    return array


@pytest.mark.parametrize("way", WAYS)
def test_resets_come_in_any_layout(way: str, engine: str) -> None:
    net = make_net(6, 3, 2, 5, 2, resets="some")
    assert_same_bits(run(net, engine), run(with_changes(net, resets=WAYS[way](net.resets)), engine))


@EACH_CELL
def test_a_stream_with_resets_may_be_cut(cell: str, engine: str) -> None:
    """Anywhere, with the state handed on and dstate handed back; also where a reset is."""
    net = make_net(6, 2, 3, 5, 2, cell=cell, own_loss=True, resets="some")
    whole = run(net, engine)
    for k in range(7):
        early, late = (
            with_changes(net, **{name: getattr(net, name)[part] for name in OF_STEPS})
            for part in (slice(0, k), slice(k, None))
        )
        out = rnncore.forward(net.params, early.inputs, state=net.state, resets=early.resets, backend=engine)
        second = run(with_changes(late, state=out.state), engine)
        dstate = as_states(array for name, array in second.items() if name.startswith("backward dstate"))
        first = run(with_changes(early, dstate=dstate), engine)
        for name in ("forward y", "backward dinputs", "cross_entropy losses"):
            assert_same_bits({name: whole[name]}, {name: np.concatenate([first[name], second[name]])}, cell)
        for name in named_states("backward dstate", cell, net.state):
            assert_same_bits({name: whole[name]}, {name: first[name]}, cell)
