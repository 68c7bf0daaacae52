"""Exact laws of the results, to the bit wherever docs/arithmetic.md says that they hold to the bit."""

import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st
from laws import OF_STEPS, PER_SEQUENCE, as_lists, exists, given_, law, lengths_of, none, per_sequence, pick, sequences
from nets import (
    Array,
    Net,
    Numbers,
    Results,
    as_states,
    assert_same_bits,
    each_state,
    fold,
    given,
    gradients,
    make_net,
    named_arrays,
    named_states,
    run,
    run_bptt,
    run_parts,
    with_changes,
)

import rnncore
from rnncore.cells import CELLS
from rnncore.engines import engines


@law()
def test_a_batch_is_its_rows(net: Net, backend: str, data: st.DataObject) -> None:
    whole = per_sequence(run(net, backend))
    for b in range(net.inputs.shape[1]):
        row = np.array([b])
        assert_same_bits(pick(whole, row), per_sequence(run(sequences(net, row), backend)))


@law(lengths="full")
def test_a_sequence_needs_no_batch_axis(net: Net, backend: str, data: st.DataObject) -> None:
    """One sequence without the axis B is that sequence in a batch of one, weight gradients and J as well."""
    net = sequences(net, np.array([0]))
    first = {name: each_state(lambda array: array[0], getattr(net, name)) for name in ("state", "dstate")}
    alone = with_changes(net, **first)
    alone = with_changes(alone, **{n: getattr(net, n)[:, 0] for n in OF_STEPS if given_(net, n)})
    batch = {name: drop_axis(name, array) for name, array in run(net, backend).items()}
    assert_same_bits(batch, run(alone, backend))


def drop_axis(name: str, array: Array) -> Array:
    if name.split()[1] not in PER_SEQUENCE:
        return array
    return array[0] if "state" in name else array[:, 0]


@law()
def test_permuted_sequences_give_permuted_results(net: Net, backend: str, data: st.DataObject) -> None:
    order = np.array(data.draw(st.permutations(range(net.inputs.shape[1]))))
    permuted = per_sequence(run(sequences(net, order), backend))
    assert_same_bits(pick(per_sequence(run(net, backend)), order), permuted)


@law(lengths="ragged")
def test_lists_are_padded_arrays(net: Net, backend: str, data: st.DataObject) -> None:
    padded = run(net, backend)
    lists = run(with_changes(net, lengths=None, **as_lists(net)), backend)
    for name, array in lists.items():
        if isinstance(array, list):
            padded[name] = np.concatenate([padded[name][:n, b] for b, n in enumerate(lengths_of(net))])
            lists[name] = np.concatenate(array)
    assert_same_bits(padded, lists)


@law(lengths="ragged")
def test_padding_may_hold_anything(net: Net, backend: str, data: st.DataObject) -> None:
    """NaN, and numbers out of range, in padding change nothing: no weight gradient either."""
    padding = ~exists(net)
    dirty = {name: getattr(net, name).copy() for name in OF_STEPS if given_(net, name)}
    for array in dirty.values():
        anything = {"f": st.just(np.nan), "i": st.sampled_from((-7, 10**9)), "b": st.booleans()}
        array[padding] = data.draw(anything[array.dtype.kind])
    assert_same_bits(run(net, backend), run(with_changes(net, **dirty), backend))


@law(lengths="ragged")
def test_more_padding_changes_nothing(net: Net, backend: str, data: st.DataObject) -> None:
    more = data.draw(st.integers(1, 5))
    longer = {
        name: np.concatenate([array, np.ones((more, *array.shape[1:]), array.dtype)])
        for name in OF_STEPS
        if (array := getattr(net, name)) is not None
    }
    if net.inputs.ndim == 2:
        longer["inputs"][len(net.inputs) :] = 0
    expected, found = run(net, backend), run(with_changes(net, **longer), backend)
    T = len(net.inputs)
    for name in per_sequence(found):
        if "state" not in name:
            assert_zero(found[name][T:])
            found[name] = found[name][:T]
    assert_same_bits(expected, found)


@law(lengths="ragged")
def test_results_are_zero_in_padding(net: Net, backend: str, data: st.DataObject) -> None:
    for name, array in per_sequence(run(net, backend)).items():
        if "state" not in name:
            assert_zero(array[~exists(net)])


def assert_zero(array: Array) -> None:
    """+0, not -0."""
    assert not array.any()
    assert not np.signbit(array).any()


@law(lengths="ragged")
def test_an_empty_sequence_keeps_its_state(net: Net, backend: str, data: st.DataObject) -> None:
    results, empty, cell = run(net, backend), lengths_of(net) == 0, net.params.cell
    states = (none(net) if array is None else array for array in (net.state, net.dstate))
    for name, states_of in zip(("forward state", "backward dstate"), states, strict=True):
        expected = {part: array[empty] for part, array in named_states(name, cell, states_of).items()}
        assert_same_bits(expected, {part: results[part][empty] for part in expected})


