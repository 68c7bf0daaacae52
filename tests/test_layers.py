"""Nets of several layers and directions: equal bits on every engine, the laws of such nets, and witnesses."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
from literal import differentiate_layers
from nets import (
    Array,
    Net,
    Results,
    as_states,
    assert_same_bits,
    each_state,
    fold,
    gradients,
    make_net,
    named_states,
    reference,
    run,
    state_arrays,
    with_changes,
)

import rnncore
from rnncore.cells import CELLS
from rnncore.losses import LOSSES

SMALL = {"T": 5, "B": 3, "X": 4, "H": 5, "V": 3}
DEEP: dict[str, dict[str, Any]] = {
    "two layers": {**SMALL, "layers": 2},
    "two directions": {**SMALL, "bidirectional": True},
    "both, ragged": {**SMALL, "layers": 2, "bidirectional": True, "lengths": "ragged", "B": 7, "own_loss": True},
    "both, ragged tokens": {**SMALL, "layers": 2, "bidirectional": True, "lengths": "ragged", "B": 7, "tokens": True},
    "three layers, tokens": {**SMALL, "layers": 3, "tokens": True, "T": 40, "B": 2},
    "masks": {**SMALL, "layers": 3, "dropout": True, "own_loss": True},
    "masks, both, ragged": {**SMALL, "layers": 2, "bidirectional": True, "dropout": True, "lengths": "ragged", "B": 6},
    "no steps": {**SMALL, "layers": 2, "bidirectional": True, "T": 0, "own_loss": True},
    "one step": {**SMALL, "layers": 2, "bidirectional": True, "T": 1},
    "every sequence is empty": {**SMALL, "layers": 2, "bidirectional": True, "lengths": "empty", "own_loss": True},
    "no outputs": {**SMALL, "layers": 2, "bidirectional": True, "V": 0, "own_loss": True},
    "a loss of the user's own, alone": {
        **SMALL,
        "layers": 2,
        "bidirectional": True,
        "labels": "absent",
        "own_loss": True,
    },
    "no initial state": {**SMALL, "layers": 2, "bidirectional": True, "state": False},
    "blocks of rows": {
        "T": 3,
        "B": 130,
        "X": 2,
        "H": 3,
        "V": 2,
        "layers": 2,
        "bidirectional": True,
        "lengths": "ragged",
    },
    "around vectors": {"T": 3, "B": 2, "X": 3, "H": 17, "V": 9, "layers": 2, "bidirectional": True, "tokens": True},
    "sums over what both directions give": {
        "T": 2,
        "B": 2,
        "X": 3,
        "H": 65,
        "V": 2,
        "layers": 2,
        "bidirectional": True,
    },
}
BOTH = pytest.mark.parametrize("dtype", ["float32", "float64"])
EACH = pytest.mark.parametrize("name", DEEP)
EACH_CELL = pytest.mark.parametrize("cell", CELLS)


@lru_cache(maxsize=2)
def deep_net(cell: str, name: str, dtype: str) -> tuple[Net, Results]:
    net = make_net(dtype=dtype, cell=cell, **DEEP[name])
    return net, reference(net)


@BOTH
@EACH
@EACH_CELL
def test_agreement(cell: str, name: str, dtype: str, fast_engine: str) -> None:
    net, expected = deep_net(cell, name, dtype)
    for threads in (1, 3):
        assert_same_bits(expected, run(net, fast_engine, threads), cell)


@pytest.mark.parametrize("B", [1, 5])
@pytest.mark.parametrize("lengths", ["full", "ragged"])
def test_threads_that_share_hidden_units(B: int, lengths: str, fast_engine: str) -> None:
    net = make_net(3, B, 2, 256, 3, layers=2, bidirectional=True, lengths=lengths, own_loss=True)
    assert_same_bits(reference(net), run(net, fast_engine, 2))


def run_last(net: Net, engine: str) -> Results:
    """What one label a sequence gives."""
    assert net.labels is not None
    labels, params = net.labels[0], net.params
    given = {"state": net.state, "lengths": net.lengths, "dropout_masks": net.dropout_masks, "backend": engine}
    out = rnncore.forward(params, net.inputs, **given, last=True)
    # an empty sequence has no loss, and its label is not read
    lengths = np.full(len(labels), len(net.inputs)) if net.lengths is None else net.lengths
    there = np.where(lengths > 0, labels, -1)
    losses, dy = rnncore.cross_entropy(out.y, there, backend=engine)
    back = rnncore.backward(
        params, out, dy=dy, dh=net.dh, dstate=net.dstate, need_dinputs=net.need_dinputs, backend=engine
    )
    whole = rnncore.bptt(params, net.inputs, labels, **given, need_dinputs=net.need_dinputs)
    results = {"y": out.y, "h": out.h, "losses": losses, "bptt losses": whole.losses, "loss": np.array(whole.loss)}
    results |= named_states("state", params.cell, out.state)
    return results | gradients("backward", back) | gradients("bptt", whole)


LAST = ("two layers", "two directions", "both, ragged", "both, ragged tokens", "masks", "blocks of rows")


@BOTH
@pytest.mark.parametrize("name", LAST)
@EACH_CELL
def test_agreement_of_one_label_a_sequence(cell: str, name: str, dtype: str, fast_engine: str) -> None:
    net = deep_net(cell, name, dtype)[0]
    assert_same_bits(last_reference(cell, name, dtype), run_last(net, fast_engine), cell)


@lru_cache(maxsize=2)
def last_reference(cell: str, name: str, dtype: str) -> Results:
    return run_last(deep_net(cell, name, dtype)[0], "numpy")


@pytest.mark.parametrize("name", LAST)
@EACH_CELL
def test_bptt_of_one_label_a_sequence_is_its_parts(cell: str, name: str) -> None:
    net = with_changes(deep_net(cell, name, "float64")[0], dh=None, dstate=None)
    found = run_last(net, "numpy")
    assert np.array_equal(found["bptt losses"], found["losses"])
    assert found["loss"] == fold(found["losses"])
    for array in found:
        if array.startswith("bptt grads") or array in ("bptt dinputs", "bptt dstate"):
            assert_same_bits({array: found[array]}, {array: found[array.replace("bptt", "backward")]})


# The laws: what a net of several layers or directions is.


def alone(params: rnncore.Params, arrays: Any, head: bool = False) -> rnncore.Params:
    """The net of one layer in one direction, with the output layer if it reads that."""
    own = {name: getattr(arrays, name) for name in arrays.names()}
    return rnncore.Params(params.cell, **own, **({"W_hy": params.W_hy, "b_y": params.b_y} if head else {}))


def part(states: Any, n: int) -> Any:
    return each_state(lambda array: array[n], states)


def grads_of(params: rnncore.Params) -> Results:
    return dict(params)


@EACH_CELL
@pytest.mark.parametrize("masks", [False, True])
def test_a_layer_of_the_stack_is_the_net_of_that_layer(cell: str, masks: bool, engine: str) -> None:
    """Forward layer by layer; back from what the layer above says of its inputs."""
    net = make_net(6, 3, 4, 5, 3, cell=cell, layers=2, lengths="ragged", dropout=masks)
    assert net.dropout_masks is None or masks
    whole = rnncore.bptt(
        net.params, net.inputs, net.labels, state=net.state, lengths=net.lengths, need_dinputs=True,
        dropout_masks=net.dropout_masks, backend=engine,
    )  # fmt: skip
    first, second = (alone(net.params, layer, head=n == 1) for n, layer in enumerate(net.params.layers))
    mask = 1 if net.dropout_masks is None else net.dropout_masks[0]
    below = rnncore.forward(first, net.inputs, state=part(net.state, 0), lengths=net.lengths, backend=engine)
    above = rnncore.bptt(
        second, below.h * mask, net.labels, state=part(net.state, 1), lengths=net.lengths, need_dinputs=True,
        backend=engine,
    )  # fmt: skip
    back = rnncore.backward(first, below, dh=above.dinputs * mask, need_dinputs=True, backend=engine)
    found = {"loss": np.array(whole.loss), "losses": whole.losses, "dinputs": whole.dinputs} | grads_of(whole.grads)
    expected = {"loss": np.array(above.loss), "losses": above.losses, "dinputs": back.dinputs}
    for n, grads in enumerate((back.grads, above.grads)):
        expected |= {f"layers.{n}.{name}": array for name, array in dict(grads).items() if name not in ("W_hy", "b_y")}
    expected |= {"W_hy": above.grads.W_hy, "b_y": above.grads.b_y}
    for name, states in (("state", (below.state, above.state)), ("dstate", (back.dstate, above.dstate))):
        pairs = zip(*map(state_arrays, states), strict=True)
        expected |= named_states(name, cell, as_states(np.stack(pair) for pair in pairs))
        found |= named_states(name, cell, getattr(whole, name))
    assert_same_bits(expected, found, cell)


def turned(array: Array, lengths: Array | None) -> Array:
    """Each sequence from its last step to its first; padding stays where it is, as zeros."""
    out = np.zeros_like(array)
    for b in range(array.shape[1]):
        n = len(array) if lengths is None else lengths[b]
        out[:n, b] = array[:n, b][::-1]
    return out


@EACH_CELL
@pytest.mark.parametrize("lengths", ["full", "ragged"])
@pytest.mark.parametrize("tokens", [False, True])
def test_the_reverse_direction_is_the_forward_one_on_reversed_sequences(
    cell: str, lengths: str, tokens: bool, engine: str
) -> None:
    net = make_net(6, 5, 4, 5, 0, cell=cell, bidirectional=True, lengths=lengths, own_loss=True, tokens=tokens)
    (layer,), H = net.params.layers, 5
    out = rnncore.forward(net.params, net.inputs, state=net.state, lengths=net.lengths, backend=engine)
    back = rnncore.backward(net.params, out, dh=net.dh, dstate=net.dstate, need_dinputs=not tokens, backend=engine)
    dinputs = []
    for d, (way, turn) in enumerate((("forward", lambda array, _: array), ("reverse", turned))):
        own = rnncore.Params(cell, tokens=tokens, **{n: getattr(getattr(layer, way), n) for n in layer.forward.names()})
        inputs = turn(net.inputs, net.lengths)
        ran = rnncore.forward(own, inputs, state=part(net.state, d), lengths=net.lengths, backend=engine)
        columns = slice(d * H, (d + 1) * H)
        dh = turn(net.dh[..., columns], net.lengths)
        gone = rnncore.backward(own, ran, dh=dh, dstate=part(net.dstate, d), need_dinputs=not tokens, backend=engine)
        assert_same_bits({"h": turn(ran.h, net.lengths)}, {"h": np.ascontiguousarray(out.h[..., columns])})
        for name, states, found in (("state", ran.state, out.state), ("dstate", gone.dstate, back.dstate)):
            assert_same_bits(named_states(name, cell, states), named_states(name, cell, part(found, d)))
        own_grads = {n: getattr(getattr(back.grads.layers[0], way), n) for n in layer.forward.names()}
        assert_same_bits({n: getattr(gone.grads, n) for n in own_grads}, own_grads)
        if not tokens:
            dinputs.append(turn(gone.dinputs, net.lengths))
    if not tokens:
        assert_same_bits({"dinputs": dinputs[0] + dinputs[1]}, {"dinputs": back.dinputs})


@EACH_CELL
def test_a_mask_of_ones_changes_nothing(cell: str, engine: str) -> None:
    net = make_net(4, 3, 2, 5, 3, cell=cell, layers=3, bidirectional=True)
    ones = [np.ones((4, 3, 10))] * 2
    plain, masked = (run(with_changes(net, dropout_masks=masks), engine) for masks in (None, ones))
    assert_same_bits(plain, masked, cell)


def test_a_mask_of_each_sequence_holds_at_all_its_steps(engine: str) -> None:
    net = make_net(4, 3, 2, 5, 3, layers=2, lengths="ragged", dropout=True)
    assert net.dropout_masks is not None
    one = net.dropout_masks[0][1]
    each = np.broadcast_to(one, (4, 3, 5))
    short, long = (run(with_changes(net, dropout_masks=[mask]), engine) for mask in (one, each))
    assert_same_bits(long, short)
    packed = rnncore.bptt(
        net.params, listed(net.inputs, net), listed(net.labels, net), state=net.state, backend=engine,
        dropout_masks=[one],
    )  # fmt: skip
    assert_same_bits({"flat": packed.grads.flat}, {"flat": long_flat(net, each, engine)})


def long_flat(net: Net, mask: Array, engine: str) -> Array:
    return rnncore.bptt(
        net.params, net.inputs, net.labels, state=net.state, lengths=net.lengths, dropout_masks=[mask], backend=engine
    ).grads.flat


def listed(array: Array | None, net: Net) -> list[Array]:
    assert array is not None
    assert net.lengths is not None
    return [array[:n, b] for b, n in enumerate(net.lengths)]


@EACH_CELL
def test_lists_padding_and_one_sequence(cell: str, engine: str) -> None:
    net = make_net(6, 4, 3, 5, 2, cell=cell, layers=2, bidirectional=True, lengths="ragged", dropout=True)
    assert net.lengths is not None
    assert net.labels is not None
    assert net.dropout_masks is not None
    masks = [listed(mask, net) for mask in net.dropout_masks]
    padded = rnncore.bptt(
        net.params, net.inputs, net.labels, state=net.state, lengths=net.lengths, dropout_masks=net.dropout_masks,
        need_dinputs=True, backend=engine,
    )  # fmt: skip
    packed = rnncore.bptt(
        net.params, listed(net.inputs, net), listed(net.labels, net), state=net.state, dropout_masks=masks,
        need_dinputs=True, backend=engine,
    )  # fmt: skip
    assert_same_bits(grads_of(padded.grads), grads_of(packed.grads), cell)
    for b, n in enumerate(net.lengths):
        one = rnncore.bptt(
            net.params, net.inputs[:n, b], net.labels[:n, b], state=each_state(lambda a, b=b: a[:, b], net.state),
            dropout_masks=[mask[:n, b] for mask in net.dropout_masks], need_dinputs=True, backend=engine,
        )  # fmt: skip
        assert_same_bits(
            {"losses": one.losses, "dinputs": one.dinputs, **named_states("dstate", cell, one.dstate)},
            {
                "losses": padded.losses[:n, b],
                "dinputs": padded.dinputs[:n, b],
                **named_states("dstate", cell, each_state(lambda a, b=b: a[:, b], padded.dstate)),
            },
            cell,
        )
        assert np.array_equal(packed.dinputs[b], one.dinputs)


@pytest.mark.parametrize("layers", [1, 2, 3])
@EACH_CELL
def test_cut_in_time_a_stack_goes_on(cell: str, layers: int, engine: str) -> None:
    net = make_net(6, 3, 4, 5, 2, cell=cell, layers=layers)
    whole = rnncore.forward(net.params, net.inputs, state=net.state, backend=engine)
    first = rnncore.forward(net.params, net.inputs[:4], state=net.state, backend=engine)
    second = rnncore.forward(net.params, net.inputs[4:], state=first.state, backend=engine)
    assert_same_bits({"h": whole.h}, {"h": np.concatenate([first.h, second.h])})
    assert_same_bits(named_states("state", cell, whole.state), named_states("state", cell, second.state))


@EACH_CELL
def test_sampling_is_forward_step_by_step(cell: str, engine: str) -> None:
    """The law of one layer (test_sampling), for two: tokens, and the states in which they are drawn."""
    V, B, H = 6, 3, 5
    params = make_net(1, B, V, H, V, cell=cell, layers=2, tokens=True, scale=3.0).params
    uniforms, prime = np.random.default_rng(0).random((7, B)), np.array([[0, 1, 2], [3, 4, 5]])
    numbers = np.random.default_rng(1)
    state = as_states(numbers.uniform(-0.5, 0.5, (2, B, H)).astype("float32") for _ in CELLS[cell].states)
    tokens, last = rnncore.sample(params, prime, uniforms, state=state, backend=engine)
    read = np.concatenate([prime, tokens[:-1]])
    out = rnncore.forward(params, read, state=state, backend=engine)
    assert_same_bits(named_states("state", cell, out.state), named_states("state", cell, last), cell)
    p = rnncore.softmax(out.y[1:].astype("float64"), backend=engine).cumsum(axis=2)
    margin = np.abs(p - uniforms[..., None]).min()
    assert margin > 1e-6
    assert np.array_equal(tokens, (p > uniforms[..., None]).argmax(axis=2))
    one = rnncore.sample(
        params, prime[:, 1], uniforms[:, 1], state=each_state(lambda a: a[:, 1], state), backend=engine
    )
    assert np.array_equal(one[0], tokens[:, 1])
    assert_same_bits(
        named_states("s", cell, each_state(lambda a: a[:, 1], last)), named_states("s", cell, one[1]), cell
    )


# Witnesses.


@EACH_CELL
@pytest.mark.parametrize("name", ["two layers", "two directions", "both", "both, one label each"])
def test_the_literal_double_sum(cell: str, name: str, engine: str) -> None:
    """Every gradient within 32 units of 2^-53 of its array's largest element: twice the chain of one layer.

    Of rnn_relu with masks off: a unit at an edge has two derivatives.
    """
    deep = {"layers": 1 if name == "two directions" else 2, "bidirectional": name != "two layers"}
    net = make_net(
        3, 2, 2, 3, 3, "float64", cell=cell, labels="classes", own_loss=True, dropout=deep["layers"] > 1, **deep
    )
    last = name.endswith("each")
    found, expected = exactly(net, last, engine), differentiate_layers(net, last)
    assert found.keys() == expected.keys()
    for array, truth in expected.items():
        error = np.abs(found[array] - truth.astype(np.float64)).max()
        assert error <= 32 * 2.0**-53 * np.abs(truth.astype(np.float64)).max(), array


def exactly(net: Net, last: bool, engine: str) -> Results:
    assert net.labels is not None
    out = rnncore.forward(
        net.params, net.inputs, state=net.state, dropout_masks=net.dropout_masks, last=last, backend=engine
    )
    _, dy = rnncore.cross_entropy(out.y, net.labels[0] if last else net.labels, backend=engine)
    back = rnncore.backward(net.params, out, dy=dy, dh=net.dh, dstate=net.dstate, need_dinputs=True, backend=engine)
    results = grads_of(back.grads) | named_states("dstate", net.params.cell, back.dstate)
    return results | {"dinputs": back.dinputs}


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("loss", LOSSES)
@EACH_CELL
def test_central_differences(cell: str, loss: str, last: bool) -> None:
    net = make_net(4, 3, 2, 4, 3, "float64", cell=cell, layers=2, bidirectional=True, lengths="ragged", dropout=True)
    lead = (3,) if last else (4, 3)
    numbers = np.random.default_rng(3)
    labels = {
        "cross_entropy": numbers.integers(0, 3, lead),
        "squared_error": numbers.normal(size=(*lead, 3)),
        "binary_cross_entropy": numbers.random((*lead, 3)),
    }[loss]
    report = rnncore.verify(
        net.params, net.inputs, labels, state=net.state, lengths=net.lengths, loss=loss,
        weights=numbers.random(lead), dropout_masks=net.dropout_masks,
    )  # fmt: skip
    assert report.ok, str(report)


TORCH = ("rnn", "rnn_relu", "lstm", "gru")
"""The cells that PyTorch has."""


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("cell", TORCH)
def test_pytorch_agrees(cell: str, bidirectional: bool, last: bool, engine: str) -> None:
    """Ragged batches of a two-layer net: states and every gradient, of each loss, within 1e-12 in float64."""
    torch = pytest.importorskip("torch")
    net = make_net(5, 4, 3, 4, 3, "float64", cell=cell, layers=2, bidirectional=bidirectional)
    recurrent, linear = net.params.to_torch()
    for loss in LOSSES:
        ran = TorchRun(net, [recurrent], None)
        ran.run(linear, loss, last)
        ran.compare(engine, loss, last)
        grads, _ = rnncore.convert.to_torch(ran.result.grads)
        for name, parameter in recurrent.named_parameters():
            if (
                not name.startswith("bias_hh") or cell == "gru"
            ):  # else b_h is the sum of both, with the gradient of each
                assert np.abs(grads[name] - parameter.grad.numpy()).max() < 1e-12, name
        torch.testing.assert_close(torch.tensor(ran.result.grads.W_hy), linear.weight.grad, rtol=0, atol=1e-12)
        recurrent.zero_grad(), linear.zero_grad()


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("cell", TORCH)
def test_pytorch_agrees_with_masks(cell: str, bidirectional: bool, last: bool, engine: str) -> None:
    """Two modules of one layer with a mask between them."""
    pytest.importorskip("torch")
    net = make_net(5, 4, 3, 4, 3, "float64", cell=cell, layers=2, bidirectional=bidirectional, dropout=True)
    whole, modules = net.params, []
    for number in range(2):
        named = {n.replace(f"layers.{number}.", "layers.0."): whole[n] for n in whole if f"layers.{number}." in n}
        modules.append(rnncore.Params(cell, **named).to_torch()[0])
    ran = TorchRun(net, modules, net.dropout_masks)
    ran.run(whole.to_torch()[1], "cross_entropy", last)
    ran.compare(engine, "cross_entropy", last)
    for number, module in enumerate(modules):
        weight = module.weight_hh_l0.grad.numpy()
        way = f"layers.{number}." + ("forward." if bidirectional else "")
        assert np.abs(ran.result.grads[f"{way}W_hh"] - weight).max() < 1e-12


class TorchRun:
    """A ragged batch through PyTorch's modules, one after the other, with masks between them."""

    lengths = np.array([5, 1, 3, 4])

    def __init__(self, net: Net, modules: list[Any], masks: list[Array] | None) -> None:
        import torch

        self.torch, self.net, self.modules, self.masks = torch, net, modules, masks
        self.x = torch.tensor(net.inputs, requires_grad=True)
        self.first = [torch.tensor(array, requires_grad=True) for array in state_arrays(net.state)]
        self.ended: list[Any] = []

    def run(self, linear: Any, loss: str, last: bool) -> None:
        """Run forward and back."""
        torch, h, parts = self.torch, self.x, len(self.first[0]) // len(self.modules)
        for number, module in enumerate(self.modules):
            if number > 0 and self.masks is not None:
                h = h * torch.tensor(self.masks[number - 1])
            own = [state[number * parts : (number + 1) * parts] for state in self.first]
            packed = torch.nn.utils.rnn.pack_padded_sequence(h, torch.tensor(self.lengths), enforce_sorted=False)
            ran, ended = module(packed, tuple(own) if len(own) > 1 else own[0])
            self.ended.append(ended if len(own) > 1 else (ended,))
            h = torch.nn.utils.rnn.pad_packed_sequence(ran)[0]
        if last:
            final, D = self.ended[-1][0], 1 + self.net.params.bidirectional
            h = torch.cat(list(final[-D:]), dim=1)
        y, there = linear(h), torch.tensor(np.arange(5)[:, None] < self.lengths)
        losses = torch_losses(torch, y, torch.tensor(labels_of(loss, last)), loss)
        self.loss = losses.sum() if last else losses[there].sum()
        self.loss.backward()

    def compare(self, engine: str, loss: str, last: bool) -> None:
        """Compare the loss, the states, and the gradients of inputs and initial states."""
        net = self.net
        self.result = rnncore.bptt(
            net.params, net.inputs, labels_of(loss, last), state=net.state, lengths=self.lengths, loss=loss,
            dropout_masks=self.masks, need_dinputs=True, backend=engine,
        )  # fmt: skip
        assert abs(self.result.loss - self.loss.item()) < 1e-12 * max(1, abs(self.result.loss))
        assert np.abs(self.result.dinputs - self.x.grad.numpy()).max() < 1e-12
        for found, given in zip(state_arrays(self.result.dstate), self.first, strict=True):
            assert np.abs(found - given.grad.numpy()).max() < 1e-12
        for n, found in enumerate(state_arrays(self.result.state)):
            ended = np.concatenate([states[n].detach().numpy() for states in self.ended])
            assert np.abs(found - ended).max() < 1e-12


