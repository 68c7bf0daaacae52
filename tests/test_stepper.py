"""A Stepper takes the steps of ``forward``, one at a time: the same bits, whatever happens between them."""

import copy
import itertools
import pickle
import re
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import nets
import numpy as np
import pytest

import rnncore
from rnncore.cells import CELLS

T, X, H, V = 9, 5, 19, 4
"""H is no whole number of vectors, and more than one of them."""


def make(
    cell: str = "gru", batch: int | None = None, *, tokens: bool | None = False, V: int = V, **options: Any
) -> tuple[rnncore.Params, nets.Array, nets.States]:
    """Parameters, the inputs of T steps, and a state to begin with."""
    net = nets.make_net(T, batch or 1, X, H, V, tokens=bool(tokens), cell=cell, **options)
    params = rnncore.Params(cell, tokens=tokens, **dict(net.params))
    if batch is not None:
        return params, net.inputs, net.state
    return params, np.ascontiguousarray(net.inputs[:, 0]), nets.each_state(lambda s: s[..., 0, :].copy(), net.state)


def rollout(stepper: rnncore.Stepper, inputs: nets.Array, resets: nets.Array | None = None) -> nets.Array:
    """What a stepper gives, step by step."""
    each = [None] * len(inputs) if resets is None else resets
    return np.stack([stepper.step(x, reset) for x, reset in zip(inputs, each, strict=True)])


def pieces(params: rnncore.Params, inputs: nets.Array, state: nets.States, resets: nets.Array, engine: str) -> Any:
    """Outputs (T, V) and last state of one sequence: ``forward`` of the pieces between resets."""
    cuts, found = [0, *(t for t in np.flatnonzero(resets) if t > 0), len(inputs)], []
    state = None if resets[0] else state
    for t, end in itertools.pairwise(cuts):
        out = rnncore.forward(params, inputs[t:end], state=state if t == 0 else None, backend=engine)
        found.append(out.y if params.outputs else out.h)
    return np.concatenate(found), out.state


def of_sequence(states: nets.States, b: int | None) -> nets.States:
    return states if b is None else nets.each_state(lambda s: np.ascontiguousarray(s[..., b, :]), states)


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("tokens", [False, True])
@pytest.mark.parametrize("batch", [None, 1, 7])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("cell", CELLS)
def test_steps_are_those_of_forward(
    cell: str, dtype: str, batch: int | None, tokens: bool, layers: int, engine: str
) -> None:
    """With resets at random places, each sequence is as ``forward`` has its pieces."""
    params, inputs, state = make(cell, batch, dtype=dtype, tokens=tokens, layers=layers)
    numbers = nets.Numbers(batch or 0)
    resets = numbers.below(4, *((T,) if batch is None else (T, batch))) == 0
    stepper = rnncore.Stepper(params, batch, backend=engine)
    stepper.state = state
    y = rollout(stepper, inputs, resets)
    assert y.dtype == dtype
    for b in [None] if batch is None else range(batch):
        at = (slice(None),) if b is None else (slice(None), b)
        expected, last = pieces(params, inputs[at], of_sequence(state, b), resets[at], engine)
        assert np.array_equal(nets.bits(expected), nets.bits(y[at]))
        found = of_sequence(stepper.state, b)
        nets.assert_same_bits(nets.named_states("state", cell, last), nets.named_states("state", cell, found))


@pytest.mark.parametrize("batch", [None, 3])
@pytest.mark.parametrize("cell", CELLS)
def test_without_outputs_a_step_gives_h(cell: str, batch: int | None, engine: str) -> None:
    params, inputs, _ = make(cell, batch, V=0)
    h = rollout(rnncore.Stepper(params, batch, backend=engine), inputs)
    assert np.array_equal(h, rnncore.forward(params, inputs, backend=engine).h)