@law(lengths="full", own_loss=True)
def test_a_stream_may_be_cut(net: Net, backend: str, data: st.DataObject) -> None:
    """[0:T] is [0:k] then [k:T], with the state handed on and dstate handed back."""
    k = data.draw(st.integers(0, len(net.inputs)))
    whole = per_sequence(run_parts(net, backend))
    early, late = steps(net, 0, k), steps(net, k, len(net.inputs))
    out = rnncore.forward(early.params, early.inputs, state=early.state, resets=early.resets, backend=backend)
    second = per_sequence(run_parts(with_changes(late, state=out.state), backend))
    dstate = as_states(array for name, array in second.items() if name.startswith("backward dstate"))
    first = per_sequence(run_parts(with_changes(early, dstate=dstate), backend))
    joined = {name: np.concatenate([first[name], second[name]]) for name in whole if "state" not in name}
    joined |= {name: (second if "forward" in name else first)[name] for name in whole if "state" in name}
    assert_same_bits(whole, joined)


def steps(net: Net, start: int, stop: int) -> Net:
    return with_changes(net, **{name: getattr(net, name)[start:stop] for name in OF_STEPS if given_(net, name)})


@law(lengths="full")
def test_the_past_ignores_the_future(net: Net, backend: str, data: st.DataObject) -> None:
    """Other inputs and labels from step k on change no output, state or loss before k."""
    k = data.draw(st.integers(0, len(net.inputs)))
    other = make_future(net, k)
    expected, found = run_parts(net, backend), run_parts(other, backend)
    before = ("forward y", "forward h", "cross_entropy losses", "cross_entropy dy")
    assert_same_bits({name: expected[name][:k] for name in before}, {name: found[name][:k] for name in before})


def make_future(net: Net, k: int) -> Net:
    """Everything from step k on reversed in time."""
    changes = {}
    for name in ("inputs", "labels", "resets"):
        if not given_(net, name):
            continue
        changes[name] = getattr(net, name).copy()
        changes[name][k:] = changes[name][k:][::-1]
    return with_changes(net, **changes)


@law(labels="some")
def test_a_label_of_minus_one_is_no_loss(net: Net, backend: str, data: st.DataObject) -> None:
    """bptt with labels -1 is backward with the other steps' dy and +0 for those."""
    labelled = with_changes(net, labels=np.maximum(net.labels, 0))
    out = rnncore.forward(net.params, net.inputs, **given(net), backend=backend)
    losses, dy = rnncore.cross_entropy(out.y, labelled.labels, net.lengths, backend=backend)
    losses[net.labels == -1] = 0
    dy[net.labels == -1] = 0
    back = rnncore.backward(net.params, out, dy=dy, need_dinputs=net.need_dinputs, backend=backend)
    found = run_bptt(net, backend)
    expected = {"bptt losses": losses} | gradients("bptt", back)
    assert_same_bits(expected, {name: found[name] for name in expected})


@law(labels="none", own_loss=False)
def test_without_a_label_all_is_zero(net: Net, backend: str, data: st.DataObject) -> None:
    results = run_bptt(net, backend)
    for name in results:
        assert "bptt state" in name or not results[name].any()


@law(labels="some")
def test_one_hot_distributions_are_classes(net: Net, backend: str, data: st.DataObject) -> None:
    """Bits and all; a row of zeros is -1."""
    rows = np.asarray(net.labels[..., None] == np.arange(net.params.outputs), net.params.dtype)
    assert_same_bits(run(net, backend), run(with_changes(net, labels=rows), backend))


@law(tokens=True)
def test_tokens_are_one_hot_vectors(net: Net, backend: str, data: st.DataObject) -> None:
    """Bits and all, for parameters that are finite and have no -0."""
    vectors = np.asarray(net.inputs[..., None] == np.arange(net.params.inputs), net.params.dtype)
    reads_vectors = rnncore.Params(net.params.cell, tokens=False, **net.params)
    assert_same_bits(run(net, backend), run(with_changes(net, inputs=vectors, params=reads_vectors), backend))


@law(own_loss=False)
def test_bptt_is_its_three_parts(net: Net, backend: str, data: st.DataObject) -> None:
    parts, fused = run_parts(net, backend), run_bptt(net, backend)
    expected = {name.replace("backward", "bptt"): array for name, array in parts.items() if "backward" in name}
    expected |= {n.replace("forward", "bptt"): array for n, array in parts.items() if "forward state" in n}
    expected |= {"bptt losses": parts["cross_entropy losses"]}
    assert_same_bits(expected, {name: fused[name] for name in expected})
    assert_same_bits({"loss": fold(fused["bptt losses"])}, {"loss": fused["bptt loss"]})


@law()
def test_inputs_are_untouched(net: Net, backend: str, data: st.DataObject) -> None:
    """Neither changed nor needed writable."""
    before = {name: array.copy() for name, array in given_arrays(net).items()}
    for array in given_arrays(net).values():
        array.flags.writeable = False
    flat = net.params.flat.copy()
    run(net, backend)
    assert_same_bits(before | {"flat": flat}, given_arrays(net) | {"flat": net.params.flat})


