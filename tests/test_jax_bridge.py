"""rnncore.jax gives the bits of rnncore, and what JAX would differentiate itself, under jit, grad and vmap."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from nets import (
    Array,
    Net,
    Results,
    assert_same_bits,
    each_state,
    make_net,
    named_arrays,
    named_states,
    state_arrays,
)

import rnncore
from rnncore.cells import CELLS
from rnncore.losses import LOSSES

jax: Any = pytest.importorskip("jax", reason="JAX is not installed")
if jax is not None:
    import jax.numpy as jnp
    from test_outside import NETS as WITNESSED
    from test_outside import by_jax, compare, net_of

    from rnncore import jax as bridge

SIZES = {"T": 6, "B": 3, "X": 4, "H": 5, "V": 3}
NETS = {
    "vectors": SIZES,
    "tokens": {**SIZES, "tokens": True},
    "distributions": {**SIZES, "labels": "distributions"},
    "some labels": {**SIZES, "labels": "some"},
    "ragged": {**SIZES, "lengths": "ragged"},
    "empty": {**SIZES, "lengths": "empty"},
    "no state": {**SIZES, "state": False},
    "no steps": {**SIZES, "T": 0},
    "two layers": {**SIZES, "layers": 2, "dropout": True},
    "ragged, two layers, two directions": {**SIZES, "lengths": "ragged", "layers": 2, "bidirectional": True},
}


@pytest.fixture(params=["float32", "float64"])
def dtype(request: pytest.FixtureRequest) -> Iterator[str]:
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", request.param == "float64")
    yield request.param
    jax.config.update("jax_enable_x64", before)


def as_is(function: Callable[..., Any]) -> Callable[..., Any]:
    return function


each_cell = pytest.mark.parametrize("cell", CELLS)
AT_ONCE = [(cell, name, as_is) for cell in CELLS for name in NETS]
COMPILED = [(cell, name, jax.jit) for cell in CELLS for name in NETS if cell == "lstm" or name == "ragged"]
each_case = pytest.mark.parametrize(
    ("cell", "name", "how"),
    AT_ONCE + COMPILED,
    ids=lambda part: {as_is: "at once", jax.jit: "jit"}.get(part, part),
)
"""Every net of every cell at once; and, as JAX takes long to compile, one cell or one net in a compiled program."""


def own_net(cell: str, name: str, dtype: str, **changes: Any) -> Net:
    return make_net(cell=cell, dtype=dtype, **{**NETS[name], **changes})


def moved(net: Net) -> dict[str, Any]:
    """What gradients are with respect to."""
    at = {"flat": net.params.flat, "inputs": net.inputs, "state": net.state}
    return {name: value for name, value in at.items() if value is not None and (name != "inputs" or net.need_dinputs)}


def fixed(net: Net) -> dict[str, Any]:
    return {"inputs": net.inputs, "state": net.state, "lengths": net.lengths, "dropout_masks": net.dropout_masks}


def named_gradients(net: Net, found: dict[str, Any]) -> Results:
    results = {"flat": np.asarray(found["flat"])}
    if net.need_dinputs:
        results["dinputs"] = np.asarray(found["inputs"])
    if net.state is None:
        return results
    return results | named_states("dstate", net.params.cell, each_state(np.asarray, found["state"]))


def expected_gradients(net: Net, result: Any) -> Results:
    results = {"flat": result.grads.flat}
    if net.need_dinputs:
        results["dinputs"] = result.dinputs
    return results if net.state is None else results | named_states("dstate", net.params.cell, result.dstate)


def bptt_of(net: Net, **options: Any) -> Any:
    return rnncore.bptt(net.params, labels=net.labels, need_dinputs=net.need_dinputs, **fixed(net), **options)


def loss_of(net: Net, **options: Any) -> Callable[[dict[str, Any]], Any]:
    """J of the arrays that a gradient is with respect to."""

    def J(at: dict[str, Any]) -> Any:
        given = {**fixed(net), **at}
        flat = given.pop("flat")
        return bridge.bptt_loss(net.params.net, flat, labels=net.labels, **given, **options)

    return J


@each_case
def test_the_loss_has_the_bits_of_bptt(cell: str, name: str, how: Any, dtype: str) -> None:
    net = own_net(cell, name, dtype)
    expected, J = bptt_of(net), loss_of(net)
    loss, found = how(jax.value_and_grad(J))(moved(net))
    assert_same_bits(expected_gradients(net, expected), named_gradients(net, found), cell)
    assert loss.dtype == dtype
    assert loss == how(J)(moved(net)) == np.dtype(dtype).type(expected.loss)


@each_cell
def test_every_engine_gives_these_bits(cell: str, engine: str, dtype: str) -> None:
    """The loss in one pass, the loss by parts, as a mapped one is, and rnn."""
    net = own_net(cell, "ragged, two layers, two directions", dtype, own_loss=True)
    expected = expected_gradients(net, bptt_of(net))
    own, at = loss_of(net, backend=engine), moved(net)
    assert_same_bits(expected, named_gradients(net, jax.grad(own)(at)), cell)
    out = rnncore.forward(net.params, **fixed(net))
    expected = expected_gradients(
        net, rnncore.backward(net.params, out, dh=net.dh, dstate=net.dstate, need_dinputs=True)
    )
    (h, _), found = rnn_and_gradient(net, net.dh, net.dstate, backend=engine)(at)
    assert_same_bits(expected | {"h": out.h}, named_gradients(net, found) | {"h": np.asarray(h)}, cell)
    one = lambda flat, x: bridge.bptt_loss(  # noqa: E731
        net.params.net, flat, x, net.labels, lengths=net.lengths, backend=engine
    )
    x, labels = (side_by_side(array[:2]) for array in elements(net))
    expected = {"flat": rnncore.bptt(net.params, x, labels, lengths=np.tile(net.lengths, 2)).grads.flat}
    mapped = lambda flat: jax.vmap(one, (None, 0))(flat, elements(net)[0][:2]).sum()  # noqa: E731
    assert_same_bits(expected, {"flat": np.asarray(jax.grad(mapped)(net.params.flat))}, cell)


@each_case
def test_rnn_has_the_bits_of_forward_and_backward(cell: str, name: str, how: Any, dtype: str) -> None:
    net = own_net(cell, name, dtype, own_loss=True)
    out = rnncore.forward(net.params, **fixed(net))
    for dh, dstate in ((net.dh, net.dstate), (net.dh, None), (None, net.dstate)):
        expected = rnncore.backward(net.params, out, dh=dh, dstate=dstate, need_dinputs=net.need_dinputs)
        (h, state), found = how(rnn_and_gradient(net, dh, dstate))(moved(net))
        assert_same_bits(expected_gradients(net, expected), named_gradients(net, found), cell)
        states = named_states("state", cell, each_state(np.asarray, state))
        assert_same_bits({"h": out.h} | named_states("state", cell, out.state), {"h": np.asarray(h)} | states, cell)


def rnn_and_gradient(net: Net, dh: Any, dstate: Any, **options: Any) -> Callable[[dict[str, Any]], Any]:
    """The results, and the gradient of a loss that is linear in them."""

    def run(at: dict[str, Any]) -> tuple[Any, Any]:
        given = {**fixed(net), **at}
        h, state = bridge.rnn(net.params.net, given.pop("flat"), **given, **options)
        J = 0 if dh is None else (h * dh).sum()
        for one, gradient in zip(state_arrays(state), () if dstate is None else state_arrays(dstate), strict=False):
            J += (one * gradient).sum()
        return J, (h, state)

    def results(at: dict[str, Any]) -> tuple[Any, Any]:
        (_, found), gradient = jax.value_and_grad(run, has_aux=True)(at)
        return found, gradient

    return results


@pytest.mark.parametrize("last", [False, True], ids=["a label a step", "a label a sequence"])
@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_with_weights(loss: str, last: bool, dtype: str) -> None:
    net = own_net("gru", "ragged", dtype)
    lead = net.inputs.shape[1:2] if last else net.inputs.shape[:2]
    labels = np.arange(np.prod((*lead, 3))).reshape(*lead, 3) % 2
    labels = labels[..., 0] if loss == "cross_entropy" else labels.astype(dtype)
    given = {"labels": labels, "weights": np.linspace(0, 2, 3).astype(dtype), "lengths": net.lengths, "loss": loss}
    expected = rnncore.bptt(net.params, net.inputs, **given)
    loss_of_flat = lambda flat, x: bridge.bptt_loss(net.params.net, flat, x, **given)  # noqa: E731
    J, found = jax.jit(jax.value_and_grad(loss_of_flat))(net.params.flat, net.inputs)
    assert np.dtype(dtype).type(expected.loss) == J
    assert_same_bits({"flat": expected.grads.flat}, {"flat": np.asarray(found)})
    twice = jax.jit(jax.vmap(loss_of_flat, (None, 0)))(net.params.flat, np.stack([net.inputs, net.inputs]))
    assert (twice == J).all()


def test_labels_of_one_output_need_no_last_axis(dtype: str) -> None:
    net = own_net("rnn", "vectors", dtype, V=1, labels="absent")
    for lead in ((6, 3), (3,)):
        labels = np.linspace(-1, 1, int(np.prod(lead))).reshape(lead).astype(dtype)
        expected = rnncore.bptt(net.params, net.inputs, labels, loss="squared_error")
        for given in (labels, labels[..., None]):
            J = bridge.bptt_loss(net.params.net, net.params.flat, net.inputs, given, loss="squared_error")
            assert np.dtype(dtype).type(expected.loss) == J


@pytest.mark.parametrize("name", ["vectors", "two layers", "no state"])
def test_one_sequence(name: str, dtype: str) -> None:
    net = own_net("lstm", name, dtype)
    inputs, labels = net.inputs[:, 0], net.labels[:, 0]
    given = {
        "state": each_state(lambda array: array[..., 0, :], net.state),
        "dropout_masks": None if net.dropout_masks is None else [mask[:, 0] for mask in net.dropout_masks],
    }
    out, expected = rnncore.forward(net.params, inputs, **given), rnncore.bptt(net.params, inputs, labels, **given)
    h, state = bridge.rnn(net.params.net, net.params.flat, inputs, **given)
    assert_same_bits({"h": out.h, "c": out.state[1]}, {"h": np.asarray(h), "c": np.asarray(state[1])})
    J, found = jax.value_and_grad(bridge.bptt_loss, 1)(net.params.net, net.params.flat, inputs, labels, **given)
    assert np.dtype(dtype).type(expected.loss) == J
    assert_same_bits({"flat": expected.grads.flat}, {"flat": np.asarray(found)})


def elements(net: Net) -> tuple[Array, Array]:
    """Three batches of inputs and labels."""
    numbers = np.array([1, -2, 0.5], net.inputs.dtype)
    return net.inputs * numbers[:, None, None, None], np.stack([net.labels] * 3)


def element(many: Any, n: int) -> Any:
    return each_state(lambda array: array[n], many)


def side_by_side(array: Array) -> Array:
    """(N, T, B, ...) as one batch (T, N*B, ...)."""
    return np.concatenate(list(array), axis=1)


@pytest.mark.parametrize("how", [as_is, jax.jit], ids=["at once", "jit"])
@each_cell
def test_the_gradient_of_a_mapped_loss_has_the_bits_of_one_larger_batch(cell: str, how: Any, dtype: str) -> None:
    net = own_net(cell, "no state", dtype)
    x, labels = elements(net)
    losses = jax.vmap(lambda flat, x, l: bridge.bptt_loss(net.params.net, flat, x, l), (None, 0, 0))
    J, found = how(jax.value_and_grad(lambda flat: losses(flat, x, labels).sum()))(net.params.flat)
    expected = rnncore.bptt(net.params, side_by_side(x), side_by_side(labels))
    assert_same_bits({"flat": expected.grads.flat}, {"flat": np.asarray(found)}, cell)
    each = [np.dtype(dtype).type(rnncore.bptt(net.params, *pair).loss) for pair in zip(x, labels, strict=True)]
    assert list(how(losses)(net.params.flat, x, labels)) == each
    assert abs(float(J) - sum(map(float, each))) <= 3 * np.finfo(dtype).eps * sum(map(float, each))  # two additions


@pytest.mark.parametrize("lengths", ["full", "ragged"])
@each_cell
def test_mapped_gradients_have_the_bits_of_each(cell: str, lengths: str, dtype: str) -> None:
    net = own_net(cell, "no state", dtype, lengths=lengths)
    x, labels = elements(net)
    J = lambda flat, x, l: bridge.bptt_loss(net.params.net, flat, x, l, lengths=net.lengths)  # noqa: E731
    own = lambda flat, x: (bridge.rnn(net.params.net, flat, x, lengths=net.lengths)[0] * 2).sum()  # noqa: E731
    found = jax.jit(jax.vmap(jax.grad(J), (None, 0, 0)))(net.params.flat, x, labels)
    of_own = jax.vmap(jax.grad(own), (None, 0))(net.params.flat, x)
    for n in range(3):
        expected = rnncore.bptt(net.params, x[n], labels[n], lengths=net.lengths)
        assert_same_bits({"flat": expected.grads.flat}, {"flat": np.asarray(found[n])}, cell)
        out = rnncore.forward(net.params, x[n], lengths=net.lengths)
        expected = rnncore.backward(net.params, out, dh=np.full_like(out.h, 2))
        assert_same_bits({"flat": expected.grads.flat}, {"flat": np.asarray(of_own[n])}, cell)


@pytest.mark.parametrize("layers", [1, 2])
@each_cell
def test_mapped_results_have_the_bits_of_each(cell: str, layers: int, dtype: str) -> None:
    """Over inputs, initial states and lengths, each with and without the others; twice over; and over parameters."""
    net = own_net(cell, "ragged", dtype, layers=layers)
    x, _ = elements(net)
    states = each_state(lambda array: np.stack([array, 2 * array, -array]), net.state)
    lengths = np.stack([net.lengths, net.lengths[::-1], [1, 2, 3]])
    rnn = lambda flat, *given: bridge.rnn(net.params.net, flat, *given)  # noqa: E731
    for which in ((0, None, None), (None, 0, None), (None, None, 0), (0, 0, 0)):
        all_of = (x, states, lengths)
        given = [many if axis == 0 else element(many, 0) for axis, many in zip(which, all_of, strict=True)]
        h, last = jax.jit(jax.vmap(rnn, (None, *which)))(net.params.flat, *given)
        for n in range(3):
            own = [element(one, n) if axis == 0 else one for axis, one in zip(which, given, strict=True)]
            assert_like_forward(net.params, own, h[n], element(last, n))
    h, last = jax.vmap(jax.vmap(rnn, (None, 0, None, 0)), (None, None, 0, None))(net.params.flat, x, states, lengths)
    own = [x[1], element(states, 2), lengths[1]]
    assert_like_forward(net.params, own, h[2, 1], element(element(last, 2), 1))
    flats = np.stack([net.params.flat, -net.params.flat])
    own = [x[0], element(states, 0), lengths[0]]
    h, last = jax.vmap(rnn, (0, None, None, None))(flats, *own)
    params = net.params.copy()
    params.flat = flats[1]
    assert_like_forward(params, own, h[1], element(last, 1))


def assert_like_forward(params: rnncore.Params, given: Any, h: Any, last: Any) -> None:
    inputs, state, lengths = given
    out = rnncore.forward(params, inputs, state=state, lengths=lengths)
    expected = {"h": out.h} | named_states("state", params.cell, out.state)
    found = {"h": np.asarray(h)} | named_states("state", params.cell, each_state(np.asarray, last))
    assert_same_bits(expected, found, params.cell)


def test_mapped_parameters_have_gradients_of_their_own(dtype: str) -> None:
    net = own_net("gru", "vectors", dtype)
    flats = np.stack([net.params.flat, -net.params.flat])
    J = lambda flat: bridge.bptt_loss(net.params.net, flat, net.inputs, net.labels)  # noqa: E731
    for gradient in (jax.vmap(jax.grad(J)), jax.grad(lambda flats: jax.vmap(J)(flats).sum())):
        for n, found in enumerate(jax.jit(gradient)(flats)):
            params = net.params.copy()
            params.flat = flats[n]
            expected = rnncore.bptt(params, net.inputs, net.labels)
            assert_same_bits({"flat": expected.grads.flat}, {"flat": np.asarray(found)})


@pytest.mark.parametrize("name", WITNESSED)
@each_cell
def test_it_is_what_jax_differentiates(cell: str, name: str) -> None:
    """The same net as a lax.scan: within the bound of two correct implementations, as in test_outside."""
    net = net_of(cell, name)
    expected = by_jax(net)  # switches to float64
    (_, loss), found = jax.value_and_grad(whole_loss(net), has_aux=True)(moved(net))
    results = {"loss": np.asarray(loss)}
    grads = net.params.copy()
    grads.flat = np.asarray(found["flat"])
    results |= {f"grads.{array}": value for array, value in named_arrays(grads).items()}
    results |= {key: value for key, value in named_gradients(net, found).items() if key != "flat"}
    compare(net, expected, results)


def whole_loss(net: Net) -> Callable[[dict[str, Any]], tuple[Any, Any]]:
    """J with a loss of the net's own, if it has one; and the cross-entropy alone."""

    def J(at: dict[str, Any]) -> tuple[Any, Any]:
        given = {**fixed(net), **at}
        flat = given.pop("flat")
        loss = total = bridge.bptt_loss(net.params.net, flat, labels=net.labels, **given)
        if net.own_loss:
            h, state = bridge.rnn(net.params.net, flat, **given)
            total = loss + (h * net.dh).sum()
            total += sum((a * b).sum() for a, b in zip(state_arrays(state), state_arrays(net.dstate), strict=True))
        return total, loss

    return J


