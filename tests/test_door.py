"""The one door: an engine that reads raw arguments answers as it does to canonical ones, or asks again."""

import pickle
from collections.abc import Callable
from importlib import import_module
from typing import Any

import nets
import numpy as np
import pytest

import rnncore
from rnncore import arguments
from rnncore.cells import CELLS
from rnncore.losses import LOSSES
from rnncore.problem import DEFAULT, options_of
from rnncore.results import BackwardResult, BpttResult, forward_result

pytest.importorskip("rnncore._core", reason="only the compiled core reads raw arguments")
_cpp = import_module("rnncore._cpp")

CORE = _cpp.CppEngine(_cpp.best())
ONE = (5,)
MANY = (5, 3)


def example(steps: tuple[int, ...], dtype: str, tokens: bool, state: bool, cell: str = "rnn") -> tuple[Any, ...]:
    net = nets.make_net(5, 3, 4, 6, 3, dtype, tokens=tokens, labels="some", cell=cell)
    assert net.labels is not None
    inputs, labels, states = net.inputs, net.labels, net.state
    if steps == ONE:
        inputs, labels = (np.ascontiguousarray(a[:, 0]) for a in (inputs, labels))
        states = nets.each_state(lambda h: h[0], states)
    return net.params, inputs, labels, states if state else None


def raw_bptt(params: rnncore.Params, inputs: Any, labels: Any, state: Any, need: bool = False) -> Any:
    """What the engine answers to arguments as a user gives them; None if it asks to be called again."""
    return CORE.bptt(params._net, params.flat, inputs, state, None, options_of(need, 1), labels)


def raw_forward(params: rnncore.Params, inputs: Any, state: Any) -> Any:
    return CORE.forward(params._net, params.flat, inputs, state, None, DEFAULT)