@pytest.mark.parametrize("sizes", [(70, 200, 33, 5), (3, 400, 1, 1), (300, 33, 300, 200)], ids=str)
@pytest.mark.parametrize("cell", CELLS)
def test_other_sizes(cell: str, sizes: tuple[int, ...], fast_engine: str) -> None:
    """More than one block of a product, several panels, large batches; the net says nothing of tokens."""
    X, H, V, B = sizes
    net = nets.make_net(3, B, X, H, V, cell=cell)
    params, tokens = rnncore.Params(cell, **dict(net.params)), nets.Numbers(0).below(X, 3, B)
    stepper = rnncore.Stepper(params, B, backend=fast_engine)
    assert np.array_equal(rollout(stepper, net.inputs), rnncore.forward(params, net.inputs, backend=fast_engine).y)
    stepper.state = None
    reads_tokens = rnncore.Params(cell, tokens=True, **dict(params))
    expected = rnncore.forward(reads_tokens, tokens, backend=fast_engine).y
    assert np.array_equal(rollout(stepper, tokens), expected)
    assert np.array_equal(rollout(rnncore.Stepper(reads_tokens, B, backend=fast_engine), tokens), expected)


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("batch", [None, 2])
@pytest.mark.parametrize("cell", CELLS)
def test_the_state_is_read_and_assigned(cell: str, batch: int | None, layers: int, engine: str) -> None:
    """In the middle it is that of ``forward``; another stepper goes on from it; what was read is a copy."""
    params, inputs, _ = make(cell, batch, layers=layers)
    one, other = (rnncore.Stepper(params, batch, backend=engine) for _ in range(2))
    zeros = rnncore.forward(params, inputs[:0], backend=engine).state
    nets.assert_same_bits(nets.named_states("state", cell, zeros), nets.named_states("state", cell, one.state))
    rollout(one, inputs[:4])
    state = one.state
    expected = rnncore.forward(params, inputs[:4], backend=engine).state
    nets.assert_same_bits(nets.named_states("state", cell, expected), nets.named_states("state", cell, state))
    other.state = state
    for array in nets.state_arrays(state):
        array[...] = 7
    assert np.array_equal(rollout(one, inputs[4:]), rollout(other, inputs[4:]))
    one.state = None
    assert np.array_equal(rollout(one, inputs), rnncore.forward(params, inputs, backend=engine).y)


def test_assigned_states_are_converted(engine: str) -> None:
    params, inputs, _ = make("lstm")
    one, other = (rnncore.Stepper(params, backend=engine) for _ in range(2))
    one.state = [[0.5] * H, np.full(2 * H, -0.25)[::2]]
    other.state = np.full(H, 0.5, np.float32), np.full(H, -0.25, np.float32)
    assert np.array_equal(rollout(one, inputs), rollout(other, inputs))


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("tokens", [False, True])
def test_parameters_are_a_copy_until_others_are_loaded(tokens: bool, layers: int, engine: str) -> None:
    params, inputs, _ = make("gru", tokens=tokens, layers=layers)
    stepper, before = rnncore.Stepper(params, backend=engine), params.copy()
    params.flat *= np.float32(0.5)
    y = rollout(stepper, inputs[:4])
    out = rnncore.forward(before, inputs[:4], backend=engine)
    assert np.array_equal(y, out.y)
    stepper.load(params)
    loaded = params.copy()
    params.flat[:] = 0
    expected = rnncore.forward(loaded, inputs[4:], state=out.state, backend=engine).y
    assert np.array_equal(rollout(stepper, inputs[4:]), expected)


def test_results_are_not_overwritten(engine: str) -> None:
    params, inputs, _ = make(batch=2)
    stepper = rnncore.Stepper(params, 2, backend=engine)
    kept = [stepper.step(x) for x in inputs]
    copies = [y.copy() for y in kept]
    stepper.step(inputs[0])
    assert all(np.array_equal(y, other) for y, other in zip(kept, copies, strict=True))
    assert all(y.flags.writeable for y in kept)


