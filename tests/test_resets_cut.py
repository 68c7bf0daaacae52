"""A reset begins a sequence anew: what is a sequence's own has the bits of its pieces, and nothing passes a reset."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st
from laws import OF_STEPS, given_, law, lengths_of, per_sequence
from nets import (
    Net,
    Numbers,
    as_states,
    assert_same_bits,
    each_state,
    given,
    make_net,
    make_resets,
    named_states,
    run,
    state_arrays,
    with_changes,
)

import rnncore
from rnncore.cells import CELLS

EACH_CELL = pytest.mark.parametrize("cell", CELLS)


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


DEEP: dict[str, dict[str, Any]] = {
    "two layers": {"own_loss": True},
    "two layers, masks": {"dropout": True, "lengths": "ragged"},
    "two layers, ragged tokens": {"B": 9, "lengths": "ragged", "tokens": True},
}


@pytest.mark.parametrize("name", DEEP)
@EACH_CELL
def test_a_reset_cuts_every_layer(cell: str, name: str, engine: str) -> None:
    """As above, for states (L, B, H) and with dropout masks."""
    sizes = {"T": 8, "B": 5, "X": 4, "H": 7, "V": 3, "layers": 2, "resets": "some"}
    net = make_net(dtype="float64", cell=cell, **{**sizes, **DEEP[name]})
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