def without_raw(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(_cpp.CppEngine, "reads_raw", False)


def both_ways(params: rnncore.Params, inputs: Any, labels: Any, state: Any, need: bool) -> tuple[Any, Any]:
    """What raw arguments give, None if they are not canonical, and what they give through ``arguments``."""
    raw = raw_bptt(params, inputs, labels, state, need)
    with pytest.MonkeyPatch.context() as patch:
        without_raw(patch)
        other = rnncore.bptt(params, inputs, labels, state=state, need_dinputs=need, backend=CORE.name)
    return raw, other


@pytest.mark.parametrize("state", [False, True])
@pytest.mark.parametrize("tokens", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("steps", [ONE, MANY])
@pytest.mark.parametrize("cell", CELLS)
def test_both_ways_give_the_same(cell: str, steps: tuple[int, ...], dtype: str, tokens: bool, state: bool) -> None:
    params, inputs, labels, h = example(steps, dtype, tokens, state, cell)
    for same in (params, pickle.loads(pickle.dumps(params)), rnncore.Params.from_flat(cell, 4, 6, 3, params.flat)):
        raw, other = both_ways(same, inputs, labels, h, need=not tokens)
        assert raw is not None
        loss, losses, count, grads, *rest = raw
        nets.assert_same_bits(named(other), named(BpttResult(loss, losses, count, params._like(grads), *rest, None)))


@pytest.mark.parametrize("state", [False, True])
@pytest.mark.parametrize("tokens", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("steps", [ONE, MANY])
@pytest.mark.parametrize("cell", CELLS)
def test_both_ways_forward_and_back(cell: str, steps: tuple[int, ...], dtype: str, tokens: bool, state: bool) -> None:
    params, inputs, _, h = example(steps, dtype, tokens, state, cell)
    raw, other = forward_both(params, inputs, h)
    nets.assert_same_bits(named(other), named(raw))
    own = {"dy": raw.y * 2, "dh": raw.h * 3, "dstate": nets.each_state(lambda h: h * 4, raw.state)}
    for left_out in (*own, None):
        given = {name: value for name, value in own.items() if name != left_out}
        nets.assert_same_bits(*(named(way) for way in backward_both(params, raw, given, not tokens)))


def forward_both(params: rnncore.Params, inputs: Any, state: Any) -> tuple[Any, Any]:
    found = raw_forward(params, inputs, state)
    assert found is not None
    with pytest.MonkeyPatch.context() as patch:
        without_raw(patch)
        other = rnncore.forward(params, inputs, state=state, backend=CORE.name)
    return forward_result(*found), other


def raw_backward(params: rnncore.Params, out: Any, given: dict[str, Any], need: bool) -> Any:
    gradients = given.get("dy"), given.get("dh"), given.get("dstate")
    return CORE.backward(out._kept, params.flat, *gradients, options_of(need, 1))


def backward_both(params: rnncore.Params, out: Any, given: dict[str, Any], need: bool) -> tuple[Any, Any]:
    found = raw_backward(params, out, given, need)
    assert found is not None
    with pytest.MonkeyPatch.context() as patch:
        without_raw(patch)
        other = rnncore.backward(params, out, **given, need_dinputs=need, backend=CORE.name)
    grads, *rest = found
    return other, BackwardResult(params._like(grads), *rest)


def named(result: Any) -> nets.Results:
    """All that a user sees of a result, as arrays by name."""
    found: nets.Results = {}
    for name in ("loss", "losses", "count", "y", "h", "state", "dstate", "dinputs"):
        value = getattr(result, name, None)
        arrays = value if isinstance(value, tuple) else (value,)
        found |= {f"{name} {n}": np.asarray(array) for n, array in enumerate(arrays) if array is not None}
    return found | ({"grads": result.grads.flat} if hasattr(result, "grads") else {})


def test_what_forward_read_can_be_changed_afterwards() -> None:
    params, inputs, _, state = example(MANY, "float32", False, True, "lstm")
    out = rnncore.forward(params, inputs, state=state, backend=CORE.name)
    dy = np.ones_like(out.y)
    expected = rnncore.backward(params, out, dy=dy, backend=CORE.name)
    inputs[...] = 7
    for array in state:
        array[...] = 7
    nets.assert_same_bits(named(expected), named(rnncore.backward(params, out, dy=dy, backend=CORE.name)))


def test_sizes_and_dtypes_by_any_name_are_taken() -> None:
    for dtype in ("float64", np.float64, np.dtype("f8"), np.dtype("f8").newbyteorder("="), "float32", np.single):
        params = rnncore.init_params("rnn", 4, 6, 3, dtype=dtype)
        tokens = np.array([0, 1, 2])
        raw, other = both_ways(params, tokens, tokens, None, need=False)
        assert raw is not None
        assert raw[0] == other.loss


UNUSUAL: dict[str, Callable[[np.ndarray], Any]] = {
    "strided": lambda a: np.repeat(a, 2, axis=0)[::2],
    "Fortran": np.asfortranarray,
    "byte-swapped": lambda a: a.astype(a.dtype.newbyteorder("S")),
    "unaligned": lambda a: np.frombuffer(b"x" + a.tobytes(), a.dtype, offset=1).reshape(a.shape),
    "of a subclass": lambda a: np.ma.masked_array(a, mask=False),
    "a list": lambda a: [*a],
    "narrower": lambda a: a.astype(np.int32 if a.dtype.kind == "i" else np.float16),
    "an object": lambda a: a.astype(object),
}


@pytest.mark.parametrize("unusual", UNUSUAL)
@pytest.mark.parametrize("argument", ["inputs", "labels", "state"])
def test_what_is_unusual_asks_to_be_called_again(argument: str, unusual: str) -> None:
    for tokens in (False, True):
        given = dict(zip(("params", "inputs", "labels", "state"), example(MANY, "float64", tokens, True), strict=True))
        given[argument] = UNUSUAL[unusual](given[argument])
        assert raw_bptt(**given) is None
        if argument != "labels":
            assert raw_forward(given["params"], given["inputs"], given["state"]) is None


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("inputs", np.zeros((5, 3, 5))),
        ("inputs", np.zeros((4, 3, 4))),
        ("inputs", np.zeros((5, 2, 4))),
        ("inputs", np.zeros((5, 3))),
        ("inputs", np.zeros((5, 3, 4), np.float32)),
        ("inputs", np.full((5, 3), 4)),
        ("inputs", np.full((5, 3), -1)),
        ("inputs", np.full((5, 3), np.iinfo(np.int64).min)),
        ("labels", np.full((5, 3), 3)),
        ("labels", np.full((5, 3), -2)),
        ("labels", np.full((5, 3), np.iinfo(np.int64).max)),
        ("labels", np.zeros((5, 3, 3))),
        ("labels", np.int64(1)),
        ("state", np.zeros((3, 5))),
        ("state", np.zeros(6)),
        ("state", np.zeros((2, 6))),
    ],
)
def test_what_is_wrong_asks_to_be_called_again(argument: str, value: Any) -> None:
    params, inputs, labels, state = example(MANY, "float64", False, True)
    given = {"inputs": inputs, "labels": labels, "state": state}
    assert raw_bptt(params, **given) is not None
    assert raw_bptt(params, **given | {argument: value}) is None
    if argument != "labels" and np.shape(value) != (4, 3, 4):  # fewer steps are right
        given |= {argument: value}
        assert raw_forward(params, given["inputs"], given["state"]) is None


def test_what_is_asked_for_is_checked_before_the_engine() -> None:
    for threads in (0, True, 1.0):
        with pytest.raises((ValueError, TypeError), match="threads"):
            arguments.options(False, threads)
    assert arguments.options(False, 2**40).threads == 2**31 - 1
    with pytest.raises(TypeError, match="need_dinputs"):
        arguments.options(1, None)
    assert arguments.options(False, None) is DEFAULT
    assert arguments.options(True, 2) is arguments.options(True, 2)


def test_gradients_of_tokens_ask_to_be_called_again() -> None:
    assert raw_bptt(*example(MANY, "float64", True, True), need=True) is None


def test_distributions_are_canonical_only_when_checked() -> None:
    params, inputs, _, _ = example(MANY, "float64", False, False)
    labels = np.full((5, 3, 3), 1 / 3)
    assert raw_bptt(params, inputs, labels, None) is None
    assert CORE.bptt(params._net, params.flat, inputs, None, None, DEFAULT, labels, True) is not None


@pytest.mark.parametrize(
    "state", [np.zeros((2, 3, 6)), (np.zeros((3, 6)),), (np.zeros((3, 6)), np.zeros(6)), np.zeros(6)]
)
def test_wrong_pairs_ask_to_be_called_again(state: Any) -> None:
    params, inputs, labels, _ = example(MANY, "float64", False, False, "lstm")
    assert raw_bptt(params, inputs, labels, state) is None
    assert raw_forward(params, inputs, state) is None


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"dy": np.zeros((5, 3, 4))},
        {"dy": np.zeros((4, 3, 3))},
        {"dy": np.zeros((5, 3, 3), np.float32)},
        {"dy": np.zeros((5, 3, 3)).transpose(1, 0, 2)},
        {"dh": np.zeros((5, 3))},
        {"dstate": np.zeros((3, 5))},
        {"dstate": (np.zeros((3, 6)),)},
    ],
)
def test_gradients_that_are_unusual_ask_to_be_called_again(given: dict[str, Any]) -> None:
    params, inputs, _, state = example(MANY, "float64", False, True)
    out = rnncore.forward(params, inputs, state=state, backend=CORE.name)
    assert raw_backward(params, out, given, False) is None