FORMS: dict[str, Callable[[nets.Array], Any]] = {
    "strided": lambda a: np.repeat(a, 2, axis=-1)[..., ::2],
    "Fortran": np.asfortranarray,
    "a list": lambda a: a.tolist(),
    "wider": lambda a: a.astype(np.float64),
    "byte-swapped": lambda a: a.astype(a.dtype.newbyteorder("S")),
}


@pytest.mark.parametrize("form", FORMS)
def test_vectors_in_other_forms(form: str, engine: str) -> None:
    for batch in (None, 3):
        params, inputs, _ = make(batch=batch)
        one, other = (rnncore.Stepper(params, batch, backend=engine) for _ in range(2))
        assert np.array_equal(rollout(one, [FORMS[form](x) for x in inputs]), rollout(other, inputs))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "as_token",
    [int, np.int64, np.uint8, np.array, lambda t: np.array(t, np.int32)],
    ids=["int", "int64", "uint8", "an array", "an array of int32"],
)
def test_tokens_in_other_forms(as_token: Callable[[int], Any], engine: str) -> None:
    params, inputs, _ = make(tokens=True)
    stepper = rnncore.Stepper(params, backend=engine)
    y = np.stack([stepper.step(as_token(int(token))) for token in inputs])
    assert np.array_equal(y, rnncore.forward(params, inputs, backend=engine).y)


@pytest.mark.parametrize("yes", [True, np.True_, np.array(True)], ids=repr)
def test_resets_in_other_forms(yes: Any, engine: str) -> None:
    params, inputs, _ = make()
    stepper = rnncore.Stepper(params, backend=engine)
    first = stepper.step(inputs[0])
    stepper.step(inputs[1], reset=False)
    assert np.array_equal(stepper.step(inputs[0], reset=yes), first)
    many = rnncore.Stepper(params, 2, backend=engine)
    rows = np.stack([inputs[0]] * 2)
    first = many.step(rows)
    second = many.step(rows)
    found = many.step(rows, reset=[False, True])
    assert np.array_equal(found[1], first[1])
    assert not np.array_equal(found[0], second[0])
    assert np.array_equal(many.step(rows, reset=np.array([True, False, True])[::2]), first)


ZEROS = np.zeros(X, np.float32)
WRONG: dict[str, tuple[Any, Any, type[Exception], str]] = {
    "a time axis": (ZEROS[None], None, ValueError, "x must be .* (X,) = (5,), got float32 (1, 5); x is one step"),
    "a batch": (np.zeros((3, X)), None, ValueError, "Stepper(params, batch=B)"),
    "another X": (np.zeros(X + 1), None, ValueError, "x must be .* (X,) = (5,), got float64 (6,)"),
    "a float": (0.5, None, TypeError, "x must be integers to be tokens, got float64 ()"),
    "too large": (X, None, ValueError, "x must be in [0, X) = [0, 5), got 5"),
    "negative": (-1, None, ValueError, "x must be in [0, X) = [0, 5), got -1"),
    "far too large": (2**63, None, ValueError, "x must be in [0, X) = [0, 5), got 9223372036854775808"),
    "a boolean": (True, None, TypeError, "x must be an array of integers or floating-point numbers"),
    "None": (None, None, TypeError, "x must be an array of integers or floating-point numbers, got None"),
    "a number as reset": (ZEROS, 1, TypeError, "reset must be None or True or False, got int 1"),
    "resets of a batch": (ZEROS, [True, False], ValueError, "reset must have shape () = ()"),
}
WRONG_OF_A_BATCH: dict[str, tuple[Any, Any, type[Exception], str]] = {
    "no batch": (ZEROS, None, ValueError, "(B, X) = (3, 5), got float32 (5,)"),
    "another B": (np.zeros((2, X)), None, ValueError, "(B, X) = (3, 5), got float64 (2, 5)"),
    "a time axis": (np.zeros((1, 3, X)), None, ValueError, "x is one step, without an axis for time: x[0]"),
    "too large": ([0, 1, X], None, ValueError, "x must be in [0, X) = [0, 5), got 5 for sequence 2"),
    "one reset": (np.zeros((3, X)), True, ValueError, "reset must have shape (B,) = (3,), got bool ()"),
    "numbers as resets": (np.zeros((3, X)), [0, 1, 0], TypeError, "reset must be None or booleans, got list [0, 1, 0]"),
}