def labels_of(loss: str, last: bool) -> Array:
    """Labels of a batch (5, 4) with three outputs."""
    numbers, lead = np.random.default_rng(3), (4,) if last else (5, 4)
    if loss == "cross_entropy":
        return numbers.integers(0, 3, lead)
    return numbers.normal(size=(*lead, 3)) if loss == "squared_error" else numbers.random((*lead, 3))


def torch_losses(torch: Any, y: Any, labels: Any, loss: str) -> Any:
    """The loss of each row."""
    functional = torch.nn.functional
    if loss == "cross_entropy":
        return functional.cross_entropy(y.movedim(-1, 1), labels, reduction="none")
    if loss == "squared_error":
        return functional.mse_loss(y, labels, reduction="none").sum(dim=-1) / 2
    return functional.binary_cross_entropy_with_logits(y, labels, reduction="none").sum(dim=-1)


def test_states_of_several_parts_have_an_axis_for_them() -> None:
    net = make_net(2, 3, 2, 4, 2, layers=2, bidirectional=True, cell="lstm")
    out = rnncore.forward(net.params, net.inputs)
    assert [array.shape for array in out.state] == [(4, 3, 4)] * 2
    assert out.h.shape == (2, 3, 8)
    assert [a.shape for a in rnncore.forward(net.params, net.inputs[:, 0]).state] == [(4, 4)] * 2