def test_outputs_are_made_of_named_views(dtype: str) -> None:
    net = own_net("rnn", "vectors", dtype)
    W_hy, b_y = net.params.net.head(jnp.asarray(net.params.flat))
    assert (np.asarray(W_hy) == net.params.W_hy).all()
    assert (np.asarray(b_y) == net.params.b_y).all()


@each_cell
def test_a_scan_over_pieces_has_the_bits_of_the_whole(cell: str, dtype: str) -> None:
    net = own_net(cell, "vectors", dtype, own_loss=True)
    dh = net.dh.reshape(3, 2, *net.dh.shape[1:])

    def J(at: dict[str, Any]) -> Any:
        step = lambda state, x: bridge.rnn(net.params.net, net.params.flat, x, state)[::-1]  # noqa: E731
        _, h = jax.lax.scan(step, at["state"], at["inputs"].reshape(3, 2, *net.inputs.shape[1:]))
        return (h * dh).sum()

    found = jax.jit(jax.grad(J))({"state": net.state, "inputs": net.inputs})
    out = rnncore.forward(net.params, net.inputs, state=net.state)
    expected = rnncore.backward(net.params, out, dh=net.dh, need_dinputs=True)
    dstates = named_states("dstate", cell, each_state(np.asarray, found["state"]))
    assert_same_bits(
        {"dinputs": expected.dinputs} | named_states("dstate", cell, expected.dstate),
        {"dinputs": np.asarray(found["inputs"])} | dstates,
        cell,
    )