def matches(message: str) -> str:
    return re.escape(message).replace(r"\.\*", ".*")


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_no_step_is_refused(wrong: str, engine: str) -> None:
    refused(rnncore.Stepper(make(tokens=None)[0], backend=engine), *WRONG[wrong])


@pytest.mark.parametrize("wrong", WRONG_OF_A_BATCH)
def test_what_is_no_step_of_a_batch_is_refused(wrong: str, engine: str) -> None:
    refused(rnncore.Stepper(make(tokens=None)[0], 3, backend=engine), *WRONG_OF_A_BATCH[wrong])


def refused(stepper: rnncore.Stepper, x: Any, reset: Any, error: type[Exception], message: str) -> None:
    """And the state stays."""
    stepper.state = state = np.full_like(stepper.state, 0.5)
    with pytest.raises(error, match=matches(message)):
        stepper.step(x, reset)
    assert np.array_equal(stepper.state, state)


def test_a_net_that_says_what_it_reads_refuses_the_other(engine: str) -> None:
    for batch, token, vector in ((None, 1, ZEROS), (2, [1, 2], np.zeros((2, X)))):
        with pytest.raises(ValueError, match=r"x must be a?.*vectors?"):
            rnncore.Stepper(make(tokens=False)[0], batch, backend=engine).step(token)
        with pytest.raises(ValueError, match=r"x must be a?.*tokens?"):
            rnncore.Stepper(make(tokens=True)[0], batch, backend=engine).step(vector)


def test_steppers_that_cannot_be(engine: str) -> None:
    two = rnncore.init_params("rnn", 2, 3, 1, bidirectional=True)
    with pytest.raises(ValueError, match="params must be of one direction: the reverse direction begins at the end"):
        rnncore.Stepper(two, backend=engine)
    with pytest.raises(TypeError, match=r"params must be a rnncore\.Params, got str 'rnn'"):
        rnncore.Stepper("rnn", backend=engine)  # type: ignore[arg-type]
    params = make()[0]
    wrong: Any
    for wrong, message in ((0, "at least 1, got 0"), (1.0, "an integer"), (True, "an integer"), (2**60, "into memory")):
        with pytest.raises((TypeError, ValueError), match=f"batch must .*{message}"):
            rnncore.Stepper(params, wrong, backend=engine)
    stepper = rnncore.Stepper(params, 2, backend=engine)
    with pytest.raises(AttributeError):
        stepper.batch = 3  # type: ignore[misc]
    assert stepper.batch == 2


def test_parameters_of_another_net_are_not_loaded(engine: str) -> None:
    params = make()[0]
    stepper = rnncore.Stepper(params, backend=engine)
    others = params.astype("float64"), rnncore.init_params("gru", X, H + 1, V), rnncore.init_params("rnn", X, H, V)
    for other in others:
        with pytest.raises(ValueError, match=r"params must be of the net of this Stepper, Params\('gru'"):
            stepper.load(other)
    with pytest.raises(TypeError, match=r"params must be a rnncore\.Params"):
        stepper.load(params.flat)  # type: ignore[arg-type]


def test_a_state_of_another_shape_is_refused(engine: str) -> None:
    stepper = rnncore.Stepper(make()[0], 2, backend=engine)
    with pytest.raises(ValueError, match=matches("state must have shape (B, H) = (2, 19), got float64 (19,)")):
        stepper.state = np.zeros(H)
    with pytest.raises(TypeError, match="state of cell 'lstm' must be a tuple"):
        rnncore.Stepper(make("lstm")[0], backend=engine).state = np.zeros((2, H))


