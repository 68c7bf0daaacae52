"""The core's short road for arguments in canonical form gives what the long one gives, and lets all others pass by."""

import pickle
from collections.abc import Callable
from typing import Any

import nets
import numpy as np
import pytest

import rnncore
from rnncore.cells import CELLS

_cpp = pytest.importorskip("rnncore._cpp", reason="only the compiled core has a short road")

CORE = _cpp.CppEngine(_cpp.best())
ONE = (5,)
MANY = (5, 3)


def arguments(steps: tuple[int, ...], dtype: str, tokens: bool, state: bool, cell: str = "rnn") -> tuple[Any, ...]:
    net = nets.make_net(5, 3, 4, 6, 3, dtype, tokens=tokens, labels="some", cell=cell)
    assert net.labels is not None
    inputs, labels, states = net.inputs, net.labels, net.state
    if steps == ONE:
        inputs, labels = (np.ascontiguousarray(a[:, 0]) for a in (inputs, labels))
        states = nets.each_state(lambda h: h[0], states)
    return net.params, inputs, labels, states if state else None


def both_roads(params: rnncore.Params, inputs: Any, labels: Any, state: Any, need: bool) -> tuple[Any, Any]:
    """What the two roads give; None for a short road not taken."""
    short = CORE.bptt_at_once(params, inputs, labels, state, need, 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_cpp.CppEngine, "bptt_at_once", None)
        long = rnncore.bptt(params, inputs, labels, state=state, need_dinputs=need, backend=f"cpp.{_cpp.best()}")
    return short, long


@pytest.mark.parametrize("state", [False, True])
@pytest.mark.parametrize("tokens", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("steps", [ONE, MANY])
@pytest.mark.parametrize("cell", CELLS)
def test_both_roads_give_the_same(cell: str, steps: tuple[int, ...], dtype: str, tokens: bool, state: bool) -> None:
    params, inputs, labels, h = arguments(steps, dtype, tokens, state, cell)
    for same in (params, pickle.loads(pickle.dumps(params)), rnncore.Params.from_flat(cell, 4, 6, 3, params.flat)):
        short, long = both_roads(same, inputs, labels, h, need=not tokens)
        assert short is not None
        nets.assert_same_bits(named(long), named(rnncore.api.BpttResult(*short)))


@pytest.mark.parametrize("state", [False, True])
@pytest.mark.parametrize("tokens", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("steps", [ONE, MANY])
@pytest.mark.parametrize("cell", CELLS)
def test_both_roads_forward_and_back(cell: str, steps: tuple[int, ...], dtype: str, tokens: bool, state: bool) -> None:
    params, inputs, _, h = arguments(steps, dtype, tokens, state, cell)
    short, long = forward_both(params, inputs, h)
    nets.assert_same_bits(named(long), named(short))
    own = {"dy": short.y * 2, "dh": short.h * 3, "dstate": nets.each_state(lambda h: h * 4, short.state)}
    for left_out in (*own, None):
        given = {name: value for name, value in own.items() if name != left_out}
        nets.assert_same_bits(*(named(road) for road in backward_both(params, short, given, not tokens)))


def forward_both(params: rnncore.Params, inputs: Any, state: Any) -> tuple[Any, Any]:
    found = CORE.forward_at_once(params, inputs, state, 1)
    assert found is not None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_cpp.CppEngine, "forward_at_once", None)
        long = rnncore.forward(params, inputs, state=state, backend=CORE.name)
    return rnncore.api.ForwardResult._at_once(params, *found), long


def backward_both(params: rnncore.Params, out: Any, given: dict[str, Any], need: bool) -> tuple[Any, Any]:
    kept = out._batch.inputs, out._h, out._tape, out._batch.state, out._batch.form == "one"
    found = CORE.backward_at_once(params, *kept, given.get("dy"), given.get("dh"), given.get("dstate"), need, 1)
    assert found is not None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_cpp.CppEngine, "backward_at_once", None)
        long = rnncore.backward(params, out, **given, need_dinputs=need, backend=CORE.name)
    return long, rnncore.api.BackwardResult(*found)


def named(result: Any) -> nets.Results:
    """All that a user sees of a result, as arrays by name."""
    found: nets.Results = {}
    for name in ("loss", "losses", "y", "h", "state", "dstate", "dinputs"):
        value = getattr(result, name, None)
        arrays = value if isinstance(value, tuple) else (value,)
        found |= {f"{name} {n}": np.asarray(array) for n, array in enumerate(arrays) if array is not None}
    return found | ({"grads": result.grads.flat} if hasattr(result, "grads") else {})


def test_what_forward_read_can_be_changed_afterwards() -> None:
    params, inputs, _, state = arguments(MANY, "float32", False, True, "lstm")
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
        short, long = both_roads(params, tokens, tokens, None, need=False)
        assert short is not None
        assert short[0] == long.loss


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
def test_what_is_unusual_takes_the_long_road(argument: str, unusual: str) -> None:
    for tokens in (False, True):
        given = dict(
            zip(("params", "inputs", "labels", "state"), arguments(MANY, "float64", tokens, True), strict=True)
        )
        given[argument] = UNUSUAL[unusual](given[argument])
        assert CORE.bptt_at_once(*given.values(), False, 1) is None
        if argument != "labels":
            assert CORE.forward_at_once(given["params"], given["inputs"], given["state"], 1) is None


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
        ("need_dinputs", 1),
        ("threads", 0),
        ("threads", True),
        ("threads", 2**31),
        ("threads", 1.0),
    ],
)
def test_what_is_wrong_takes_the_long_road(argument: str, value: Any) -> None:
    params, inputs, labels, state = arguments(MANY, "float64", False, True)
    given = {"inputs": inputs, "labels": labels, "state": state, "need_dinputs": False, "threads": 1}
    assert CORE.bptt_at_once(params, *given.values()) is not None
    assert CORE.bptt_at_once(params, *(given | {argument: value}).values()) is None
    without_labels = argument in ("inputs", "state", "threads") and np.shape(value) != (
        4,
        3,
        4,
    )  # fewer steps are right
    if without_labels:
        given |= {argument: value}
        assert CORE.forward_at_once(params, given["inputs"], given["state"], given["threads"]) is None


@pytest.mark.parametrize(
    "state", [np.zeros((2, 3, 6)), (np.zeros((3, 6)),), (np.zeros((3, 6)), np.zeros(6)), np.zeros(6)]
)
def test_wrong_pairs_take_the_long_road(state: Any) -> None:
    params, inputs, labels, _ = arguments(MANY, "float64", False, False, "lstm")
    assert CORE.bptt_at_once(params, inputs, labels, state, False, 1) is None
    assert CORE.forward_at_once(params, inputs, state, 1) is None


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
def test_gradients_that_are_unusual_take_the_long_road(given: dict[str, Any]) -> None:
    params, inputs, _, state = arguments(MANY, "float64", False, True)
    out = rnncore.forward(params, inputs, state=state, backend=CORE.name)
    kept = out._batch.inputs, out._h, out._tape, out._batch.state, False
    gradients = given.get("dy"), given.get("dh"), given.get("dstate")
    assert CORE.backward_at_once(params, *kept, *gradients, False, 1) is None