def given_arrays(net: Net) -> Results:
    """All arrays beside the parameters; those of a pair one by one."""
    arrays = {name: getattr(net, name) for name in (*OF_STEPS, "lengths") if given_(net, name)}
    for name in ("state", "dstate"):
        if given_(net, name):
            arrays |= named_states(name, net.params.cell, getattr(net, name))
    return arrays


@law()
def test_twice_is_the_same(net: Net, backend: str, data: st.DataObject) -> None:
    assert_same_bits(run(net, backend), run(net, backend))


@law(T=5, B=9)
def test_threads_change_nothing(net: Net, backend: str, data: st.DataObject) -> None:
    threads = data.draw(st.integers(2, 9))
    assert_same_bits(run(net, backend, threads=1), run(net, backend, threads))


@law()
def test_any_layout_will_do(net: Net, backend: str, data: st.DataObject) -> None:
    """Fortran order, gaps between elements, the other byte order."""
    layout = data.draw(st.sampled_from((np.asfortranarray, with_gaps, swapped, another_dtype_object)))
    names = (*OF_STEPS, "state", "lengths", "dstate")
    changes = {name: each_state(layout, getattr(net, name)) for name in names}
    assert_same_bits(run(net, backend), run(with_changes(net, **changes), backend))


def with_gaps(array: Array) -> Array:
    return np.repeat(array, 2, axis=0)[::2]


def swapped(array: Array) -> Array:
    return array.astype(array.dtype.newbyteorder())


def another_dtype_object(array: Array) -> Array:
    """Equal to the dtype that NumPy shares between arrays, but not it."""
    return array.view(array.dtype.newbyteorder("="))


@law(lengths="full", state=False)
def test_parameters_may_come_from_anywhere(net: Net, backend: str, data: st.DataObject) -> None:
    sizes = (net.params.cell, net.params.inputs, net.params.hidden, net.params.outputs)
    ways: tuple[Callable[[rnncore.Params], rnncore.Params], ...] = (
        lambda params: params.copy(),
        lambda params: pickle.loads(pickle.dumps(params)),
        lambda params: rnncore.Params.from_flat(*sizes, another_dtype_object(params.flat), tokens=params.tokens),
        lambda params: rnncore.Params(
            sizes[0], tokens=params.tokens, **{n: another_dtype_object(a) for n, a in named_arrays(params).items()}
        ),
        lambda params: initialised(params, *sizes),
    )
    expected = run(net, backend)
    for way in ways:
        assert_same_bits(expected, run(with_changes(net, params=way(net.params)), backend))


def initialised(params: rnncore.Params, *sizes: Any) -> rnncore.Params:
    """By init_params, and then given the same numbers."""
    made = rnncore.init_params(*sizes, tokens=params.tokens, dtype=params.dtype)
    made.flat = params.flat
    return made


@law(tokens=False, dtype="float32")
def test_inputs_of_other_dtypes(net: Net, backend: str, data: st.DataObject) -> None:
    """Vectors of integers, and of wider floats, count as the float32 vectors they convert to."""
    T, B, X = net.inputs.shape
    dtype = data.draw(st.sampled_from(("int8", "uint16", "int64", "float16", "float64")))
    counts = Numbers(T + X).below(9, T, B, X)
    expected = run_bptt(with_changes(net, inputs=counts.astype("float32")), backend)
    assert_same_bits(expected, run_bptt(with_changes(net, inputs=counts.astype(dtype)), backend))


@law()
def test_results_own_their_memory(net: Net, backend: str, data: st.DataObject) -> None:
    others = [*given_arrays(net).values(), net.params.flat]
    for array in run(net, backend).values():
        assert not any(np.may_share_memory(array, other) for other in others)


GOING_BACK = {
    "vectors": {"T": 5, "B": 3, "X": 4, "H": 17, "V": 5, "own_loss": True},
    "ragged": {"T": 6, "B": 7, "X": 3, "H": 9, "V": 4, "lengths": "ragged", "dtype": "float64"},
    "tokens": {"T": 9, "B": 2, "X": 6, "H": 33, "V": 6, "tokens": True},
    "resets": {"T": 6, "B": 7, "X": 3, "H": 9, "V": 4, "lengths": "ragged", "resets": "some"},
}


@pytest.mark.parametrize("name", GOING_BACK)
@pytest.mark.parametrize("cell", CELLS)
def test_any_engine_goes_back_from_any_forward(cell: str, name: str, engine: str) -> None:
    """What forward keeps for backward is the same whoever made it: to the bit, padding and all."""
    net = make_net(**GOING_BACK[name], cell=cell)
    expected = run_parts(net, "numpy")
    out = rnncore.forward(net.params, net.inputs, **given(net), backend=engine)
    losses = {"dy": expected["cross_entropy dy"], "dh": net.dh, "dstate": net.dstate}
    for other in engines():
        back = rnncore.backward(net.params, out, **losses, need_dinputs=net.need_dinputs, backend=other)
        found = gradients("backward", back)
        assert_same_bits({n: expected[n] for n in found}, found, f"{cell}, back by {other}")