@pytest.mark.parametrize("duplicate", [pickle.dumps, copy.copy, copy.deepcopy], ids=lambda f: f.__name__)
def test_a_stepper_is_not_copied(duplicate: Callable[[Any], Any], engine: str) -> None:
    with pytest.raises(TypeError, match="make another one of the parameters"):
        duplicate(rnncore.Stepper(make()[0], backend=engine))


LARGE = {"numpy": (16, 2), "numba": (64, 2), "cpp.baseline": (512, 4)}, (768, 8)
LONG = {"numpy": (16, 16), "numba": (64, 2000), "cpp.baseline": (512, 200)}, (1024, 1500)
"""H and B by engine, and of the others. The compiled core releases the GIL for a large step, and within a long one it
looks for signals."""


def sized(sizes: tuple[dict[str, tuple[int, int]], tuple[int, int]], engine: str) -> tuple[rnncore.Params, nets.Array]:
    H, B = sizes[0].get(engine, sizes[1])
    return rnncore.init_params("gru", 16, H, 8, seed=0), nets.Numbers(0).symmetric(1, B, 16).astype("float32")


@pytest.mark.parametrize("small", [True, False])
def test_threads_take_turns(small: bool, engine: str) -> None:
    """All steps read the same, so that their order is nothing, and no one may be lost or halved."""
    if small:
        params, inputs, _ = make(batch=2)
        x = inputs[0]
    else:
        params, x = sized(LARGE, engine)
    one, shared = (rnncore.Stepper(params, len(x), backend=engine) for _ in range(2))
    threads, steps = 4, 6
    expected = {one.step(x).tobytes() for _ in range(threads * steps)}
    found: list[bytes] = []

    def work() -> None:
        for _ in range(steps):
            found.append(shared.step(x).tobytes())
            _ = shared.state

    workers = [threading.Thread(target=work) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert set(found) == expected
    assert np.array_equal(one.state, shared.state)


@pytest.fixture
def timer() -> Iterator[None]:
    if not hasattr(signal, "setitimer"):
        pytest.skip("this system has no timers that send signals")
    before = signal.getsignal(signal.SIGALRM)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.usefixtures("timer")
def test_a_signal_handler_within_a_step_is_refused(engine: str) -> None:
    """And the step comes to its end; between steps a handler may do what it likes."""
    params, x = sized(LONG, engine)
    one, other = (rnncore.Stepper(params, len(x), backend=engine) for _ in range(2))
    refused, read = [], []

    def handler(number: int, frame: FrameType | None) -> None:
        try:
            read.append(one.state)
        except RuntimeError as why:
            refused.append(str(why))

    signal.signal(signal.SIGALRM, handler)
    steps = 0
    while not refused and steps < 400:
        signal.setitimer(signal.ITIMER_REAL, 0.002)
        one.step(x)
        signal.setitimer(signal.ITIMER_REAL, 0)
        steps += 1
    assert refused[:1] == ["a Stepper cannot be used within one of its own steps"]
    for _ in range(steps):
        other.step(x)
    assert np.array_equal(one.state, other.state)


class StopError(Exception):
    """What a signal handler raises."""


@pytest.mark.usefixtures("timer")
def test_a_step_that_is_stopped_leaves_the_state(engine: str) -> None:
    params, x = sized(LONG, engine)
    stepper = rnncore.Stepper(params, len(x), backend=engine)
    stepper.step(x)
    before, stopped = stepper.state, 0

    def handler(number: int, frame: FrameType | None) -> None:
        raise StopError

    signal.signal(signal.SIGALRM, handler)
    for _ in range(400):
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.002)
            stepper.step(x)
            signal.setitimer(signal.ITIMER_REAL, 0)
        except StopError:
            stopped += 1
            break
        stepper.state = before
    after = rnncore.Stepper(params, len(x), backend=engine)
    after.state = before
    if not np.array_equal(stepper.state, before):  # it was stopped when it was done
        after.step(x)
    assert stopped
    assert np.array_equal(stepper.state, after.state)