@pytest.mark.parametrize("name", ["vectors", "ragged, two layers, two directions"])
def test_the_way_back_may_be_kept_cut_and_repeated(name: str, dtype: str) -> None:
    """The tape is arrays of JAX: mapped, it can be cut; and the same way back runs twice, or after a second forward."""
    net = own_net("lstm", name, dtype, state=False, own_loss=True)
    x, _ = elements(net)
    rnn = lambda flat, x: bridge.rnn(net.params.net, flat, x, lengths=net.lengths)[0]  # noqa: E731
    _, ways = jax.vmap(lambda x: jax.vjp(lambda flat: rnn(flat, x), net.params.flat))(x)
    one = jax.tree_util.tree_map(lambda array: array[1], ways)
    again = jax.grad(jax.checkpoint(lambda flat: (rnn(flat, x[1]) * net.dh).sum()))(net.params.flat)
    out = rnncore.forward(net.params, x[1], lengths=net.lengths)
    expected = {"flat": rnncore.backward(net.params, out, dh=net.dh).grads.flat}
    for found in (one(jnp.asarray(net.dh))[0], one(jnp.asarray(net.dh))[0], again):
        assert_same_bits(expected, {"flat": np.asarray(found)})


NET = make_net(**SIZES, cell="lstm")
TWO = make_net(**SIZES, cell="rnn", layers=2)
READS_TOKENS = make_net(**SIZES, tokens=True)
LACKS_OUTPUTS = make_net(**{**SIZES, "V": 0})
WIDE = make_net(**SIZES, dtype="float64")
ERRORS: dict[str, tuple[Net, dict[str, Any], type[Exception], str]] = {
    "params for net": (NET, {"net": NET.params}, TypeError, r"net must be params\.net"),
    "no net": (NET, {"net": None}, TypeError, r"net must be params\.net .*, got None"),
    "params for flat": (NET, {"flat": NET.params}, TypeError, r"flat must be an array.*params\.flat"),
    "flat of another net": (NET, {"flat": TWO.params.flat}, ValueError, r"flat must have shape \(\d+,\)"),
    "flat of another dtype": (NET, {"flat": np.float16(NET.params.flat)}, TypeError, "flat must be float32.*float16"),
    "float64 without x64": (WIDE, {}, TypeError, "flat must be float64, as net is, got float32: set jax_enable_x64"),
    "no inputs": (NET, {"inputs": None}, TypeError, "inputs must be an array, got None"),
    "a list": (NET, {"inputs": [NET.inputs[:, 0]]}, TypeError, "inputs must be an array, got a list: pad sequences"),
    "other inputs": (NET, {"inputs": NET.inputs[..., :3]}, ValueError, "inputs must have X = 4 numbers a step"),
    "four axes": (NET, {"inputs": NET.inputs[None]}, ValueError, "inputs must be numbers of 1 to 3 axes"),
    "booleans": (NET, {"inputs": NET.inputs > 0}, ValueError, "inputs must be numbers"),
    "complex numbers": (NET, {"inputs": NET.inputs * 1j}, TypeError, "inputs must have real numbers, got complex64"),
    "no sequence": (NET, {"inputs": NET.inputs[:, :0]}, ValueError, "inputs must have at least one sequence"),
    "vectors for tokens": (READS_TOKENS, {"inputs": NET.inputs}, TypeError, "inputs must be integers to be tokens"),
    "tokens too large": (READS_TOKENS, {"inputs": READS_TOKENS.inputs + 4}, ValueError, r"inputs must be .*\[0, 4\)"),
    "tokens of 64 bits": (READS_TOKENS, {"inputs": READS_TOKENS.inputs + 2**32}, ValueError, "inputs must fit int32"),
    "state": (NET, {"state": NET.state[0]}, TypeError, r"state of cell 'lstm' must be a tuple \(h, c\)"),
    "part of state": (NET, {"state": (NET.state[0], NET.state[1][0])}, ValueError, "c of state must .*shape"),
    "state of layers": (TWO, {"state": TWO.state[0]}, ValueError, r"state must .* shape \(2, 3, 5\)"),
    "state of integers": (TWO, {"state": TWO.state.astype(int)}, ValueError, "state must be floating"),
    "floating lengths": (NET, {"lengths": np.ones(3)}, TypeError, "lengths must be integers"),
    "other lengths": (NET, {"lengths": np.ones(6, int)}, ValueError, r"lengths must have shape \(3,\)"),
    "lengths too long": (NET, {"lengths": [1, 2, 7]}, ValueError, r"lengths must be in \[0, T\] = \[0, 6\], got 7"),
    "masks": (TWO, {"dropout_masks": np.ones((6, 3, 5))}, TypeError, "dropout_masks must be a list"),
    "number of masks": (TWO, {"dropout_masks": []}, ValueError, "dropout_masks must be a list of 1 arrays"),
    "shape of masks": (TWO, {"dropout_masks": [np.ones(5)]}, ValueError, r"dropout_masks\[0\] must have shape"),
    "no outputs": (LACKS_OUTPUTS, {"labels": NET.labels}, ValueError, "bptt_loss needs outputs"),
    "other labels": (NET, {"labels": NET.labels.T}, ValueError, "labels must have shape"),
    "labels too large": (NET, {"labels": NET.labels + 3}, ValueError, r"labels must be in \[-1, V\)"),
    "labels of integers": (NET, {"loss": "squared_error"}, TypeError, r"labels must be floating.*labels\.astype"),
    "weights": (NET, {"weights": np.ones(4)}, ValueError, "weights must have the shape"),
    "weights of integers": (NET, {"weights": np.ones((6, 3), int)}, TypeError, "weights must be floating"),
    "negative weights": (NET, {"weights": -np.ones((6, 3))}, ValueError, "weights must be"),
    "loss": (NET, {"loss": "hinge"}, ValueError, "loss must be one of"),
    "backend": (NET, {"backend": "gpu"}, ValueError, "backend must be one of"),
    "threads": (NET, {"threads": 0}, ValueError, "threads must be"),
}


