"""Arrays (N, ...) with offsets: the bits of the list of their sequences, in every engine."""

from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st
from laws import OF_STEPS, as_lists, given_, law, lengths_of
from nets import (
    Array,
    Net,
    Results,
    assert_same_bits,
    gradients,
    make_net,
    named_states,
    run,
    with_changes,
)

import rnncore
from rnncore.cells import CELLS
from rnncore.losses import LOSSES

SMALL: dict[str, Any] = {"T": 6, "B": 7, "X": 4, "H": 5, "V": 3, "lengths": "ragged"}
NETS: dict[str, dict[str, Any]] = {
    "vectors": {**SMALL, "own_loss": True},
    "tokens": {**SMALL, "tokens": True, "labels": "some"},
    "resets": {**SMALL, "resets": "some", "own_loss": True},
    "two layers, resets": {**SMALL, "layers": 2, "resets": "some", "tokens": True},
    "two layers, two directions, masks": {**SMALL, "layers": 2, "bidirectional": True, "dropout": True},
    "every sequence is empty": {**SMALL, "lengths": "empty", "own_loss": True},
    "blocks within a step": {**SMALL, "B": 129, "H": 3, "T": 4, "resets": "some"},
    "one sequence": {**SMALL, "B": 1, "lengths": "full"},
}
EACH_CELL = pytest.mark.parametrize("cell", CELLS)


def listed(net: Net) -> Net:
    """The net with lists of sequences."""
    masks = net.dropout_masks
    if masks is not None:
        masks = [[mask[:n, b] for b, n in enumerate(lengths_of(net))] for mask in masks]
    return with_changes(net, lengths=None, dropout_masks=masks, **as_lists(net))


def flat(net: Net) -> Net:
    """The net with one sequence after the other in one array, and offsets."""
    lists = listed(net)
    arrays = {name: np.concatenate(getattr(lists, name)) for name in OF_STEPS if given_(net, name)}
    masks = None if lists.dropout_masks is None else [np.concatenate(mask) for mask in lists.dropout_masks]
    return with_changes(lists, **arrays, dropout_masks=masks, offsets=offsets_of(net))


def offsets_of(net: Net) -> Array:
    return np.concatenate([[0], np.cumsum(lengths_of(net))])


def joined(results: Results) -> Results:
    return {name: np.concatenate(array) if isinstance(array, list) else array for name, array in results.items()}


@law(examples=60)
def test_offsets_are_lists(net: Net, backend: str, data: st.DataObject) -> None:
    expected = run(listed(net), backend)
    found = run(flat(net), backend)
    assert not any(isinstance(array, list) for array in found.values())
    assert_same_bits(joined(expected), found, net.params.cell)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", NETS)
@EACH_CELL
def test_agreement(cell: str, name: str, dtype: str, engine: str) -> None:
    """With NumPy's list of sequences."""
    net = make_net(cell=cell, dtype=dtype, **NETS[name])
    expected = joined(run(listed(net), "numpy"))
    for threads in (1, 3):
        assert_same_bits(expected, run(flat(net), engine, threads), cell)


def bptt_of(net: Net, labels: Any, engine: str, **more: Any) -> Results:
    options = {"state": net.state, "offsets": net.offsets, "resets": net.resets, "need_dinputs": True}
    result = rnncore.bptt(net.params, net.inputs, labels, **options, **more, backend=engine)
    losses = np.concatenate(result.losses) if isinstance(result.losses, list) else result.losses
    results = {"loss": np.array(result.loss), "losses": losses, "count": np.array(result.count)}
    return joined(results | named_states("state", net.params.cell, result.state) | gradients("bptt", result))


