"""The core's short road for arguments in canonical form gives what the long one gives, and lets all others pass by."""

import pickle
from collections.abc import Callable
from typing import Any

import nets
import numpy as np
import pytest

import rnncore

_cpp = pytest.importorskip("rnncore._cpp", reason="only the compiled core has a short road")

CORE = _cpp.CppEngine(_cpp.best())
ONE = (5,)
MANY = (5, 3)


def arguments(steps: tuple[int, ...], dtype: str, tokens: bool, state: bool) -> tuple[Any, ...]:
    net = nets.make_net(5, 3, 4, 6, 3, dtype, tokens=tokens, labels="some")
    first = (slice(None), 0)[: len(steps) + 1] if len(steps) == 1 else ()
    assert net.labels is not None
    assert net.state is not None
    inputs, labels, h = net.inputs, net.labels, net.state
    if steps == ONE:
        inputs, labels, h = (np.ascontiguousarray(a) for a in (inputs[first], labels[first], h[0]))
    return net.params, inputs, labels, h if state else None


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
def test_both_roads_give_the_same(steps: tuple[int, ...], dtype: str, tokens: bool, state: bool) -> None:
    params, inputs, labels, h = arguments(steps, dtype, tokens, state)
    for same in (params, pickle.loads(pickle.dumps(params)), rnncore.Params.from_flat("rnn", 4, 6, 3, params.flat)):
        short, long = both_roads(same, inputs, labels, h, need=not tokens)
        assert short is not None
        loss, losses, grads, last, dstate, dinputs = short
        assert loss == long.loss
        assert (losses.shape, last.shape, dstate.shape) == (long.losses.shape, long.state.shape, long.dstate.shape)
        found = {"losses": losses, "flat": grads.flat, "last": last, "dstate": dstate}
        expected = {"losses": long.losses, "flat": long.grads.flat, "last": long.state, "dstate": long.dstate}
        if not tokens:
            assert dinputs.shape == long.dinputs.shape
            found["dinputs"], expected["dinputs"] = dinputs, long.dinputs
        nets.assert_same_bits(expected, found)


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