# Forms of arguments.


def test_a_tuple_of_inputs_is_a_batch_and_nothing_else(engine: str) -> None:
    """Engines have masks beside inputs in a tuple: a user's tuple of two sequences is not that."""
    one, two = (rnncore.init_params("gru", 3, 4, 2, layers=n, dtype="float64", seed=1) for n in (1, 2))
    x = np.ones((5, 3))
    listed = rnncore.forward(one, [x, []], backend=engine)
    assert [y.shape for y in rnncore.forward(one, (x, ()), backend=engine).y] == [(5, 2), (0, 2)]
    assert np.array_equal(rnncore.forward(one, (x, []), backend=engine).y[0], listed.y[0])
    with pytest.raises(ValueError, match="labels of a list of sequences must be a list as well"):
        rnncore.bptt(one, (x, ()), np.zeros(5, int), backend=engine)
    with pytest.raises(ValueError, match=r"inputs\[1\] must be \(T_b,\) integers"):
        rnncore.forward(two, (x, (np.ones((5, 4)),)), backend=engine)


@pytest.mark.parametrize("layers", [1, 2])
def test_what_the_net_reads_decides_every_form(layers: int, engine: str) -> None:
    options: dict[str, Any] = {"backend": engine}
    tokens, vectors = (rnncore.init_params("gru", 3, 4, 3, layers=layers, tokens=flag) for flag in (True, False))
    assert rnncore.forward(vectors, [[]], **options).y[0].shape == (0, 3)
    assert rnncore.bptt(vectors, [[], []], np.zeros(2, int), **options).loss == 0
    assert rnncore.forward(vectors, [[], np.ones((2, 3), int)], **options).y[1].shape == (2, 3)
    assert rnncore.forward(tokens, [[], [0, 1]], **options).y[1].shape == (2, 3)
    wrong: list[Callable[[], object]] = [
        lambda: rnncore.forward(tokens, [np.zeros((2, 3), int)], **options),
        lambda: rnncore.bptt(tokens, [np.zeros((2, 3), int)], [np.zeros(2, int)], **options),
        lambda: rnncore.forward(vectors, np.zeros(0, int), **options),
        lambda: rnncore.forward(vectors, np.zeros(0), **options),
        lambda: rnncore.bptt(vectors, np.zeros(0, int), np.zeros(0, int), **options),
        lambda: rnncore.dropout_masks(vectors, np.zeros(0, int), 0.5, 0),
    ]
    for call in wrong:
        with pytest.raises((TypeError, ValueError), match="as params has tokens="):
            call()


