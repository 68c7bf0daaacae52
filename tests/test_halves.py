"""The way back in two halves and in pieces: ``gates``, which goes back through the steps, and then ``sums`` are
``backward``; each sequence's sums are those of a call on it alone; and ``bptt`` goes on where the steps after end."""

from functools import lru_cache
from typing import Any

import numpy as np
import pytest
from nets import Array, Net, Numbers, Results, assert_same_bits, each_state, make_net, named_states, state_arrays

import rnncore
from rnncore import arguments, engines, masks
from rnncore.cells import CELLS
from rnncore.division import Division
from rnncore.problem import options_of

SHAPES: dict[str, dict[str, Any]] = {
    "a batch": {"T": 5, "B": 3, "own_loss": True},
    "tokens": {"T": 5, "B": 4, "tokens": True, "labels": "some"},
    "one sequence of two blocks": {"T": 140, "B": 1, "H": 2},
    "blocks of steps": {"T": 9, "B": 33, "lengths": "ragged", "tokens": True},
    "blocks of sequences": {"T": 2, "B": 131, "H": 2, "lengths": "ragged"},
    "widths of whole vectors": {"T": 4, "B": 3, "X": 16, "H": 16, "V": 16, "lengths": "ragged", "own_loss": True},
    "empty sequences": {"T": 3, "B": 2, "lengths": "empty", "own_loss": True},
    "no steps": {"T": 0, "B": 2},
    "no states given": {"T": 4, "B": 3, "state": False, "lengths": "ragged"},
    "resets": {"T": 6, "B": 4, "resets": True, "own_loss": True},
    "resets and lengths": {"T": 9, "B": 40, "H": 3, "resets": True, "lengths": "ragged", "tokens": True},
    "layers": {"T": 5, "B": 3, "layers": 3, "dropout": True, "lengths": "ragged", "own_loss": True},
    "layers and resets": {"T": 5, "B": 3, "layers": 2, "resets": True, "tokens": True},
    "layers of blocks": {"T": 5, "B": 50, "H": 3, "layers": 2, "dropout": True, "resets": True, "lengths": "ragged"},
    "directions": {"T": 5, "B": 3, "bidirectional": True, "tokens": True, "lengths": "ragged"},
    "layers of directions": {"T": 4, "B": 3, "layers": 2, "bidirectional": True, "dropout": True, "own_loss": True},
    "the last states": {"T": 5, "B": 4, "last": True, "lengths": "ragged", "own_loss": True},
    "the last states of directions": {"T": 4, "B": 3, "last": True, "layers": 2, "bidirectional": True},
}
CASES = pytest.mark.parametrize("case", SHAPES)
EVERY_CELL = pytest.mark.parametrize("cell", CELLS)
BOTH = pytest.mark.parametrize("dtype", ["float32", "float64"])
PIECES = [name for name, shape in SHAPES.items() if shape["T"] > max(1, 128 // shape["B"])]
"""Nets that have several blocks of steps."""


def net_and_more(case: str, cell: str, dtype: str) -> tuple[Net, dict[str, Any]]:
    """A net, and what else forward is told."""
    shape = {"X": 3, "H": 5, "V": 4, **SHAPES[case]}
    resets, last = shape.pop("resets", False), shape.pop("last", False)
    flags = Numbers(7).below(3, shape["T"], shape["B"]) == 0 if resets else None
    return make_net(**shape, cell=cell, dtype=dtype), {"resets": flags, "last": last}


def forward(net: Net, more: dict[str, Any], engine: str) -> rnncore.ForwardResult:
    given = {"state": net.state, "lengths": net.lengths, "dropout_masks": net.dropout_masks}
    return rnncore.forward(net.params, net.inputs, **given, **more, backend=engine)


def gradient_of_outputs(net: Net, out: rnncore.ForwardResult) -> Array:
    return Numbers(5).symmetric(1.0, *out.y.shape).astype(net.params.dtype)


def with_states(results: Results, name: str, net: Net, states: Any) -> Results:
    return {**results, **named_states(name, net.params.cell, states)}


def backward(net: Net, more: dict[str, Any], engine: str) -> Results:
    """The whole way back."""
    out = forward(net, more, engine)
    dy = gradient_of_outputs(net, out)
    options = options_of(net.need_dinputs, None, last=more["last"])
    grads, first, dinputs = engines.engine(engine).backward(out._kept, net.params.flat, dy, net.dh, net.dstate, options)
    return with_states({"grads": grads, **optional("dinputs", dinputs)}, "dstate", net, first)


def optional(name: str, array: Array | None) -> Results:
    return {} if array is None else {name: array}


def halves(net: Net, more: dict[str, Any], name: str) -> Results:
    """All that the halves give, by name."""
    out, engine, flat = forward(net, more, name), engines.engine(name), net.params.flat
    dy, options = gradient_of_outputs(net, out), options_of(net.need_dinputs, None, last=more["last"])
    gates, first, states = engine.gates(out._kept, flat, (dy, net.dh, net.dstate), options, states=True)
    grads, dinputs = engine.sums(out._kept, flat, dy, gates, options)
    each, again = engine.sums(out._kept, flat, dy, gates, options, range(net.inputs.shape[1]))
    assert states is not None
    assert_same_bits(optional("dinputs", dinputs), optional("dinputs", again))
    results = {"gates": gates, "states": states, "grads": grads, "each": each, **optional("dinputs", dinputs)}
    return with_states(results, "dstate", net, first)


@lru_cache(maxsize=1)
def definition(case: str, cell: str, dtype: str) -> Results:
    return halves(*net_and_more(case, cell, dtype), "numpy")


@CASES
@EVERY_CELL
@BOTH
def test_engines_agree(fast_engine: str, case: str, cell: str, dtype: str) -> None:
    assert_same_bits(definition(case, cell, dtype), halves(*net_and_more(case, cell, dtype), fast_engine), cell)


@CASES
@EVERY_CELL
@BOTH
def test_the_halves_are_the_whole(engine: str, case: str, cell: str, dtype: str) -> None:
    net, more = net_and_more(case, cell, dtype)
    whole, found = backward(net, more, engine), halves(net, more, engine)
    assert_same_bits(whole, {name: found[name] for name in whole}, cell)


@CASES
@EVERY_CELL
def test_gates_have_their_shape_and_no_states_unless_wanted(engine: str, case: str, cell: str) -> None:
    net, more = net_and_more(case, cell, "float32")
    out, used = forward(net, more, engine), len(CELLS[cell].gates) * net.params.hidden
    given, options = (gradient_of_outputs(net, out), None, None), options_of(False, None, last=more["last"])
    gates, _, states = engines.engine(engine).gates(out._kept, net.params.flat, given, options)
    T, B = net.inputs.shape[:2]
    assert gates.shape == net.params._net.gates_shape(T * B if net.lengths is None else int(net.lengths.sum()))
    assert not gates[..., used:].any()
    assert not np.signbit(gates[..., used:]).any()
    assert states is None


def alone(net: Net, more: dict[str, Any], b: int) -> tuple[Net, dict[str, Any]]:
    """A sequence by itself."""
    end = len(net.inputs) if net.lengths is None else int(net.lengths[b])
    resets, own = more["resets"], {"lengths": None, "labels": None, "inputs": net.inputs[:end, b]}
    own["dh"] = None if net.dh is None else net.dh[:end, b]
    own |= {name: each_state(lambda array: array[..., b, :], getattr(net, name)) for name in ("state", "dstate")}
    own["dropout_masks"] = net.dropout_masks and [mask[:end, b] for mask in net.dropout_masks]
    one = Net(net.params, need_dinputs=net.need_dinputs, **own)
    return one, {**more, "resets": None if resets is None else resets[:end, b]}


@CASES
@EVERY_CELL
@BOTH
def test_each_sequence_is_as_if_it_were_the_only_one(engine: str, case: str, cell: str, dtype: str) -> None:
    net, more = net_and_more(case, cell, dtype)
    each, dy = halves(net, more, engine)["each"], gradient_of_outputs(net, forward(net, more, engine))
    B = net.inputs.shape[1]
    for b in range(B) if B < 100 else (0, 1, B - 2, B - 1):
        one, its = alone(net, more, b)
        out = forward(one, its, engine)
        own = rnncore.backward(
            net.params,
            out,
            dy=dy[b] if more["last"] else dy[: len(one.inputs), b],
            dh=one.dh,
            dstate=one.dstate,
            backend=engine,
        )
        assert_same_bits({"grads": own.grads.flat}, {"grads": each[b]}, cell)


def bptt(net: Net, resets: Array | None, name: str, after: tuple[Any, Array] | None = None) -> Results:
    """What a call gives: its losses, last states and gradients."""
    params, engine = net.params, engines.engine(name)
    division = Division(net.lengths, None, resets)
    batch = arguments.labelled(params._net, net.inputs, net.labels, net.state, division, "cross_entropy", None)
    read = masks.as_masks(params._net, net.dropout_masks, batch.inputs, batch.steps)
    options = options_of(net.need_dinputs, None)
    call = params._net, params.flat, read, batch.state, batch.steps, options, batch.labels
    found = engine.bptt(*call, after=after)
    assert found is not None
    _, losses, _, grads, last, first, dinputs = found
    results = {"losses": losses, "grads": grads, **optional("dinputs", dinputs)}
    return with_states(with_states(results, "last", net, last), "first", net, first)


def piece(net: Net, resets: Array | None, start: int, end: int, state: Any) -> tuple[Net, Array | None]:
    """Some steps of the sequences of a net."""
    lengths = None if net.lengths is None else np.clip(net.lengths - start, 0, end - start)
    assert net.labels is not None
    arrays = {"inputs": net.inputs[start:end], "labels": net.labels[start:end], "lengths": lengths, "state": state}
    dropout = net.dropout_masks and [mask[start:end] for mask in net.dropout_masks]
    own = Net(net.params, **arrays, dropout_masks=dropout, need_dinputs=net.need_dinputs)
    return own, None if resets is None else resets[start:end]


def states_named(name: str, net: Net, results: Results) -> Any:
    """The opposite of ``named_states``: an array, or a tuple of them."""
    letters = CELLS[net.params.cell].states
    return results[name] if len(letters) == 1 else tuple(results[f"{name} {letter}"] for letter in letters)


@pytest.mark.parametrize("case", PIECES)
@EVERY_CELL
@BOTH
def test_a_call_goes_on_where_the_steps_after_end(engine: str, case: str, cell: str, dtype: str) -> None:
    """Cut at a whole block, two calls are one: a sequence that has no step after the cut is given -0, nothing."""
    net, more = net_and_more(case, cell, dtype)
    (T, B), resets = net.inputs.shape[:2], more["resets"]
    cut = max(1, 128 // B)
    lengths = np.full(B, T) if net.lengths is None else net.lengths
    whole = bptt(net, resets, engine)
    out = forward(*piece_and_more(net, resets, cut), engine)
    later = bptt(*piece(net, resets, cut, T, out.state), engine)
    dstate = each_state(np.copy, states_named("first", net, later))
    for array in state_arrays(dstate):
        array[..., lengths <= cut, :] = -0.0
    sooner = bptt(*piece(net, resets, 0, cut, net.state), engine, (dstate, later["grads"]))
    found = {"grads": sooner["grads"]}
    found |= {name: np.concatenate([sooner[name], later[name]]) for name in ("losses", "dinputs") if name in whole}
    found |= with_states({}, "last", net, states_named("last", net, later))
    first = each_state(np.copy, states_named("first", net, sooner))
    for array in state_arrays(first):
        array[..., lengths == 0, :] = 0  # as nothing comes back to what has no step
    assert_same_bits({name: whole[name] for name in found}, found, cell)
    expected = named_states("first", cell, states_named("first", net, whole))
    assert_same_bits(expected, named_states("first", cell, first), cell)


def piece_and_more(net: Net, resets: Array | None, cut: int) -> tuple[Net, dict[str, Any]]:
    """The steps before a cut."""
    own, flags = piece(net, resets, 0, cut, net.state)
    return own, {"resets": flags}