@pytest.mark.parametrize("labels", ["classes", "distributions"])
def test_lists_in_any_order_of_memory_are_taken(labels: str) -> None:
    """Where all sequences lie in Fortran's order, NumPy would pack them so too, which is not canonical."""
    net = nets.make_net(5, 3, 4, 6, 3, labels=labels)

    def results(order: Callable[[Any], Any]) -> nets.Results:
        assert net.labels is not None
        inputs, labels = ([order(array[: 5 - b, b]) for b in range(3)] for array in (net.inputs, net.labels))
        out = rnncore.forward(net.params, inputs, backend=CORE.name)
        dy, dh = ([order(array) for array in arrays] for arrays in (out.y, out.h))
        grads = rnncore.backward(net.params, out, dy=dy, dh=dh, backend=CORE.name).grads
        losses, _ = rnncore.cross_entropy(dy, labels, backend=CORE.name)
        result = rnncore.bptt(net.params, inputs, labels, backend=CORE.name)
        return {"bptt": result.grads.flat, "backward": grads.flat, "losses": np.concatenate(losses)}

    nets.assert_same_bits(results(np.ascontiguousarray), results(np.asfortranarray))


def loss_example(steps: tuple[int, ...], loss: str, last: bool) -> dict[str, Any]:
    """Arguments with labels of a loss, and weights, one for each step or for each sequence."""
    params, inputs, _, state = example(steps, "float64", False, True, "lstm")
    lead, numbers = steps[1:] if last else steps, nets.Numbers(4)
    labels = numbers.below(4, *lead) - 1 if loss == "cross_entropy" else numbers.fractions(*lead, 3)
    weights = np.asarray(numbers.fractions(*lead) * (numbers.below(3, *lead) > 0))
    return {"params": params, "inputs": inputs, "state": state, "labels": labels, "weights": weights}