def test_the_masks_of_a_list_are_those_of_the_padded_array() -> None:
    """Those of one sequence are those of the first of a batch, and a shorter one's the beginning of a longer one's."""
    params = rnncore.init_params("rnn", 4, 5, 2, layers=3, bidirectional=True, tokens=True)
    lengths, padded = [4, 0, 2], np.zeros((6, 3), int)
    masks = rnncore.dropout_masks(params, padded, 0.5, seed=7)
    listed = rnncore.dropout_masks(params, [padded[:n, b] for b, n in enumerate(lengths)], 0.5, seed=7)
    one = rnncore.dropout_masks(params, padded[:, 0], 0.5, seed=7)
    assert [mask.shape for mask in masks] == [(6, 3, 10)] * 2
    assert not np.array_equal(masks[0], masks[1])
    for whole, sequences, first in zip(masks, listed, one, strict=True):
        assert np.array_equal(whole[:, 0], first)
        for b, n in enumerate(lengths):
            assert np.array_equal(whole[:n, b], sequences[b])
    each = rnncore.dropout_masks(params, padded, 0.5, seed=7, per_step=False)
    assert [mask.shape for mask in each] == [(3, 10)] * 2
    assert set(np.unique(masks)) == {0.0, 2.0}
    assert abs(np.mean(masks) - 1) < 0.2
    empty = [[mask[:4, 0], [], mask[:2, 2]] for mask in masks]
    inputs, labels = [padded[:n, b] for b, n in enumerate(lengths)], [np.zeros(n, int) for n in lengths]
    found = [rnncore.bptt(params, inputs, labels, dropout_masks=given).grads for given in (empty, listed)]
    assert found[0] == found[1]