@pytest.mark.parametrize("resets", ["none", "some"])
@pytest.mark.parametrize("loss", LOSSES)
@EACH_CELL
def test_one_label_a_sequence(cell: str, loss: str, resets: str, engine: str) -> None:
    net = make_net(cell=cell, **{**SMALL, "resets": resets})
    B, V = SMALL["B"], SMALL["V"]
    labels = np.arange(B) % V if LOSSES[loss].classes else np.arange(B * V).reshape(B, V) / (B * V)
    for weights in (None, np.arange(B) / 4):
        expected = bptt_of(listed(net), labels, engine, loss=loss, weights=weights)
        found = bptt_of(flat(net), labels, engine, loss=loss, weights=weights)
        assert found["losses"].shape == (B,)
        assert_same_bits(expected, found, cell)
    y, of_list = (
        rnncore.forward(n.params, n.inputs, offsets=n.offsets, resets=n.resets, last=True, backend=engine).y
        for n in (flat(net), listed(net))
    )
    assert_same_bits({"y": of_list}, {"y": y})


def test_weights_of_steps_and_of_sequences(engine: str) -> None:
    net = make_net(**SMALL)
    weights = np.arange(SMALL["B"]) / 4
    each = np.repeat(weights, lengths_of(net))
    packed = flat(net)
    expected = bptt_of(listed(net), as_lists(net)["labels"], engine, weights=weights)
    for given in (weights, each):
        assert_same_bits(expected, bptt_of(packed, packed.labels, engine, weights=given))


@pytest.mark.parametrize("loss", LOSSES)
def test_as_many_labels_as_steps_and_sequences_are_one_a_step(loss: str, engine: str) -> None:
    """N = B, and the lengths are 2, 0, 1: labels, weights and masks are one a step."""
    params = make_net(1, 1, 4, 5, 2, layers=2).params
    inputs, offsets = np.arange(12.0).reshape(3, 4) / 12, [0, 2, 2, 3]
    labels = np.array([1, 0, 1]) if LOSSES[loss].classes else np.array([[1.0, 0], [0, 0.5], [0.25, 1]])
    weights, mask = np.array([1.0, 0.5, 2.0]), np.array([[1.5] * 5, [0.0] * 5, [1.5] * 5])

    def split(array: Array) -> list[Array]:
        return [array[:2], array[2:2], array[2:]]

    found = rnncore.bptt(
        params, inputs, labels, loss=loss, weights=weights, offsets=offsets, dropout_masks=[mask], backend=engine
    )
    expected = rnncore.bptt(
        params, split(inputs), split(labels), loss=loss, weights=split(weights), dropout_masks=[split(mask)],
        backend=engine,
    )  # fmt: skip
    assert_same_bits({"losses": np.concatenate(expected.losses)}, {"losses": found.losses})
    assert_same_bits({"flat": expected.grads.flat}, {"flat": found.grads.flat})


def test_with_one_output_the_last_axis_may_be_missing(engine: str) -> None:
    """Labels (N,) and (N, 1) are one a step, (B,) and (B, 1) one a sequence, and with N = B one a step."""
    params = make_net(1, 1, 4, 5, 1).params
    inputs = np.arange(24.0).reshape(6, 4) / 24
    for offsets, shape in (([0, 4, 6], (6,)), ([0, 4, 6], (2,)), ([0, 2, 2, 3, 3, 5, 6], (6,))):
        labels = np.arange(shape[0]) / 8
        short, long = (
            rnncore.bptt(params, inputs, array, loss="squared_error", offsets=offsets, backend=engine)
            for array in (labels, labels[:, None])
        )
        assert short.losses.shape == shape
        assert short.grads == long.grads


def test_masks_of_steps_and_of_sequences(engine: str) -> None:
    net = make_net(**{**SMALL, "layers": 2})
    each = np.arange(SMALL["B"] * 5).reshape(-1, 5) / 16
    packed = flat(net)
    short, long = (
        bptt_of(packed, packed.labels, engine, dropout_masks=[mask])
        for mask in (each, np.repeat(each, lengths_of(net), axis=0))
    )
    assert_same_bits(short, long)


@pytest.mark.parametrize("per_step", [True, False])
def test_dropout_masks_are_those_of_the_list(per_step: bool) -> None:
    net = make_net(**{**SMALL, "layers": 3})
    of_list = rnncore.dropout_masks(net.params, listed(net).inputs, 0.5, 1, per_step=per_step)
    packed = flat(net)
    found = rnncore.dropout_masks(net.params, packed.inputs, 0.5, 1, per_step=per_step, offsets=packed.offsets)
    for mask, expected in zip(found, of_list, strict=True):
        assert np.array_equal(mask, np.concatenate(expected) if per_step else expected)