def raw_loss(given: dict[str, Any], loss: str) -> Any:
    """What the engine answers to labels and weights of a loss as a user gives them."""
    params, labels = given["params"], given["labels"]
    both = labels if given["weights"] is None else (labels, given["weights"])
    options = options_of(False, 1, loss)
    return CORE.bptt(params._net, params.flat, given["inputs"], given["state"], None, options, both)


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("steps", [ONE, MANY])
@pytest.mark.parametrize("loss", LOSSES)
def test_both_ways_give_the_same_losses(loss: str, steps: tuple[int, ...], last: bool) -> None:
    example = loss_example(steps, loss, last)
    for given in (example, example | {"weights": None}):
        raw = raw_loss(given, loss)
        with pytest.MonkeyPatch.context() as patch:
            without_raw(patch)
            other = rnncore.bptt(**given, loss=loss, backend=CORE.name)
        if steps == ONE and last:  # labels and weights of one sequence are numbers, which are not arrays to the core
            given = {n: np.asarray(a) if n in ("labels", "weights") and a is not None else a for n, a in given.items()}
            raw = raw_loss(given, loss)
        assert raw is not None
        total, losses, count, grads, *rest = raw
        result = BpttResult(total, losses, count, given["params"]._like(grads), *rest, None)
        nets.assert_same_bits(named(other), named(result))


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("loss", LOSSES)
def test_wrong_labels_and_weights_ask_to_be_called_again(loss: str, last: bool) -> None:
    given = loss_example(MANY, loss, last)
    assert raw_loss(given, loss) is not None
    for wrong in (-1.0, np.nan, np.inf, -np.inf):
        weights = given["weights"].copy()
        weights.flat[1] = wrong
        assert raw_loss(given | {"weights": weights}, loss) is None
    for weights in (given["weights"].astype(np.float32), np.ones((5, 2)), np.ones(4), np.ones((5, 3), int), 1.0, [1.0]):
        assert raw_loss(given | {"weights": weights}, loss) is None
    wrongs = {"cross_entropy": (3, -2), "squared_error": (np.nan,), "binary_cross_entropy": (np.nan, 1.5, -1e-300)}
    for wrong in wrongs[loss]:
        for weight in (1.0, 0.0):  # even where it is not read: the answer is the same, a little later
            labels, weights = given["labels"].copy(), given["weights"].copy()
            labels.flat[0], weights.flat[0] = wrong, weight
            assert raw_loss(given | {"labels": labels, "weights": weights}, loss) is None
            assert raw_loss(given | {"labels": labels, "weights": None}, loss) is None
    for labels in (given["labels"].astype(np.float32), given["labels"] > 0, np.zeros((5, 3, 2)), np.zeros(4)):
        assert raw_loss(given | {"labels": labels}, loss) is None


def answer(**given: Any) -> Any:
    """What bptt returns, as a user sees it; or what it says is wrong."""
    try:
        return named(rnncore.bptt(**given, backend=CORE.name))
    except (ValueError, TypeError) as error:
        return type(error).__name__, str(error)


@pytest.mark.parametrize("tokens", [None, False, True])
@pytest.mark.parametrize("V", [1, 2])
@pytest.mark.parametrize("loss", LOSSES)
def test_any_shapes_of_labels_and_weights_have_one_answer(loss: str, V: int, tokens: bool | None) -> None:
    """One reading, or one complaint, whoever reads: also where a label could be one a step or one a sequence."""
    params = rnncore.Params("rnn", tokens=tokens, **nets.make_net(1, 1, 2, 3, V, "float64").params)
    answers = set()
    for lead in ((1,), (2,), (1, 1), (2, 1), (1, 2), (2, 2), (3, 2), (0,), (0, 2)):
        for inputs in (np.zeros(lead, int), np.full((*lead, 2), 0.5), np.ones((*lead, 2), int)):
            for own in dict.fromkeys([lead, lead[1:], lead[:1], (2, 2), ()]):
                labels = [np.zeros(own, int), np.zeros(own), np.full((*own, V), 1 / V), np.zeros((*own, V), bool)]
                for label in labels:
                    for weights in (None, np.full(own, 0.5), np.full(lead[1:], 0.5)):
                        given = {"params": params, "inputs": inputs, "labels": label, "weights": weights, "loss": loss}
                        found = answer(**given)
                        with pytest.MonkeyPatch.context() as patch:
                            without_raw(patch)
                            expected = answer(**given)
                        answers.add(type(expected))
                        if isinstance(expected, dict) and isinstance(found, dict):
                            nets.assert_same_bits(expected, found)
                        else:
                            assert expected == found
    assert answers == {dict, tuple}