@pytest.mark.parametrize("what", ERRORS)
def test_bad_arguments_are_named(what: str) -> None:
    jax.config.update("jax_enable_x64", False)
    net, changes, error, message = ERRORS[what]
    given = {"net": net.params.net, "flat": net.params.flat, "labels": net.labels, **fixed(net), **changes}
    with pytest.raises(error, match=message):
        bridge.bptt_loss(**given)
    if not {"labels", "weights", "loss"} & changes.keys():
        del given["labels"]
        with pytest.raises(error, match=message):
            bridge.rnn(**given)


def test_integers_of_two_axes_need_a_net_that_says_what_they_are() -> None:
    params = rnncore.init_params("rnn", inputs=4, hidden=3, outputs=2)
    with pytest.raises(ValueError, match=r"inputs may be tokens \(T, B\), or vectors"):
        bridge.rnn(params.net, params.flat, np.ones((5, 4), int))


def test_a_compiled_program_quotes_the_error(dtype: str) -> None:
    net = own_net("rnn", "tokens", dtype)
    J = jax.jit(lambda x: bridge.bptt_loss(net.params.net, net.params.flat, x, net.labels))
    with pytest.raises(RuntimeError, match=r"inputs must be in \[0, X\) = \[0, 4\), got 9"):
        J(np.full_like(net.inputs, 9)).block_until_ready()
    assert J(net.inputs) == np.dtype(dtype).type(rnncore.bptt(net.params, net.inputs, net.labels).loss)