def test_no_steps_at_all(engine: str) -> None:
    params = make_net(1, 1, 4, 5, 3).params
    state = np.arange(10.0, dtype="float32").reshape(2, 5)
    found = rnncore.bptt(params, np.zeros((0, 4)), np.zeros(0, int), offsets=[0, 0, 0], state=state, backend=engine)
    assert (found.loss, found.count, found.losses.shape) == (0, 0, (0,))
    assert np.array_equal(found.state, state)
    assert not found.grads.flat.any()
    one_each = rnncore.bptt(params, np.zeros((0, 4)), np.array([0, 1]), offsets=[0, 0, 0], backend=engine)
    assert (one_each.count, one_each.losses.tolist()) == (0, [0, 0])


def test_integers_of_two_axes_are_vectors(engine: str) -> None:
    """Without a word from the net: one step more than in a padded array would be tokens (T, B)."""
    params = make_net(1, 1, 2, 5, 3).params
    params = rnncore.Params(params.cell, **params)
    integers = np.array([[1, 0], [0, 1], [1, 1]])
    found, expected = (
        rnncore.forward(params, inputs, offsets=[0, 1, 3], backend=engine).h for inputs in (integers, integers * 1.0)
    )
    assert_same_bits({"h": expected}, {"h": found})


def test_later_changes_of_offsets_change_nothing(engine: str) -> None:
    net = flat(make_net(**SMALL, own_loss=True))
    offsets = net.offsets.copy()
    out = rnncore.forward(net.params, net.inputs, offsets=offsets, backend=engine)
    expected = rnncore.backward(net.params, out, dh=net.dh, backend=engine).grads
    offsets[:] = 0
    assert rnncore.backward(net.params, out, dh=net.dh, backend=engine).grads == expected
    assert "B=7" in repr(out)


@pytest.mark.parametrize("form", ["grid", "one", "list", "flat"])
@EACH_CELL
def test_verify_takes_them(cell: str, form: str) -> None:
    """All engines agree, and the gradient is that of central differences, also with resets."""
    net = make_net(6, 3, 4, 5, 3, cell=cell, lengths="full" if form == "one" else "ragged", resets="some")
    if form == "one":
        arrays = {name: getattr(net, name)[:, 1] for name in ("inputs", "labels", "resets")}
        net = with_changes(net, **arrays, state=None)
    net = {"list": listed, "flat": flat}.get(form, lambda net: net)(net)
    options = {"state": net.state, "lengths": net.lengths, "offsets": net.offsets, "resets": net.resets}
    report = rnncore.verify(net.params, net.inputs, net.labels, **options)
    assert report.ok, str(report)
    assert report.differences


@pytest.mark.parametrize("B", [64, 70, 130])
@pytest.mark.parametrize("resets", [False, True])
def test_equal_lengths_on_two_threads(resets: bool, B: int) -> None:
    """Batches so large that threads take chunks of time together have the bits of one thread, in both forms."""
    T, X, H = 140, 8, 128
    params, random = rnncore.init_params("lstm", X, H, 0, seed=1), np.random.default_rng(1)
    x, dh = (random.standard_normal((T, B, n)).astype("f4") for n in (X, H))
    again = random.random((T, B)) < 0.1 if resets else None
    ends = {"offsets": T * np.arange(B + 1)}
    found = []
    for threads, form in ((1, None), (2, None), (2, ends)):
        arrays = [a if a is None or form is None else np.concatenate(a.swapaxes(0, 1)) for a in (x, dh, again)]
        out = rnncore.forward(params, arrays[0], resets=arrays[2], threads=threads, **(form or {}))
        back = rnncore.backward(params, out, dh=arrays[1], need_dinputs=True, threads=threads)
        h, dinputs = (a if form is None else a.reshape(B, T, -1).swapaxes(0, 1) for a in (out.h, back.dinputs))
        found.append({"h": h, "dinputs": dinputs, "flat": back.grads.flat})
    assert_same_bits(*found[:2])
    assert_same_bits(found[0], found[2])