def module_weights(params: rnncore.Params, biases: bool) -> list[Any]:
    """The weights of each part as PyTorch has them, apart from each other, with random biases, which params get too."""
    random, weights = np.random.default_rng(3), []
    for part in range(params._net.parts):
        W_xh, W_hh, b_x, b_h = params._net.layer(params.flat, part)
        b_ih, b_hh = random.standard_normal((2, len(b_h))).astype(b_h.dtype) * biases
        if b_x is None:
            b_h[:] = b_ih + b_hh
        else:
            b_x[:], b_h[:] = b_ih, b_hh
        weights += [W_xh.copy(), W_hh.copy(), *([b_ih, b_hh] if biases else [])]
    return weights


def addresses_of(arrays: list[Any]) -> tuple[int, ...]:
    """Where arrays are; 0 for None."""
    return tuple(0 if a is None else a.ctypes.data for a in arrays)


@pytest.mark.parametrize("biases", [False, True])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("T", [1, 40])
@pytest.mark.parametrize("cell", CELLS)
def test_addresses_stand_for_arrays(
    cell: str, T: int, dtype: str, bidirectional: bool, layers: int, biases: bool
) -> None:
    params = rnncore.init_params(cell, 4, 6, 0, dtype=dtype, layers=layers, bidirectional=bidirectional, seed=1)
    net, width, options = params._net, 12 if bidirectional else 6, options_of(True, 2)
    weights, random = module_weights(params, biases), np.random.default_rng(2)
    summed = 0 if not biases or CELLS[cell].own_recurrent_bias else net.parts * len(net.layer(params.flat).b_h)
    x, dh = (random.standard_normal((T, 3, n)).astype(dtype) for n in (4, width))
    masks = [random.integers(0, 2, (T, 3, width)).astype(dtype)] * (layers - 1)
    shape = (len(CELLS[cell].states), *([net.parts] if net.parts > 1 else []), 3, 6)
    for has_state in (False, True):
        state, dstate = (list(random.standard_normal(shape).astype(dtype)) for _ in range(2))
        first, of_last = (as_states(s) if has_state else None for s in (state, dstate))
        _, h, last, kept = CORE.forward(net, params.flat, (x, tuple(masks)) if masks else x, first, None, options)
        expected = [h, kept[5], last, *CORE.backward(kept, params.flat, None, dh, of_last, options)]
        read = [x, *(state if has_state else [None] * len(state)), *masks]
        h, tape, *last = CORE.module_forward(net, x.shape, addresses_of(read + weights), None, options)
        by = [h, tape, dh, *(dstate if has_state else [None] * len(state))]
        flat, dx, *first = CORE.module_backward(net, x.shape, addresses_of(read + by + weights), None, options)
        flat, copies = flat[: net.size], flat[net.size :]
        assert len(copies) == summed
        assert (copies == flat[net.size - summed :]).all()
        found = [h, tape, as_engine_has(net, last), flat, as_engine_has(net, first), dx]
        nets.assert_same_bits(*({str(i): a for i, a in enumerate(leaves(tuple(r)))} for r in (expected, found)))


def as_engine_has(net: Any, arrays: list[Any]) -> Any:
    """States of a module without the axis for parts, if there is but one."""
    return as_states([a[0] if net.parts == 1 else a for a in arrays])


def as_states(arrays: list[Any]) -> Any:
    """States as an engine has them."""
    return tuple(arrays) if len(arrays) > 1 else arrays[0]


def leaves(results: Any) -> list[Any]:
    """The arrays of nested tuples."""
    return [a for r in results for a in leaves(r)] if isinstance(results, tuple) else [results]


def test_wrong_addresses_are_an_error() -> None:
    params = rnncore.init_params("rnn", 4, 6, 0, seed=1)
    x = np.zeros((5, 4), params.flat.dtype)
    arrays = [x, None, *module_weights(params, True)]
    at = addresses_of(arrays)
    cases = ((at[:-1], "two or four weights"), (at[:1], "an address for each"), ((0, *at[1:]), "must not be 0"))
    for wrong, message in cases:
        with pytest.raises(ValueError, match=message):
            CORE.module_forward(params._net, x.shape, wrong, None, DEFAULT)
    with pytest.raises(TypeError):
        CORE.module_forward(params._net, x.shape, ("", *at[1:]), None, DEFAULT)
    with pytest.raises(ValueError, match="the shape of x"):
        CORE.module_forward(params._net, (1, *x.shape, 1), at, None, DEFAULT)
    outputs = rnncore.init_params("rnn", 4, 6, 2, seed=1)
    with pytest.raises(ValueError, match="without outputs"):
        CORE.module_forward(outputs._net, x.shape, at, None, DEFAULT)