@pytest.mark.parametrize("name", ["labels", "weights", "dropout_masks"])
def test_what_has_no_gradient_says_so(name: str, dtype: str) -> None:
    net = own_net("rnn", "two layers", dtype, labels="distributions")
    given = {"labels": net.labels, "weights": np.ones((6, 3), dtype), "dropout_masks": net.dropout_masks}
    J = lambda at: bridge.bptt_loss(net.params.net, net.params.flat, net.inputs, **{**given, name: at})  # noqa: E731
    with pytest.raises(TypeError, match=f"{name} of rnncore.jax have no gradient"):
        jax.grad(J)(given[name])


def test_other_derivatives_are_refused(dtype: str) -> None:
    net = own_net("rnn", "vectors", dtype)
    J = loss_of(net)
    with pytest.raises(NotImplementedError, match="first derivatives"):
        jax.grad(lambda at: jax.grad(J)(at)["flat"].sum())(moved(net))
    with pytest.raises(TypeError, match="forward-mode"):
        jax.jvp(J, (moved(net),), (moved(net),))


ONE_PROCESSOR = """
import os
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
import jax, numpy as np, rnncore, rnncore.jax
params = rnncore.init_params("lstm", inputs=64, hidden=128, outputs=64, dtype="float32")
x, labels = np.ones((64, 32, 64), np.float32), np.zeros((64, 32), int)

@jax.jit
def step(flat, x):
    J, dflat = jax.value_and_grad(rnncore.jax.bptt_loss, 1)(params.net, flat, x, labels)
    dh = jax.grad(lambda x: rnncore.jax.rnn(params.net, flat, x)[0].sum())(x)
    return flat - 1e-6 * dflat, x + dh

flat = params.flat
for _ in range(20):
    flat, x = step(flat, x)
print(bool(np.isfinite(np.asarray(flat)).all()))
"""


def python(code: str) -> str:
    """What a program prints, in a fresh interpreter that finds what this one finds."""
    paths = f"import sys; sys.path[:] = {sys.path!r}\n"
    command = [sys.executable, "-c", paths + code]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=300).stdout


def test_one_processor_is_enough() -> None:
    """A callback that waits for the thread that calls it would wait here for ever; the arrays are large enough that
    JAX hands them over in another thread, where it can."""
    assert python(ONE_PROCESSOR) == "True\n"


def test_jax_is_imported_by_rnncore_jax_alone() -> None:
    assert python("import rnncore; print('jax' in sys.modules)") == "False\n"
    assert python("import rnncore.jax; print('jax' in sys.modules)") == "True\n"


def test_without_jax_the_import_says_what_to_install() -> None:
    code = "sys.modules['jax'] = None\ntry:\n    import rnncore.jax\nexcept ImportError as error:\n    print(error)"
    assert python(code) == "rnncore.jax needs JAX: pip install 'rnncore[jax]'\n"
